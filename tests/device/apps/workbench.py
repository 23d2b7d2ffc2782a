# The app behind most device tests: one tool for each thing that a tool can do. On a board its
# upstream is the one that the bridge knows as "office"; on the unix build the arguments are the
# upstream's URL and the file that takes the queue's place.

import gc
import sys
import time

from mcp_gw import Gateway, Param, ToolError

gw = Gateway("workbench", version="1.0")
url = sys.argv[1] if len(sys.argv) > 1 else None
gw.upstream("office", url=url, queueable=("log_reading",), expiry_s=3600)
if len(sys.argv) > 2:
    from mcp_gw.queue.nor_kept import FileNor

    gw.queue(FileNor(sys.argv[2], 4))


@gw.tool("The text it is given", text=Param(str))
def echo(text):
    return text


@gw.tool("Sum", a=Param(int, "first"), b=Param(int, "second", default=1, min=0, max=1000))
def add(a, b):
    return {"sum": a + b}


@gw.tool("A number", plot=Param(int, "plot number", min=0, max=7))
def number(plot):
    return 10 * plot


@gw.tool("Fails as a tool may")
def fails():
    raise ToolError("the pump is dry")


@gw.tool("Fails as a tool should not")
def breaks():
    return {}["missing"]


@gw.tool("Takes its time", ms=Param(int, min=0))
async def slow(ms):
    import asyncio

    await asyncio.sleep_ms(ms)
    return "waited"


held_names = []


@gw.tool("Ends when `release` is told its name", name=Param(str))
async def held(name):
    import asyncio

    held_names.append(name)
    while name in held_names:
        await asyncio.sleep_ms(5)
    return "released"


@gw.tool("Lets `held` end", name=Param(str))
def release(name):
    held_names.remove(name)


@gw.tool("Reports progress", n=Param(int, min=1))
def steps(n):
    for i in range(n):
        yield i + 1, n, "step %d" % (i + 1)
    return "stepped"


@gw.tool("Prints in the middle of its work", text=Param(str))
def chatter(text):
    print(text, end="")
    return "printed"


@gw.tool("Prints between its reports of progress", text=Param(str))
def chatter_slowly(text):
    for i in range(3):
        print(text, end="")
        sys.stdout.write("")
        yield i + 1, 3
    return "printed"


@gw.tool("Bytes in use and free after a collection, and how long that took")
def heap():
    begin = time.ticks_us()
    gc.collect()
    took = time.ticks_diff(time.ticks_us(), begin)
    return {"used": gc.mem_alloc(), "free": gc.mem_free(), "us": took}


@gw.tool("Bytes in use, rubbish included")
def mark():
    return gc.mem_alloc()


@gw.tool("Resets the board", how=Param(str, enum=("hard", "soft")))
def reset(how):
    import machine

    if how == "hard":
        machine.reset()
    machine.soft_reset()


@gw.resource("board://status", "Uptime")
def status():
    return {"uptime_s": gw.clock.uptime_s}


@gw.resource("board://blob", mime_type="application/octet-stream")
def blob():
    return bytes(range(256))


gw.run()
