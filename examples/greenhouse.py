# A gateway with two tools and a resource. Runs as it is on the unix build
# (build/unix/micropython examples/greenhouse.py) and, as main.py, on a board.

import gc

from mcp_gw import Gateway, Param, ToolError

try:
    from machine import ADC

    plots = [ADC(pin) for pin in (26, 27, 28)]
except ImportError:  # no board: a dry, a moist and a wet plot

    class FixedADC:
        def __init__(self, value):
            self.value = value

        def read_u16(self):
            return self.value

    plots = [FixedADC(6554), FixedADC(32768), FixedADC(62259)]

gw = Gateway("greenhouse", version="1.0")


@gw.tool(
    "Soil moisture of one plot, percent",
    plot=Param(int, "plot number", min=0, max=2),
    annotations={"readOnlyHint": True},
)
def moisture(plot):
    return plots[plot].read_u16() * 100 // 65535


@gw.tool("Open the valve of one plot", plot=Param(int, "plot number"), seconds=Param(int, max=600))
def water(plot, seconds):
    if moisture(plot) > 80:
        raise ToolError("plot %d is wet enough" % plot)
    print("watering plot", plot, "for", seconds, "s")
    return "opened for %d s" % seconds


@gw.resource("board://status", "Uptime and heap")
def status():
    return {"uptime_s": gw.clock.uptime_s, "heap_free": gc.mem_free()}


gw.run()
