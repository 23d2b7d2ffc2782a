"""A Microdot application with a gateway mounted in it, for either interpreter.

    PYTHON microdot_app.py PORT

Reads the options of mount() from standard input, as a line of JSON. serve: list of
what the gateway serves beside, from the start.
"""

import asyncio
import gc
import json
import sys

from microdot import Microdot, Request

from mcp_gw import Context, Gateway, Param, ToolError
from mcp_gw.microdot_mount import mount

gw = Gateway("kitchen", version="3", http_quiet_s=1)
app = Microdot()
Request.max_body_length = 8 * 1024  # longer bodies are left in the stream
left = []  # tools whose client went away


@app.get("/")
async def index(request):
    return "the application's own page"


@app.get("/left")
async def told(request):
    return {"left": left}


@app.get("/collected")
async def collected(request):
    """Bytes of heap in use, on CPython the number of objects in their place."""
    gc.collect()
    return str(gc.mem_alloc() if hasattr(gc, "mem_alloc") else len(gc.get_objects()))


@gw.tool("Add", a=Param(int), b=Param(int))
def add(a, b):
    return {"sum": a + b}


@gw.tool("Count up", count=Param(int))
async def steps(count):
    for _ in range(count):
        await asyncio.sleep(0.01)
    return "done"


@gw.tool("Progress", count=Param(int))
def progress(count):
    for i in range(count):
        yield i + 1, count, "step %d" % i
    return "done"


@gw.tool("Cannot")
def cannot():
    raise ToolError("no flour")


@gw.tool("Ask", ctx=Context)
async def ask(ctx):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    said = await ctx.elicit("How many?", schema)
    return "%s %s" % (said["action"], said.get("content"))


@gw.tool("Wait for ever")
async def wait():
    try:
        while True:
            await asyncio.sleep(0.05)
    finally:
        left.append("wait")


@gw.tool("Much text", size=Param(int))
def much(size):
    return "x" * size


@gw.resource("kitchen://menu", "The menu")
def menu():
    return "soup"


async def main(port):
    options = json.loads(sys.stdin.readline())
    serve = options.pop("serve", None)
    mounted = mount(gw, app, **options)
    listening = app.start_server(host="127.0.0.1", port=port)
    if serve is not None:
        await asyncio.gather(listening, gw.serve(mounted, *serve))
    else:
        await listening


asyncio.run(main(int(sys.argv[1])))
