"""The bytes of the queue on flash (docs/queue-format.md, version 2): functions over buffers."""

import struct
from binascii import crc32

from ..compat import const

# Records start at multiples of this within a sector; log2 of it. Sectors of version 1 say 4.
SLOT = const(4)
SLOT_LOG = const(2)
# Bytes of a record's header, of a sector's header and where the sector's first record begins.
HEAD = const(20)
SECTOR_HEAD = const(32)
KEY_MAX = const(32)

VERSION = const(2)
MAGIC = b"MGQ"
# Never a byte of UTF-8 text, so no message can look like a record.
RECORD_MAGIC = const(0xF9)

# Sector flags.
COMPACTED = const(1)
STAMP = const(2)

# Offsets in a record's header: priority and chain flags, and two that are programmed later.
FLAGS = const(13)
MARKS = const(18)
ACK = const(19)
# Offsets in a sector's header that are programmed later: a compacted one is in force, a sector is
# given up, that was a mistake, the record that ends with the sector was found good.
DONE = const(28)
GONE = const(29)
KEPT = const(30)
LAST_GOOD = const(31)

# Chain flags: continues the record before it, goes on in the next.
CONTINUES = const(0x40)
GOES_ON = const(0x80)
# Bytes of the whole payload's length, behind the key of a chain's first part.
WHOLE = const(4)
# Bytes of body that a part has at least, if more follows it.
PART_MIN = const(64)
RECORD_MAX = const(65536)

# Bytes of a record's and of a sector's header that its CRC covers, which follows them. CRC-32 of
# anything with its own CRC behind it is always the same.
RECORD_COVERED = const(14)
SECTOR_COVERED = const(24)
RESIDUE = 0x2144DF1C

# What a slot or sector header can be. AHEAD: blank but for the erase count. SUSPECT: of zeros.
JUNK = const(0)
VALID = const(1)
BLANK = const(2)
ZERO = const(3)
AHEAD = const(4)
SUSPECT = const(5)
# Ones that a suspect's header may have.
SUSPECT_ONES = const(16)

BLANK_SLOT = b"\xff" * 16
ZERO_SLOT = bytes(16)
# Clears a sector header but its erase count, the one field of use afterwards, and DONE: cut, that
# could put a compaction in force that was given up.
RETIRE = bytes(8) + b"\xff\xff\xff\xff" + bytes(16)

_WEAR_MAX = const(0xFFFFFF)


def cleared(byte):
    """Whether a mark byte (0xFF at first, programmed to 0) counts as programmed.

    One bit may have flipped by itself; more than one were programmed, even if a cut kept the rest.
    """
    return byte != 0xFF and (byte ^ 0xFF) & ((byte ^ 0xFF) - 1) != 0


def pack_wear(count):
    """Erase count with a check of its own: it outlives the rest of the header."""
    count = min(count, _WEAR_MAX)
    total = (count & 0xFF) + (count >> 8 & 0xFF) + (count >> 16)
    return count | (~total & 0xFF) << 24


def unpack_wear(word):
    """The erase count, or -1 if the word is not one."""
    count = word & _WEAR_MAX
    return count if pack_wear(count) == word else -1


def pack_sector(buf, sector_size, flags, wear, generation, first, last):
    """Fill buf (SECTOR_HEAD bytes) with a sector header whose DONE byte is not programmed yet."""
    size = 0
    while 1 << size < sector_size:
        size += 1
    fields = (VERSION, size, SLOT_LOG, flags, 0, pack_wear(wear), generation, first, last)
    struct.pack_into("<3sBBBBBIIII", buf, 0, MAGIC, *fields)
    struct.pack_into("<II", buf, 24, crc32(memoryview(buf)[:24]), 0xFFFFFFFF)


def seed(generation):
    """Start value of the CRCs of a sector's record headers, to be XORed with a header's offset in
    the sector: a header is valid only where and when it was written.

    Not the generation itself: one bit in the start value is to a CRC like one bit in the header,
    and would be put right as a flipped one.
    """
    return crc32(struct.pack("<I", generation)) & 0x3FFFFFFF


def pack_record(buf, kind, length, seq, body_crc, key_length, flags, start, marks=0xFF):
    """Fill buf[:HEAD] with a record's header; flags: priority and chain flags; start: seed() ^
    offset.
    """
    struct.pack_into(
        "<BBHIIBB", buf, 0, RECORD_MAGIC, kind, length, seq, body_crc, key_length, flags
    )
    crc = crc32(memoryview(buf)[:RECORD_COVERED], start)
    struct.pack_into("<IBB", buf, RECORD_COVERED, crc, marks, 0xFF)


def padded(length, slot=SLOT):
    """Bytes that a record with a body of `length` bytes takes on flash, in one piece."""
    return (HEAD + length + slot - 1) & -slot
