"""Many power cuts at random: torn pages as random subsets of the bits, partial and marginal
erases, and bits that flip in between. A failing ring is told by its number and seed, and fails
again."""

import pytest
import soak
from ring_oracle import Oracle, Small, device, power_up
from test_ring_cuts import WEAKENING, failing

from mcp_gw.queue import layout, nor_fault
from mcp_gw.queue.nor_fault import PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor

CUTS = soak.count(20_000, 1_000_000)
STARTS = 10  # of each ring


class Life:
    """One ring from blank flash on, its power cut at the end of each start."""

    def __init__(self, seed):
        self.rng = rng = Rng(seed)
        kind = RamNor if rng.below(8) == 0 else Small
        self.dev = device(b"\xff" * ((3 + rng.below(3)) * kind.sector_size), seed, kind)
        self.oracle = Oracle()
        self.keep = 3 + rng.below(16)
        self.largest = kind.sector_size // (2 + rng.below(10))
        # One flip in a ring: two could meet in one header.
        self.flips_in = rng.below(2 * STARTS)
        # Of every other one the cuts leave weak bits, most of them in what a start begins with.
        self.soon = rng.below(2)
        self.cuts = self.flips = self.lost = 0

    def live(self):
        for start in range(STARTS):
            power_up(self.dev)
            if start == self.flips_in:
                self.flip()
            self.arm()
            try:
                ring = self.oracle.begin(self.dev)
                self.oracle.work(ring, self.rng, 30, self.keep, self.largest)
            except PowerCut:
                self.cuts += 1
        for _ in range(2):
            self.oracle.begin(power_up(self.dev))

    def arm(self):
        rng = self.rng
        if self.soon:
            at = rng.below((3, 6, 12, 28)[rng.below(4)])
            self.dev.cut(at, WEAKENING[rng.below(2)])
        else:
            self.dev.cut(rng.below(28), nor_fault.MODES[rng.below(6)], rng.below(2))

    def flip(self):
        """A bit flips while the power is off: its record is lost at most, and that is told."""
        dev = self.dev
        # Weak bits are ones from now on.
        dev.weak = {}
        ring = self.oracle.begin(dev)
        # Places where nothing was lost, too: an append that was cut and has read well for a while.
        told = self.oracle.mount(dev).damaged
        parts = []
        for seq in self.oracle.live:
            addr = ring.find(seq, 0)
            while addr >= 0:
                parts.append((addr, addr + ring.f[13], seq))
                addr = ring.next_part()
        at = self.rng.below(len(dev.inner.image))
        if parts and self.rng.below(2):
            start, end, _ = parts[self.rng.below(len(parts))]
            at = start + self.rng.below(end - start)
        owner = None
        begun = False
        for start, end, seq in parts:
            if start <= at < end:
                owner = seq
                # An ack that was cut after its first bit is completed by any other.
                begun = at == start + layout.ACK and dev.inner.image[at] != 0xFF
        dev.flip(at, self.rng.below(8))
        self.flips += 1
        self.oracle.exact = False
        body = self.oracle.live.pop(owner, None)
        if body is not None:
            self.oracle.limbo[owner] = body
        ring = self.oracle.mount(dev)
        if body is not None and ring.find(owner, 0) >= 0:
            self.oracle.live[owner] = self.oracle.limbo.pop(owner)
        elif body is not None and not begun:
            assert ring.corrupt + ring.damaged + ring.torn == told + 1, "a loss was not told"
            self.lost += 1


@pytest.mark.timeout(soak.count(900, 3 * 3600))
def test_random_cuts():
    base = soak.seed("random cuts")
    cuts = flips = lost = rings = 0
    while cuts < CUTS:
        rings += 1
        life = Life(base + rings)
        with failing("ring %d, seed %d", rings, base + rings):
            life.live()
        cuts += life.cuts
        flips += life.flips
        lost += life.lost
    print(f"{rings} rings, {cuts} cuts, {flips} flipped bits, {lost} records lost by them")
    assert flips > CUTS // 100 and lost > flips // 10
