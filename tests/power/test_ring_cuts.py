"""Power cuts at every flash operation of runs that wrap a small ring, against a model."""

import contextlib

import soak
from ring_oracle import Oracle, Ring, Small, device, power_up

from mcp_gw.errors import QueueFull
from mcp_gw.queue import layout, nor_fault, reclaim
from mcp_gw.queue.nor_fault import FaultNor, PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor

# These leave the same behind each time.
CERTAIN = (nor_fault.NOTHING, nor_fault.ALL)
WEAKENING = (nor_fault.MIXED, nor_fault.WEAK)


class Recorder(FaultNor):
    """Keeps, for each operation, the flash before it, the model and the operation."""

    def __init__(self, inner):
        super().__init__(inner)
        self.oracle = None
        self.steps = []

    def _program_page(self, addr, data):
        self._keep("program", addr, bytes(data))
        super()._program_page(addr, data)

    def _erase(self, sector):
        self._keep("erase", sector)
        super()._erase(sector)

    def _keep(self, name, *args):
        self.steps.append((bytes(self.inner.image), self.oracle.copy(), name, args))


def recorded(sectors, seed, keep, largest=400, wraps=2, kind=RamNor):
    """The operations of a run from blank flash on until as many sectors were erased as make
    `wraps` rounds.
    """
    dev = Recorder(kind(sectors))
    dev.oracle = oracle = Oracle()
    ring = oracle.mount(dev)
    rng = Rng(seed)
    while dev.erases <= wraps * sectors:
        oracle.work(ring, rng, 1, keep, largest)
        if rng.below(25) == 0:
            ring = oracle.mount(dev)
    return dev.steps


def cut_in(step, mode, seed, kind=RamNor):
    """The device and the model after a cut in the middle of a recorded operation."""
    image, oracle, name, args = step
    dev = device(image, seed, kind)
    dev.cut(0, mode, seed >> 3 & 1)
    try:
        getattr(dev, name)(*args)
        raise AssertionError("no cut")
    except PowerCut:
        pass
    return power_up(dev), oracle.copy()


def survive(dev, oracle, seed, steps):
    """Mount, decide, work on and mount again."""
    rng = Rng(seed)
    ring = oracle.mount(dev)
    if rng.below(2):
        # A start that only reads changes nothing (but for a weak record, found damaged when read).
        before = dev.operations
        weak = len(dev.weak)
        ring = oracle.mount(power_up(dev))
        assert dev.operations == before or weak
    oracle.settle(ring)
    oracle.work(ring, rng, steps)
    oracle.found(ring)
    oracle.found(oracle.mount(power_up(dev)))


class failing:
    """Says which case it was when one fails."""

    def __init__(self, text, *values):
        self.text = text % values

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if error is not None and not isinstance(error, PowerCut):
            raise AssertionError(self.text) from error


def each_case(steps, modes, times, base):
    """(step number, mode, seed): each step in each of its modes, `times` times where it varies."""
    for at in range(len(steps)):
        for mode in modes(at):
            for n in range(1 if mode in CERTAIN else times):
                yield at, mode, base + (at * 8 + mode) * 1009 + n * 37


def test_one_cut_at_every_operation():
    compactions = set()
    original = reclaim.compact

    def watched(ring, i, n, usable):
        whole = original(ring, i, n, usable)
        compactions.add("part" if whole < n else "one" if n == 1 else "several")
        return whole

    reclaim.compact = watched
    try:
        runs = [recorded(3, 1, 12), recorded(3, 2, 40), recorded(4, 6, 18, 700)]
    finally:
        reclaim.compact = original
    # The runs are worth it: they move sectors' records in all the ways there are.
    assert compactions == {"part", "one", "several"}
    base = soak.seed("one cut")
    for run, steps in enumerate(runs):
        assert sum(name == "erase" for _, _, name, _ in steps) >= 6

        def modes(at, run=run):
            every = nor_fault.MODES
            return every if run == 0 or soak.SOAK else (every[at % 6], every[3 + at // 6 % 3])

        for at, mode, seed in each_case(steps, modes, soak.count(1, 40), base):
            with failing("run %d, operation %d, mode %d, seed %d", run, at, mode, seed):
                dev, oracle = cut_in(steps[at], mode, seed)
                survive(dev, oracle, seed, 5 if seed % 16 else 60)


def test_where_a_cut_would_do_most_harm():
    """Many times each: what random cuts seldom hit."""
    base = soak.seed("most harm")
    mixed = recorded(3, 1, 12) + recorded(4, 3, 18, 700)
    # Headers of sectors and what puts a compaction in force: all of a sector depends on them.
    headers = [s for s in mixed if s[2] == "program" and s[3][0] % 4096 in (0, layout.DONE)]
    headers = [s for s in headers if s[3][1] != layout.RETIRE]
    assert {s[3][0] % 4096 for s in headers} == {0, layout.DONE}
    # Record headers that reach into the next page, and the rest of them there.
    across = []
    for at, step in enumerate(mixed):
        if step[2] == "program" and step[3][0] % 256 > 256 - 20 and step[3][1][0] == 0xF9:
            across.extend(mixed[at : at + 2])
    assert len(across) > 2
    # Erases of sectors full of small acked records, of which few bytes need change to be live.
    small = [s for s in recorded(3, 7, 40, 1, 6) if s[2] == "erase"]
    cases = (
        (headers, WEAKENING, soak.count(24, 400)),
        (across, WEAKENING, soak.count(24, 400)),
        (small, (nor_fault.SUBSET,), soak.count(60, 400)),
    )
    for number, (steps, modes, times) in enumerate(cases):
        for at, mode, seed in each_case(steps, lambda _, modes=modes: modes, times, base):
            with failing("case %d, step %d, mode %d, seed %d", number, at, mode, seed):
                dev, oracle = cut_in(steps[at], mode, seed)
                survive(dev, oracle, seed, 1)
                for _ in range(3):
                    oracle.found(oracle.mount(power_up(dev)))


def test_ctrl_c_is_survived_by_the_same_object():
    """An exception in the middle of an operation, and the ring is used on without a mount."""
    base = soak.seed("exceptions")
    for n in range(soak.count(30, 3000)):
        rng = Rng(base + n)
        dev = FaultNor(RamNor(3), base + n)
        oracle = Oracle()
        ring = oracle.mount(dev)
        for _ in range(40):
            dev.cut(rng.below(30), nor_fault.MODES[rng.below(4)])
            try:
                oracle.work(ring, rng, 30)
            except PowerCut:
                power_up(dev)
                oracle.found(ring)
                oracle.settle(ring)


def test_flipped_bits():
    """One bit flips anywhere: at most that record is lost, it is reported, and all goes on."""
    base = soak.seed("flips")
    steps = recorded(3, 6, 14)
    image, oracle, _, _ = steps[len(steps) * 3 // 4]
    plain = Ring(RamNor(3, image))
    plain.mount()
    want = {h[0]: bytes(k) + plain.payload(h) for h, _, k, _ in plain.records()}
    lost = 0
    for addr in range(0, len(image), soak.count(3, 1)):
        for bit in range(8) if soak.SOAK else ((addr + base) % 8,):
            with failing("address %d, bit %d", addr, bit):
                dev = FaultNor(RamNor(3, image))
                dev.flip(addr, bit)
                ring = Ring(dev)
                ring.mount()
                torn = ring.torn
                found = {}
                for h, _, key, _ in ring.records():
                    payload = ring.payload(h)
                    if payload is not None:
                        found[h[0]] = bytes(key) + payload
                assert set(found) <= set(want) and len(found) >= len(want) - 1
                assert all(want[seq] == body for seq, body in found.items())
                if len(found) < len(want):
                    lost += 1
                    assert ring.corrupt + ring.damaged + torn == 1
                else:
                    # A flip where the next record would go looks like a torn one.
                    assert ring.corrupt == ring.damaged == 0 and torn <= 1
                model = Oracle()
                model.exact = False
                model.live = found
                model.maybe = [body for seq, body in want.items() if seq not in found]
                model.next = 500000
                model.work(ring, Rng(addr), 3)
                model.found(ring)
    assert lost


def test_a_cut_while_a_torn_record_is_given_up():
    """What was read as torn may read well at the next start, with an ack that is weak."""
    base = soak.seed("given up")
    torn = well = 0
    for n in range(soak.count(4000, 200_000)):
        rng = Rng(base + n)
        with failing("seed %d", base + n):
            dev = device(b"\xff" * (3 * Small.sector_size), base + n, Small)
            oracle = Oracle()
            ring = oracle.begin(dev)
            dev.cut(rng.below(4), nor_fault.MIXED)
            try:
                while True:
                    oracle.append(ring, 40)
            except PowerCut:
                power_up(dev)
            ring = oracle.mount(dev)
            first = ring.torn
            dev.cut(rng.below(2), WEAKENING[rng.below(2)])
            try:
                oracle.begin(dev)
            except PowerCut:
                power_up(dev)
            ring = oracle.mount(dev)
            torn += ring.torn and first
            well += first and not ring.torn and dev.weak != {}
            oracle.settle(ring)
            for _ in range(6):
                oracle.mount(power_up(dev))
    assert torn and well


def contents(ring):
    return {h[0]: key + (ring.payload(h) or b"") for h, _, key, _ in ring.records()}


def test_a_format_that_is_cut():
    """It still mounts, and what was discarded stays so."""
    base = soak.seed("format")
    discarded = 0
    for n in range(soak.count(60, 1000)):
        rng = Rng(base + n)
        oracle = Oracle()
        ring = oracle.mount(FaultNor(Small(3 + n % 3)))
        oracle.work(ring, rng, 1 + rng.below(40), 4 + rng.below(20), 204)
        while n % 2 and list(ring.order) != [0]:
            # In one sector, and nothing in the others.
            ring.idle()
            oracle.work(ring, rng, 1, 1, 204)
        image = bytes(ring.dev.inner.image)
        for at in range(14):
            with failing("seed %d, operation %d", base + n, at):
                dev = device(image, base + n, Small)
                dev.cut(at, nor_fault.MODES[rng.below(6)])
                with contextlib.suppress(PowerCut):
                    Ring(dev).format()
                gone = False
                zeros = 0xFF * rng.below(2)
                for _ in range(3):
                    power_up(dev)
                    dev.reads_zero = dict.fromkeys(dev.weak, zeros)
                    zeros ^= 0xFF
                    dev.cut(rng.below(20), nor_fault.NOTHING)
                    ring = Ring(dev)
                    ring.mount()
                    old = set(contents(ring).items()) & set(oracle.live.items())
                    assert not gone or not old
                    try:
                        while True:
                            ring.ack(ring.append(1, b"new", [b"x" * 100]))
                            gone = gone or not old
                    except (PowerCut, QueueFull):
                        discarded += gone
    assert discarded


def test_the_first_format_that_is_cut():
    """Of flash that is blank: it mounts, or is still to be taken over."""
    for mode in nor_fault.MODES:
        for at in range(5):
            for seed in range(soak.count(10, 300)):
                dev = device(b"\xff" * (3 * Small.sector_size), seed, Small)
                dev.cut(at, mode)
                with contextlib.suppress(PowerCut):
                    Ring(dev).format()
                ring = Oracle().begin(power_up(dev))
                assert ring.bad == 0
