"""Reader: finds its way through the records on flash."""

import struct
from array import array
from binascii import crc32

from ..compat import const
from . import layout
from .layout import HEAD, SECTOR_HEAD, SLOT

try:
    import _ring as core
except ImportError:
    from . import ring_twin as core

# Numbers in `f`, see ring_twin.py.
_ADDR = const(0)
_END = const(1)
_AFTER = const(5)
_LENGTH = const(8)
_SEQ = const(9)
_CRC = const(10)
_KIND = const(11)
_FLAGS = const(12)
_SIZE = const(13)
_SECTOR = const(28)
_NUMBERS = const(49)
_LIVE = const(1)
_WHOLES = const(2)
# Bits of _FLAGS.
_CONTINUES = const(0x40)
_GOES_ON = const(0x80)


class FlashError(OSError):
    """The flash does not read back what was programmed, or cannot be read."""


class Reader:
    """The part of Ring that reads; see there. A subclass has mount() and ack()."""

    _core = core

    def __init__(self, dev):
        size = dev.sector_size
        n = dev.sectors
        if n < 3 or size > 4096:
            raise ValueError("the queue needs three or more sectors of 4096 bytes at most")
        self.dev = dev
        # What takes most of the heap comes first: it has no holes yet.
        # Per sector: live SLOTs.
        self.live = array("H", bytes(2 * n))
        # Per sector: erases, relative to the least; 254 is "or more", 255 a bad sector.
        self.wears = bytearray(n)
        # Sectors that hold live records, oldest first; the last one is `active` and takes the
        # appends.
        self.order = self.sector_list(self.wears if n <= 256 else ())
        # The record or the sector's header last looked at: its beginning, and what it says.
        self.head = bytearray(HEAD + layout.KEY_MAX + layout.WHOLE)
        self.f = f = array("I", bytes(4 * _NUMBERS))
        f[_SECTOR] = size
        f[_SECTOR + 1] = dev.page_size
        f[_SECTOR + 2] = n * size
        # What is read: the device, or its memory where it is mapped.
        self.src = dev
        self._size = size
        self._end = None
        self.active = -1
        # Where the next record goes, and where its sector ends.
        self.tail = self.end = self.next_seq = 0
        # Changes whenever `order` does or records move.
        self.epoch = 0
        self.count = self.bad = 0
        self.damaged = self.corrupt = self.torn = self.repaired = 0
        self.priority = 0
        # The sector that `f` is about.
        self._cached = self._last_opened = -1
        # Sequence numbers (first, last) of parts of records that are not there as a whole; the
        # rest is told by Log.
        self._orphans = self._retire = self._acks = self._partly = ()
        self._torn = self._closed = False
        # A sector that was erased and is not opened yet, or -1; one where something programmed did
        # not read back; and the sectors found bad since the start.
        self.ahead = self.spoiled = -1
        self._outs = ()
        # Set while flash is written: still set at the next call, flash and RAM may differ.
        self._busy = True
        self._settled = False
        # The page that is put together, from the first write on.
        self._view = None

    def sector_list(self, sectors):
        return array("B" if self.dev.sectors <= 256 else "H", sectors)

    # Geometry and figures

    @property
    def capacity(self):
        """Bytes that records with their headers can take: all sound sectors but the spare one."""
        return max(0, self.dev.sectors - 1 - self.bad) * (self._size - SECTOR_HEAD)

    @property
    def max_body(self):
        """Bytes of the largest record, key and payload together."""
        return max(
            self._size - SECTOR_HEAD - HEAD,
            min((self.dev.sectors - 1) * (self._size - SECTOR_HEAD) // 4, layout.RECORD_MAX),
        )

    @property
    def free(self):
        """Capacity less the live records, in bytes. Scattered live records may make less of it
        usable.
        """
        return max(0, self.capacity - sum(self.live) * SLOT)

    def first(self, s):
        return s * self._size + SECTOR_HEAD

    def page_end(self, addr):
        page = self.dev.page_size
        return (addr // page + 1) * page

    def skip(self, addr):
        """Where the log goes on after a void slot: behind the page (two, if a header there reaches
        into the next) that an append may have touched before its header was complete.
        """
        return self.page_end(addr + HEAD - 1)

    def end_of(self, s):
        return self.tail if s == self.active else (s + 1) * self._size

    # Finding

    def read_sector(self, s):
        """Load sector s's header into `head`; what it is."""
        return self._core.header(self.src, s * self._size, self.head)

    def enter(self, s):
        """Let `f` be about sector s; its header is read if it was not there already."""
        if s != self._cached:
            self._cached = -1
            self._core.enter(self.src, self.head, self.f, s)
            self._cached = s

    def seek(self, s, addr, mode, after=0, kinds=None):
        """Whether sector s has such a record from addr on; it is loaded. See ring_twin.seek()."""
        self.enter(s)
        f = self.f
        f[_ADDR] = addr
        f[_END] = self.tail if s == self.active else (s + 1) * self._size
        f[_AFTER] = after
        return self._core.seek(self.src, self.head, f, mode, kinds)

    def find(self, seq, addr):
        """Address of a live record or part, loaded, or -1. addr: where it was at some time."""
        for lo, hi in self._orphans:
            if lo <= seq <= hi:
                return -1
        size = self._size
        f = self.f
        s = addr // size
        if s < self.dev.sectors and self.live[s]:
            if self.seek(s, max(addr, self.first(s)), _LIVE, seq - 1) and f[_SEQ] == seq:
                return f[_ADDR]
        # It was moved: its sector is the last whose first sequence number is not above, or the one
        # before that where a compaction took the head of a sector.
        i = self._place(seq)
        for s in (self.order[i], self.order[i - 1]) if i > 0 else self.order[:1]:
            if self.seek(s, self.first(s), _LIVE, seq - 1) and f[_SEQ] == seq:
                return f[_ADDR]
        return -1

    def _place(self, seq):
        # Index in `order` of the last sector that begins with `seq` or below.
        low = 0
        high = len(self.order)
        while high - low > 1:
            middle = (low + high) // 2
            self.read_sector(self.order[middle])
            if struct.unpack_from("<I", self.head, 16)[0] <= seq:
                low = middle
            else:
                high = middle
        return low

    def next_part(self):
        """Address of the part that continues the loaded record, loaded; -1 if there is none."""
        f = self.f
        if f[_FLAGS] & _GOES_ON:
            return self.following(f[_SEQ], f[_ADDR] + f[_SIZE])
        return -1

    def following(self, seq, addr):
        """The same behind part seq, which ends at addr."""
        addr = self.find(seq + 1, addr)
        # Behind a chain that was torn, its number is that of another record.
        return addr if self.f[_FLAGS] & _CONTINUES else -1

    # Reading

    def records(self, after=0, kinds=None):
        """Iterate the live records, oldest first: (handle, kind, key, payload length in bytes);
        `priority` is that of the record just yielded.

        after: only those with a higher sequence number (the first item of a handle). kinds: only
        these, bytes; None: all. The caller may append and ack meanwhile; records appended
        meanwhile are iterated too.
        """
        self._mounted()
        head = self.head
        f = self.f
        i = max(0, self._place(after) - 1) if after else 0
        while i < len(self.order):
            epoch = self.epoch
            s = self.order[i]
            addr = self.first(s)
            while epoch == self.epoch:
                if not self.seek(s, addr, _WHOLES, after, kinds):
                    i += 1
                    break
                here = f[_ADDR]
                addr = here + f[_SIZE]
                after = f[_SEQ]
                n = head[12]
                length = f[_LENGTH] - n
                if f[_FLAGS] & _GOES_ON:
                    if self._orphans and self.find(after, here) < 0:
                        continue
                    length = struct.unpack_from("<I", head, HEAD + n)[0]
                self.priority = f[_FLAGS] & 15
                yield (after, here), f[_KIND], bytes(head[HEAD : HEAD + n]), length
                if self._busy:
                    self.mount()
            else:
                i = max(0, self._place(after) - 1)

    def read(self, handle, buf, offset=0):
        """Fill buf from the record's payload, without checking it; zeros behind its end. False if
        the record is gone.
        """
        self._mounted()
        addr = self.find(*handle)
        if addr < 0:
            return False
        f = self.f
        offset += self.head[12]
        if f[_FLAGS] & _GOES_ON:
            offset += layout.WHOLE
        view = memoryview(buf)
        while addr >= 0:
            n = min(len(view), f[_LENGTH] - offset)
            if n > 0:
                self._fetch(addr + HEAD + offset, view[:n])
                view = view[n:]
            if not len(view):
                return True
            offset = max(0, offset - f[_LENGTH])
            addr = self.next_part()
        view[:] = bytes(len(view))
        return True

    def payload(self, handle):
        """The record's payload as bytes; None if it is gone, or damaged: then it is counted and
        dropped. Raises FlashError if it cannot be read.
        """
        self._mounted()
        for _ in range(2):
            addr = self.find(*handle)
            if addr < 0:
                return None
            body = self._checked(addr)
            if body is not None:
                return bytes(body)
        self.corrupt += 1
        self.ack(handle)
        return None

    def _checked(self, addr):
        # The payload of the record that is loaded; None if it is not as it was written.
        f = self.f
        skip = self.head[12]
        length = f[_LENGTH] - skip
        if f[_FLAGS] & _GOES_ON:
            length = struct.unpack_from("<I", self.head, HEAD + skip)[0]
            skip += layout.WHOLE
            if length > self.max_body:
                return None
        body = bytearray(length)
        view = memoryview(body)
        crc = crc32(memoryview(self.head)[HEAD : HEAD + skip])
        while True:
            n = f[_LENGTH] - skip
            if not 0 <= n <= len(view):
                return None
            self._fetch(addr + HEAD + skip, view[:n])
            if crc32(view[:n], crc) != f[_CRC]:
                return None
            view = view[n:]
            if not f[_FLAGS] & _GOES_ON:
                return None if len(view) else body
            addr = self.next_part()
            if addr < 0:
                return None
            skip = crc = 0

    def _fetch(self, addr, view):
        try:
            self.dev.read(addr, view)
        except OSError as e:
            raise FlashError(*e.args)

    def marks(self, handle):
        """How often mark() was called for a record: 0 to 7; 0 if it is gone."""
        self._mounted()
        if self.find(*handle) < 0:
            return 0
        zeros = self.head[layout.MARKS] ^ 0xFF
        return sum(zeros >> bit & 1 for bit in range(7))
