"""Log: finds out what the flash holds, after whatever happened. It never writes."""

import struct
from binascii import crc32

from ..compat import const
from ..errors import GatewayError
from . import layout
from .layout import HEAD, JUNK, SECTOR_HEAD, SLOT, SUSPECT, VALID
from .reader import Reader

BLANK_WEAR = 0xFFFFFFFE
LOST_WEAR = 0xFFFFFFFF
# In `wears`: the most that is counted, and a sector that is left out.
WEAR_MOST = const(254)
OUT = const(255)

# Numbers in `f`, see ring_twin.py.
_ADDR = const(0)
_END = const(1)
_SLOT_BYTES = const(4)
_LO = const(6)
_HI = const(7)
_LENGTH = const(8)
_SEQ = const(9)
_CRC = const(10)
_FLAGS = const(12)
_SIZE = const(13)
_STOP = const(14)
_WHY = const(15)
_DAMAGED = const(16)
_REPAIRED = const(17)
_LIVE_BYTES = const(18)
_COUNT = const(19)
_TOP = const(20)
_LAST = const(21)
_MOVED = const(22)
_OPEN = const(23)
_NEXT = const(24)
_CHAIN = const(25)
_FROM = const(26)
_TO = const(27)
_SECTOR = const(28)
_WEAK_ACK = const(1)
_GOES_ON = const(0x80)


class NotAQueue(GatewayError):
    """The flash holds something this version does not understand; format() would discard it."""


class Log(Reader):
    """The part of Ring that mounts. The work it finds is left in _retire (sectors whose header to
    void), _acks (addresses of acks to complete), _partly (sectors with moved records), _orphans,
    _torn, _closed and _last; sectors that are to be erased before anything else are OUT in
    `wears`.
    """

    def mount(self):
        """Find everything accepted so far. Writes nothing: repairs wait for the first append or
        ack.

        Raises NotAQueue if the flash holds neither a queue nor nothing.
        """
        self._busy = True
        self._settled = False
        view = getattr(self.dev, "view", None)
        self.src = self.dev if view is None else view
        f = self.f
        for i in range(_SECTOR):
            f[i] = 0
        for s in range(self.dev.sectors):
            self.live[s] = 0
        self.bad = self.corrupt = self.torn = 0
        self.epoch += 1
        self._cached = self.active = self._last = self.ahead = -1
        self.tail = self.end = 0
        self._torn = self._closed = False
        self._retire = []
        self._acks = []
        self._partly = []
        self._orphans = []
        self.order = self.sector_list(())
        self._end = None
        self._survey()
        self._sort()
        self._count()
        for s in self._outs:
            if s == self.active:
                self._closed = True
            elif s not in list(self.order) and self.wears[s] != OUT:
                self.wears[s] = OUT
                self.bad += 1
        self._busy = False

    def _survey(self):
        # The first look at all headers: next_seq, generation, newest, _move, _stamp_at, wear_min,
        # wear_max.
        n = self.dev.sectors
        self.generation = 0
        self.next_seq = 1
        self.newest = -1
        self._newest_head = b""
        self._stamp_at = 0
        self._move = None
        done = False
        low = LOST_WEAR
        high = 0
        for s in range(n):
            what = self.read_sector(s)
            wear = self.wear_in_header(what)
            if wear < BLANK_WEAR:
                low = min(low, wear)
                high = max(high, wear)
            if what != VALID:
                continue
            head = self._sector
            if not 0 < head[3] <= layout.VERSION or 1 << head[4] != self._size:
                raise NotAQueue(
                    "queue of format %d with %d-byte sectors; this is format %d with %d"
                    % (head[3], 1 << head[4], layout.VERSION, self._size)
                )
            generation, first, last = struct.unpack_from("<III", head, 12)
            self.next_seq = max(self.next_seq, first, last + 1)
            if head[6] & layout.STAMP:
                self._stamp_at = max(self._stamp_at, generation)
            # A header that was torn may come to light when its generation was given out again.
            if generation > self.generation or generation == self.generation and not done:
                done = head[6] & layout.COMPACTED and layout.cleared(head[layout.DONE])
                if generation > self.generation or done:
                    self.generation = generation
                    self.newest = s
                    self._newest_head = bytes(head)
                    self._move = (first, last) if done else None
        self._last_opened = self.newest
        self.wear_min = low if low < LOST_WEAR else 0
        self.wear_max = high
        if self.newest < 0:
            self._check_blank()

    def _sort(self):
        # The second look, from the oldest sector on: `order`, and what is void. Weak bits may read
        # otherwise each time: what matters of the newest header is what was read first.
        n = self.dev.sectors
        order = self.order
        last = (0, 0)
        s = self.newest
        for _ in range(n):
            s = s + 1 if s + 1 < n else 0
            what = self.read_sector(s)
            self.wears[s] = self._relative(self.wear_in_header(what))
            if s == self.newest:
                self._sector[:] = self._newest_head
                what = VALID
            if what == SUSPECT:
                self.wears[s] = OUT
                self.bad += 1
            if what != VALID:
                if what == JUNK and self.newest >= 0:
                    # A header torn at some time, whose weak bits may make it valid at another.
                    self._retire.append(s)
                continue
            head = self._sector
            generation, first = struct.unpack_from("<II", head, 12)
            if head[6] & layout.STAMP:
                continue
            if (
                generation < self._stamp_at
                or generation > self.generation
                or generation == self.generation
                and s != self.newest
                or head[6] & layout.COMPACTED
                and not layout.cleared(head[layout.DONE])
            ):
                # Of one that is compacted but not done the victims are still whole: what it holds
                # must never be seen again.
                self._retire.append(s)
                continue
            key = (first, generation)
            order.append(s)
            if key >= last:
                last = key
                continue
            low = 0
            high = len(order) - 1
            while low < high:
                middle = (low + high) // 2
                self.read_sector(order[middle])
                other = struct.unpack_from("<II", self._sector, 12)
                if key >= (other[1], other[0]):
                    low = middle + 1
                else:
                    high = middle
            order[low + 1 :] = order[low:-1]
            order[low] = s

    def _relative(self, wear):
        # A blank sector was never used, as far as is known; one that a cut has left without a
        # count may be as worn as any.
        if wear >= BLANK_WEAR:
            wear = self.wear_min if wear == BLANK_WEAR else self.wear_max
        return max(0, min(wear - self.wear_min, WEAR_MOST))

    def wear_in_header(self, what):
        """Erase count in the header just read, or BLANK_WEAR or LOST_WEAR."""
        if what == layout.BLANK:
            return BLANK_WEAR
        wear = -1
        if what != JUNK and what != SUSPECT:
            wear = layout.unpack_wear(int.from_bytes(self._sector[8:12], "little"))
        return LOST_WEAR if wear < 0 else wear

    def _check_blank(self):
        # Nothing of ours: only flash that is blank, but for a torn stamp, may be taken over.
        stamp = self._stamp(1)
        page = self._view
        self.dev.read(0, page)
        torn = True
        for i in range(SECTOR_HEAD):
            torn = torn and page[i] & stamp[i] == stamp[i]
        if (
            not torn
            or page[SECTOR_HEAD:] != b"\xff" * (len(page) - SECTOR_HEAD)
            or not self.is_blank(len(page), self.dev.sectors * self._size)
        ):
            raise NotAQueue("the flash is not blank and holds no queue")

    def is_blank(self, addr, end):
        # Whole pages only.
        page = self._view
        blank = b"\xff" * len(page)
        while addr < end:
            try:
                self.dev.read(addr, page)
            except OSError:
                return False
            if page != blank:
                return False
            addr += len(page)
        return True

    def _stamp(self, generation):
        layout.pack_sector(self._sector, self._size, layout.STAMP, 0, generation, self.next_seq, 0)
        return bytes(self._sector)

    def _count(self):
        f = self.f
        kept = 0
        for s in self.order:
            end = self._end
            if self._scan(s):
                self.order[kept] = s
                kept += 1
                if end and end[2] == JUNK and self._is_damage(end[1]):
                    f[_DAMAGED] += 1
            else:
                self._retire.append(s)
        self.count = f[_COUNT]
        self.damaged = f[_DAMAGED]
        self.repaired = f[_REPAIRED]
        if self._end:
            self._find_tail()
        if f[_OPEN]:
            # A record in parts, cut before its last one.
            self._orphans.append((f[_OPEN], f[_NEXT] - 1))
            self.torn = self.torn or 1
        self.order = self.sector_list(
            [s for s in self.order[:kept] if self.live[s] or s == self.active]
        )

    def _is_damage(self, addr):
        # What is no record and has none behind it, in a sector that was left: one bit may have
        # flipped where nothing was written.
        zeros = 0
        try:
            self.dev.read(addr, self._view[:16])
        except OSError:
            return True
        for byte in self._view[:16]:
            zeros += byte != 0xFF and 2 - ((byte ^ 0xFF) & ((byte ^ 0xFF) - 1) == 0)
        return zeros > 1

    def _scan(self, s):
        # Count sector s. False if all it has was moved to the newest sector.
        lo = 1
        hi = 0
        if s == self.newest:
            self._sector[:] = self._newest_head
        else:
            if self.read_sector(s) != VALID:
                return False
            if self._move:
                lo, hi = self._move
        first = struct.unpack_from("<I", self._sector, 16)[0]
        self.entered(s)
        f = self.f
        base = s * self._size
        f[_ADDR] = base + SECTOR_HEAD
        f[_END] = base + self._size
        f[_LO] = lo
        f[_HI] = hi
        f[_SIZE] = f[_LIVE_BYTES] = f[_TOP] = f[_LAST] = f[_MOVED] = 0
        while True:
            what = self._core.scan(self.src, self.head, f)
            if not what:
                break
            if what == _WEAK_ACK:
                self._acks.append(f[_ADDR])
            else:
                self._orphans.append((f[_FROM], f[_TO]))
        top = f[_TOP]
        self.live[s] = f[_LIVE_BYTES] // SLOT
        self.next_seq = max(self.next_seq, top + 1)
        if top <= hi and lo <= first <= hi:
            return False
        if f[_MOVED]:
            self._partly.append(s)
        # The sector's end, should it be the last. A weak bit may read otherwise the next time:
        # what is decided here is decided by what was read once.
        last = (f[_LAST], f[_LENGTH], f[_CRC], f[_SEQ], f[_FLAGS], f[_CHAIN]) if f[_LAST] else None
        self._end = (s, f[_STOP], f[_WHY], f[_SLOT_BYTES], last)
        return True

    def _find_tail(self):
        # Where the records of the last sector end, and whether the last one was completed.
        s, self.tail, why, slot, last = self._end
        self.active = s
        self.end = (s + 1) * self._size
        # Nothing is appended to sectors of version 1.
        self._closed = slot != SLOT
        if why == JUNK:
            self.torn += 1
            # More than an append without a complete header touches: not to be written to again.
            if not self.is_blank(self.skip(self.tail), self.end):
                self._closed = True
        self._end = last
        if last is None:
            return
        self._last, length, crc = last[:3]
        if not self._body_good(self._last, length, crc):
            self._drop_last()

    def _body_good(self, addr, length, crc):
        at = addr + HEAD
        have = 0
        while length:
            part = self._view[: min(length, len(self._view))]
            try:
                self.dev.read(at, part)
            except OSError:
                # Not a torn record, but one that cannot be read.
                return True
            have = crc32(part, have)
            at += len(part)
            length -= len(part)
        return have == crc

    def _drop_last(self):
        # The last record was not completed.
        addr, length, _, seq, flags, chain = self._end
        self._torn = True
        self.torn += 1
        self.tail = addr
        self.live[self.active] -= layout.padded(length) // SLOT
        if not flags & _GOES_ON:
            self.count -= 1
            if chain:
                self._orphans.append((chain, seq))
        self._last = -1
