"""The same on the official Python SDK: `python_sdk.py stdio` or `python_sdk.py http PORT`, the
latter in its fastest mode."""

import sys

from mcp.server import MCPServer

server = MCPServer("bench", log_level="WARNING")


@server.tool(structured_output=False)
def add(a: int, b: int) -> str:
    """The sum of two numbers"""
    return str(a + b)


if sys.argv[1] == "http":
    server.run("streamable-http", port=int(sys.argv[2]), stateless_http=True, json_response=True)
else:
    server.run("stdio")
