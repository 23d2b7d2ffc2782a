"""Reader: finds its way through the records on flash."""

import struct
from array import array
from binascii import crc32

from ..compat import const
from . import layout
from .layout import ACK, BLANK, HEAD, JUNK, SECTOR_HEAD, SLOT, VALID, ZERO

_KEY_MAX = const(32)


class FlashError(OSError):
    """The flash does not read back what was programmed."""


class Reader:
    """The part of Ring that reads; see there. A subclass has mount() and ack()."""

    def __init__(self, dev):
        if dev.sectors < 3 or dev.sector_size > 4096:
            raise ValueError("the queue needs three or more sectors of 4096 bytes at most")
        self.dev = dev
        self._size = dev.sector_size
        self.max_body = self._size - SECTOR_HEAD - HEAD
        # Per sector: live SLOTs (a sector holds 254 at most).
        self.live = bytearray(dev.sectors)
        # Per sector: erases, relative to `wear_min`; 255 is "or more".
        self.wears = bytearray(dev.sectors)
        self.wear_min = self.wear_max = 0
        # Sectors that hold live records, oldest first; the last one is `active` and takes the
        # appends.
        self.order = self.sector_list(())
        self.active = -1
        # Where the next record goes, and where its sector ends.
        self.tail = self.end = 0
        # Changes whenever `order` does or records move.
        self.epoch = 0
        self.count = 0
        self.damaged = self.corrupt = self.torn = self.repaired = 0
        self.head = bytearray(HEAD + _KEY_MAX)
        self._covered = memoryview(self.head)[: layout.RECORD_COVERED + 4]
        self._sector = bytearray(SECTOR_HEAD)
        self._page = bytearray(dev.page_size)
        self._view = memoryview(self._page)
        self._back = memoryview(bytearray(dev.page_size))
        # Where seek() found no more records, and what it found instead.
        self._stop = 0
        self._why = BLANK
        # Whether finding damage counts: only in mount().
        self._counting = False
        # Sector whose seed() is held, and the seed.
        self._cached = -1
        self._seed = 0
        # Set while flash is written: still set at the next call, flash and RAM may differ.
        self._busy = True
        self._settled = False

    def sector_list(self, sectors):
        return array("B" if self.dev.sectors <= 256 else "H", sectors)

    # Geometry and figures

    @property
    def capacity(self):
        """Bytes that records with their headers can take: all sectors but the spare one."""
        return (self.dev.sectors - 1) * (self._size - SECTOR_HEAD)

    @property
    def free(self):
        """Capacity less the live records, in bytes. Scattered live records may make less of it
        usable.
        """
        return self.capacity - sum(self.live) * SLOT

    def first(self, s):
        return s * self._size + SECTOR_HEAD

    def page_end(self, addr):
        page = len(self._page)
        return (addr // page + 1) * page

    def skip(self, addr):
        """Where the log goes on after a void slot: behind the page (two, if a header there reaches
        into the next) that an append may have touched before its header was complete.
        """
        return self.page_end(addr + HEAD - 1)

    def read_sector(self, s):
        """Load sector s's header into _sector; what it is."""
        self.dev.read(s * self._size, self._sector)
        return layout.check_sector(self._sector)

    def _start(self, addr):
        # Start value of the header's CRC of a record at addr.
        s = addr // self._size
        if s != self._cached:
            self.read_sector(s)
            self._seed = layout.seed(struct.unpack_from("<I", self._sector, 12)[0])
            self._cached = s
        return self._seed ^ addr - s * self._size

    def _slots(self):
        return layout.padded(struct.unpack_from("<H", self.head, 2)[0]) // SLOT

    def load(self, addr, repair=True):
        """Load the slot at addr into `head` (a record's key included); what it is."""
        head = self.head
        size = self._size
        s = addr // size
        left = size - (addr - s * size)
        # _start(), for speed.
        start = self._seed ^ size - left if s == self._cached else self._start(addr)
        if left >= len(head):
            self.dev.read(addr, head)
        else:
            self.dev.read(addr, memoryview(head)[:left])
        if crc32(self._covered, start) == layout.RESIDUE and head[0] == layout.RECORD_MAGIC:
            return VALID
        what = layout.check_record(head, start)
        if what == JUNK and repair and layout.repair(head, layout.RECORD_COVERED, start):
            length = head[2] | head[3] << 8
            if (
                head[0] == layout.RECORD_MAGIC
                and HEAD + length <= left
                and head[12] <= min(length, _KEY_MAX)
            ):
                self.repaired += self._counting
                return VALID
        return what

    def seek(self, addr, end):
        """Address of the first record from addr on, loaded; -1 if none before end (see _stop,
        _why).
        """
        while addr + HEAD <= end:
            what = self.load(addr)
            if what == VALID:
                return addr
            if what == ZERO:
                addr = self.skip(addr)
                continue
            self._stop = addr
            self._why = what
            if what == BLANK:
                return -1
            # Without its length the next record can only be looked for.
            while addr + SLOT + HEAD <= end:
                addr += SLOT
                if self.load(addr, False) == VALID:
                    if self._counting:
                        self.damaged += 1
                    return addr
            return -1
        self._stop = end
        self._why = BLANK
        return -1

    def _body_good(self, addr, length, crc):
        at = addr + HEAD
        have = 0
        while length:
            part = self._view[: min(length, len(self._page))]
            self.dev.read(at, part)
            have = crc32(part, have)
            at += len(part)
            length -= len(part)
        return have == crc

    def find(self, handle):
        """Address of a live record, loaded, or -1."""
        seq, addr = handle
        if self.live[addr // self._size] and self._is_live(addr, seq):
            return addr
        # It was moved: its sector is the last whose first sequence number is not above, or the one
        # before that where a compaction took the head of a sector.
        i = self._place(seq)
        for s in (self.order[i], self.order[i - 1]) if i > 0 else self.order[:1]:
            addr = self.first(s)
            end = self.end_of(s)
            while True:
                addr = self.seek(addr, end)
                if addr < 0:
                    break
                if self._is_live(addr, seq):
                    return addr
                addr += self._slots() * SLOT
        return -1

    def _is_live(self, addr, seq):
        if addr // self._size == self.active and addr >= self.tail:
            return False
        if self.load(addr) != VALID or layout.cleared(self.head[layout.ACK]):
            return False
        return struct.unpack_from("<I", self.head, 4)[0] == seq

    def _place(self, seq):
        for i in range(len(self.order) - 1, 0, -1):
            self.read_sector(self.order[i])
            if struct.unpack_from("<I", self._sector, 16)[0] <= seq:
                return i
        return 0

    def end_of(self, s):
        return self.tail if s == self.active else (s + 1) * self._size

    def records(self, after=0):
        """Iterate the live records, oldest first: (handle, kind, key, payload length in bytes).

        after: only those with a higher sequence number (the first item of a handle). The caller
        may append and ack meanwhile; records appended meanwhile are iterated too.
        """
        self._mounted()
        head = self.head
        read = self.dev.read
        i = max(0, self._place(after) - 1) if after else 0
        while i < len(self.order):
            epoch = self.epoch
            s = self.order[i]
            addr = self.first(s)
            self._start(addr)
            seed = self._seed
            base = s * self._size
            while epoch == self.epoch:
                end = self.tail if s == self.active else base + self._size
                # As seek() does it; the usual case inline, for speed.
                usual = addr + len(head) <= end
                if usual:
                    read(addr, head)
                    start = seed ^ addr - base
                    usual = (
                        crc32(self._covered, start) == layout.RESIDUE
                        and head[0] == layout.RECORD_MAGIC
                    )
                if not usual:
                    addr = self.seek(addr, end)
                    if addr < 0:
                        i += 1
                        break
                kind, length, seq = struct.unpack_from("<BHI", head, 1)
                here = addr
                addr += (length + (HEAD + SLOT - 1)) & -SLOT
                if seq > after and (head[ACK] == 0xFF or not layout.cleared(head[ACK])):
                    after = seq
                    n = head[12]
                    yield (seq, here), kind, bytes(head[HEAD : HEAD + n]), length - n
                    if self._busy:
                        self.mount()
            else:
                i = max(0, self._place(after) - 1)

    def read(self, handle, buf, offset=0):
        """Fill buf from the record's payload, without checking it. False if the record is gone."""
        self._mounted()
        addr = self.find(handle)
        if addr < 0:
            return False
        self.dev.read(addr + HEAD + self.head[12] + offset, buf)
        return True

    def payload(self, handle):
        """The record's payload as bytes; None if it is gone, or damaged: then it is counted and
        dropped.
        """
        self._mounted()
        for _ in range(2):
            addr = self.find(handle)
            if addr < 0:
                return None
            length, seq, crc = struct.unpack_from("<HII", self.head, 2)
            n = self.head[12]
            body = bytearray(length)
            self.dev.read(addr + HEAD, body)
            if crc32(body) == crc:
                return bytes(memoryview(body)[n:])
        self.corrupt += 1
        self.ack(handle)
        return None
