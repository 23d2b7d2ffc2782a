# Serves its console and HTTP at once; its long tools end when another client says so.

import sys

from mcp_gw import Context, Gateway
from mcp_gw.compat import sleep_ms

gw = Gateway("shared", version="1.0")
released = []


@gw.tool("Waits until it is released", ctx=Context)
async def waits(ctx):
    while not released:
        await sleep_ms(1)
    return "waited"


@gw.tool("Reports progress until it is released")
def steps():
    n = 0
    while not released:
        n += 1
        yield n
    return {"more_than_one": n > 1}


@gw.tool("Ends the others")
def release():
    released.append(1)


@gw.tool("A resource of this board is another one now")
def change():
    gw.resource_updated("board://status")
    gw.tools_changed()


@gw.resource("board://status", "State")
def status():
    return {"released": bool(released)}


gw.run("stdio", "http", port=int(sys.argv[1]))
