"""`mcpgw queue` reads what the board's own ring wrote: both find the same records after random lives
with power cuts and bit flips, and the ring takes a repaired image."""

import json
import random

import pytest
import soak
from mcpgw.cli import main
from mcpgw.queue import QueueError, fields
from mcpgw.queue.image import LOST, Image, start_of
from mcpgw.queue.repair import repair

from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_fault import MODES, FaultNor, PowerCut
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring

SIZES = (0, 1, 40, 200, 256, 256, 700, 2000, 3900, 6000)


def image_of(dev):
    """The bytes as they read now, weak bits among them."""
    data = bytearray(dev.sectors * dev.sector_size)
    dev.read(0, data)
    return bytes(data)


def rows_of(ring):
    """{seq: (kind, key, priority, payload or None)} as the board's code finds them."""
    found = {}
    for handle, kind, key, _ in ring.records():
        found[handle[0]] = (kind, key, ring.priority)
    return {seq: (*row, ring.payload((seq, 0))) for seq, row in found.items()}


def board_reads(data):
    ring = Ring(RamNor(len(data) // 4096, data))
    ring.mount()
    return rows_of(ring)


def host_reads(image):
    return {row.seq: (row.kind, row.key, row.priority, row.payload) for row in image.records}


class Life:
    """One ring's life: appends, acks, marks and what a gateway does when it is idle."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        sectors = self.rng.choice((3, 4, 6, 9))
        self.dev = FaultNor(RamNor(sectors), self.rng.randrange(1 << 30))
        self.ring = Ring(self.dev)
        self.ring.mount()
        self.payloads = {}

    def append(self):
        rng = self.rng
        size = rng.choice(SIZES)
        body = rng.randbytes(size) if rng.random() < 0.8 else b"\xf9" * size
        key = rng.randbytes(rng.choice((0, 8, 32)))
        try:
            handle = self.ring.append(rng.randrange(1, 4), key, [body], rng.randrange(3))
        except QueueFull:
            self.ack()
            return
        self.payloads[handle[0]] = body

    def ack(self):
        handles = [row[0] for row in self.ring.records()]
        if handles:
            # Mostly the oldest, as a queue is emptied.
            handle = handles[0] if self.rng.random() < 0.7 else self.rng.choice(handles)
            self.ring.ack(handle)

    def mark(self):
        handles = [row[0] for row in self.ring.records()]
        if handles and hasattr(self.ring, "mark"):
            self.ring.mark(self.rng.choice(handles))

    def idle(self):
        if hasattr(self.ring, "idle"):
            self.ring.idle()

    def live(self, steps):
        for _ in range(steps):
            what = self.rng.choices((self.append, self.ack, self.mark, self.idle), (60, 30, 5, 5))
            what[0]()

    def cut(self):
        """Live on until the power fails in the middle of an operation."""
        self.dev.cut(self.rng.randrange(12), self.rng.choice(MODES))
        try:
            self.live(20)
        except PowerCut:
            pass
        self.dev.power_on()


@pytest.mark.parametrize("number", range(soak.count(60, 3000)))
def test_both_find_the_same_after_power_cuts(number, seed):
    life = Life(f"{seed}/{number}")
    life.live(life.rng.randrange(40))
    for _ in range(6):
        life.cut()
        data = image_of(life.dev)
        image = Image(data)
        assert host_reads(image) == board_reads(data)
        # Cuts lose nothing that was there.
        assert image.worst != LOST, image.findings
        life.ring = Ring(life.dev)
        life.ring.mount()
        if life.rng.random() < 0.5:
            life.ring.settle()
            data = image_of(life.dev)
            assert host_reads(Image(data)) == board_reads(data)


def flipped(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            # Where headers are.
            at = at // 4096 * 4096 + rng.randrange(300)
        data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("number", range(soak.count(60, 3000)))
def test_both_find_the_same_after_bits_flipped(number, seed):
    life = Life(f"{seed}/{number}")
    life.live(60)
    whole = image_of(life.dev)
    for _ in range(8):
        data = flipped(whole, life.rng)
        image = Image(data)
        mine, boards = host_reads(image), board_reads(data)
        assert mine == boards
        new = repair(image)
        assert host_reads(Image(new.data)) == board_reads(new.data)
        good = {seq: row for seq, row in boards.items() if row[3] is not None}
        assert board_reads(new.data) == good
        assert len(new.lost) == len(boards) - len(good)
