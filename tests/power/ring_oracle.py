"""What a Ring must hold, told by an independent model: dictionaries of what was accepted and
acked.
"""

import random

import native_ring

from mcp_gw.errors import QueueFull
from mcp_gw.queue import layout, ring
from mcp_gw.queue.layout import HEAD
from mcp_gw.queue.nor_fault import FaultNor, Rng
from mcp_gw.queue.nor_kept import RamNor

KIND = 1
# What records are made of: bytes of all values.
_BYTES = random.Random(5).randbytes(40_000)


class Ring(ring.Ring):
    """The ring, fast on the host."""

    _core = native_ring


class Oracle:
    """Drives rings that lose power, and checks what they hold.

    live: accepted (append returned, or it was there after a write that followed a mount): must be
    there. limbo: an ack of it was cut: may be there or not, until an ack of it returns or, without
    weak bits, until a write has followed a mount. maybe: bodies whose append was cut: may be there
    or not until a write has followed a mount. marks: times that a record was marked for certain,
    and at most.
    """

    def __init__(self):
        self.live = {}  # sequence number: body
        self.limbo = {}
        self.maybe = []
        self.gone = set()
        self.marks = {}
        self.next = 0
        # Off where bits flip.
        self.exact = True

    def copy(self):
        other = Oracle()
        other.live = dict(self.live)
        other.limbo = dict(self.limbo)
        other.maybe = list(self.maybe)
        other.gone = set(self.gone)
        other.marks = dict(self.marks)
        other.next = self.next
        other.exact = self.exact
        return other

    def append(self, ring, size):
        """One append of about `size` bytes. False if the ring is full."""
        at = self.next * 7 % 4000
        body = b"%06d" % self.next + _BYTES[at : at + size]
        self.next += 1
        self.maybe.append(body)
        try:
            handle = ring.append(KIND, body[:6], [body[6:10], body[10:]], body[5] & 3)
        except QueueFull:
            self.maybe.remove(body)
            self.gone.add(body)
            return False
        self.maybe.remove(body)
        self.live[handle[0]] = body
        return True

    def mark(self, ring, seq):
        low, high = self.marks.get(seq, (0, 0))
        self.marks[seq] = (low, min(7, high + 1))
        assert ring.mark((seq, 0))
        self.marks[seq] = (min(7, low + 1), min(7, high + 1))

    def ack(self, ring, seq):
        body = self.live.pop(seq)
        self.limbo[seq] = body
        assert ring.ack((seq, 0)), "a live record could not be acked: %d" % seq
        del self.limbo[seq]
        self.gone.add(body)

    def found(self, ring):
        """What the ring holds, checked against the model. {seq: body}"""
        found = {}
        top = 0
        for handle, kind, key, length in ring.records():
            seq = handle[0]
            priority = ring.priority
            assert seq > top, "records out of order or twice"
            top = seq
            payload = ring.payload(handle)
            if payload is None:
                assert seq not in self.live, "an accepted record is damaged: %d" % seq
                continue
            assert (kind, len(payload)) == (KIND, length), (kind, len(payload), length)
            body = key + payload
            if self.exact and not ring.dev.weak:
                assert priority == key[5] & 3
                if seq in self.marks:
                    low, high = self.marks[seq]
                    assert low <= ring.marks(handle) <= high
            found[seq] = body
            if seq in self.live:
                assert self.live[seq] == body, "another record in its place: %d" % seq
            elif seq in self.limbo:
                assert self.limbo[seq] == body
            elif ring.dev.weak and ring.dev.flicker and body not in self.maybe:
                # The key was read once more, and otherwise than with the payload.
                assert any(body[6:] == other[6:] for other in self.maybe)
            else:
                assert body in self.maybe, "a record that should be gone: %d %r" % (seq, body[:6])
        missing = set(self.live) - set(found)
        assert not missing, "accepted records are lost: %s" % sorted(missing)
        assert len(set(found.values())) == len(found), "a record is there twice"
        return found

    def mount(self, dev):
        ring = Ring(dev)
        ring.mount()
        self.found(ring)
        return ring

    def settle(self, ring):
        """A first write after a mount; from then on what was torn is decided."""
        self.append(ring, 20)
        found = self.found(ring)
        for seq, body in found.items():
            if body in self.maybe:
                self.live[seq] = body
                # Giving it up may have been cut, too: its marks, a hint, can be any.
                self.marks[seq] = (0, 7)
        self.gone.update(self.maybe)
        self.maybe = []
        if not ring.dev.weak:
            # Where no bit is weak the acks that were cut are decided too.
            for seq, body in self.limbo.items():
                if seq in found:
                    self.live[seq] = body
                else:
                    self.gone.add(body)
            self.limbo = {}
            # A bit that reads differently each time can have been counted otherwise.
            assert ring.count == len(found) or ring.dev.flicker
        return found

    def begin(self, dev):
        """Mount and settle: the ring."""
        ring = self.mount(dev)
        self.settle(ring)
        return ring

    def work(self, ring, rng, steps, keep=20, largest=400):
        """A stretch of appends and acks, of the oldest and of others, filling the ring now and
        then; unless all are to be tiny, one record in 16 is large, and one ends where its sector
        does or nearly so.
        """
        for _ in range(steps):
            size = rng.below(largest)
            special = rng.below(16) if largest > 1 else 2
            room = ring.end - ring.tail - HEAD - 6
            if special == 0:
                size = rng.below(ring.max_body - 6)
            elif special == 1 and room > 28:
                size = room - rng.below(28)
            elif not rng.below(8) and self.live:
                self.mark(ring, list(self.live)[rng.below(len(self.live))])
            elif not rng.below(8):
                ring.idle()
            took = self.append(ring, size)
            while self.live and (not took or len(self.live) > keep):
                seqs = list(self.live)
                # The very first is left for long: it must not block anything.
                pick = 1 + rng.below(3) if rng.below(3) else rng.below(len(seqs))
                self.ack(ring, seqs[min(pick, len(seqs) - 1)])
                took = True
            for seq in list(self.limbo):
                if ring.ack((seq, 0)):
                    self.gone.add(self.limbo.pop(seq))


def power_up(dev):
    dev.power_on()
    return dev


class Small(RamNor):
    """Small sectors and pages: a ring of them wraps in fewer operations."""

    sector_size = 1024
    page_size = 64


class FastRng(Rng):
    """As many random bits at once as the large erases of the tests take."""

    def __init__(self, seed):
        super().__init__(seed)
        self._fast = random.Random(seed)

    def bits(self, n, density):
        if not 0 < density < 8:
            return super().bits(n, density)
        total = 0
        for digit in (density & 1, density >> 1 & 1, density >> 2):
            step = self._fast.getrandbits(8 * n)
            total = total | step if digit else total & step
        return total


class Watched(FaultNor):
    """Fails when a generation is given out that another header has, or can come to have: by its
    weak bits, and one more that flips."""

    def __init__(self, inner, seed=0):
        super().__init__(inner, seed)
        self.headers = {}
        for s in range(inner.sectors):
            self._remember(s, inner.image[s * inner.sector_size :][: layout.DONE])

    def _remember(self, s, data):
        if data[:3] == layout.MAGIC:
            self.headers[s] = bytes(data[: layout.DONE])

    def _program_page(self, addr, data):
        s = addr // self.sector_size
        if addr % self.sector_size == 0 and data[:3] == layout.MAGIC:
            if data[: layout.DONE] != self.headers.get(s):
                for other, head in self.headers.items():
                    if other != s and head[12:16] == data[12:16]:
                        assert not self._can_be(other, head), "a generation is given out twice"
            self._remember(s, data)
        super()._program_page(addr, data)

    def _can_be(self, s, head):
        at = s * self.sector_size
        most = self.inner.image[at : at + layout.SECTOR_HEAD]
        least = [byte & ~self.weak.get(at + i, 0) for i, byte in enumerate(most)]
        wrong = sum(
            (want & ~high | low & ~want).bit_count()
            for want, low, high in zip(head, least, most, strict=False)
        )
        kept = layout.cleared(least[layout.KEPT])
        return wrong <= 1 and (kept or not layout.cleared(most[layout.GONE]))


def device(image, seed, kind=RamNor):
    dev = Watched(kind(len(image) // kind.sector_size, image), seed)
    dev.rng = FastRng(seed)
    return dev
