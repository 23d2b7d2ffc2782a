"""What a cut leaves weak may read one way now and another way later: nothing may rely on what was
only read."""

import contextlib

import soak
from ring_oracle import Oracle, Ring, Small, device, power_up
from test_ring_cuts import WEAKENING, cut_in, failing, recorded

from mcp_gw.queue import layout, nor_fault
from mcp_gw.queue.nor_fault import PowerCut, Rng
from mcp_gw.queue.reader import FlashError


def test_cuts_in_a_row_at_one_place():
    """What one start has put behind the log may be weak when later ones have gone on behind it."""
    base = soak.seed("in a row")
    weak = 0
    for n in range(soak.count(3000, 100_000)):
        rng = Rng(base + n)
        with failing("seed %d", base + n):
            dev = device(b"\xff" * (3 * Small.sector_size), base + n, Small)
            oracle = Oracle()
            oracle.begin(dev)
            for _ in range(6):
                dev.cut(rng.below(5), nor_fault.MIXED, rng.below(2))
                try:
                    ring = oracle.begin(dev)
                    while True:
                        oracle.append(ring, 20)
                except PowerCut:
                    power_up(dev)
                weak += dev.weak != {}
            for _ in range(3):
                oracle.begin(power_up(dev))
    assert weak


def moved_in_part(steps):
    """The acks of records that a compaction has moved out of a sector that it left."""
    acks = []
    done = False
    for step in steps:
        _, _, name, args = step
        if name == "program" and args[1] == b"\0" and args[0] % Small.sector_size == layout.DONE:
            done = True
        elif done and args[1:] == (b"\0",):
            acks.append(step)
        else:
            done = done and args[1:] == (layout.RETIRE,)
    return acks


def test_what_was_moved_stays_dead():
    """The ack of a record that was moved may be weak; what says that it was moved is soon gone."""
    acks = moved_in_part(recorded(3, 1, 12, 204, 12, Small))
    assert len(acks) > 20
    for at in range(0, len(acks), soak.count(4, 1)):
        for after in range(0, 60, soak.count(3, 1)):
            with failing("step %d, then %d", at, after):
                dev, oracle = cut_in(acks[at], nor_fault.WEAK, 0, Small)
                addr = acks[at][3][0]
                rng = Rng(after)
                # It reads as finished in one start, and as if it had never been begun in the next.
                for reads_zero in (0xFF, 0):
                    dev.reads_zero = {addr: reads_zero}
                    dev.cut(after, nor_fault.NOTHING)
                    try:
                        ring = oracle.begin(dev)
                        oracle.work(ring, rng, 30, 12, 204)
                    except PowerCut:
                        pass
                    power_up(dev)
                oracle.begin(dev)


def test_weak_bits_that_read_one_way_and_then_the_other():
    """All that a cut left weak reads as programmed in one start and as before in the next, or the
    other way round, with another cut in each: nothing may rely on what was only read."""
    base = soak.seed("one way")
    cases = 0
    for run in range(1, soak.count(2, 13)):
        steps = recorded(3 + run % 2, base + run, 12, 204, 3, Small)
        for at in range(0, len(steps), soak.count(3, 1)):
            for first, then in ((0xFF, 0), (0, 0xFF)):
                for after in (0, 1, 2, 3, 4, 6, 9, 13, 20, 28, 37, 47):
                    mode = (nor_fault.NOTHING, *WEAKENING)[(at + after) % 3]
                    with failing("run %d, step %d, %d, then %d", run, at, first, after):
                        dev, oracle = cut_in(steps[at], WEAKENING[at // 8 % 2], at, Small)
                        rng = Rng(after)
                        for zeros in (first, then, first):
                            dev.reads_zero = dict.fromkeys(dev.weak, zeros)
                            dev.cut(after, mode)
                            try:
                                ring = oracle.begin(dev)
                                oracle.work(ring, rng, 30, 12, 204)
                            except PowerCut:
                                power_up(dev)
                        dev.reads_zero = dict.fromkeys(dev.weak, first)
                        oracle.begin(dev)
                        cases += 1
    assert cases > 1000


def test_the_newest_header_is_erased_last():
    """Should its retiring be cut, its generation would be given out again."""
    cases = 0
    for image, _, _, _ in recorded(4, 1, 12, 204, 6, Small):
        ring = Ring(Small(4, image))
        ring.mount()
        newest = ring._last_opened
        if newest == ring.active or newest not in list(ring.order):
            continue
        # What a compaction moved there, before a cut, is all acked.
        for handle in [handle for handle, _, _, _ in ring.records()]:
            if handle[1] // Small.sector_size == newest:
                ring.ack(handle)
        if newest not in list(ring.order):
            assert ring.pick() != newest
            cases += 1
    assert cases > 10


def test_an_ack_that_reads_done_when_its_record_is_to_be_moved():
    """Nothing is left to move, and nothing may be taken for moved."""
    lives = 0
    for seed in range(soak.count(300, 5000)):
        dev = device(b"\xff" * (3 * Small.sector_size), seed, Small)
        oracle = Oracle()
        ring = oracle.begin(dev)
        # The oldest sector is full of live records; of the last one all are acked but one.
        while len(ring.order) < 2:
            oracle.append(ring, 100)
        for handle, _, _, _ in list(ring.records()):
            if handle[1] // Small.sector_size == ring.active and handle[0] in oracle.live:
                oracle.ack(ring, handle[0])
        while ring.end - ring.tail > 400:
            oracle.append(ring, 100)
            oracle.ack(ring, list(oracle.live)[-1])
        oracle.append(ring, 60)
        dev.cut(0, nor_fault.MIXED)
        with contextlib.suppress(PowerCut):
            oracle.ack(ring, list(oracle.live)[-1])
        if not dev.weak:
            continue
        lives += 1
        power_up(dev).flicker = True
        ring = Ring(dev)
        ring.mount()
        ring.settle()
        for _ in range(3):
            with contextlib.suppress(FlashError):
                oracle.append(ring, 700)
        power_up(dev).flicker = False
        dev.weak = {}
        oracle.mount(dev)
    assert lives > 100


def test_a_torn_chain_that_comes_back_takes_no_other_record():
    """The ack of its first part is weak, and reads otherwise while the queue is used."""
    dev = device(b"\xff" * (3 * Small.sector_size), 1, Small)
    ring = Ring(dev)
    ring.mount()
    ring.append(1, b"first", [b"x" * 500])
    dev.cut(10, nor_fault.NOTHING)  # before the second part
    with contextlib.suppress(PowerCut):
        ring.append(1, b"chain", [b"y" * 700])
    for at in range(8):
        # The ack is one of the operations that a start begins with.
        other = device(bytes(dev.inner.image), 1, Small)
        ring = Ring(other)
        ring.mount()
        assert ring.torn == 1 and ring.count == 1 and ring.next_seq == 3
        other.cut(at, nor_fault.WEAK)
        with contextlib.suppress(PowerCut):
            ring.settle()
        power_up(other)
        other.reads_zero = dict.fromkeys(other.weak, 0xFF)
        ring = Ring(other)
        ring.mount()
        handle = ring.append(1, b"other", [b"z" * 30])
        other.reads_zero = {}
        assert b"other" in [bytes(k) for _, _, k, _ in ring.records()]
        for found, _, _, _ in ring.records():
            ring.payload(found)
        assert ring.payload(handle) == b"z" * 30


def test_a_header_that_reads_otherwise_each_time():
    """In one and the same start, too: of a sector that was moved, as it was being retired."""
    steps = recorded(5, 2, 24, 128, 6, Small)
    retired = [s for s in steps if s[3][1:] == (layout.RETIRE,)]
    assert len(retired) > 5
    rng = Rng(soak.seed("headers"))
    for image, oracle, _, (addr, _) in retired:
        for _ in range(soak.count(20, 1000)):
            dev = device(image, rng.word(), Small)
            dev.flicker = True
            for _ in range(3):
                dev.weaken(addr + rng.below(layout.DONE), 1 << rng.below(8))
            for _ in range(10):
                oracle.copy().mount(dev)
