"""The benchmark's tool on mcp_gw, for the unix build: `ours.py stdio` or `ours.py http PORT`."""

import sys

from mcp_gw import Gateway, Param

gw = Gateway("bench")


@gw.tool("The sum of two numbers", a=Param(int), b=Param(int))
def add(a, b):
    return str(a + b)


if sys.argv[1] == "http":
    gw.run("http", port=int(sys.argv[2]))
else:
    gw.run("stdio")
