"""How long the emulated Pico takes to answer, in simulated time."""

import json
import statistics


def line_of(name, arguments, meta=None):
    params = {"name": name, "arguments": arguments}
    if meta:
        params["_meta"] = meta
    message = {"jsonrpc": "2.0", "id": 1000, "method": "tools/call", "params": params}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def times(sim, wire, line, count):
    """(from the last byte in, from the first byte in) to the last byte of the answer out: lists of
    ms of `count` requests, each sent as soon as the answer to the one before has come.

    The board takes the first packet of a request at once and the others only when it gets to
    them: what it does meanwhile, such as collecting garbage, is in the second figure alone.
    """
    sim.events("packet")
    sim.trace()
    for _ in range(count):
        wire.write(line)
        wire.message()
    sim.trace(False)
    last, first = [], []
    begin = end = None
    for event in sim.events("packet"):
        if event["direction"] == "out":
            begin = begin or event["ns"]
            end = event["ns"]
        elif event["ends"] and begin:
            last.append((event["ns"] - end) / 1e6)
            first.append((event["ns"] - begin) / 1e6)
            begin = None
    assert len(last) == count, len(last)
    return last, first


def spread(times, unit="ms"):
    """min, median, p99, max of a list of numbers, as one text."""
    return "min %.2f  median %.2f  p99 %.2f  max %.2f %s" % (
        min(times),
        statistics.median(times),
        p99(times),
        max(times),
        unit,
    )


def p99(times):
    """The smallest value that 99 % of them do not exceed."""
    times = sorted(times)
    return times[-(-len(times) * 99 // 100) - 1]
