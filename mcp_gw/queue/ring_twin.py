"""Python twin of c_modules/ring: goes through sectors and records on flash.

`src` is what is read: a memoryview of the whole region, or a device (nor.py). A read that fails
with OSError is like a damaged place. `f` is an array('I') of numbers, named below; addresses
are bytes from the start of the region. See layout.py and docs/queue-format.md for the bytes.
"""

import struct
from binascii import crc32

from ..compat import const
from . import layout
from .layout import (
    ACK,
    AHEAD,
    BLANK,
    BLANK_SLOT,
    CONTINUES,
    GOES_ON,
    GONE,
    HEAD,
    JUNK,
    KEPT,
    KEY_MAX,
    RECORD_COVERED,
    RECORD_MAGIC,
    RESIDUE,
    SECTOR_COVERED,
    SUSPECT,
    VALID,
    ZERO,
    ZERO_SLOT,
    cleared,
)

# Where to go on, and where the log ends.
_ADDR = const(0)
_END = const(1)
# The sector: its start, layout.seed() of its generation, bytes of a slot.
_BASE = const(2)
_SEED = const(3)
_SLOT_BYTES = const(4)
# What seek() and scan() leave out; see there.
_AFTER = const(5)
_LO = const(6)
_HI = const(7)
# The record found: body's length, sequence number, body's CRC, kind, priority and chain flags, and
# the bytes it takes.
_LENGTH = const(8)
_SEQ = const(9)
_CRC = const(10)
_KIND = const(11)
_FLAGS = const(12)
_SIZE = const(13)
# Where there were no more records, and what was there instead.
_STOP = const(14)
_WHY = const(15)
# Counted by both: places passed over, headers put right.
_DAMAGED = const(16)
_REPAIRED = const(17)
# Counted by scan(): bytes and number of live records, last sequence number, address of the last
# record if it is live and first part of its chain (0: none), whether there is one from LO to HI.
_LIVE_BYTES = const(18)
_COUNT = const(19)
_TOP = const(20)
_LAST = const(21)
_MOVED = const(22)
# See scan().
_OPEN = const(23)
_NEXT = const(24)
_CHAIN = const(25)
_FROM = const(26)
_TO = const(27)
# The device: bytes of a sector, a page, the region.
_SECTOR = const(28)
_PAGE = const(29)
_LIMIT = const(30)
# Found by survey(): the next sequence number, the highest generation, its sector and whether that
# is compacted and done, the generation of the stamp, the least and most erases; the newest header.
_NEXT_SEQ = const(31)
_GENERATION = const(32)
_NEWEST = const(33)
_STAMP_AT = const(34)
_WEAR_LOW = const(35)
_WEAR_HIGH = const(36)
_DONE = const(37)
_NEWEST_HEAD = const(38)

# What only survey() says of a header; what judge() says of a sector.
_FOREIGN = const(6)
_VOID = const(0)
_KEPT = const(1)
_RETIRED = const(2)
_OUT = const(3)
_NO_SECTOR = const(0xFFFFFFFF)
_WEAR_MOST = const(254)
_WEAR_OUT = const(255)

# Modes of seek(), results of scan().
_RAW = const(0)
_LIVE = const(1)
_WHOLES = const(2)
_END_OF_SECTOR = const(0)
_WEAK_ACK = const(1)
_ORPHANS = const(2)


def header(src, addr, buf):
    """Load the sector header at addr into buf[:32]; what it is. One flipped bit is put right in
    buf.
    """
    view = memoryview(buf)[: layout.SECTOR_HEAD]
    if not _reader(src)(addr, view):
        return JUNK
    if crc32(view[: SECTOR_COVERED + 4]) != RESIDUE:
        ends = bytes(view[:8]), bytes(view[12:28])
        if ends == (BLANK_SLOT[:8], BLANK_SLOT):
            return BLANK if view[8:12] == BLANK_SLOT[:4] else AHEAD
        if ends == (ZERO_SLOT[:8], ZERO_SLOT) and _ones(view[8:12]) > layout.SUSPECT_ONES // 4:
            return ZERO
        # No erase count has so few ones, with its check.
        if _ones(view) <= layout.SUSPECT_ONES and _ones(view[8:12]) <= layout.SUSPECT_ONES // 4:
            return SUSPECT
        if not _repair(buf, SECTOR_COVERED, 0):
            return JUNK
    gone = cleared(view[GONE]) and not cleared(view[KEPT])
    return VALID if buf[:3] == layout.MAGIC and not gone else JUNK


def survey(src, buf, f, s):
    """The first look at sector s, which mounting begins with: what its header is."""
    what = header(src, s * f[_SECTOR], buf)
    wear = _wear(what, buf)
    if wear >= 0:
        f[_WEAR_LOW] = min(f[_WEAR_LOW], wear)
        f[_WEAR_HIGH] = max(f[_WEAR_HIGH], wear)
    if what != VALID:
        return what
    if not 0 < buf[3] <= layout.VERSION or 1 << buf[4] != f[_SECTOR]:
        return _FOREIGN
    generation, first, last = struct.unpack_from("<III", buf, 12)
    f[_NEXT_SEQ] = max(f[_NEXT_SEQ], first, last + 1)
    if buf[6] & layout.STAMP:
        f[_STAMP_AT] = max(f[_STAMP_AT], generation)
    if generation > f[_GENERATION]:
        f[_GENERATION] = generation
        f[_NEWEST] = s
        f[_DONE] = 1 if buf[6] & layout.COMPACTED and cleared(buf[layout.DONE]) else 0
        for i in range(8):
            f[_NEWEST_HEAD + i] = struct.unpack_from("=I", buf, 4 * i)[0]
    return what


def judge(src, buf, f, s):
    """The second look at sector s: what to do with it. f[_AFTER] is its wear, f[_FROM] and f[_TO]
    its first sequence number and generation.
    """
    what = _read_again(src, buf, f, s)
    wear = _wear(what, buf)
    if wear >= 0:
        wear = max(0, wear - f[_WEAR_LOW])
    else:
        # A blank sector was never used, as far as is known; one that a cut has left without a
        # count may be as worn as any.
        wear = 0 if what == BLANK else max(0, f[_WEAR_HIGH] - f[_WEAR_LOW])
    f[_AFTER] = min(wear, _WEAR_MOST)
    if what == SUSPECT:
        f[_AFTER] = _WEAR_OUT
        return _OUT
    generation, first = struct.unpack_from("<II", buf, 12)
    f[_FROM] = first
    f[_TO] = generation
    if what != VALID or generation >= f[_GENERATION] and s != f[_NEWEST]:
        # A header torn at some time, whose weak bits may make it valid at another, when something
        # else has its generation; or as early as at the second look. And one that may only read as
        # retired: once KEPT, GONE does not make it void.
        leave = what == BLANK or what == ZERO and not cleared(buf[KEPT])
        return _VOID if leave or f[_NEWEST] == _NO_SECTOR else _RETIRED
    if buf[6] & layout.STAMP:
        return _VOID
    if generation < f[_STAMP_AT] or buf[6] & layout.COMPACTED and not cleared(buf[layout.DONE]):
        # Of one that is compacted but not done the victims are still whole: what it holds must
        # never be seen again.
        return _RETIRED
    return _KEPT


def enter(src, buf, f, s):
    """Let f be about sector s, all its records to be scanned; what its header is. f[_FROM]: its
    first sequence number.
    """
    what = _read_again(src, buf, f, s)
    base = f[_BASE] = s * f[_SECTOR]
    f[_SEED] = layout.seed(struct.unpack_from("<I", buf, 12)[0])
    f[_SLOT_BYTES] = 16 if buf[5] == 4 else layout.SLOT
    f[_ADDR] = base + layout.SECTOR_HEAD
    f[_END] = base + f[_SECTOR]
    f[_LO] = 1
    f[_HI] = 0
    if f[_DONE] and s != f[_NEWEST]:
        newest = struct.pack("=II", f[_NEWEST_HEAD + 4], f[_NEWEST_HEAD + 5])
        f[_LO], f[_HI] = struct.unpack("<II", newest)
    f[_FROM] = struct.unpack_from("<I", buf, 16)[0]
    f[_SIZE] = f[_LIVE_BYTES] = f[_TOP] = f[_LAST] = f[_MOVED] = 0
    return what


def _wear(what, buf):
    if what not in (VALID, ZERO, AHEAD):
        return -1
    return layout.unpack_wear(int.from_bytes(buf[8:12], "little"))


def _read_again(src, buf, f, s):
    # Weak bits may read otherwise each time: what matters of the newest header is what was read
    # first.
    if s == f[_NEWEST]:
        for i in range(8):
            struct.pack_into("=I", buf, 4 * i, f[_NEWEST_HEAD + i])
        return VALID
    return header(src, s * f[_SECTOR], buf)


def seek(src, head, f, mode, kinds=None):
    """Find the first record from f[_ADDR] on that is wanted, before f[_END]; load it into head
    (header, key and what follows it) and f. False if there is none.

    mode: RAW any record with a valid header, LIVE those not acked with a sequence number above
    f[_AFTER], WHOLES of these the ones that continue none, of a kind in `kinds` (bytes; None: of
    any).
    """
    load = _loader(src, head, f)
    while _next(load, head, f):
        if mode == _RAW:
            return True
        ack = head[ACK]
        if (ack == 0xFF or not cleared(ack)) and f[_SEQ] > f[_AFTER]:
            if mode == _LIVE:
                return True
            if not f[_FLAGS] & CONTINUES and (kinds is None or f[_KIND] in kinds):
                return True
        f[_ADDR] += f[_SIZE]
    return False


def scan(src, head, f):
    """Count what a sector holds, from f[_ADDR] to f[_END]. END_OF_SECTOR, or before it WEAK_ACK
    (the record at f[_ADDR] has an ack that was not completed) or ORPHANS (those with sequence
    numbers f[_FROM] to f[_TO]); then call it again.

    Records with sequence numbers f[_LO] to f[_HI] are dead. f[_OPEN] and f[_NEXT]: first part and
    next sequence number of the chain that is being read, from one sector to the next.
    """
    load = _loader(src, head, f)
    if f[_SIZE]:
        # Called again: the record at f[_ADDR] is done with.
        f[_ADDR] += f[_SIZE]
        f[_SIZE] = 0
    while _next(load, head, f):
        seq = f[_SEQ]
        f[_TOP] = seq
        moved = f[_LO] <= seq <= f[_HI]
        f[_MOVED] |= moved
        ack = head[ACK]
        if ack != 0xFF and cleared(ack):
            f[_LAST] = 0
            if ack:
                return _WEAK_ACK
        elif moved:
            f[_LAST] = 0
        else:
            f[_LAST] = f[_ADDR]
            f[_LIVE_BYTES] += f[_SIZE]
            part = f[_FLAGS] & (CONTINUES | GOES_ON)
            first = f[_OPEN]
            f[_CHAIN] = 0
            if part & CONTINUES:
                if not first or seq != f[_NEXT]:
                    return _orphans(f, first or seq, seq, 0)
                f[_CHAIN] = first
                f[_NEXT] = seq + 1
                if not part & GOES_ON:
                    f[_OPEN] = 0
                    f[_COUNT] += 1
            else:
                if part:
                    f[_OPEN] = f[_CHAIN] = seq
                else:
                    f[_OPEN] = 0
                    f[_COUNT] += 1
                if first:
                    return _orphans(f, first, f[_NEXT] - 1, f[_OPEN])
                f[_NEXT] = seq + 1
        f[_ADDR] += f[_SIZE]
    f[_SIZE] = 0
    return _END_OF_SECTOR


def blank(src, head, addr, end):
    """Whether all bits from addr to end are ones."""
    read = _reader(src)
    ones = b"\xff" * len(head)
    while addr < end:
        part = memoryview(head)[: min(len(head), end - addr)]
        if not read(addr, part) or part != ones[: len(part)]:
            return False
        addr += len(part)
    return True


def _orphans(f, first, last, open_):
    f[_FROM] = first
    f[_TO] = last
    f[_OPEN] = open_
    f[_NEXT] = f[_SEQ] + 1
    return _ORPHANS


def _ones(buf):
    count = 0
    for byte in buf:
        while byte:
            byte &= byte - 1
            count += 1
    return count


def _reader(src):
    if not hasattr(src, "read"):

        def read(addr, buf):
            buf[:] = src[addr : addr + len(buf)]
            return True

    else:

        def read(addr, buf):
            try:
                src.read(addr, buf)
            except OSError:
                return False
            return True

    return read


def _loader(src, head, f):
    # load(addr, repair) -> what the slot there is; fills head, and f if it is valid.
    read = _reader(src)
    base = f[_BASE]
    over = base + f[_SECTOR]
    seed = f[_SEED]
    slot = f[_SLOT_BYTES]
    covered = memoryview(head)[: RECORD_COVERED + 4]
    whole = f[_LIMIT] - len(head)

    def load(addr, repair):
        if not read(addr, head if addr <= whole else memoryview(head)[: f[_LIMIT] - addr]):
            # There may be a record at the next slot.
            head[slot] = RECORD_MAGIC
            return JUNK
        start = seed ^ addr - base
        if head[0] != RECORD_MAGIC or crc32(covered, start) != RESIDUE:
            if covered[:16] == BLANK_SLOT:
                return BLANK
            if _ones(covered[:16]) <= 1:
                return ZERO
            if not repair or not _repair(head, RECORD_COVERED, start) or head[0] != RECORD_MAGIC:
                return JUNK
            f[_REPAIRED] += 1
        kind, length, seq, crc, n, flags = struct.unpack_from("<BHIIBB", head, 1)
        if addr + HEAD + length > over or n > min(length, KEY_MAX):
            return JUNK
        f[_ADDR] = addr
        f[_LENGTH] = length
        f[_SEQ] = seq
        f[_CRC] = crc
        f[_KIND] = kind
        f[_FLAGS] = flags
        f[_SIZE] = (HEAD + length + slot - 1) & -slot
        return VALID

    return load


def _next(load, head, f):
    # The first record from f[_ADDR] on, loaded; False if none before f[_END] (see STOP, WHY).
    addr = f[_ADDR]
    end = f[_END]
    slot = f[_SLOT_BYTES]
    while addr + HEAD <= end:
        what = load(addr, True)
        if what == VALID:
            return True
        if what == ZERO:
            # Behind the pages that an append may have touched before its header was complete.
            page = f[_PAGE]
            addr = ((addr + HEAD - 1) // page + 1) * page
            continue
        f[_STOP] = addr
        f[_WHY] = what
        if what == BLANK:
            return False
        # Without its length the next record can only be looked for.
        while True:
            step = slot
            while step < len(head) and head[step] != RECORD_MAGIC:
                step += slot
            addr += step
            if addr + HEAD > end:
                return False
            if load(addr, False) == VALID:
                f[_DAMAGED] += 1
                return True
    f[_STOP] = end
    f[_WHY] = BLANK
    return False


def _repair(buf, covered, start):
    """Put right one flipped bit of a header whose CRC, from `start`, follows `covered` bytes."""
    # CRC-32 tells all single-bit errors of so short a text apart: trying each bit corrects them.
    view = memoryview(buf)[: covered + 4]
    for i in range(covered + 4):
        for bit in range(8):
            buf[i] ^= 1 << bit
            if crc32(view, start) == RESIDUE:
                return True
            buf[i] ^= 1 << bit
    return False
