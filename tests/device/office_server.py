"""An upstream MCP server made with the official SDK; device tests run it as a process.

usage: office_server.py PORT LEDGER [legacy] [few]     each execution of log_reading adds a line of
JSON to the file LEDGER; legacy: refuse revision 2026-07-28, as servers made before it do; few:
without the tools of odd names
"""

import json
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

# Names that clients reject, and names that are the same once made acceptable.
ODD_NAMES = (
    "get.weather",
    "get weather",
    "get_weather",
    "größe",
    "温度計",
    'say "hi"\\now',
    "x" * 57,
    "x" * 58,
    "y" * 90,
    "y" * 91,
)


def make(ledger, odd_names):
    server = MCPServer("office", version="3.1")

    @server.tool()
    def forecast(place: str) -> str:
        """Weather of tomorrow."""
        return f"{place}: sunny"

    @server.tool()
    def log_reading(plot: int, percent: int, note: str = "") -> str:
        """Write a moisture reading into the ledger."""
        with open(ledger, "a") as file:
            file.write(json.dumps({"plot": plot, "percent": percent}) + "\n")
        return f"noted: plot {plot} at {percent} percent"

    @server.tool()
    async def steps(count: int, ctx: Context) -> str:
        """Reports progress."""
        for i in range(count):
            await ctx.report_progress(i + 1, count, f"step {i + 1}")
        return "stepped"

    @server.tool()
    def fails() -> str:
        """Always fails."""
        raise ValueError("no luck")

    def add_odd(name):
        def which() -> str:
            return name

        server.add_tool(which, name=name, description="Says its own name.")

    for name in odd_names:
        add_odd(name)
    return server


def legacy_only(app):
    """The application without its modern half."""

    async def wrapped(scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version") != b"2026-07-28":
            await app(scope, receive, send)
            return
        error = {"code": -32600, "message": "Bad Request: Unsupported protocol version"}
        body = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return wrapped


if __name__ == "__main__":
    odd_names = () if "few" in sys.argv[3:] else ODD_NAMES
    app = make(sys.argv[2], odd_names).streamable_http_app()
    if "legacy" in sys.argv[3:]:
        app = legacy_only(app)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
