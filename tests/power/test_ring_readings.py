"""Cuts in several starts in a row, exhaustively: each is at one operation of what a start begins
with, all that it leaves weak reads as programmed or as before, and every combination is tried."""

import contextlib
import itertools

import pytest
from ring_oracle import Ring, Small, Watched
from test_ring_cuts import failing, recorded

from mcp_gw.errors import QueueFull
from mcp_gw.queue import layout, nor_fault
from mcp_gw.queue.nor_fault import PowerCut

# With four there are readings that lose a record (docs/queue-format.md).
CUTS = 3
SIZE = Small.sector_size


class Told(Ring):
    """Tells its flash which sequence numbers were accepted, and of these which acks returned."""

    def append(self, *args):
        handle = super().append(*args)
        self.dev.accepted.add(handle[0])
        return handle

    def ack(self, handle):
        self.dev.accepted.discard(handle[0])
        assert super().ack(handle)
        self.dev.acked.add(handle[0])


class Flash(Watched):
    """The weak bits of one cut read together."""

    def __init__(self, image):
        super().__init__(Small(len(image) // SIZE, image))
        self.cuts = []
        self.accepted = set()
        self.acked = set()
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
        other.stuck = dict(self.stuck)
        other.accepted = set(self.accepted)
        other.acked = set(self.acked)
        for zeros, cut in zip(reading, self.cuts, strict=True):
            for addr, mask in cut.items():
                other.reads_zero[addr] = other.reads_zero.get(addr, 0) | zeros & mask
        return other


def mounted(dev):
    ring = Told(dev)
    ring.mount()
    return ring


def found(ring):
    """Sequence numbers of what is there, which is what has to be."""
    seqs = [handle[0] for handle, _, _, _ in ring.records()]
    assert seqs == sorted(set(seqs))
    assert ring.dev.accepted <= set(seqs), "lost"
    assert not ring.dev.acked & set(seqs), "acked, and back"
    return seqs


def check(dev, past):
    """Whatever a start finds, and what it stores, is there at the next, however that reads."""
    for reading in dev.readings():
        with failing("%s, read as %s", past, reading):
            here = dev.after(reading)
            ring = mounted(here)
            found(ring)
            ring.append(1, b"after", [bytes(40)])
            have = found(ring)
            for other in here.readings():
                assert found(mounted(here.after(other))) == have, other


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
    dev.accepted.clear()
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


def left_with_the_newest(image):
    """A ring whose one free sector has the newest header, that of a compaction: the others were
    found bad. None if the image does not lend itself to that."""
    dev = Flash(image)
    ring = mounted(dev)
    newest = ring._last_opened
    if newest == ring.active or newest not in list(ring.order):
        return None
    ring.settle()
    for handle in [handle for handle, _, _, _ in ring.records()]:
        if handle[1] // SIZE == newest:
            ring.ack(handle)
    for s in set(range(dev.sectors)) - {newest, *ring.order}:
        dev.stuck[s * SIZE + 500] = (1, 0)
    ring.src = dev
    return ring if newest not in list(ring.order) else None


def test_the_newest_header_is_erased_when_no_other_sector_is_good():
    """Its retiring is cut, and reads as finished in one start and as not begun in the next."""
    cases = 0
    for image, _, _, _ in recorded(4, 1, 12, 204, 6, Small):
        ring = left_with_the_newest(image)
        if ring is None:
            continue
        dev = ring.dev
        place = ring._last_opened * SIZE
        dev.cut_when(lambda addr, data, at=place: addr == at and bytes(data) == layout.RETIRE)
        with contextlib.suppress(PowerCut, QueueFull):
            while True:
                ring.append(1, b"more", [bytes(60)])
        if not dev.off:
            continue
        here = dev.after((0xFF,) * len(dev.cuts))
        ring = mounted(here)
        ring.settle()
        for handle in [handle for handle, _, _, _ in ring.records()]:
            if handle[1] // SIZE != ring.active:
                ring.ack(handle)
        with contextlib.suppress(QueueFull):
            for _ in range(20):
                ring.append(1, b"late", [bytes(60)])
        have = found(ring)
        for reading in here.readings():
            assert found(mounted(here.after(reading))) == have
        cases += 1
    assert cases > 10
