"""Ring: durable records in a ring of NOR flash sectors. docs/queue-format.md says why each step is
there.

Records are sorted on flash: sectors by the sequence number their header begins with, records by
address. Reclaiming keeps that order, so hardly more than two bytes per sector are held in RAM.
"""

import struct
from binascii import crc32

from ..compat import const
from ..errors import QueueFull
from . import layout, reclaim
from .layout import HEAD, SECTOR_HEAD, SLOT, VALID, ZERO
from .log import BLANK_WEAR, LOST_WEAR, Log, NotAQueue
from .reader import FlashError

_TRIES = const(3)
# Erases that a sector of long-lived records may lag behind the others.
_LAG = const(8)


class TooLarge(QueueFull):
    """The record is larger than a sector can hold."""


class Ring(Log):
    """Records on `dev` (see nor.py), three sectors or more. Call mount() before anything else.

    A handle is an opaque tuple (sequence number, address); it stays good until the record is
    acked, whatever moves on flash. An exception out of any method (the flash, Ctrl-C) leaves the
    flash as a power cut would: the next call mounts again by itself. Records are at most
    `max_body` bytes, key and payload together.

    `count` is the number of live records. Counters: `damaged` places passed over and `corrupt`
    bodies dropped (each is a lost record), `torn` last records that a cut (or damage) left
    incomplete, `repaired` headers with one flipped bit.
    """

    def append(self, kind, key, parts, priority=0):
        """Store a record; it is durable on return. Returns its handle.

        kind: 0..255, key: bytes, 32 at most; parts: a list of bytes-like, concatenated the
        payload. Raises TooLarge, QueueFull (nothing was written) or FlashError.
        """
        self._ready()
        if len(key) > 32:
            raise ValueError("a key is 32 bytes at most")
        length = len(key)
        crc = crc32(key)
        for part in parts:
            length += len(part)
            crc = crc32(part, crc)
        if length > self.max_body:
            raise TooLarge(
                "a record of %d bytes is too large for the queue: %d at most"
                % (length, self.max_body)
            )
        size = layout.padded(length)
        for _ in range(_TRIES):
            self._busy = True
            addr = -1
            try:
                self._make_room(size)
                addr = self.tail
                seq = self.next_seq
                self.start(addr)
                self.put_head(addr, kind, length, seq, crc, len(key), priority)
                self.put(key)
                for part in parts:
                    self.put(part)
                self.flush()
            except QueueFull:
                self._busy = False
                raise
            except FlashError:
                # Mounting again closes off the place; what reads well by then counts as stored.
                self._ready()
                if addr < 0 or self.find((seq, addr)) < 0:
                    continue
                return seq, addr
            self.next_seq = seq + 1
            self.tail = addr + size
            self.live[self.active] += size // SLOT
            self.count += 1
            self._busy = False
            return seq, addr
        raise FlashError(5)

    def ack(self, handle):
        """Remove a record for good; durable on return. False if it is not there (any more)."""
        self._ready()
        addr = self.find(handle)
        if addr < 0:
            return False
        self._busy = True
        self.mark_acked(addr)
        self._busy = False
        return True

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
        except NotAQueue:
            # Sectors of another format would keep this one from mounting.
            for s in range(1, self.dev.sectors):
                if self.read_sector(s) == VALID:
                    self.retire(s)
        self._busy = True
        # All sectors older than a stamp are void, so this is one step for a power cut.
        wear = self._erase(0)
        generation = self.generation + 1
        layout.pack_sector(
            self._sector, self._size, layout.STAMP, wear, generation, self.next_seq, 0
        )
        self.start(0)
        self.put(self._sector)
        self.flush()
        self.mount()
        self._settle()

    def wear(self):
        """Erase counts of all sectors; -1 where a cut left none."""
        self._mounted()
        counts = []
        for s in range(self.dev.sectors):
            wear = self.wear_in_header(self.read_sector(s))
            counts.append(0 if wear == BLANK_WEAR else -1 if wear == LOST_WEAR else wear)
        return counts

    # Being in step with the flash

    def _mounted(self):
        if self._busy:
            self.mount()

    def _ready(self):
        if self._busy:
            self.mount()
        if not self._settled:
            self._settle()

    def _settle(self):
        """Finish what a cut interrupted, and make certain what it may have left half programmed.

        Every step may itself be cut and is then found again by the next mount.
        """
        self._busy = True
        # First what the rest relies on: the newest header, and the byte that puts a compacted
        # sector in force, may read well and be weak all the same.
        if self.newest < 0:
            self.generation = 1
            self.newest = self._last_opened = 0
            self.dev.program(0, self._stamp(1))
        elif self.tail == self.active * self._size + SECTOR_HEAD or self.active < 0:
            self.dev.program(self.newest * self._size, self._newest_head[: layout.DONE])
        self._cached = -1
        if self._move:
            self.dev.program(self.newest * self._size + layout.DONE, b"\0")
            reclaim.ack_moved(self, self._partly, self._move[0], self._move[1])
        for s in self._retire:
            self.retire(s)
        for addr in self._acks:
            self.dev.program(addr + layout.ACK, b"\0")
        if self.active >= 0:
            self._settle_tail()
        self._settled = True
        self._busy = False

    def _settle_tail(self):
        if self._last >= 0 and not self._refresh(self._last):
            self._drop_last()
        addr = self.tail
        if self._torn and self.load(addr) == VALID:
            # Its header says how far it can reach: step over it.
            size = self._slots() * SLOT
            self.head[layout.ACK] = 0
            self.dev.program(addr, memoryview(self.head)[:HEAD])
            self.tail = addr + size
        elif addr < self.end:
            # A program torn before its header was complete may have touched this place, even if
            # nothing is to be seen: zeros are the one thing that can be written there reliably.
            self.dev.program(addr, layout.ZERO_SLOT)
            self.tail = self.end if self._closed else min(self.skip(addr), self.end)

    def _refresh(self, addr):
        # Program the last record once more as it reads: a torn program may have left weak bits.
        # What is checked is what was programmed, since another reading may differ.
        if self.load(addr) != VALID:
            return False
        self.dev.program(addr, memoryview(self.head)[:HEAD])
        length, want = struct.unpack_from("<H4xI", self.head, 2)
        at = addr + HEAD
        end = at + length
        have = 0
        while at < end:
            part = self._view[: min(end - at, len(self._page))]
            self.dev.read(at, part)
            self.dev.program(at, part)
            have = crc32(part, have)
            at += len(part)
        return have == want

    # Sectors

    def free_sectors(self):
        return self.dev.sectors - len(self.order)

    def _make_room(self, size):
        if self.active >= 0 and self.tail + size <= self.end:
            return
        old = self.active
        if old >= 0 and not self._empty(old) and self.free_sectors() < 2:
            reclaim.make_room(self, size)
            if self.tail + size <= self.end:
                return
            if self.free_sectors() < 2:
                raise QueueFull("the queue is full: %d bytes are free, scattered" % self.free)
            old = self.active
        self._level_wear()
        s = self.pick()
        self.open(s, 0, self.next_seq, 0)
        self.order.append(s)
        self.active = s
        self.tail = self.first(s)
        self.end = s * self._size + self._size
        if old >= 0 and self._empty(old):
            self.drop_sector(old)

    def _empty(self, s):
        # Whether sector s has no live records. The count alone is not enough: an ack that a cut
        # left weak may have been read otherwise when they were counted.
        if not self.live[s]:
            self.live[s] = reclaim.live_slots(self, s)
        return not self.live[s]

    def pick(self):
        """The least worn of the free sectors; round robin among equals."""
        n = self.dev.sectors
        best = -1
        s = self._last_opened
        for _ in range(n):
            s = s + 1 if s + 1 < n else 0
            # Without an active sector, the newest header is all that makes this a queue.
            if s == self.active or self.live[s] or self.active < 0 and s == self._last_opened:
                continue
            if best < 0 or self.wears[s] < self.wears[best]:
                best = s
        return best

    def _level_wear(self):
        # A sector of long-lived records is not erased: once it lags behind they are moved.
        if self.free_sectors() < 2:
            return
        limit = self.wears[self.pick()] - _LAG
        cold = -1
        for s in self.order:
            if s != self.active and self.wears[s] < limit:
                limit = self.wears[s]
                cold = s
        if cold >= 0:
            reclaim.move(self, cold)

    def open(self, s, flags, first, last):
        """Erase sector s and give it a header."""
        wear = self._erase(s)
        self.generation += 1
        layout.pack_sector(self._sector, self._size, flags, wear, self.generation, first, last)
        self._last_opened = s
        self.start(s * self._size)
        self.put(memoryview(self._sector)[: layout.DONE])
        self.flush()

    def _erase(self, s):
        # Returns the sector's erase count.
        what = self.read_sector(s)
        wear = self.wear_in_header(what)
        if wear >= BLANK_WEAR:
            wear = self.wear_min if wear == BLANK_WEAR else self.wear_max
        wear += 1
        if what != ZERO and what != layout.BLANK:
            # An erase that is cut may leave the header as it was and the acks erased.
            self.retire(s)
        self._cached = -1
        self.dev.erase(s)
        self.wear_max = max(self.wear_max, wear)
        if wear - self.wear_min > 254:
            low = min(self.wears)
            self.wear_min += low
            for i in range(self.dev.sectors):
                self.wears[i] -= low
        self.wears[s] = max(0, min(wear - self.wear_min, 255))
        return wear

    def retire(self, s):
        """Make sector s's contents void without erasing it yet."""
        self._cached = -1
        self.dev.program(s * self._size, layout.RETIRE)

    def drop_sector(self, s):
        """Take a sector without live records out of the order."""
        self.order = self.sector_list([x for x in self.order if x != s])
        self.epoch += 1

    def mark_acked(self, addr):
        """Ack the record that is loaded."""
        self.dev.program(addr + layout.ACK, b"\0")
        s = addr // self._size
        self.live[s] = max(0, self.live[s] - self._slots())
        self.count = max(0, self.count - 1)
        if s != self.active and self._empty(s):
            self.drop_sector(s)

    # Writing: pages are put together in RAM, so that each is programmed once

    def start(self, addr):
        self._at = addr
        self._fill = 0
        self._room = self.page_end(addr) - addr

    def put(self, data):
        """Write the next bytes."""
        n = len(data)
        at = self._fill
        if n < self._room - at:
            self._page[at : at + n] = data
            self._fill = at + n
            return
        data = memoryview(data)
        done = 0
        while done < n:
            part = min(n - done, self._room - self._fill)
            self._page[self._fill : self._fill + part] = data[done : done + part]
            done += part
            self._fill += part
            if self._fill == self._room:
                self.flush()

    def put_head(self, addr, kind, length, seq, crc, key_length, priority):
        start = self._start(addr)
        layout.pack_record(self.head, kind, length, seq, crc, key_length, priority, start)
        self.put(memoryview(self.head)[:HEAD])

    def put_from(self, addr, n):
        """Write n bytes that are elsewhere on flash."""
        while n:
            part = min(n, self._room - self._fill)
            self.dev.read(addr, self._view[self._fill : self._fill + part])
            addr += part
            n -= part
            self._fill += part
            if self._fill == self._room:
                self.flush()

    def flush(self):
        """Program what was put so far, and read it back: a worn cell shows while the data is still
        here."""
        n = self._fill
        if n:
            data = self._view[:n]
            back = self._back[:n]
            self.dev.program(self._at, data)
            self.dev.read(self._at, back)
            if back != data:
                raise FlashError(5)
            self._at += n
            self._fill = 0
            self._room = len(self._page)
