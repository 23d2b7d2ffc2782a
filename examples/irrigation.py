# More of MCP: a tool that asks the user before it acts, a prompt, a resource template with
# completion, and progress. Runs as it is on the unix build and, as main.py, on a board.

import asyncio

from mcp_gw import Context, Gateway, Param

PLOTS = ("beans", "herbs", "tomatoes")
watered = dict.fromkeys(PLOTS, 0)

gw = Gateway("irrigation", version="1.0", instructions="Waters three plots. Ask before watering.")


@gw.tool(
    "Open the valve of a plot",
    ctx=Context,
    plot=Param(str, "name of the plot", enum=PLOTS),
    seconds=Param(int, "for how long", min=1, max=600),
    annotations={"destructiveHint": True},
)
async def water(ctx, plot, seconds):
    # With clients of 2026-07-28 this function runs again once the answer is there: ask first.
    answer = await ctx.elicit(
        "Water %s for %d s?" % (plot, seconds),
        {"sure": Param(bool, "open the valve"), "note": Param(str, "for the log", default="")},
    )
    if answer["action"] != "accept" or not answer["content"]["sure"]:
        return "left alone"
    ctx.log("notice", {"plot": plot, "seconds": seconds, "note": answer["content"]["note"]})
    steps = 4
    for step in range(steps):
        await asyncio.sleep(seconds / 100 / steps)  # a hundred times as fast as a real valve
        ctx.progress(step + 1, steps)
    watered[plot] += seconds
    gw.resource_updated("plot://%s/watered" % plot)
    return "watered %s for %d s" % (plot, seconds)


@gw.resource(
    "plot://{plot}/watered",
    "Seconds of water that a plot has had",
    plot=Param(str, "name of the plot", complete=PLOTS),
)
def had(plot):
    return {"plot": plot, "seconds": watered.get(plot, 0)}


@gw.prompt(
    "Plans the watering of one day", weather=Param(str, "tomorrow's weather", default="dry")
)
def plan(weather):
    return (
        "The weather will be %s. Read what each plot has had, then say what you would water."
        % (weather)
    )


gw.run()
