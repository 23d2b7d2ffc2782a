# One of each: what a soak of the unix build asks for, over standard input and HTTP at once. The
# argument is the port.

import gc
import sys

from mcp_gw import Context, Gateway, Param, ToolError
from mcp_gw.content import image, text

# Few sessions, so that those left behind have made room for others long before the end.
gw = Gateway("everything", version="1.0", page_size=4, http_sessions=8)


@gw.tool("Sum", a=Param(int), b=Param(int, min=0, max=1000, default=1))
def add(a, b):
    return {"sum": a + b}


@gw.tool("The text it is given", words=Param(str, max=4000))
def echo(words):
    return words


@gw.tool("Waits for the event loop", n=Param(int, min=0, max=20))
async def wait(n):
    import asyncio

    for _ in range(n):
        await asyncio.sleep(0)
    return "waited"


@gw.tool("Reports progress", n=Param(int, min=1, max=20))
def steps(n):
    for i in range(n):
        yield i + 1, n
    return "stepped"


@gw.tool("Logs", ctx=Context)
def says(ctx):
    ctx.log("info", {"heard": True})
    return [text("said"), image(b"\x89PNG", "image/png")]


@gw.tool("Fails as a tool may")
def fails():
    raise ToolError("the pump is dry")


@gw.tool("Bytes in use after a collection")
def heap():
    gc.collect()
    return {"used": gc.mem_alloc()}


@gw.resource("board://status", "Uptime")
def status():
    return {"uptime_s": gw.clock.uptime_s}


@gw.resource("board://blob", mime_type="application/octet-stream")
def blob():
    return bytes(range(256))


@gw.resource("board://row/{name}", "Rows", name=Param(str))
def row(name):
    return name


@gw.prompt("Asks for advice", plot=Param(str, complete=["north", "south"]))
def advice(plot):
    return "What does plot %s need?" % plot


gw.run("stdio", "http", port=int(sys.argv[1]))
