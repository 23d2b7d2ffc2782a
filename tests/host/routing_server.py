"""An upstream made with the official Python SDK, for tests of routing: `PORT LEDGER`.

routing_server.mjs offers the same on the TypeScript SDK. Each execution adds a line to the file
NAME.ledger; what is held waits for NAME.release, and reports its progress until then.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

port, ledger = int(sys.argv[1]), Path(sys.argv[2])
hints = {"resources/read": CacheHint(ttl_ms=600_000, scope="public")}
hints["tools/list"] = CacheHint(ttl_ms=50, scope="public")
server = MCPServer("python", version="1", cache_hints=hints)


def note(text):
    with open(ledger, "a") as file:
        file.write(text + "\n")


async def held(ctx, name):
    note(name)
    step = 0
    try:
        while not ledger.with_suffix(".release").exists():
            step += 1
            await ctx.report_progress(step)
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        note(f"{name} cancelled")
        raise
    return f"{name} by python"


@server.tool()
def add(a: int, b: int) -> str:
    """Sum of two numbers."""
    note("add")
    return str(a + b)


@server.tool()
def complete(text: str) -> str:
    """Continues a text."""
    note("complete")
    return f"python: {text}"


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
async def level(ctx: Context) -> str:
    """May be repeated."""
    return await held(ctx, "level")


@server.tool()
async def once(ctx: Context) -> str:
    """May not."""
    return await held(ctx, "once")


@server.tool()
def only_python() -> str:
    """The other has it not."""
    return "python"


@server.tool()
def grow() -> str:
    """Adds a tool, and says so to nobody."""
    server.add_tool(lambda: "grown", name="grown", description="New.")
    return "grown"


@server.resource("note://sky")
def sky() -> str:
    note("sky")
    return "blue"


app = server.streamable_http_app(host="127.0.0.1")
uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).run()
