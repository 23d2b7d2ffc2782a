"""A server on stdio that also writes what is no MCP, to both outputs."""

import os
import sys

from mcp_gw import Gateway, Param

gw = Gateway("noisy")


@gw.tool("Writes", bytes=Param(int, "how long the longest line is"))
def babble(bytes):
    write(1, b"this is no JSON\n" + b'{"jsonrpc":"2.0"}\n\n' + b"x" * bytes + b"\n")
    write(2, b"a word for people\n")
    return "babbled"


def write(fd, data):
    while data:
        data = data[os.write(fd, data) :]


for line in sys.stdin.buffer:
    write(1, gw.process(line.strip()) + b"\n")
