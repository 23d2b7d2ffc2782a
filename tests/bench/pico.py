"""Figures of the firmware on the emulated Pico. Times are simulated: executed core cycles at
125 MHz; the emulator models neither the XIP cache nor the flash's wait states."""

import json
import statistics
import time
from contextlib import closing

import rig
import scripts
import targets
from figures import Row, below
from latency import line_of, p99, spread, times
from mcpgw.sim import PicoSim

from mcp_gw.transports import link

CALLS = 500
CALL_MS = 5
READY_MS = 1000
HEAP_FREE = (
    170  # with the app of these rows; tests/device/test_memory.py has the budget of the example
)
FIRMWARE = 600
ALLOCATED = 1536


def rows(folder):
    """All rows, one after the other as they are measured."""
    size = targets.firmware("pico").with_suffix(".bin").stat().st_size
    yield below("firmware", size / 1000, FIRMWARE, f"{size:,} bytes", "KB")
    image = folder / "flash.img"
    # As in real use, where the next request comes while the board may be collecting garbage.
    with PicoSim(targets.firmware("pico"), flash=image) as sim:
        rig.put(targets.BoardTarget("pico", sim), rig.APPS / "workbench.py")
        sim.restart()
        yield boot(sim)
        with closing(rig.SerialWire(sim)) as wire:
            wire.wait_serving()
            wire.strict = False
            yield from latencies(sim, wire)
            yield from forwarding(sim, wire)
    with PicoSim(targets.firmware("pico"), flash=image, speed=0) as sim:
        with closing(rig.SerialWire(sim)) as wire:
            wire.wait_serving()
            yield from memory(wire)
        target = targets.BoardTarget("pico", sim)
        yield from pure(target)


def boot(sim):
    """A request waits when the console comes up."""
    sim.trace()
    wire = rig.SerialWire(sim)
    wire.ask("ping")
    wire.close()
    sim.trace(False)
    ms = arrivals(sim)[0] / 1e6
    return below("boot to first answer", ms, READY_MS, f"{ms:.0f} ms", "ms")


def arrivals(sim, direction="in"):
    """Simulated ns at which the packets came that end a line."""
    packets = sim.events("packet")
    return [e["ns"] for e in packets if e["direction"] == direction and e["ends"]]


def latencies(sim, wire):
    for era, meta in (("2025-11-25", None), ("2026-07-28", rig.META)):
        line = line_of("number", {"plot": 3}, meta)
        times(sim, wire, line, 10)
        last, first = times(sim, wire, line, CALLS)
        what = f"tools/call of {era}, {len(line) - 1} bytes, {CALLS} times"
        yield below(what, p99(last), CALL_MS, spread(last), "ms p99")
        yield Row("  from the first byte in", spread(first))
    line = line_of("add", {"a": 1, "b": 2})
    yield Row("the same, structured result", spread(times(sim, wire, line, 100)[0]))
    line = line_of("echo", {"text": "x" * 4000})
    yield Row("the same, 4 KB in and out", spread(times(sim, wire, line, 20)[0]))


def forwarding(sim, wire):
    """What the board adds to a forwarded call: from the client's request to the frame for the
    upstream, and from the upstream's frame to the answer. This script is the bridge."""
    hello = {"v": 1, "id": "0123456789abcdef", "time_ms": int(time.time() * 1000), "rx": 65536}
    frame(wire, b"h", hello | {"upstreams": ["office"], "by": "bench"})
    frame(wire, b"s", {"office": True})
    tool = {"name": "forecast", "inputSchema": {"type": "object"}}
    reply(wire, {"tools": [tool], "resultType": "complete"})
    wire.initialize()
    line = line_of("office_forecast", {"place": "Oslo"})
    wire.write(line)
    reply(wire, answer := {"content": [{"type": "text", "text": "Oslo: sunny"}]})
    wire.message()
    sim.events("packet")
    sim.trace()
    for _ in range(100):
        wire.write(line)
        reply(wire, answer)
        wire.message()
    sim.trace(False)
    marks = []
    found = []
    for event in sim.events("packet"):
        if event["ends"]:
            marks.append((event["direction"], event["ns"]))
    for at in range(len(marks) - 3):
        four = marks[at : at + 4]
        if [direction for direction, _ in four] == ["out", "in", "out", "in"]:
            a, b, c, d = (ns for _, ns in four)
            if found and a < found[-1][1]:
                continue
            found.append(((b - a + d - c) / 1e6, d))
    yield Row(
        f"forwarded call, both ways through the board, {len(found)} times",
        spread([ms for ms, _ in found]),
    )


def frame(wire, channel, value):
    wire.write(b"".join(link.encode(channel, [json.dumps(value).encode()])))


def reply(wire, result):
    """Answer the next request that the board sends to its upstream."""
    while True:
        line = wire.line()
        if line[:2] == b"\x1eu":
            _, start, end = link.decode(line, 0, len(line))
            id = json.loads(line[start:end].partition(b" ")[2])["id"]
            message = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
            wire.write(b"".join(link.encode(b"u", [b"office " + message])))
            return


def memory(wire):
    heap = wire.call("heap")["structuredContent"]
    free = heap["free"] / 1000
    yield Row(
        "heap free while serving workbench.py",
        f"{free:.0f} KB",
        f">= {HEAP_FREE} KB",
        free >= HEAP_FREE,
    )
    yield Row("a garbage collection", f"{heap['us'] / 1000:.2f} ms")
    line = line_of("number", {"plot": 3})[:-1]
    with_four = statistics.median(rig.marked(wire, [line] * 4) for _ in range(15))
    own = statistics.median(rig.marked(wire, []) for _ in range(15))
    size = (with_four - own) / 4
    yield below("allocated by a tools/call", size, ALLOCATED, f"{size:.0f} bytes", "bytes")


def pure(target):
    yield scripts.scanner(target, 60, 20, "Pico")
    yield from scripts.ring(target, "default_device()", 100, "Pico (64 sectors of flash)")
