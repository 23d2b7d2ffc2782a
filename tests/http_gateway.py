"""Streamable HTTP in memory: a real Gateway behind connections that keep what they send. Runs on
CPython and on MicroPython."""

import asyncio
import json

from http_memory import LIMITS, MemoryConnection, events

from mcp_gw import Context, Gateway, Param
from mcp_gw.protocol.http_connection import Limits
from mcp_gw.protocol.http_sessions import Sessions
from mcp_gw.protocol.streamable_server import Site, StreamableServer

VERSION = "io.modelcontextprotocol/protocolVersion"
META = {VERSION: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
BOTH = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "0"},
}


class Server:
    """A gateway, its HTTP application, and connections to it."""

    def __init__(self, guard=None, endpoints=None, site=None, sessions=4, replay=2000, **config):
        gw = self.gateway = Gateway("memory", **config)
        self.ids = 0
        self.running = []

        @gw.tool("Adds", a=Param(int, "a"), b=Param(int, "b", default=0, header="B"))
        def add(a, b):
            return a + b

        @gw.tool("Steps", n=Param(int, "n"), ctx=Context)
        async def steps(n, ctx):
            for i in range(n):
                ctx.progress(i, n)
                await asyncio.sleep(0)
            return "done"

        @gw.tool("Waits", ctx=Context)
        async def wait(ctx):
            self.running.append(ctx)
            while self.running:
                await asyncio.sleep(0)
            return "waited"

        @gw.resource("a://b", "Text")
        def text():
            return "text"

        table = Sessions(sessions, 60_000, replay, self._new_id, gw.join, gw.leave)
        site = site or Site(True, {"board.local"}, {"https://app.example"})
        self.app = StreamableServer(
            gw.dispatch.take,
            gw.leave,
            gw.registry.tools,
            table,
            "/mcp",
            site,
            guard,
            endpoints,
            gw.log_exception,
        )

    def _new_id(self):
        self.ids += 1
        return "session-%d" % self.ids

    def connect(self):
        return MemoryConnection(self.app, Limits(*LIMITS))

    def send(self, message, connection=None, method="POST", path="/mcp", **fields):
        """Send a message; returns the connection. fields: of the head, None: not even the usual
        one."""
        body = b"" if message is None else message
        if not isinstance(body, bytes):
            body = json.dumps(message).encode()
        rows = {"Host": "localhost:8080"}
        rows.update(BOTH)
        for name, value in fields.items():
            rows[name.replace("_", "-")] = value
        head = "%s %s HTTP/1.1\r\n" % (method, path)
        for name, value in rows.items():
            if value is not None:
                head += "%s: %s\r\n" % (name, value)
        connection = connection or self.connect()
        connection.give(("%sContent-Length: %d\r\n\r\n" % (head, len(body))).encode() + body)
        return connection

    def ask(self, message, connection=None, **fields):
        """Send, turn the loop a few times; returns (status, headers, body)."""
        connection = self.send(message, connection, **fields)
        turn()
        return connection.answers()[-1]

    def open(self, version="2025-11-25"):
        """Initialise; returns the fields that further requests carry."""
        status, headers, body = self.ask(
            request("initialize", dict(INITIALIZE, protocolVersion=version))
        )
        assert status == 200 and json.loads(body)["result"]["protocolVersion"] == version
        session = headers[b"mcp-session-id"].decode()
        fields = {"Mcp_Session_Id": session, "MCP_Protocol_Version": version}
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.ask(note, **fields)[0] == 202
        return fields


def turn(n=30):
    """Let the tasks run."""

    async def turns():
        for _ in range(n):
            await asyncio.sleep(0)

    from mcp_gw.compat import run_until

    run_until(turns())


def request(method, params=None, id=1):
    row = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None:
        row["params"] = params
    return row


def call(tool, id=1, token=None, **arguments):
    params = {"name": tool, "arguments": arguments}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return request("tools/call", params, id)


def modern(message, name=None, **fields):
    """(message with _meta, its fields)"""
    params = dict(message.get("params", {}))
    params["_meta"] = dict(params.get("_meta", {}), **META)
    out = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": message["method"]}
    if name:
        out["Mcp_Name"] = name
    out.update(fields)
    return dict(message, params=params), out


def result(answer):
    status, headers, body = answer
    assert status == 200, answer
    assert headers[b"content-type"] == b"application/json"
    return json.loads(body)["result"]


def code(answer):
    return answer[0], json.loads(answer[2])["error"]["code"]


def streamed(answer):
    """The messages of an answer that is a stream, empty events left out."""
    status, headers, body = answer[:3]
    assert status == 200 and headers[b"content-type"] == b"text/event-stream"
    return [json.loads(data) for _, data in events(body) if data]
