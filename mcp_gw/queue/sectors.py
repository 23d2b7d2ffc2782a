"""Sectors: the part of Ring that erases, opens and gives up sectors, and programs."""

import struct
from binascii import crc32

from ..compat import const
from . import layout, reclaim
from .layout import ACK, BLANK, HEAD, SECTOR_HEAD, SLOT, ZERO
from .log import BLANK_WEAR, OUT, WEAR_MOST, Log
from .reader import FlashError

# Erases that a sector of long-lived records may lag behind the others.
_LAG = const(16)

# Numbers in `f`, see ring_twin.py.
_FLAGS = const(12)
_SIZE = const(13)
_SEED = const(3)
_GENERATION = const(32)
_NEWEST = const(33)
_WEAR_LOW = const(35)
_WEAR_HIGH = const(36)
_DONE = const(37)
_NEWEST_HEAD = const(38)
# Where the page that is put together goes, what is there of it, and what can be.
_AT = const(46)
_FILL = const(47)
_ROOM = const(48)
_NONE = 0xFFFFFFFF
_RAW = const(0)
_CONTINUES = const(0x40)


class Sectors(Log):
    """See Ring."""

    def settle_now(self):
        """Finish what a cut interrupted, and make certain what it may have left half programmed.

        Every step may itself be cut and is then found again by the next mount.
        """
        self._busy = True
        self.start(0)
        f = self.f
        # First what the rest relies on: the newest header, and the byte that puts a compacted
        # sector in force, may read well and be weak all the same; and an earlier start may have
        # begun to give it up, because they read otherwise.
        newest = self._last_opened
        if newest < 0:
            f[_GENERATION] = 1
            self._last_opened = 0
            self.put(self._stamp(1))
            self.flush()
        elif newest not in self._retire and (
            f[_DONE] or self.active < 0 or self.tail == self.first(self.active)
        ):
            if f[_DONE]:
                self.program_mark(newest * self._size + layout.DONE)
            else:
                # As it was read then.
                self._core.judge(self.src, self.head, f, newest)
                self.dev.program(newest * self._size, memoryview(self.head)[: layout.DONE])
            self.dev.program(newest * self._size + layout.KEPT, b"\0")
        if f[_DONE]:
            moved = struct.unpack_from("<II", f, 4 * _NEWEST_HEAD + 16)
            # All of them: one whose ack was cut may read as acked, and not once the next sector is
            # opened.
            reclaim.ack_moved(self, self._partly, moved[0], moved[1], _RAW)
        if f[_DONE] or self.active < 0:
            # What was moved, or discarded, was retired last: it may only read so.
            for s in range(self.dev.sectors):
                if not self.live[s] and s != self.active and self.read_sector(s) == ZERO:
                    self.retire(s)
        for s in self._retire:
            self.retire(s)
        for addr in self._acks:
            self.dev.program(addr + ACK, b"\0")
        if self.active >= 0:
            self._settle_tail()
        self._drop_orphans()
        self._end = None
        # Those that looked bad before this start are tried again.
        for s in range(self.dev.sectors if self.bad else 0):
            if self.wears[s] == OUT and s not in self._outs:
                self.bad -= 1
                self.erase(s)
        # What was read first need not hold from here on.
        f[_NEWEST] = _NONE
        f[_DONE] = 0
        self._cached = -1
        self._settled = True
        self._busy = False

    def _settle_tail(self):
        if self._end and not self._refresh(self._end[0]):
            self._drop_last()
        addr = self.tail
        active = self.active
        # Beyond what counts as the log, for once.
        self.tail = self.end
        if not self._torn:
            self._settle_last(addr)
        if self._torn and self.seek(active, addr, _RAW) and self.f[0] == addr:
            # Its header says how far it can reach: step over it. First what says that it is void:
            # an ack that is cut may be weak, and the record read well at the next start.
            self.head[layout.MARKS] = 0
            self.dev.program(addr, memoryview(self.head)[:HEAD])
            self.tail = addr = self._step_over(addr, addr + self.f[_SIZE])
        elif addr + HEAD <= self.end:
            # Should what is torn come to light while the zeros are programmed, it is void.
            self.dev.program(addr + layout.MARKS, b"\0")
        if addr + HEAD <= self.end:
            # A program torn before its header was complete may have touched this place, even if
            # nothing is to be seen: zeros are the one thing that can be written there reliably.
            self.dev.program(addr, layout.ZERO_SLOT)
            self.tail = min(self.skip(addr), self.end)
        if self._closed:
            self.tail = self.end

    def _settle_last(self, tail):
        # Whatever stands before the tail may be weak: what an earlier start gave up, and was cut.
        active = self.active
        if self._end:
            at = self._end[0] + layout.padded(self._end[1], self._end[6])
        else:
            last = at = self.first(active)
            while at < tail and self.seek(active, at, _RAW) and self.f[0] < tail:
                last = self.f[0]
                void = not self.head[layout.MARKS]
                at = last + self.f[_SIZE]
            if last < at and void:
                self._step_over(last, at)
        if at + HEAD > self.end:
            self.dev.program(self.last_good(), b"\0")
        last = at
        while at < tail:
            at = self.skip(at)
        if at == tail:
            self._zeros(last, tail)

    def _step_over(self, addr, behind):
        # The torn record at addr, whose marks say so.
        self.dev.program(addr + ACK, b"\0")
        # It may read as the void slot that an earlier start began to make of it: from there, too,
        # void slots lead to where appends go on.
        self._zeros(self.skip(addr), min(self.skip(behind), self.end))
        return behind

    def _zeros(self, at, end):
        while at < end:
            self.dev.program(at, layout.ZERO_SLOT)
            at = self.skip(at)

    def _refresh(self, addr):
        # Program the last record once more as it reads: a torn program may have left weak bits.
        # What is checked is what was programmed, since another reading may differ.
        f = self.f
        if not self.seek(self.active, addr, _RAW) or f[0] != addr:
            return False
        self.dev.program(addr, memoryview(self.head)[:HEAD])
        length, want = struct.unpack_from("<H4xI", self.head, 2)
        at = addr + HEAD
        end = at + length
        have = 0
        while at < end:
            part = self._view[: min(end - at, len(self._view))]
            try:
                self.dev.read(at, part)
            except OSError:
                return True
            self.dev.program(at, part)
            have = crc32(part, have)
            at += len(part)
        return have == want

    def _drop_orphans(self):
        for first, last in self._orphans:
            for s in self.order[max(0, self._place(first) - 1) :]:
                self.live[s] -= min(self.live[s], reclaim.ack_moved(self, (s,), first, last))
                if s != self.active and self.empty(s):
                    self.drop_sector(s)
        self._orphans = ()

    # Sectors

    def free_sectors(self):
        # An active one that is left out counts as both, until another is opened.
        twice = self.active >= 0 and self.wears[self.active] == OUT
        return self.dev.sectors - self.bad - len(self.order) + twice

    def empty(self, s):
        """Whether sector s has no live records."""
        # The count alone is not enough: an ack that a cut left weak may have been read otherwise
        # when they were counted.
        if not self.live[s]:
            self.live[s] = reclaim.live_slots(self, s)
        return not self.live[s]

    def pick(self):
        """The one erased ahead, or the least worn of the free sectors; round robin among equals.
        -1 if there is none.
        """
        if self.ahead >= 0:
            return self.ahead
        n = self.dev.sectors
        best = -1
        s = self._last_opened
        for _ in range(n):
            s = s + 1 if s + 1 < n else 0
            if s == self.active or self.live[s]:
                continue
            # The newest header is the last resort: should its retiring be cut, its generation
            # would be given out again. Without an active sector it is what makes this a queue.
            if s == self._last_opened and (best >= 0 or self.active < 0):
                continue
            if self.wears[s] != OUT and (best < 0 or self.wears[s] < self.wears[best]):
                best = s
        return best

    def prepare(self):
        """Erase a sector to open next, if none is; False if none is free. Bad ones are left
        out.
        """
        while self.ahead < 0:
            s = self.pick()
            if s < 0:
                return False
            if self.erase(s):
                self.ahead = s
        return True

    def level_wear(self):
        # A sector of long-lived records is not erased: once it lags behind they are moved.
        s = self.pick()
        if s < 0:
            return
        limit = self.wears[s] - _LAG
        cold = -1
        for s in self.order:
            if s != self.active and self.wears[s] < limit:
                limit = self.wears[s]
                cold = s
        if cold >= 0:
            reclaim.move(self, cold)

    def open(self, flags, first, last):
        """Give the sector that was prepared a header; which one it is."""
        s = self.ahead
        self.ahead = -1
        generation = self.f[_GENERATION] = self.f[_GENERATION] + 1
        wear = self.f[_WEAR_LOW] + self.wears[s]
        header = self.packed(flags, wear, generation, first, last)
        self._cached = -1
        self._last_opened = s
        self.start(s * self._size)
        self.put(memoryview(header)[: layout.DONE])
        self.flush()
        return s

    def append_to(self, s):
        """Let appends go on in sector s, which was just opened."""
        old = self.active
        self.order.append(s)
        self.active = s
        self.tail = self.first(s)
        self.end = s * self._size + self._size
        if old >= 0 and self.empty(old):
            self.drop_sector(old)
            if self.wears[old] == OUT:
                self.dev.program(old * self._size, bytes(SECTOR_HEAD))

    def erase(self, s):
        """False if it is bad, and left out from now on."""
        f = self.f
        what = self.read_sector(s)
        wear = self.wear_in_header(what)
        if wear >= BLANK_WEAR:
            wear = f[_WEAR_LOW] if wear == BLANK_WEAR else f[_WEAR_HIGH]
        wear += 1
        if what != BLANK:
            # An erase that is cut may leave the header as it was and the acks erased. What reads
            # as retired may only read so.
            self.retire(s)
        self._cached = -1
        base = s * self._size
        self.dev.erase(s)
        if not self.is_blank(base, base + self._size):
            self.give_up(s)
            return False
        f[_WEAR_HIGH] = max(f[_WEAR_HIGH], wear)
        if wear - f[_WEAR_LOW] > WEAR_MOST:
            low = min(self.wears)
            f[_WEAR_LOW] += low
            for i in range(self.dev.sectors):
                if self.wears[i] != OUT:
                    self.wears[i] -= low
        self.wears[s] = max(0, min(wear - f[_WEAR_LOW], WEAR_MOST))
        # The erase count; and no header that is torn is blank: the next start finds it.
        wear = layout.pack_wear(f[_WEAR_LOW] + self.wears[s])
        self.dev.program(base + 8, struct.pack("<I", wear))
        return True

    def give_up(self, s):
        """Leave sector s out: it cannot be erased or programmed. Nothing in it counts."""
        self.leave_out(s)
        self.dev.program(s * self._size, bytes(SECTOR_HEAD))

    def leave_out(self, s):
        self._cached = -1
        self.bad += 1
        self.wears[s] = OUT
        self._outs += (s,)

    def retire(self, s):
        """Make sector s's contents void without erasing it yet."""
        self._cached = -1
        # Cut here, nothing of it is harmed, and the next start may take it back (KEPT).
        self.dev.program(s * self._size + layout.GONE, b"\0")
        self.dev.program(s * self._size, layout.RETIRE)

    def drop_sector(self, s):
        """Take a sector without live records out of the order."""
        i = 0
        while self.order[i] != s:
            i += 1
        self.order = self.order[:i] + self.order[i + 1 :]
        self.epoch += 1

    def program_mark(self, addr):
        """Program a mark byte to 0; FlashError if it does not count as programmed then."""
        self.dev.program(addr, b"\0")
        back = self._view[:1]
        self._fetch(addr, back)
        if not layout.cleared(back[0]):
            self.spoiled = addr // self._size
            raise FlashError(5)

    def mark_acked(self, addr):
        """Ack the record that is loaded."""
        f = self.f
        size = f[_SIZE]
        whole = not f[_FLAGS] & _CONTINUES
        self.program_mark(addr + ACK)
        s = addr // self._size
        self.live[s] -= min(self.live[s], size // SLOT)
        if whole:
            self.count = max(0, self.count - 1)
        if s != self.active and self.empty(s):
            self.drop_sector(s)

    # Writing: pages are put together in RAM, so that each is programmed once

    def start(self, addr):
        if self._view is None:
            self._view = memoryview(bytearray(self.dev.page_size))
        f = self.f
        f[_AT] = addr
        f[_FILL] = 0
        f[_ROOM] = self.page_end(addr) - addr

    def put(self, data):
        """Write the next bytes."""
        f = self.f
        n = len(data)
        at = f[_FILL]
        if n < f[_ROOM] - at:
            self._view[at : at + n] = data
            f[_FILL] = at + n
            return
        data = memoryview(data)
        done = 0
        while done < n:
            at = f[_FILL]
            part = min(n - done, f[_ROOM] - at)
            self._view[at : at + part] = data[done : done + part]
            done += part
            f[_FILL] = at + part
            if f[_FILL] == f[_ROOM]:
                self.flush()

    def put_head(self, s, addr, kind, length, seq, crc, key_length, flags, marks=0xFF):
        self.enter(s)
        start = self.f[_SEED] ^ addr - s * self._size
        # Not into `head`, which _verify() uses, perhaps before all of it is put.
        buf = bytearray(HEAD)
        layout.pack_record(buf, kind, length, seq, crc, key_length, flags, start, marks)
        self.put(buf)

    def put_from(self, addr, n):
        """Write n bytes that are elsewhere on flash."""
        f = self.f
        while n:
            at = f[_FILL]
            part = min(n, f[_ROOM] - at)
            view = self._view[at : at + part]
            try:
                self.dev.read(addr, view)
            except OSError:
                # The record's CRC will not fit: it is found damaged.
                view[:] = bytes(part)
            addr += part
            n -= part
            f[_FILL] = at + part
            if f[_FILL] == f[_ROOM]:
                self.flush()

    def flush(self):
        """Program what was put so far, and read it back: a worn cell shows while the data is still
        here."""
        f = self.f
        n = f[_FILL]
        if n:
            at = f[_AT]
            data = self._view[:n]
            self.dev.program(at, data)
            self._verify(at, data)
            f[_AT] = at + n
            f[_FILL] = 0
            f[_ROOM] = len(self._view)

    def _verify(self, at, data):
        if self.src is not self.dev:
            good = self.src[at : at + len(data)] == data
        else:
            # `head` is of no use while pages are programmed.
            step = len(self.head)
            back = memoryview(self.head)
            good = True
            for i in range(0, len(data), step):
                part = data[i : i + step]
                self._fetch(at + i, back[: len(part)])
                good = good and back[: len(part)] == part
        if not good:
            self.spoiled = at // self._size
            raise FlashError(5)
