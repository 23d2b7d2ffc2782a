# One of each thing that client programs do (tests/device/test_real_clients.py). On standard input
# and output or the console; over HTTP if the argument is a port.

import asyncio
import sys

from mcp_gw import Context, Gateway, Param

gw = Gateway("orchard", version="1.0", instructions="Ask before you pick.")
SORTS = ["apple", "apricot", "pear", "plum"]
allowed = set()
digging = []
stopped = []


@gw.tool(
    "Sum of two harvests",
    a=Param(int),
    b=Param(int, default=1),
    output_schema={
        "type": "object",
        "properties": {"sum": {"type": "integer"}},
        "required": ["sum"],
    },
)
def add(a, b):
    return {"sum": a + b}


@gw.tool(
    "Prunes row after row and reports each",
    rows=Param(int, min=1, max=9),
    overseer=Param(str, "Who allows each next row, by `go_on`", optional=True),
    ctx=Context,
)
def prune(rows, overseer, ctx):
    for i in range(rows):
        yield i + 1, rows, "row %d" % (i + 1)
        while overseer and overseer not in allowed:
            yield
        allowed.discard(overseer)
    asked = "progressToken" in ctx.meta
    return "%d rows pruned and %s" % (rows, "reported" if asked else "kept quiet")


@gw.tool("Allows one more row", overseer=Param(str))
def go_on(overseer):
    allowed.add(overseer)


@gw.tool("Digs until it is told to stop", name=Param(str), ctx=Context)
async def dig(name, ctx):
    digging.append(name)
    if sys.platform == "linux":
        # For those whose client does not show them the progress.
        print("digging %s" % name, file=sys.stderr)
    try:
        depth = 0
        while True:
            depth += 1
            if depth % 50 == 1:
                ctx.progress(depth, message="digging")
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        stopped.append(name)
        raise
    finally:
        digging.remove(name)


@gw.tool("Who digs, and whose digging was cancelled")
def digs():
    return {"digging": digging, "stopped": stopped}


@gw.tool("Asks how much to water", ctx=Context, sort=Param(str, enum=SORTS))
async def water(ctx, sort):
    fields = {
        "litres": Param(int, "How much", min=1, max=20),
        "where": Param(str, enum=["root", "leaf"], default="root"),
    }
    answer = await ctx.elicit("Water the %s?" % sort, fields)
    if answer["action"] != "accept":
        return "%s left dry: %s" % (sort, answer["action"])
    content = answer["content"]
    return "%s gets %d l at the %s" % (sort, content["litres"], content["where"])


@gw.resource("orchard://sorts", "What grows here", name="sorts", mime_type="text/plain")
def sorts():
    return ", ".join(SORTS)


@gw.resource(
    "orchard://tree/{sort}",
    "One tree",
    name="tree",
    mime_type="application/json",
    sort=Param(str, complete=SORTS),
)
def tree(sort):
    return {"sort": sort, "age": len(sort)}


@gw.prompt("A letter to a gardener", sort=Param(str, "Which sort", complete=SORTS))
def letter(sort):
    return "Please tell me how to care for my %s." % sort


if len(sys.argv) > 1:
    gw.run("http", port=int(sys.argv[1]))
else:
    gw.run()
