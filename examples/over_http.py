# Serves MCP over HTTP, on a computer or on a board with a network. Clients are told
# http://127.0.0.1:8080/mcp; a port may be given: build/unix/micropython examples/over_http.py 9000
# To listen on the network too, add host="0.0.0.0" and a token: docs/http-server.md.

import sys

from mcp_gw import Gateway, Param

gw = Gateway("calculator", version="1.0")


@gw.tool("Add two numbers", a=Param(float), b=Param(float), annotations={"readOnlyHint": True})
def add(a, b):
    return {"sum": a + b}


@gw.tool("Count to n, telling how far it is", n=Param(int, min=1, max=100))
def count(n):
    for i in range(n):
        yield i + 1, n
    return n


gw.run("http", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
