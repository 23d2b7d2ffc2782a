# Watches a vibration sensor and raises an alert when it behaves unlike before: clients hear of it
# by a log message and an update of stream://pump, and it is reported to an upstream server, at
# once or, if that cannot be reached, from the queue in flash as soon as it can. It takes no model;
# one that rebuilds its input (an autoencoder) would be named so:
#     Stream(gw, "pump", ..., model=gw.model("hum", "/rom/hum.mgm"), score="reconstruction", ...)

from mcp_gw import Gateway, Stream

try:
    from machine import ADC

    read = ADC(26).read_u16
except ImportError:  # no board: a pump that hums, and knocks from the third second on
    phase = 0

    def read():
        global phase
        phase += 1
        hum = (0, 300, 500, 300, 0, -300, -500, -300)[phase % 8] + phase * 7 % 50
        return 32768 + (hum if phase < 300 else 20 * hum)


gw = Gateway("pump", version="1.0")
gw.upstream("office", queueable=("log_reading",), expiry_s=3600)


def report(found):
    return {"plot": 0, "percent": min(100, int(found["score"]))}


# A look at 32 samples, twice in 32 samples: 160 ms. The score is how many standard deviations the
# strength of the vibration is from what it was during the first seconds.
pump = Stream(
    gw,
    "pump",
    window=32,
    hop=16,
    typecode="H",
    high=8.0,
    low=3.0,
    hold=2,
    call=("office_log_reading", report),
)
pump.watch(read, every_ms=10)
gw.run()
