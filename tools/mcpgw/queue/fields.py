"""Headers of sectors and records, byte by byte (docs/queue-format.md, "Sector" and "Record")."""

import functools
import struct
from dataclasses import dataclass
from zlib import crc32

MAGIC = b"MGQ"
NEWEST_VERSION = 2
SECTOR_HEAD = 32
SECTOR_COVERED = 24  # bytes in front of its CRC
HEAD = 20
COVERED = 14
RECORD_MAGIC = 0xF9
MAX_KEY = 32
DONE = 28  # offsets in a sector's header
GONE = 29
KEPT = 30
LAST_GOOD = 31
MARKS = 18  # offsets in a record's header
ACK = 19
BLANK = b"\xff"
COMPACTED = 1
STAMP = 2
CONTINUES = 0x40
GOES_ON = 0x80
# One void slot, or one blank, whatever the size of slots.
SIXTEEN = 16
# A suspect header may have so many ones.
SUSPECT_ONES = 16

SLOT_OF_VERSION = {1: 16, 2: 4}


def cleared(byte):
    """Whether a byte that is programmed to 0 when something is over says so: one bit flips by
    itself, more do not."""
    return byte.bit_count() <= 6


@functools.cache
def _syndromes(covered):
    """{change of the CRC: bit} for each single bit of `covered` bytes and the CRC behind them."""
    plain = crc32(bytes(covered))
    found = {}
    for bit in range(8 * covered):
        text = bytearray(covered)
        text[bit // 8] |= 1 << bit % 8
        found[crc32(text) ^ plain] = bit
    for bit in range(32):
        found[1 << bit] = 8 * covered + bit
    return found


def put_right(head, covered, start=0):
    """(header with a CRC that fits, the bit that was flipped or None); (None, None) if no single
    bit explains it. head: bytes, the CRC-32 lies behind `covered` of them."""
    wrong = crc32(head[:covered], start) ^ int.from_bytes(head[covered : covered + 4], "little")
    if not wrong:
        return bytes(head), None
    # A flip's change of the CRC does not depend on the text or the start value.
    bit = _syndromes(covered).get(wrong)
    if bit is None:
        return None, None
    right = bytearray(head)
    right[bit // 8] ^= 1 << bit % 8
    return bytes(right), bit


def pack_wear(count):
    return count | (~sum(count.to_bytes(3, "little")) & 0xFF) << 24


def wear_of(head):
    """Erase count in a sector's header; None where it has none."""
    if head[8:12] == BLANK * 4:
        return None
    count = int.from_bytes(head[8:11], "little")
    return count if pack_wear(count) >> 24 == head[11] else None


@dataclass
class SectorHead:
    """what: valid, given up (valid but for that), blank, retired, ahead (erased ahead), suspect or
    damaged. flipped: the bit that was put right, or None. The rest is of a valid one."""

    what: str
    wear: int | None
    flipped: int | None = None
    version: int = 0
    size: int = 0
    slot: int = 0
    flags: int = 0
    generation: int = 0
    first: int = 0
    last: int = 0
    done: int = 0xFF
    last_good: int = 0xFF

    @property
    def seed(self):
        """What a record's header CRC starts with, less its offset."""
        return crc32(struct.pack("<I", self.generation)) & 0x3FFFFFFF


def sector_head(head):
    """SectorHead of 32 bytes."""
    wear = wear_of(head)
    right, flipped = put_right(head[:DONE], SECTOR_COVERED)
    if right is not None and right[:3] == MAGIC:
        version, log_size, log_slot, flags = right[3:7]
        generation, first, last = struct.unpack_from("<III", right, 12)
        gone = cleared(head[GONE]) and not cleared(head[KEPT])
        return SectorHead(
            "given up" if gone else "valid",
            wear_of(right),
            flipped,
            version,
            1 << log_size if log_size < 32 else 0,
            1 << log_slot if log_slot < 16 else 0,
            flags,
            generation,
            first,
            last,
            head[DONE],
            head[LAST_GOOD],
        )
    rest = head[:8] + head[12:DONE]
    # No erase count has so few ones, with its check.
    counted = int.from_bytes(head[8:12], "little").bit_count() > SUSPECT_ONES // 4
    if rest == bytes(24) and counted:
        return SectorHead("retired", wear)
    if rest == BLANK * 24:
        return SectorHead("blank" if head[8:12] == BLANK * 4 else "ahead", wear)
    if wear is not None and int.from_bytes(rest, "little").bit_count() == 1:
        return SectorHead("retired", wear)  # a bit of it flipped
    if not counted and int.from_bytes(head, "little").bit_count() <= SUSPECT_ONES:
        return SectorHead("suspect", wear)
    return SectorHead("damaged", wear)


def pack_sector(size, slot, flags, wear, generation, first):
    """The 32 bytes of a valid header that replaces none."""
    head = MAGIC + bytes([NEWEST_VERSION, size.bit_length() - 1, slot.bit_length() - 1, flags, 0])
    head += struct.pack("<IIII", pack_wear(wear), generation, first, 0)
    return head + struct.pack("<I", crc32(head)) + BLANK * 4


@dataclass
class Part:
    """One record as flash has it: a record, or a part of a chain. at: address in the image."""

    at: int
    head: bytes  # 20 bytes, the first 18 put right
    body: bytes
    flipped: int | None = None

    @property
    def kind(self):
        return self.head[1]

    @property
    def seq(self):
        return int.from_bytes(self.head[4:8], "little")

    @property
    def key_length(self):
        return self.head[12]

    @property
    def priority(self):
        return self.head[13] & 15

    @property
    def continues(self):
        return bool(self.head[13] & CONTINUES)

    @property
    def goes_on(self):
        return bool(self.head[13] & GOES_ON)

    @property
    def marks(self):
        return 7 - (self.head[MARKS] & 0x7F).bit_count()

    @property
    def acked(self):
        return cleared(self.head[ACK])

    @property
    def good(self):
        return crc32(self.body) == int.from_bytes(self.head[8:12], "little")

    def size(self, slot):
        """Bytes that it takes in flash."""
        return -(-(HEAD + len(self.body)) // slot) * slot


def part_at(data, at, end, start, repair=True):
    """The Part with a valid header at `at` of an image, or None. end: of its sector; start: what
    the header's CRC starts with."""
    head = data[at : at + HEAD]
    right, flipped = put_right(head[:18], COVERED, start)
    if right is None or right[0] != RECORD_MAGIC or (flipped is not None and not repair):
        return None
    length = int.from_bytes(right[2:4], "little")
    if at + HEAD + length > end or right[12] > min(length, MAX_KEY):
        return None
    body = data[at + HEAD : at + HEAD + length]
    return Part(at, right + head[18:], body, flipped)


def part_head(part, seed, offset):
    """The 20 bytes of `part` in another sector, at another place; its marks stay, but that which
    none but a void record has."""
    head = part.head[:COVERED]
    marks = bytes([part.head[MARKS] | 0x80])
    return head + struct.pack("<I", crc32(head, seed ^ offset)) + marks + part.head[ACK:HEAD]
