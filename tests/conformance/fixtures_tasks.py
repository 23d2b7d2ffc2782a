"""Tools that may or must run as tasks, and one that never does."""

import asyncio

from fixtures_rounds import NAME, name_of

from mcp_gw import Context, Param, ProtocolError, ToolError
from mcp_gw.errors import INTERNAL_ERROR


def add(gw):
    @gw.tool("Greets, at once", name=Param(str))
    def greet(name):
        return "Hello, %s!" % name

    @gw.tool(
        "Takes its time",
        task="optional",
        seconds=Param(float, "How long", min=0, max=3600),
        label=Param(str, default=""),
    )
    async def slow_compute(seconds, label):
        await asyncio.sleep(seconds)
        return "Computed %s in %d s" % (label, seconds)

    @gw.tool("Fails after a second", task="required")
    async def failing_job():
        await asyncio.sleep(1)
        raise ToolError("This job always fails")

    @gw.tool("Ends in a protocol error", task="optional")
    async def protocol_error_job():
        await asyncio.sleep(0.1)
        raise ProtocolError(INTERNAL_ERROR, "This job breaks the protocol")

    @gw.tool("Asks before it deletes", task="optional", ctx=Context, filename=Param(str))
    async def confirm_delete(ctx, filename):
        answer = await ctx.elicit("Delete %s?" % filename, {"confirm": Param(bool)})
        if answer["action"] == "accept" and answer["content"].get("confirm"):
            return "Deleted %s" % filename
        return "Kept %s" % filename

    @gw.tool("Asks two things at once", task="optional", ctx=Context)
    async def multi_input(ctx):
        answers = await ctx.ask(
            first=Context.elicitation("First name?", {"name": Param(str)}),
            second=Context.elicitation("Second name?", {"name": Param(str)}),
        )
        return "%s and %s" % (name_of(answers["first"]), name_of(answers["second"]))

    @gw.tool("Asks for a name, then goes on as a task", task="later", ctx=Context)
    async def test_tool_with_task(ctx):
        answers = await ctx.ask(user_name=NAME)
        await ctx.start_task()
        await asyncio.sleep(0.1)
        return "Hello, %s!" % name_of(answers["user_name"])
