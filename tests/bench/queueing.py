"""Figures of the queue's ring: erases and wear on this machine, where they are counted; times and
RAM on the emulated Pico. Section `queue` of `make bench`."""

import random
import statistics
import sys
from pathlib import Path

import full_ring
import targets
from figures import Row, below
from latency import spread
from mcpgw.sim import PicoSim

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "power"))
import native_ring  # noqa: E402

from mcp_gw.queue import ring as queue_ring  # noqa: E402
from mcp_gw.queue.nor_fault import FaultNor  # noqa: E402
from mcp_gw.queue.nor_kept import RamNor  # noqa: E402

SECTION = "queue"
RATIO = 1.3
SPREAD_PERCENT = 5
MOUNT_MS = 250
APPEND_MS = 2
RAM = 2048

# Microseconds of an append's CPU, erases and programs left out, on the board's own queue region.
APPEND = """
from time import ticks_us, ticks_diff
from mcp_gw.queue.nor import default_device
from mcp_gw.queue.ring import Ring
dev = default_device()
flash = 0
def timed(function):
    def call(*args):
        global flash
        begin = ticks_us()
        function(*args)
        flash += ticks_diff(ticks_us(), begin)
    return call
dev.program = timed(dev.program)
dev.erase = timed(dev.erase)
ring = Ring(dev)
ring.mount()
ring.settle()
body = bytes(256)
found = [[], []]
kept = []
for i in range(150):
    for what in range(2):
        flash = 0
        begin = ticks_us()
        if what == 0:
            kept.append(ring.append(1, b'0123456789abcdef', [body], i % 3))
        elif len(kept) > 20:
            ring.ack(kept.pop(0))
        else:
            break
        found[what].append(ticks_diff(ticks_us(), begin) - flash)
    ring.idle()
print(found[0])
print(found[1])
"""


class NativeRing(queue_ring.Ring):
    """The ring, fast on the host."""

    _core = native_ring


def run(sectors, percent, rounds, total, size=256):
    """(bytes erased per payload byte accepted, erase counts) of `total` times what the ring holds:
    payloads of `size` bytes and a key of 16, three priorities, `percent` of the records kept until
    as many were accepted as the ring holds `rounds` times, the others acked soon, in any order."""
    dev = FaultNor(RamNor(sectors))
    ring = NativeRing(dev)
    ring.mount()
    r = random.Random(1)
    turn = sectors * 4064 // (size + 36)
    waiting, kept = [], []
    erases = count = 0
    for n in range(total * turn):
        if n == 6 * turn:
            # The ring is in its stride.
            erases, count = dev.erases, 0
        handle = ring.append(1, full_ring.KEY, [bytes(size)], n % 3)
        count += 1
        if r.randrange(100) < percent:
            kept.append((n, handle))
        else:
            waiting.append(handle)
        if len(waiting) > 8:
            ring.ack(waiting.pop(r.randrange(8)))
        while kept and kept[0][0] < n - rounds * turn:
            ring.ack(kept.pop(0)[1])
    return (dev.erases - erases) * 4096 / (count * size), ring.wear()


def rows(folder):
    """All rows, one after the other as they are measured."""
    what = "bytes erased per payload byte, 256 bytes, 10% kept for"
    for rounds in (1, 3, 6):
        ratio, _ = run(64, 10, rounds, 40)
        limit = (f"<= {RATIO}", ratio <= RATIO) if rounds < 6 else ("", None)
        yield Row(f"{what} {rounds} rounds", f"{ratio:.3f}", *limit)
    ratio, wear = run(64, 10, 3, 420)
    percent = 100 * (max(wear) - min(wear)) / min(wear)
    yield below(
        f"erase counts of 64 sectors, {min(wear)} to {max(wear)}",
        percent,
        SPREAD_PERCENT,
        f"{percent:.1f}% apart",
        "%",
    )
    yield from on_the_pico(folder)


def on_the_pico(folder):
    flash = folder / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        target = targets.BoardTarget("pico", sim)
        appends, acks = (
            [us / 1000 for us in map(int, line.strip("[]").split(","))]
            for line in target.run(APPEND, timeout=300).splitlines()
        )
        # One in 14 is in two parts, and opens a sector.
        yield below(
            "append, CPU, median", statistics.median(appends), APPEND_MS, spread(appends), "ms"
        )
        yield Row("ack, CPU", spread(acks))
    flash.unlink()
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        targets.BoardTarget("pico", sim).run("")
    count = full_ring.put_into(flash)
    for cache in (False, True):
        how = "time of flash reads modelled" if cache else "flash reads in no time"
        with PicoSim(targets.firmware("pico"), flash=flash, speed=0, xip_cache=cache) as sim:
            target = targets.BoardTarget("pico", sim)
            out = target.run(full_ring.MOUNT, timeout=300)
            mount, through, some, *counts = map(int, out.split())
            assert counts[:2] == [count, count]
            ms = mount / 1000
            yield below(
                f"mount of 1 MiB, {count} records, {how}", ms, MOUNT_MS, f"{ms:.0f} ms", "ms"
            )
            yield Row(
                f"  going through all of them; through {counts[2]} of one kind",
                f"{through / 1000:.0f} ms; {some / 1000:.0f} ms",
            )
            if not cache:
                peak, kept, _ = map(int, target.run(full_ring.RAM, timeout=300).split())
                yield below(
                    f"RAM of a 1 MiB ring ({kept} bytes) and its mount",
                    peak,
                    RAM,
                    f"{peak} bytes",
                    "bytes",
                )
