"""An upstream server made with the official SDK, run as a process by the tests of HttpUpstream.

MODE says how it answers: json or sse (both stateless), or session. --legacy closes the door to
2026-07-28 as servers older than it do; --port 0 takes a free port. Prints the port when it
listens. Executions are counted in a file.
"""

import argparse
import asyncio
import json
import socket
from typing import Annotated

import uvicorn
from asking_tools import Events, add_tools
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    EmptyResult,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    PingRequest,
    ToolListChangedNotification,
)
from pydantic import Field


def make(ledger):
    server = MCPServer("upstream", version="9.1")

    def note(text):
        with open(ledger, "a") as file:
            file.write(text + "\n")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Sum of two numbers."""
        note("add")
        return a + b

    present = []

    @server.tool()
    async def meet(count: int) -> int:
        """Ends when so many are called at once."""
        present.append(None)
        while len(present) < count:
            await asyncio.sleep(0.02)
        return len(present)

    inside = [0]

    @server.tool()
    async def crowd(seconds: float) -> int:
        """How many calls of it are under way when it begins."""
        inside[0] += 1
        try:
            now = inside[0]
            await asyncio.sleep(seconds)
            return now
        finally:
            inside[0] -= 1

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes its time."""
        note("slow")
        await asyncio.sleep(seconds)
        return "done"

    @server.tool()
    async def steps(count: int, ctx: Context) -> str:
        """Reports progress."""
        for i in range(count):
            await ctx.report_progress(i, count, f"step {i} \u20ac")
        return "stepped"

    @server.tool()
    def blob(size: int) -> str:
        """A text of this many characters."""
        note("blob")
        return "x" * size

    @server.tool()
    def fails() -> str:
        """Raises."""
        raise ValueError("no luck")

    @server.tool()
    def routed(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Its argument is repeated in a header."""
        return region

    @server.tool()
    async def asks(ctx: Context) -> str:
        """Asks the client twice: for a ping, which it answers, and for its roots, which it
        refuses.
        """
        scope = ServerMessageMetadata(related_request_id=ctx.request_id)
        await ctx.session.send_request(PingRequest(), EmptyResult, metadata=scope)
        try:
            await ctx.session.send_request(ListRootsRequest(), ListRootsResult, metadata=scope)
        except MCPError as e:
            return f"pong, {e.error.code}"
        return "roots"

    @server.tool()
    def unsure() -> InputRequiredResult:
        """Wants more input (2026-07-28)."""
        return InputRequiredResult(request_state="s")

    @server.tool()
    async def grows(ctx: Context) -> str:
        """Says that the list of tools has changed."""
        await ctx.session.send_notification(
            ToolListChangedNotification(), related_request_id=ctx.request_id
        )
        return "grown"

    @server.tool()
    async def shout(ctx: Context) -> str:
        """Says that the list of tools has changed, on the streams for what belongs to no call."""
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "shouted"

    add_tools(server, note)

    @server.resource("note://{name}")
    def read_note(name: str) -> str:
        return "note " + name

    return server


class OldDoor:
    """Turns down what names a revision with no handshake, in the ways in which older servers
    do.
    """

    def __init__(self, app, how):
        self.app = app
        self.how = how

    async def __call__(self, scope, receive, send):
        if (
            scope["type"] == "http"
            and (b"mcp-protocol-version", b"2026-07-28") in scope["headers"]
        ):
            status, kind, body = self.how
            await send(
                {
                    "type": "http.response.start",
                    "status": status,
                    "headers": [(b"content-type", kind), (b"content-length", b"%d" % len(body))],
                }
            )
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, send)


DOORS = {
    "400": (
        400,
        b"application/json",
        json.dumps(
            {
                "jsonrpc": "2.0",
                "id": "server-error",
                "error": {"code": -32600, "message": "Bad Request: Unsupported protocol version"},
            }
        ).encode(),
    ),
    "404": (404, b"text/plain", b"Not Found"),
    "405": (405, b"text/html", b"<html>" + b"x" * 5000),
    "500": (500, b"text/plain", b"Internal Server Error"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("json", "sse", "session"))
    parser.add_argument("ledger")
    parser.add_argument("--legacy", choices=sorted(DOORS))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--resumable", action="store_true")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    options = parser.parse_args()
    app = make(options.ledger).streamable_http_app(
        json_response=options.mode == "json",
        stateless_http=options.mode != "session",
        event_store=Events() if options.resumable else None,
        retry_interval=200 if options.resumable else None,
    )
    if options.legacy:
        app = OldDoor(app, DOORS[options.legacy])
    # asyncio switches Nagle's algorithm off only where the protocol is named.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, log_level="error", ssl_certfile=options.cert, ssl_keyfile=options.key
    )
    uvicorn.Server(config).run(sockets=[listener])


main()
