"""Log: finds out what the flash holds, after whatever happened. It never writes."""

import struct
from array import array
from binascii import crc32

from ..errors import GatewayError
from . import layout
from .layout import BLANK, HEAD, JUNK, SECTOR_HEAD, SLOT, VALID
from .reader import Reader

BLANK_WEAR = 0xFFFFFFFE
LOST_WEAR = 0xFFFFFFFF


class NotAQueue(GatewayError):
    """The flash holds something this version does not understand; format() would discard it."""


class Log(Reader):
    """The part of Ring that mounts. The work it finds is left in _retire (sectors whose header to
    void), _acks (addresses of acks to complete), _partly (sectors with moved records), _torn,
    _closed and _last.
    """

    def mount(self):
        """Find everything accepted so far. Writes nothing: repairs wait for the first append or
        ack.

        Raises NotAQueue if the flash holds neither a queue nor nothing.
        """
        self._busy = True
        self._settled = False
        self._counting = True
        self.count = self.damaged = self.corrupt = self.torn = self.repaired = 0
        self.epoch += 1
        self._cached = self.active = self._last = -1
        self.tail = self.end = 0
        self._torn = self._closed = False
        self._retire = []
        self._acks = []
        self._partly = []
        order = []
        for s, first in self._read_headers():
            if self._scan(s, first):
                order.append(s)
            else:
                self._retire.append(s)
        self._counting = False
        if order:
            self._find_tail()
        self.order = self.sector_list([s for s in order if self.live[s] or s == self.active])
        self._busy = False

    def _read_headers(self):
        # Yields the data sectors in order, with the first sequence number of each. Sets next_seq,
        # generation, newest, _move.
        n = self.dev.sectors
        firsts = array("I", bytes(4 * n))
        generations = array("I", bytes(4 * n))
        found = []
        self.live = bytearray(n)
        self.generation = 0
        self.next_seq = 1
        self.newest = -1
        wears = array("I", bytes(4 * n))
        self._newest_head = b""
        self._move = None
        stamp = 0
        for s in range(n):
            what = self.read_sector(s)
            generation, first, last = struct.unpack_from("<III", self._sector, 12)
            wears[s] = self.wear_in_header(what)
            if what != VALID:
                if what == JUNK:
                    # A header torn at some time, whose weak bits may make it valid at another.
                    self._retire.append(s)
                continue
            if self._sector[3] != layout.VERSION or 1 << self._sector[4] != self._size:
                raise NotAQueue(
                    "queue of format %d with %d-byte sectors; this is format %d with %d"
                    % (self._sector[3], 1 << self._sector[4], layout.VERSION, self._size)
                )
            flags = self._sector[6]
            self.next_seq = max(self.next_seq, first, last + 1)
            if flags & layout.STAMP:
                stamp = max(stamp, generation)
            elif flags & layout.COMPACTED and not layout.cleared(self._sector[layout.DONE]):
                # Its victims are still whole; what it holds must never be seen again.
                self._retire.append(s)
            else:
                found.append(s)
            firsts[s] = first
            generations[s] = generation
            if generation > self.generation:
                self.generation = generation
                self.newest = s
                self._newest_head = bytes(self._sector)
        if self.newest < 0:
            self._check_blank()
            self._retire = []
        elif self.newest not in self._retire and self._newest_head[6] & layout.COMPACTED:
            first, last = struct.unpack_from("<II", self._newest_head, 16)
            self._move = (first, last)
        old = [s for s in found if generations[s] < stamp]
        self._retire.extend(old)
        found = [s for s in found if generations[s] > stamp]
        found.sort(key=lambda s: (firsts[s], generations[s]))
        self._last_opened = self.newest
        self._compare(wears)
        for s in found:
            # Weak bits may read otherwise the next time, so headers are not read again.
            self._cached = s
            self._seed = layout.seed(generations[s])
            yield s, firsts[s]

    def wear_in_header(self, what):
        """Erase count in the header just read, or BLANK_WEAR or LOST_WEAR."""
        if what == BLANK:
            return BLANK_WEAR
        wear = -1
        if what != JUNK:
            wear = layout.unpack_wear(int.from_bytes(self._sector[8:12], "little"))
        return LOST_WEAR if wear < 0 else wear

    def _compare(self, wears):
        # A blank sector was never used, as far as is known; one that a cut has left without a
        # count may be as worn as any.
        known = [w for w in wears if w < BLANK_WEAR] or [0]
        self.wear_min = low = min(known)
        self.wear_max = high = max(known)
        for s, wear in enumerate(wears):
            wear = low if wear == BLANK_WEAR else high if wear == LOST_WEAR else wear
            self.wears[s] = min(wear - low, 255)

    def _check_blank(self):
        # Nothing of ours: only flash that is blank, but for a torn stamp, may be taken over.
        stamp = self._stamp(1)
        self.dev.read(0, self._sector)
        torn = True
        for i in range(SECTOR_HEAD):
            torn = torn and self._sector[i] & stamp[i] == stamp[i]
        page = len(self._page)
        self.dev.read(0, self._view)
        if (
            not torn
            or self._view[SECTOR_HEAD:] != b"\xff" * (page - SECTOR_HEAD)
            or not self._is_blank(page, self.dev.sectors * self._size)
        ):
            raise NotAQueue("the flash is not blank and holds no queue")

    def _is_blank(self, addr, end):
        # Whole pages only.
        blank = b"\xff" * len(self._page)
        while addr < end:
            self.dev.read(addr, self._view)
            if self._view != blank:
                return False
            addr += len(self._page)
        return True

    def _stamp(self, generation):
        layout.pack_sector(self._sector, self._size, layout.STAMP, 0, generation, self.next_seq, 0)
        return bytes(self._sector)

    def _scan(self, s, first):
        # Count sector s. False if all it has was moved to the newest sector.
        lo, hi = self._move if self._move and s != self.newest else (0, -1)
        addr = self.first(s)
        end = addr - SECTOR_HEAD + self._size
        top = length = crc = 0
        last = -1  # the last record, if it is live
        moved = False
        head = self.head
        slots = count = 0
        # The usual case inline, for speed: a mount reads every header there is.
        read = self.dev.read
        covered = self._covered
        seed = self._seed
        base = end - self._size
        whole = end - len(head)
        while True:
            start = seed ^ addr - base
            if addr <= whole:
                read(addr, head)
            if (
                addr > whole
                or crc32(covered, start) != layout.RESIDUE
                or head[0] != layout.RECORD_MAGIC
            ):
                addr = self.seek(addr, end)
                if addr < 0:
                    break
            length, top, crc = struct.unpack_from("<HII", head, 2)
            size = (length + (HEAD + SLOT - 1)) & -SLOT
            ack = head[layout.ACK]
            if ack != 0xFF and layout.cleared(ack):
                last = -1
                if ack:
                    self._acks.append(addr)
            elif lo <= top <= hi:
                last = -1
                moved = True
            else:
                last = addr
                slots += size // SLOT
                count += 1
            addr += size
        self.live[s] = slots
        self.count += count
        self.next_seq = max(self.next_seq, top + 1)
        if top <= hi and lo <= first <= hi:
            return False
        if moved:
            self._partly.append(s)
        # The sector's end, should it be the last. A weak bit may read otherwise the next time:
        # what is decided here is decided by what was read once.
        self._end = (s, self._stop, self._why, last, length, crc)
        return True

    def _find_tail(self):
        # Where the records of the last sector end, and whether the last one was completed.
        s, self.tail, why, last, length, crc = self._end
        self.active = s
        self.end = (s + 1) * self._size
        if why == JUNK:
            self.torn += 1
            # More than an append without a complete header touches: not to be written to again.
            self._closed = not self._is_blank(self.skip(self.tail), self.end)
        if last < 0:
            return
        self._last = last
        self._last_slots = layout.padded(length) // SLOT
        if not self._body_good(last, length, crc):
            self._drop_last()

    def _drop_last(self):
        # The last record was not completed.
        self._torn = True
        self.torn += 1
        self.tail = self._last
        self.live[self.active] -= self._last_slots
        self.count -= 1
        self._last = -1
