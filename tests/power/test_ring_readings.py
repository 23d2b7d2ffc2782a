"""Cuts in several starts in a row, exhaustively: each is at one operation of what a start begins
with, all that it leaves weak reads as programmed or as before, and every combination is tried."""

import itertools

import pytest
from ring_oracle import Ring, Small, Watched
from test_ring_cuts import failing

from mcp_gw.queue import layout, nor_fault
from mcp_gw.queue.nor_fault import PowerCut

# With four there are readings that lose a record (docs/queue-format.md).
CUTS = 3
SIZE = Small.sector_size


class Flash(Watched):
    """The weak bits of one cut read together."""

    def __init__(self, image):
        super().__init__(Small(len(image) // SIZE, image))
        self.cuts = []
        self.wanted = None

    def _weaken(self, addr, masks):
        self.cuts.append({addr + i: mask for i, mask in enumerate(masks) if mask})
        super()._weaken(addr, masks)

    def _program_page(self, addr, data):
        if self.wanted and self.wanted(addr, data):
            self.wanted = None
            self.cut(0, nor_fault.WEAK)
        super()._program_page(addr, data)

    def cut_when(self, wanted):
        """Cut the power at the first program that wanted(address, data) is true of."""
        self.wanted = wanted

    def readings(self):
        return list(itertools.product((0, 0xFF), repeat=len(self.cuts)))

    def after(self, reading):
        """A copy after a power-up, where each cut reads so."""
        other = Flash(bytes(self.inner.image))
        other.cuts = [dict(cut) for cut in self.cuts]
        other.weak = dict(self.weak)
        other._weak_start, other._weak_end = self._weak_start, self._weak_end
        other.headers = dict(self.headers)
        for zeros, cut in zip(reading, self.cuts, strict=True):
            for addr, mask in cut.items():
                other.reads_zero[addr] = other.reads_zero.get(addr, 0) | zeros & mask
        return other


def keys(ring):
    return [key for _, _, key, _ in ring.records()]


def mounted(dev):
    ring = Ring(dev)
    ring.mount()
    return ring


def check(dev, past):
    """Whatever a start finds, and what it stores, is there at the next, however that reads."""
    for reading in dev.readings():
        with failing("%s, read as %s", past, reading):
            here = dev.after(reading)
            ring = mounted(here)
            ring.append(1, b"after", [bytes(40)])
            have = keys(ring)
            for other in here.readings():
                assert keys(mounted(here.after(other))) == have, other


def search(dev, cuts, past):
    """Check, then cut each operation that the next start begins with; how many were checked."""
    check(dev, past)
    count = 1
    if not cuts:
        return count
    for reading in dev.readings():
        for at in itertools.count():
            here = dev.after(reading)
            ring = mounted(here)
            here.cut(at, nor_fault.WEAK)
            try:
                ring.settle()
                break
            except PowerCut:
                count += search(here, cuts - 1, (*past, (reading, at)))
    return count


def some(sectors=3):
    dev = Flash(b"\xff" * (sectors * SIZE))
    ring = mounted(dev)
    ring.append(1, b"first", [bytes(20)])
    return dev, ring


def append_cut(body, page):
    dev, ring = some()
    dev.cut_when(lambda addr, _: addr >= ring.tail + page * Small.page_size)
    with pytest.raises(PowerCut):
        ring.append(1, b"torn", [bytes(body)])
    return dev


def to_the_end():
    """The record that is cut ends with its sector."""
    dev, ring = some()
    while ring.end - ring.tail > 200:
        ring.append(1, b"more", [bytes(60)])
    room = ring.end - ring.tail - layout.HEAD - 4
    dev.cut(1, nor_fault.WEAK)
    with pytest.raises(PowerCut):
        ring.append(1, b"torn", [bytes(room)])
    return dev


def header_cut():
    dev, ring = some()
    dev.cut_when(lambda addr, data: addr % SIZE == 0 and bytes(data[:3]) == layout.MAGIC)
    with pytest.raises(PowerCut):
        while True:
            ring.append(1, b"more", [bytes(60)])
    return dev


def compaction_cut(wanted):
    """While a compaction moves what is left of two sectors."""
    dev, ring = some()
    handles = []
    while ring.free_sectors() > 1 or ring.end - ring.tail > 100:
        handles.append(ring.append(1, b"%d" % len(handles), [bytes(60)]))
    for handle in handles[::2]:
        ring.ack(handle)
    dev.cut_when(wanted)
    with pytest.raises(PowerCut):
        while True:
            ring.append(1, b"more", [bytes(60)])
    return dev


def format_cut():
    dev, ring = some()
    dev.cut_when(lambda addr, data: addr % SIZE == 0 and bytes(data[:3]) == layout.MAGIC)
    with pytest.raises(PowerCut):
        ring.format()
    return dev


CASES = {
    "append, first page": lambda: append_cut(30, 0),
    "append, second page": lambda: append_cut(130, 1),
    "append, to the sector's end": to_the_end,
    "a sector's header": header_cut,
    "done": lambda: compaction_cut(lambda addr, data: addr % SIZE == layout.DONE),
    "giving a sector up": lambda: compaction_cut(lambda addr, data: addr % SIZE == layout.GONE),
    "retiring it": lambda: compaction_cut(lambda addr, data: bytes(data) == layout.RETIRE),
    "format": format_cut,
}


@pytest.mark.parametrize("name", CASES)
def test_cuts_in_a_row_in_all_their_readings(name):
    assert search(CASES[name](), CUTS - 1, ()) > 5
