"""Python twin of c_modules/ring: goes through sectors and records on flash.

`src` is what is read: a memoryview of the whole region, or a device (nor.py). A read that fails
with OSError is like a damaged place. `f` is an array('I') of 31 numbers, named below; addresses
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
    HEAD,
    JUNK,
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
# record if it is live and first part of its chain (0: none), whether something was dead by LO, HI.
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

# Modes of seek(), results of scan().
_RAW = const(0)
_LIVE = const(1)
_WHOLES = const(2)
_END_OF_SECTOR = const(0)
_WEAK_ACK = const(1)
_ORPHANS = const(2)


def header(src, addr, buf):
    """Load the sector header at addr into buf (32 bytes); what it is. One flipped bit is put right
    in buf.
    """
    if not _reader(src)(addr, buf):
        return JUNK
    view = memoryview(buf)
    if crc32(view[: SECTOR_COVERED + 4]) == RESIDUE and buf[:3] == layout.MAGIC:
        return VALID
    ends = bytes(view[:8]), bytes(view[12:28])
    if ends == (BLANK_SLOT[:8], BLANK_SLOT):
        return BLANK if view[8:12] == BLANK_SLOT[:4] else AHEAD
    if ends == (ZERO_SLOT[:8], ZERO_SLOT) and _ones(view[8:12]) > layout.SUSPECT_ONES // 4:
        return ZERO
    # No erase count has so few ones, with its check.
    if _ones(view) <= layout.SUSPECT_ONES and _ones(view[8:12]) <= layout.SUSPECT_ONES // 4:
        return SUSPECT
    return VALID if _repair(buf, SECTOR_COVERED, 0) and buf[:3] == layout.MAGIC else JUNK


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
        ack = head[ACK]
        if ack != 0xFF and cleared(ack):
            f[_LAST] = 0
            if ack:
                return _WEAK_ACK
        elif f[_LO] <= seq <= f[_HI]:
            f[_LAST] = 0
            f[_MOVED] = 1
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
