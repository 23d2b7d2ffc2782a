# Arduino style: setup() once, loop() for ever, and the sketch decides when a request is handled.

from mcp_gw import sketch
from mcp_gw.sketch import get_request, has_request, process, send_response

try:
    from machine import ADC

    sensor = ADC(ADC.CORE_TEMP)

    def celsius():
        return 27 - (sensor.read_u16() * 3.3 / 65535 - 0.706) / 0.001721

except ImportError:

    def celsius():
        return 21.5


loops = 0


def setup():
    gw = sketch.begin("thermometer", version="1.0")

    @gw.tool("Temperature in degrees Celsius")
    def temperature():
        return {"celsius": round(celsius(), 1)}

    @gw.tool("How often loop() has run")
    def count_loops():
        return loops


def loop():
    global loops
    loops += 1
    if has_request():
        send_response(process(get_request()))


sketch.run(setup, loop)
