"""What a Ring must hold, told by an independent model: dictionaries of what was accepted and
acked.
"""

import native_ring

from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_fault import FaultNor
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring

KIND = 1
Ring._core = native_ring


class Oracle:
    """Drives rings that lose power, and checks what they hold.

    live: accepted (append returned, or it was there after a write that followed a mount): must be
    there. limbo: an ack of it was cut: may be there or not, until an ack of it returns or, without
    weak bits, until a write has followed a mount. maybe: bodies whose append was cut: may be there
    or not until a write has followed a mount.
    """

    def __init__(self):
        self.live = {}  # sequence number: body
        self.limbo = {}
        self.maybe = []
        self.gone = set()
        self.next = 0

    def copy(self):
        other = Oracle()
        other.live = dict(self.live)
        other.limbo = dict(self.limbo)
        other.maybe = list(self.maybe)
        other.gone = set(self.gone)
        other.next = self.next
        return other

    def append(self, ring, size):
        """One append of about `size` bytes. False if the ring is full."""
        body = b"%06d" % self.next + bytes([self.next & 0xFF]) * size
        self.next += 1
        self.maybe.append(body)
        try:
            handle = ring.append(KIND, body[:6], [body[6:10], body[10:]])
        except QueueFull:
            self.maybe.remove(body)
            self.gone.add(body)
            return False
        self.maybe.remove(body)
        self.live[handle[0]] = body
        return True

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
            assert seq > top, "records out of order or twice"
            top = seq
            payload = ring.payload(handle)
            if payload is None:
                assert seq not in self.live, "an accepted record is damaged: %d" % seq
                continue
            assert (kind, len(payload)) == (KIND, length), (kind, len(payload), length)
            body = key + payload
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

    def work(self, ring, rng, steps, keep=20, largest=400):
        """A stretch of appends and acks, of the oldest and of others, filling the ring now and
        then.
        """
        for _ in range(steps):
            took = self.append(ring, rng.below(largest))
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


def device(image, seed):
    return FaultNor(RamNor(len(image) // 4096, image), seed)
