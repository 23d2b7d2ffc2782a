# A program that has a loop of its own and lets the gateway do what is ready in between.

from time import sleep_ms, ticks_diff, ticks_ms

from mcp_gw import Gateway

gw = Gateway("blinker", version="1.0")
blinks = 0


@gw.tool("How often the light has blinked")
def count_blinks():
    return blinks


last = ticks_ms()
try:
    while gw.poll() >= 0:
        if ticks_diff(ticks_ms(), last) >= 100:
            last = ticks_ms()
            blinks += 1
        sleep_ms(1)
finally:
    gw.close()  # after Ctrl-C, too: gives print() back to the prompt
