"""A gateway over HTTP with authorisation or TLS, for either interpreter.

    PYTHON guarded_app.py PORT

Reads the options of run("http") from standard input, as a line of JSON. verifier: a dict token ->
what the verifier returns for it.
"""

import asyncio
import json
import sys

from mcp_gw import Context, Gateway, Param

gw = Gateway("vault", version="1", http_request_s=120)


@gw.tool("Who is asking", ctx=Context)
def whoami(ctx):
    return str(ctx.principal)


@gw.tool("Much text", size=Param(int))
def much(size):
    return "x" * size


@gw.tool("Progress", count=Param(int))
def progress(count):
    for i in range(count):
        yield i + 1, count
    return "done"


@gw.tool("Wait", ms=Param(int))
async def wait(ms):
    await asyncio.sleep(ms / 1000)
    return "waited"


options = json.loads(sys.stdin.readline())
table = options.pop("verifier", None)
if table:
    options["verifier"] = table.get
gw.run("http", port=int(sys.argv[1]), **options)
