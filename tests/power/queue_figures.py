"""Prints the queue's figures: flash operations, bytes erased, wear, RAM and times.

Runs on CPython and MicroPython; on a board with a queue region it uses that region, which has to
be empty, and leaves it empty.
"""

import gc
import sys
import time

from mcp_gw.queue.nor import default_device
from mcp_gw.queue.nor_fault import FaultNor, Rng
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring

KEY = b"0123456789abcdef"


def mounted(dev):
    ring = Ring(dev)
    ring.mount()
    return ring


def operations():
    """Per append and ack, over many."""
    for size in (16, 64, 256, 1024):
        dev = FaultNor(RamNor(16))
        ring = mounted(dev)
        dev.programs = dev.erases = dev.programmed = 0
        payload = bytes(size)
        count = 400
        acks = programs = programmed = 0
        for _ in range(count):
            handle = ring.append(1, KEY, [payload])
            programs += dev.programs
            programmed += dev.programmed
            dev.programs = dev.programmed = 0
            ring.ack(handle)
            acks += dev.programs
            dev.programs = dev.programmed = 0
        print(
            "payload %4d B: append %.2f programs, %.0f bytes, %.3f erases; ack %.2f programs"
            % (size, programs / count, programmed / count, dev.erases / count, acks / count)
        )


def erased(sectors, kept_percent, rounds):
    """Bytes erased per payload byte accepted, 256-byte payloads; `kept_percent` of the records are
    acked only after as many appends as fill the ring `rounds` times."""
    dev = FaultNor(RamNor(sectors))
    ring = mounted(dev)
    rng = Rng(1)
    waiting = []
    kept = []
    erases = count = 0
    turn = sectors * 14
    for n in range(20 * turn):
        if n == 6 * turn:
            erases, count = dev.erases, 0
        handle = ring.append(1, KEY, [bytes(256)])
        count += 1
        (kept if rng.below(100) < kept_percent else waiting).append((n, handle))
        while len(waiting) > 8:
            ring.ack(waiting.pop(0)[1])
        while kept and kept[0][0] < n - rounds * turn:
            ring.ack(kept.pop(0)[1])
    ratio = (dev.erases - erases) * 4096 / (count * 256)
    wear = ring.wear()
    print(
        "%d sectors, %d%% kept for %d rounds: %.3f bytes erased per payload byte, %d to %d erases"
        % (sectors, kept_percent, rounds, ratio, min(wear), max(wear))
    )


class Blank:
    """A large device that takes no RAM: blank, and not to be written to."""

    sector_size = 4096
    page_size = 256

    def __init__(self, sectors):
        self.sectors = sectors

    def read(self, addr, buf):
        for i in range(len(buf)):
            buf[i] = 0xFF


def ram():
    if not hasattr(gc, "mem_alloc"):
        return
    for sectors in (64, 256):
        dev = Blank(sectors)
        gc.collect()
        gc.collect()
        before = gc.mem_alloc()
        ring = Ring(dev)
        ring.live = bytearray(sectors)
        ring.order = ring.sector_list(bytes(sectors - 1))
        gc.collect()
        print("%d sectors: %d bytes of RAM" % (sectors, gc.mem_alloc() - before))
        ring = None


def times(dev):
    if not hasattr(time, "ticks_us"):
        return
    ring = mounted(dev)
    if ring.count:
        print("the queue is not empty: not timed")
        return
    spent = [0]
    program = dev.program

    def timed(addr, data):
        start = time.ticks_us()
        program(addr, data)
        spent[0] += time.ticks_diff(time.ticks_us(), start)

    # Erases stay out: one append in 14 has one, and it takes what the chip takes.
    payload = bytes(256)
    for what in ("append", "ack"):
        handles = [ring.append(1, KEY, [payload])] if what == "append" else handles  # noqa: F821
        dev.program = timed
        spent[0] = 0
        start = time.ticks_us()
        if what == "append":
            for _ in range(8):
                handles.append(ring.append(1, KEY, [payload]))
        else:
            for handle in handles[1:]:
                ring.ack(handle)
        total = time.ticks_diff(time.ticks_us(), start)
        dev.program = program
        print("%s: %d us of CPU, %d us of flash" % (what, (total - spent[0]) // 8, spent[0] // 8))
    ring.ack(handles[0])
    handles = [ring.append(1, KEY, [payload]) for _ in range(140)]
    start = time.ticks_us()
    ring.mount()
    took = time.ticks_diff(time.ticks_us(), start)
    print("mount of %d sectors with %d records: %d us" % (dev.sectors, ring.count, took))
    start = time.ticks_us()
    count = sum(1 for _ in ring.records())
    took = time.ticks_diff(time.ticks_us(), start)
    print("going through %d records: %d us" % (count, took))
    for handle in handles:
        ring.ack(handle)


board = default_device()
print(sys.implementation.name, sys.platform)
if board is None:
    operations()
    erased(64, 0, 0)
    erased(64, 10, 1)
    erased(64, 10, 3)
    erased(64, 10, 6)
    erased(3, 0, 0)
ram()
times(board or RamNor(64))
