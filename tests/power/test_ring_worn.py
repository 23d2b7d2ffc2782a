"""Cells that wear out, flash that cannot be read, a ring that is full, and one of version 1."""

import zlib
from pathlib import Path

import pytest
import soak
from ring_oracle import Oracle, Ring, Small, device, power_up
from test_ring_cuts import failing

from mcp_gw.queue import layout, nor_fault
from mcp_gw.queue.nor_fault import PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.reader import FlashError

SIZE = Small.sector_size


def blank(sectors, seed=1, kind=Small):
    dev = device(b"\xff" * (sectors * kind.sector_size), seed, kind)
    # An address that there is not: the ring is to read through the device from the start on.
    dev.unreadable.append((-2, -1))
    return dev


def wear_out(dev, sector, rng, value):
    """Bits in a few bytes of a sector read as `value` (0 or 0xFF) from now on."""
    for _ in range(1 + rng.below(4)):
        mask = 1 << rng.below(8) | 1 << rng.below(8)
        dev.stuck[sector * dev.sector_size + rng.below(dev.sector_size)] = (mask, value & mask)


@pytest.mark.parametrize("value", (0, 0xFF))
def test_sectors_that_wear_out_are_left_out(value):
    """One free sector after another gets stuck bits, up to all but three; power is cut as ever."""
    base = soak.seed("stuck")
    for n in range(soak.count(60, 2000)):
        rng = Rng(base + n)
        dev = blank(7, base + n)
        oracle = Oracle()
        ring = oracle.mount(dev)
        with failing("ring %d, seed %d", n, base + n):
            for start in range(12):
                free = [s for s in range(7) if s not in ring.order and not worn(dev, s)]
                if start % 3 == 2 and len(free) > 1 and sum(worn(dev, s) for s in range(7)) < 4:
                    wear_out(dev, free[rng.below(len(free))], rng, value)
                dev.cut(rng.below(80), nor_fault.MODES[rng.below(4)])
                try:
                    oracle.settle(ring)
                    oracle.work(ring, rng, 40, 6, SIZE // 4)
                except PowerCut:
                    ring = oracle.mount(power_up(dev))
            assert ring.capacity == (6 - ring.bad) * (SIZE - 32)


def worn(dev, s):
    return any(at // dev.sector_size == s for at in dev.stuck)


def used(dev, seed, appends=60):
    """A ring after so many small records, each acked before the next; FlashErrors are failures."""
    ring = Oracle().mount(dev)
    for i in range(appends):
        assert ring.ack(ring.append(1, b"%d" % i, [bytes(40 + seed)]))
    return ring


def test_a_byte_that_cannot_be_programmed():
    """In a sector's header, or where its first record goes: that sector is left out, once, and no
    sound one with it."""
    for sectors in (3, 4, 5):
        for at in (0, 15, 24, 32, 36, 40):
            for seed in range(0, 60, 7):
                dev = blank(sectors, seed)
                dev.stuck[2 * SIZE + at] = (0xFF, 0xFF)
                with failing("%d sectors, byte %d, seed %d", sectors, at, seed):
                    ring = used(dev, seed, 200)
                    assert (ring.bad, ring.capacity) == (1, (sectors - 2) * (SIZE - 32))


def test_an_exception_of_another_kind_leaves_no_sector_out():
    """Ctrl-C as a compaction is put in force."""

    class Stopped(Small):
        def program(self, addr, data):
            if addr % SIZE == layout.DONE and not self.stopped:
                self.stopped = True
                raise KeyboardInterrupt
            super().program(addr, data)

    dev = Stopped(3)
    dev.stopped = False
    oracle = Oracle()
    ring = oracle.mount(dev)
    with pytest.raises(KeyboardInterrupt):
        while True:
            oracle.work(ring, Rng(1), 5, 8, 200)
    ring.append(1, b"on", [bytes(20)])
    assert (ring.bad, ring.capacity) == (0, 2 * (SIZE - 32))


def test_a_done_byte_that_cannot_be_programmed():
    """What was compacted into the sector is still whole where it was."""
    for seed in range(soak.count(60, 1000)):
        dev = blank(4, seed)
        dev.stuck[seed % 4 * SIZE + layout.DONE] = (0xFF, 0xFF)
        oracle = Oracle()
        with failing("seed %d", seed):
            for _ in range(12):
                oracle.work(oracle.mount(dev), Rng(seed), 10, 8 + seed % 8, 200)


def test_a_sector_that_cannot_be_erased_is_counted_and_the_rest_goes_on():
    dev = blank(5)
    ring = Ring(dev)
    ring.mount()
    first = ring.append(1, b"first", [bytes(100)])
    free = next(s for s in range(5) if s not in ring.order and s)
    dev.stuck[free * SIZE + 500] = (0x10, 0)
    for i in range(60):
        ring.ack(ring.append(1, b"%d" % i, [bytes(300)]))
    assert ring.bad == 1 and ring.capacity == 3 * (SIZE - 32)
    wear = ring.wear()
    again = Ring(dev)
    again.mount()
    # It is known at the next start, and tried once more with the first write.
    assert again.bad == 1 and [h[0] for h, _, _, _ in again.records()] == [first[0]]
    again.settle()
    assert again.bad == 1
    # The cell recovers: so does the capacity.
    dev.stuck.clear()
    last = Ring(dev)
    last.mount()
    assert last.bad == 1
    last.settle()
    assert last.bad == 0 and last.wear()[free] > min(w for w in wear if w >= 0)


def test_flash_where_nothing_can_be_written_is_a_clear_error():
    dev = blank(3)
    ring = Ring(dev)
    ring.mount()
    ring.append(1, b"k", [b"kept"])
    for s in range(3):
        if s not in ring.order:
            dev.stuck[s * SIZE + 7] = (1, 0)
    with pytest.raises(FlashError) as error:
        for _ in range(40):
            ring.append(1, b"k", [bytes(200)])
    assert "no two sectors" in str(error.value)
    # What is there stays there, can be read and acked.
    found = [ring.payload(h) for h, _, _, _ in ring.records()]
    assert found[0] == b"kept" and len(found) > 3
    for h, _, _, _ in ring.records():
        assert ring.ack(h)
    assert ring.count == 0
    again = Ring(dev)
    again.mount()
    assert again.count == 0


def test_a_record_that_cannot_be_read_is_an_error_of_its_own():
    dev = blank(4)
    ring = Ring(dev)
    ring.mount()
    handles = [ring.append(1, b"%d" % i, [bytes([i]) * 150]) for i in range(8)]
    addr = ring.find(*handles[2])
    dev.unreadable.append((addr + 60, addr + 61))
    again = Ring(dev)
    again.mount()
    for i, handle in enumerate(handles):
        if i == 2:
            with pytest.raises(FlashError):
                again.payload(handle)
        else:
            assert again.payload(handle) == bytes([i]) * 150
    assert again.count == 8 and again.corrupt == 0
    # It is still there, until it can be read again.
    del dev.unreadable[1:]
    assert again.payload(handles[2]) == bytes([2]) * 150
    # One that has to be moved is lost, and told; the others are not held up.
    dev.unreadable.append((addr + 60, addr + 61))
    for i, handle in enumerate(handles):
        if i not in (2, 5):
            assert again.ack(handle)
    for _ in range(400):
        again.ack(again.append(1, b"n", [bytes(200)]))
    assert again.payload(handles[5]) == bytes([5]) * 150
    assert again.payload(handles[2]) is None and again.corrupt == 1


def test_headers_that_cannot_be_read():
    """Mounting does not fail: what is behind an unreadable header is lost and told."""
    dev = blank(4)
    ring = Ring(dev)
    ring.mount()
    for i in range(9):
        ring.append(1, b"%d" % i, [bytes(200)])
    order = list(ring.order)
    addr = ring.find(2, 0)
    dev.unreadable.append((addr + 4, addr + 5))
    again = Ring(dev)
    again.mount()
    assert again.damaged == 1
    keys = [key for _, _, key, _ in again.records()]
    assert b"1" not in keys and b"0" in keys and b"8" in keys
    dev.unreadable[1] = (order[0] * SIZE + 3, order[0] * SIZE + 4)
    again = Ring(dev)
    again.mount()
    keys = [key for _, _, key, _ in again.records()]
    assert keys == [b"%d" % i for i in range(9 - len(keys), 9)] and len(keys) >= 4
    again.append(1, b"on", [bytes(300)])
    assert [key for _, _, key, _ in again.records()] == [*keys, b"on"]


def test_full_again_and_again():
    """A ring at its limit: what was accepted stays, also over cuts, and acks make room."""
    base = soak.seed("full")
    for n in range(soak.count(40, 2000)):
        rng = Rng(base + n)
        dev = blank(3 + rng.below(3), base + n)
        oracle = Oracle()
        ring = oracle.mount(dev)
        with failing("ring %d, seed %d", n, base + n):
            for _ in range(4):
                dev.cut(rng.below(60), nor_fault.MODES[rng.below(6)], rng.below(2))
                try:
                    while oracle.append(ring, rng.below(300)):
                        pass
                    # Records of up to a third of a sector leave as much of each free.
                    assert ring.free < ring.capacity // 3
                    for seq in list(oracle.live)[: 1 + rng.below(6)]:
                        oracle.ack(ring, seq)
                except PowerCut:
                    ring = oracle.begin(power_up(dev))


def test_a_ring_of_version_1_is_read_and_used_on():
    """An image that firmware with version 1 left behind, a compacted sector and a retired one in
    it."""
    image = zlib.decompress((Path(__file__).parent / "ring_v1.bin").read_bytes())
    dev = RamNor(4, image)
    ring = Ring(dev)
    ring.mount()
    numbers = [0, 29, *range(129, 150)]
    want = [(b"key-%04d" % i, 1 + i % 2, bytes([i & 0xFF]) * (100 + i % 150)) for i in numbers]
    assert [(k, kind, ring.payload(h)) for h, kind, k, _ in ring.records()] == want
    assert bytes(dev.image) == image and ring.count == len(want)
    for i in range(40):
        ring.append(3, b"new", [bytes(300)])
        handle, kind, _, _ = next(iter(ring.records()))
        assert ring.payload(handle) == want[0][2]
        ring.ack(handle)
        del want[0]
        want.append((b"new", 3, bytes(300)))
        if i % 7 == 0:
            ring = Ring(dev)
            ring.mount()
        assert [(k, kind, ring.payload(h)) for h, kind, k, _ in ring.records()] == want
    assert {dev.image[s * 4096 + 3] for s in ring.order} == {2}


def test_a_torn_record_of_version_1_takes_no_room():
    image = bytearray(zlib.decompress((Path(__file__).parent / "ring_v1.bin").read_bytes()))
    ring = Ring(RamNor(4, bytes(image)))
    ring.mount()
    _, last = [handle for handle, _, _, _ in ring.records()][-1]
    ring = Ring(RamNor(4, bytes(image[: last + 40]) + bytes(1) + bytes(image[last + 41 :])))
    ring.mount()
    assert ring.torn == 1
    for handle, _, _, _ in list(ring.records()):
        assert ring.ack(handle)
    assert not any(ring.live) and ring.free == ring.capacity
