"""An upstream server made with the official SDK, run as a process by the bridge's tests.

Every execution of a tool adds a line to the ledger, so that a test can count them.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import uvicorn
from asking_tools import Events, add_tools
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations
from pydantic import Field

MODERN = b"2026-07-28"


def make(ledger, tools):
    server = MCPServer("bench upstream", version="2.5")

    def note(text):
        with open(ledger, "a") as file:
            file.write(text + "\n")

    async def released():
        while not ledger.with_suffix(".release").exists():
            await asyncio.sleep(0.02)

    @server.tool()
    def add(a: int, b: int) -> int:
        """Sum of two numbers."""
        note(f"add {a} {b}")
        return a + b

    @server.tool()
    async def slow(seconds: float) -> str:
        """Takes its time."""
        note(f"slow {seconds}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            note("slow cancelled")
            raise
        note("slow done")
        return "done"

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    async def held_level(level: int) -> str:
        """May be repeated; ends when the test says so."""
        note(f"held_level {level}")
        await released()
        return f"level {level}"

    @server.tool()
    async def held() -> str:
        """Ends when the test says so."""
        note("held")
        try:
            await released()
        except asyncio.CancelledError:
            note("held cancelled")
            raise
        note("held done")
        return "done"

    @server.tool()
    async def mark(number: int, seconds: float) -> str:
        """Leaves a mark, then takes its time."""
        note(f"mark {number}")
        await asyncio.sleep(seconds)
        return f"marked {number}"

    @server.tool(annotations=ToolAnnotations(idempotent_hint=True))
    async def set_level(level: int, seconds: float = 0) -> str:
        """May be repeated."""
        note(f"set_level {level}")
        await asyncio.sleep(seconds)
        return f"level {level}"

    @server.tool()
    async def steps(count: int, ctx: Context) -> str:
        """Reports progress."""
        for i in range(count):
            await ctx.report_progress(i + 1, count, f"step {i + 1}")
            await asyncio.sleep(0.02)
        return "stepped"

    @server.tool()
    def text(size: int) -> str:
        """As much text as asked for."""
        return "x" * size

    @server.tool()
    def odd() -> str:
        """Characters that need care on a line."""
        return 'é€𝄞 "\\" \x7f tab\t end'

    add_tools(server, note)

    @server.tool()
    def fails() -> str:
        """Always fails."""
        raise ValueError("no luck")

    @server.tool()
    def region(area: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Area"})]) -> str:
        """Its argument is mirrored into a header."""
        return f"in {area}"

    @server.tool()
    def meta(ctx: Context) -> str:
        """What came in _meta."""
        return json.dumps(dict(ctx.request_context.meta or {}), default=str)

    @server.tool()
    async def grow(name: str, ctx: Context) -> str:
        """Adds a tool, and says so in both eras' ways."""

        def grown() -> str:
            return name

        server.add_tool(grown, name=name, description="A new tool.")
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "grown"

    for i in range(tools):

        def extra(x: int) -> int:
            return x

        server.add_tool(extra, name=f"extra_{i:03}", description="A tool. " * 20)
    return server


def legacy_only(app):
    """The application without its modern half, answering as servers before 2026-07-28 do."""

    async def wrapped(scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and headers.get(b"mcp-protocol-version") == MODERN:
            error = {"code": -32600, "message": "Bad Request: Unsupported protocol version"}
            body = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 400, "headers": head})
            await send({"type": "http.response.body", "body": body})
            return
        await app(scope, receive, send)

    return wrapped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--legacy", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--stateless", action="store_true")
    parser.add_argument("--resumable", action="store_true")
    parser.add_argument("--tools", type=int, default=0)
    options = parser.parse_args()
    server = make(options.ledger, options.tools)
    app = server.streamable_http_app(
        json_response=options.json,
        stateless_http=options.stateless,
        event_store=Events() if options.resumable else None,
        retry_interval=200 if options.resumable else None,
        host="127.0.0.1",
    )
    if options.legacy:
        app = legacy_only(app)
    started = time.monotonic()
    config = uvicorn.Config(app, host="127.0.0.1", port=options.port, log_level="warning")
    uvicorn.Server(config).run()
    print(f"ran {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
