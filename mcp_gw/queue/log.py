"""Log: finds out what the flash holds, after whatever happened. It never writes."""

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
_SLOT_BYTES = const(4)
_AFTER = const(5)
_LO = const(6)
_HI = const(7)
_LENGTH = const(8)
_SEQ = const(9)
_CRC = const(10)
_FLAGS = const(12)
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
_NEXT_SEQ = const(31)
_NEWEST = const(33)
_WEAR_LOW = const(35)
_NEWEST_HEAD = const(38)
# What survey(), judge() and scan() say.
_FOREIGN = const(6)
_KEPT = const(1)
_RETIRED = const(2)
_LEFT_OUT = const(3)
_WEAK_ACK = const(1)
_GOES_ON = const(0x80)
_NONE = 0xFFFFFFFF


class NotAQueue(GatewayError):
    """The flash holds something this version does not understand; format() would discard it."""


class Log(Reader):
    """The part of Ring that mounts. The work it finds is left in _retire (sectors whose header to
    void), _acks (addresses of acks to complete), _partly (sectors with moved records), _orphans,
    _torn, _closed and _end; sectors that are to be erased before anything else are OUT in
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
        for i in range(_NEXT_SEQ, _NEWEST_HEAD):
            f[i] = 0
        f[_NEXT_SEQ] = 1
        f[_NEWEST] = f[_WEAR_LOW] = _NONE
        self.bad = self.corrupt = self.torn = 0
        self.epoch += 1
        self._cached = self.active = self.ahead = -1
        self.tail = self.end = 0
        self._torn = self._closed = False
        self._retire = self._acks = self._partly = self._orphans = ()
        self._end = None
        # As long as all sectors; what is in it by now does not matter.
        n = self.dev.sectors
        if n <= 256:
            self.order.extend(memoryview(self.wears)[: n - len(self.order)])
        else:
            self.order = self.sector_list(bytes(2 * n))
        self._survey()
        self._sort()
        self._count()
        for s in self._outs:
            if s == self.active:
                self._closed = True
            if not self.live[s] and self.wears[s] != OUT:
                self.wears[s] = OUT
                self.bad += 1
        self._busy = False

    def _survey(self):
        # The first look at all headers.
        f = self.f
        live = self.live
        look = self._core.survey
        for s in range(self.dev.sectors):
            live[s] = 0
            if look(self.src, self.head, f, s) == _FOREIGN:
                raise NotAQueue(
                    "queue of format %d with %d-byte sectors; this is format %d with %d"
                    % (self.head[3], 1 << self.head[4], layout.VERSION, self._size)
                )
        self.next_seq = f[_NEXT_SEQ]
        if f[_WEAR_LOW] == _NONE:
            f[_WEAR_LOW] = 0
        self._last_opened = -1
        if f[_NEWEST] != _NONE:
            self._last_opened = f[_NEWEST]
        else:
            self._check_blank()

    def _sort(self):
        # The second look, from the oldest sector on: `order`, and what is void.
        f = self.f
        order = self.order
        wears = self.wears
        look = self._core.judge
        n = self.dev.sectors
        s = self._last_opened
        kept = last = generation = 0
        for _ in range(n):
            s = s + 1 if s + 1 < n else 0
            what = look(self.src, self.head, f, s)
            wears[s] = f[_AFTER]
            if what == _KEPT:
                order[kept] = s
                kept += 1
                if f[_FROM] > last or f[_FROM] == last and f[_TO] >= generation:
                    last = f[_FROM]
                    generation = f[_TO]
                else:
                    kept = self._insert(kept - 1, f[_FROM], f[_TO])
            elif what == _RETIRED:
                self._retire += (s,)
            elif what == _LEFT_OUT:
                self.bad += 1
        order[kept:] = self.sector_list(())

    def _insert(self, at, first, generation):
        # What is in `order` there belongs further to the front; how many there are.
        f = self.f
        order = self.order
        s = order[at]
        count = at + 1
        low = 0
        high = at
        while low < high:
            middle = (low + high) // 2
            if self._core.judge(self.src, self.head, f, order[middle]) != _KEPT:
                # Only what is void has a header that reads otherwise the second time.
                self._retire += (order[middle],)
                order[middle:at] = order[middle + 1 : at + 1]
                return self._insert(at - 1, first, generation)
            if first > f[_FROM] or first == f[_FROM] and generation >= f[_TO]:
                low = middle + 1
            else:
                high = middle
        # Little by little: a copy is made of what is moved.
        while at > low:
            start = max(low, at - 32)
            order[start + 1 : at + 1] = order[start:at]
            at = start
        order[low] = s
        return count

    def wear_in_header(self, what):
        """Erase count in the header just read, or BLANK_WEAR or LOST_WEAR."""
        if what == layout.BLANK:
            return BLANK_WEAR
        wear = -1
        if what != JUNK and what != SUSPECT:
            wear = layout.unpack_wear(int.from_bytes(self.head[8:12], "little"))
        return LOST_WEAR if wear < 0 else wear

    def _check_blank(self):
        # Nothing of ours: only flash that is blank, but for a torn stamp, may be taken over.
        stamp = self._stamp(1)
        head = memoryview(self.head)[:SECTOR_HEAD]
        self.dev.read(0, head)
        torn = True
        for i in range(SECTOR_HEAD):
            torn = torn and head[i] & stamp[i] == stamp[i]
        if not torn or not self.is_blank(SECTOR_HEAD, self.dev.sectors * self._size):
            raise NotAQueue("the flash is not blank and holds no queue")

    def is_blank(self, addr, end):
        return self._core.blank(self.src, self.head, addr, end)

    def _stamp(self, generation):
        return self.packed(layout.STAMP, 0, generation, self.next_seq, 0)

    def packed(self, flags, wear, generation, first, last):
        """A sector's header."""
        buf = bytearray(SECTOR_HEAD)
        layout.pack_sector(buf, self._size, flags, wear, generation, first, last)
        return buf

    def _count(self):
        f = self.f
        order = self.order
        kept = 0
        for s in order:
            junk = self._end and self._end[2] == JUNK and self._end[1]
            if self._scan(s):
                # An empty one counts if it is the last.
                if kept and not self.live[order[kept - 1]]:
                    kept -= 1
                order[kept] = s
                kept += 1
                if junk and self._is_damage(junk):
                    f[_DAMAGED] += 1
            else:
                self._retire += (s,)
        order[kept:] = self.sector_list(())
        self.count = f[_COUNT]
        self.damaged = f[_DAMAGED]
        self.repaired = f[_REPAIRED]
        if self._end:
            self._find_tail()
        if f[_OPEN]:
            # A record in parts, cut before its last one.
            self._orphans += ((f[_OPEN], f[_NEXT] - 1),)
            self.torn = self.torn or 1

    def _is_damage(self, addr):
        # What is no record and has none behind it, in a sector that was left: one bit may have
        # flipped where nothing was written.
        zeros = 0
        part = memoryview(self.head)[:16]
        try:
            self.dev.read(addr, part)
        except OSError:
            return True
        for byte in part:
            zeros += byte != 0xFF and 2 - ((byte ^ 0xFF) & ((byte ^ 0xFF) - 1) == 0)
        return zeros > 1

    def _scan(self, s):
        # Count sector s. False if all it has was moved to the newest sector.
        f = self.f
        self._cached = s
        if self._core.enter(self.src, self.head, f, s) != VALID:
            return False
        first = f[_FROM]
        while True:
            what = self._core.scan(self.src, self.head, f)
            if not what:
                break
            if what == _WEAK_ACK:
                self._acks += (f[_ADDR],)
            else:
                self._orphans += ((f[_FROM], f[_TO]),)
        top = f[_TOP]
        self.live[s] = f[_LIVE_BYTES] // SLOT
        if top >= self.next_seq:
            self.next_seq = top + 1
        if top <= f[_HI] and f[_LO] <= first <= f[_HI]:
            return False
        if f[_MOVED]:
            self._partly += (s,)
        # The sector's end, should it be the last. A weak bit may read otherwise the next time:
        # what is decided here is decided by what was read once.
        last = self._end = None
        if f[_LAST]:
            last = (f[_LAST], f[_LENGTH], f[_CRC], f[_SEQ], f[_FLAGS], f[_CHAIN], f[_SLOT_BYTES])
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
        if not self._body_good(*last[:3]) or self._is_void(last):
            self._drop_last()

    def _is_void(self, last):
        # A start has found it torn and was cut while it said so: it may read well by now, but its
        # ack is weak. A start that found it good has said so behind it.
        at = last[0] + layout.padded(last[1], last[6])
        n = 16
        if at + HEAD > self.end:
            at = self.last_good()
            n = 1
        if not self.is_blank(at, at + n):
            return False
        mark = memoryview(self.head)[:1]
        try:
            self.dev.read(last[0] + layout.MARKS, mark)
        except OSError:
            return False
        return not mark[0]

    def last_good(self):
        return self.end - self._size + layout.LAST_GOOD

    def _body_good(self, addr, length, crc):
        at = addr + HEAD
        have = 0
        while length:
            part = memoryview(self.head)[: min(length, len(self.head))]
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
        addr, length, _, seq, flags, chain, slot = self._end
        self._torn = True
        self.torn += 1
        self.tail = addr
        self.live[self.active] -= layout.padded(length, slot) // SLOT
        if not flags & _GOES_ON:
            self.count -= 1
            if chain:
                self._orphans += ((chain, seq),)
        self._end = None
