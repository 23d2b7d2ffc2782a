"""An MCP server for the demo, built with the official SDK: what the board forwards to.

usage: demo_upstream.py PORT LEDGER     each execution of log_reading adds a line of JSON to the
file LEDGER
"""

import json
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer

port, ledger = int(sys.argv[1]), sys.argv[2]
server = MCPServer("office")


@server.tool()
def forecast(place: str) -> str:
    """Weather of tomorrow."""
    return f"{place}: sunny, 24 degrees"


@server.tool()
async def log_reading(plot: int, percent: int) -> str:
    """Write a moisture reading into the ledger."""
    with open(ledger, "a") as file:
        file.write(json.dumps({"plot": plot, "percent": percent}) + "\n")
    await anyio.sleep(1)  # the demo wants to see the power go after this and before the answer
    return f"noted: plot {plot} at {percent} percent"


if __name__ == "__main__":
    app = server.streamable_http_app()
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
