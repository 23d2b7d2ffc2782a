"""Ring: durable records in a ring of NOR flash sectors. docs/queue-format.md says why each step is
there.

Records are sorted on flash: sectors by the sequence number their header begins with, records by
address. Reclaiming keeps that order, so no more than four bytes per sector are held in RAM.
"""

import struct
from binascii import crc32

from ..compat import const
from ..errors import QueueFull
from . import layout, reclaim
from .layout import AHEAD, HEAD, SECTOR_HEAD, SLOT, VALID
from .log import BLANK_WEAR, LOST_WEAR, OUT, NotAQueue
from .reader import FlashError
from .sectors import Sectors

_TRIES = const(8)

# Numbers in `f`, see ring_twin.py.
_SEQ = const(9)
_FLAGS = const(12)
_SIZE = const(13)
_GENERATION = const(32)
_WEAR_LOW = const(35)
_CONTINUES = const(0x40)
_GOES_ON = const(0x80)


class TooLarge(QueueFull):
    """The record is larger than the queue takes."""


class Ring(Sectors):
    """Records on `dev` (see nor.py), three sectors or more. Call mount() before anything else.

    A handle is an opaque tuple (sequence number, address); it stays good until the record is
    acked, whatever moves on flash. An exception out of any method (the flash, Ctrl-C) leaves the
    flash as a power cut would: the next call mounts again by itself. Records are at most
    `max_body` bytes, key and payload together; one that does not fit into the rest of a sector
    goes on in the next, which only its handle does not show.

    `count` is the number of live records. Counters: `damaged` places passed over and `corrupt`
    bodies dropped (each is a lost record), `torn` last records that a cut (or damage) left
    incomplete, `repaired` headers with one flipped bit, `bad` sectors that are left out.
    """

    def append(self, kind, key, parts, priority=0):
        """Store a record; it is durable on return. Returns its handle.

        kind: 0..255, key: bytes, 32 at most; parts: a list of bytes-like, concatenated the
        payload; priority: 0..15. Raises TooLarge, QueueFull (nothing was written) or FlashError.
        """
        self._ready()
        if len(key) > layout.KEY_MAX:
            raise ValueError("a key is 32 bytes at most")
        length = len(key)
        for part in parts:
            length += len(part)
        if length > self._size - SECTOR_HEAD - HEAD and length > self.max_body:
            raise TooLarge(
                "a record of %d bytes is too large for the queue: %d at most"
                % (length, self.max_body)
            )
        for _ in range(_TRIES):
            self._busy = True
            seq = self.next_seq
            try:
                room = self.end - self.tail - HEAD
                if length > room or self.active < 0:
                    room = self._make_room(length)
                addr = self._write(kind, key, parts, length, priority & 15, room)
            except QueueFull:
                self._busy = False
                raise
            except FlashError as e:
                error = e
                # Mounting again closes off the place; what reads well by then counts as stored.
                self._ready()
                addr = self.find(seq, 0)
                if addr < 0:
                    continue
                return seq, addr
            self.count += 1
            self._busy = False
            return seq, addr
        raise error

    def _make_room(self, length):
        # Bytes of the record's body that go behind the last one, or -1. For the rest there are
        # enough free sectors then, and one is erased.
        most = self._size - SECTOR_HEAD - HEAD
        size = layout.padded(length)
        levelled = False
        while True:
            active = self.active
            room = self.end - self.tail - HEAD if active >= 0 else -1
            if length <= room:
                return length
            free = self.free_sectors()
            # A sector that is empty by now is free as soon as another one is opened.
            empty = active >= 0 and self.empty(active)
            if room < layout.PART_MIN or empty and free < 2:
                room = -1
                if empty:
                    free += self.wears[active] != OUT
            rest = length - max(room, 0)
            if room >= 0 or rest > most:
                rest += layout.WHOLE
            sectors = max(1, (rest + most - 1) // most)
            if free <= sectors:
                if size > self.free or free < 1:
                    raise reclaim.full(self, size)
                reclaim.make_room(self, size)
            elif not levelled:
                # It may take what is free.
                levelled = True
                self.level_wear()
            elif self.ahead >= 0:
                return room
            elif not self.prepare():
                raise reclaim.full(self, size)

    def _write(self, kind, key, parts, length, flags, room):
        # The address of the first part. next_seq, tail and live are kept up.
        most = self._size - SECTOR_HEAD - HEAD
        parts = [key] + parts
        if length > (room if room >= 0 else most):
            parts.insert(1, struct.pack("<I", length - len(key)))
            length += layout.WHOLE
        keys = len(key)
        first = -1
        at = 0
        while True:
            seq = self.next_seq
            if room < 0:
                if first >= 0 and self.free_sectors() < 2 or not self.prepare():
                    raise FlashError(5)
                self.append_to(self.open(0, seq, 0))
                room = most
            n = min(room, length - at)
            if at + n < length:
                flags |= _GOES_ON
            else:
                flags &= ~_GOES_ON
            addr = self.tail
            if first < 0:
                first = addr
            pieces = parts
            if n < length:
                pieces = list(_cut(parts, at, n))
            crc = 0
            for piece in pieces:
                crc = crc32(piece, crc)
            self.start(addr)
            self.put_head(self.active, addr, kind, n, seq, crc, keys, flags)
            for piece in pieces:
                self.put(piece)
            self.flush()
            size = layout.padded(n)
            self.next_seq = seq + 1
            self.tail = addr + size
            self.live[self.active] += size // SLOT
            if not flags & _GOES_ON:
                return first
            flags |= _CONTINUES
            at += n
            keys = 0
            room = -1

    def ack(self, handle):
        """Remove a record for good; durable on return. False if it is not there (any more)."""
        self._ready()
        addr = self.find(*handle)
        if addr < 0:
            return False
        self._busy = True
        f = self.f
        while addr >= 0:
            # The first part decides; what a cut leaves of the others is found when mounting.
            seq = f[_SEQ]
            behind = addr + f[_SIZE]
            more = f[_FLAGS] & _GOES_ON
            self.mark_acked(addr)
            addr = self.following(seq, behind) if more else -1
        self._busy = False
        return True

    def mark(self, handle):
        """Note that a record was tried once more; durable on return, but a hint: a cut may leave
        it either way. marks() counts to 7. False if the record is not there (any more).
        """
        self._ready()
        addr = self.find(*handle)
        if addr < 0:
            return False
        marks = self.head[layout.MARKS]
        if marks & 0x7F:  # all of them say that the record is void, see docs/queue-format.md
            self.dev.program(addr + layout.MARKS, bytes((marks & (marks - 1),)))
        return True

    def idle(self):
        """Erase one sector ahead, if none is: the next append that needs one is that much faster.
        True if it did (40 ms and more on a chip). To be called when nothing else is to be done.
        """
        if self._busy or not self._settled or self.active < 0 or self.ahead >= 0:
            return False
        self._busy = True
        self.prepare()
        self._busy = False
        return self.ahead >= 0

    def settle(self):
        """Do now what else the first append or ack does: what is there after it is there for good.

        To be called before anything is done because a record is there. False if it was done.
        """
        if self._settled and not self._busy:
            return False
        self._ready()
        return True

    def format(self):
        """Discard everything, whatever the flash holds; the erase counts are kept where they can
        be.
        """
        try:
            self.mount()
            new = self._last_opened < 0
            self.settle_now()
            if new:
                return
        except NotAQueue:
            # Sectors of another format would keep this one from mounting.
            for s in range(self.dev.sectors):
                if self.read_sector(s) in (VALID, AHEAD):
                    self.retire(s)
        self._busy = True
        # All sectors older than a stamp are void, so this is one step for a power cut. One that is
        # free takes it: until it is there the flash has to read as a queue.
        if self.prepare():
            s = self.ahead
        else:
            s = next((s for s in range(self.dev.sectors) if self.erase(s)), 0)
        wear = self.f[_WEAR_LOW] + self.wears[s]
        generation = self.f[_GENERATION] + 1
        header = self.packed(layout.STAMP, wear, generation, self.next_seq, 0)
        self.start(s * self._size)
        self.put(header)
        self.flush()
        self.mount()
        self.settle_now()

    def wear(self):
        """Erase counts of all sectors; -1 where a cut left none."""
        self._mounted()
        counts = []
        for s in range(self.dev.sectors):
            wear = self.wear_in_header(self.read_sector(s))
            counts.append(0 if wear == BLANK_WEAR else -1 if wear == LOST_WEAR else wear)
        self._cached = -1
        return counts

    # Being in step with the flash

    def _mounted(self):
        if self._busy:
            self.mount()

    def _ready(self):
        if self._busy:
            self.mount()
        if not self._settled:
            self.settle_now()
        s = self.spoiled
        if s >= 0:
            # What was to be programmed there does not read back.
            self.spoiled = -1
            if s == self.active:
                self.tail = self.end
                if self.empty(s):
                    # Its header is all that makes this a queue, until another is opened.
                    self.leave_out(s)
            elif s not in list(self.order):
                self.give_up(s)


def _cut(parts, at, n):
    # The n bytes from `at` on of all parts, one behind the other, as slices of them.
    for part in parts:
        size = len(part)
        if at >= size:
            at -= size
        elif n:
            if at or n < size:
                part = memoryview(part)[at : at + n]
                at = 0
            n -= len(part)
            yield part
