# The app behind the hostile tests of the HTTP server. Arguments: NAME=VALUE settings, the port.

import gc
import sys

from mcp_gw import Context, Gateway, Param

settings = {}
for pair in sys.argv[1:-1]:
    name, value = pair.split("=")
    settings[name] = int(value)
gw = Gateway("hostile", **settings)


@gw.tool("The text it is given", text=Param(str))
def echo(text):
    return text


@gw.tool("Reports progress as fast as it can", n=Param(int), size=Param(int), ctx=Context)
async def flood(n, size, ctx):
    import asyncio

    for i in range(n):
        ctx.progress(i, n, "x" * size)
        await asyncio.sleep(0)
    return "flooded"


@gw.tool("A long answer", size=Param(int))
def long(size):
    return "x" * size


@gw.tool("Bytes of the heap in use")
def heap():
    gc.collect()
    return str(gc.mem_alloc())


gw.run("http", port=int(sys.argv[-1]))
