"""A server on stdio made with the official SDK, with tools that do what servers should not.

usage: pi_stdio_server.py LEDGER
"""

import os
import sys
from pathlib import Path

from bridge_upstream import make

server = make(Path(sys.argv[1]), 0)


@server.tool()
def die(code: int) -> str:
    """Ends the server."""
    os._exit(code)


@server.tool()
def surroundings() -> str:
    """Its environment and folder."""
    return f"{sorted(os.environ)} {os.getcwd()}"


with open(sys.argv[1], "a") as ledger:
    ledger.write("started\n")
server.run("stdio")
