"""What an image of a queue holds: the steps of "Mounting" in docs/queue-format.md, and what is
wrong with it on the way."""

from collections import Counter
from dataclasses import dataclass, field

from ..words import counted
from . import QueueError, fields
from .fields import BLANK, HEAD, SECTOR_HEAD, SIXTEEN, Part

SECTOR = 4096
PAGE = 256
LEAST = 3  # sectors
# How much a finding means: nothing (a worn sector that is left out), the trace of a power cut or
# of a bit that flipped, which the board puts right by itself, or something that is lost.
NOTE, MENDED, LOST = "note", "mended", "lost"


@dataclass
class Finding:
    """Something wrong. at: address in the image."""

    at: int
    level: str
    text: str


@dataclass
class Record:
    """A record that a board would find. payload: None if it is damaged."""

    seq: int
    kind: int
    key: bytes
    priority: int
    marks: int
    payload: bytes | None
    parts: list[Part]

    @property
    def at(self):
        return self.parts[0].at


@dataclass
class _Sector:
    """A sector with records, as far as it is known."""

    index: int
    head: fields.SectorHead
    parts: list[Part] = field(default_factory=list)
    broken_at: int = -1  # where the log breaks off, if it does not end


class Image:
    """data: bytes of the queue's region. records: those that a board would find, in order;
    live: the parts that they and orphans are made of; findings: what is wrong, by address; heads:
    of all sectors. strict: refuse what a board refuses. Raises QueueError."""

    def __init__(self, data, strict=True):
        self.data = data = bytes(data)
        if len(data) % SECTOR or len(data) < LEAST * SECTOR:
            raise QueueError(
                f"an image is {LEAST} or more whole sectors of {SECTOR} bytes; this has"
                f" {len(data)} bytes"
            )
        self.findings = []
        self.records = []
        self.live = []
        self.heads = [
            fields.sector_head(data[at : at + SECTOR_HEAD]) for at in range(0, len(data), SECTOR)
        ]
        self.blank = not any(head.what == "valid" for head in self.heads)
        if self.blank and strict:
            self._check_blank()
        elif self.blank:
            self._data_sectors()
        else:
            self._check_versions()
            self._read()
        self.findings.sort(key=lambda row: row.at)

    @property
    def sectors(self):
        return len(self.heads)

    @property
    def bad(self):
        """Numbers of the sectors that are left out."""
        return [s for s, head in enumerate(self.heads) if head.what == "suspect"]

    @property
    def generation(self):
        """The highest there is."""
        return max((head.generation for head in self.heads if head.what == "valid"), default=0)

    @property
    def worst(self):
        """The level of the gravest finding, or None."""
        levels = Counter(row.level for row in self.findings)
        return next((level for level in (LOST, MENDED, NOTE) if levels[level]), None)

    def _find(self, at, level, text):
        self.findings.append(Finding(at, level, text))

    def _check_blank(self):
        """Only blank flash, but for a torn first stamp, may become a queue."""
        ones = BLANK * SECTOR
        stamp = fields.pack_sector(SECTOR, 4, fields.STAMP, 1, 1, 1)
        for s in range(self.sectors):
            at = s * SECTOR
            skip = SECTOR_HEAD if s == 0 else 0
            if self.data[at + skip : at + SECTOR] != ones[skip:]:
                raise QueueError("there is no queue in it, and it is not blank")
        torn = self.data[:SECTOR_HEAD]
        # The erase count may be any, and the CRC depends on it.
        kept = [i for i in range(SECTOR_HEAD) if not 8 <= i < 12 and not 24 <= i < 28]
        if any(stamp[i] & torn[i] != stamp[i] for i in kept):
            raise QueueError("there is no queue in it, and it is not blank")
        if torn != ones[:SECTOR_HEAD]:
            self._find(0, MENDED, "a queue was begun here, and power failed as it was stamped")

    def _check_versions(self):
        for s, head in enumerate(self.heads):
            if head.what != "valid":
                continue
            slot = fields.SLOT_OF_VERSION.get(head.version)
            if slot is None:
                raise QueueError(
                    f"sector {s} is of format {head.version}, and this tool knows formats up to "
                    f"{fields.NEWEST_VERSION}"
                )
            if head.size != SECTOR or head.slot != slot:
                raise QueueError(f"sector {s} has sectors of {head.size} and slots of {head.slot}")

    def _read(self):
        newest = self._newest()
        found = self._data_sectors(newest)
        moved = range(0)
        if newest is not None and newest.flags & fields.COMPACTED and fields.cleared(newest.done):
            moved = range(newest.first, newest.last + 1)
        live = []
        order = []
        for sector in found:
            self._scan(sector)
            dead = moved if sector.head is not newest else range(0)
            seqs = [part.seq for part in sector.parts]
            if sector.head.first in dead and all(seq < dead.stop for seq in seqs):
                self._find(sector.index * SECTOR, MENDED, "all that is in it was moved already")
                continue  # void
            order.append(sector)
            live += [part for part in sector.parts if not part.acked and part.seq not in dead]
        torn = self._torn(order[-1]) if order else None
        self._places(order)
        self.live = sorted((part for part in live if part is not torn), key=lambda part: part.seq)
        self._assemble()

    def _newest(self):
        """The valid header of the highest generation."""
        valid = [head for head in self.heads if head.what == "valid"]
        return max(valid, key=lambda head: head.generation)

    def _data_sectors(self, newest=None):
        """Sectors with records, in order. Tells what is wrong with headers."""
        stamps = [h.generation for h in self.heads if h.what == "valid" and h.flags & fields.STAMP]
        stamp = max(stamps, default=0)
        found = []
        for s, head in enumerate(self.heads):
            at = s * SECTOR
            if head.flipped is not None:
                self._find(
                    at + head.flipped // 8, MENDED, "one bit of the sector's header flipped"
                )
            if head.what == "damaged":
                self._damaged(s)
            elif head.what == "suspect":
                self._find(at, NOTE, "the sector could not be erased or programmed: left out")
            elif head.what == "given up":
                self._find(at, MENDED, "power failed as the sector was given up; void")
            elif head.what != "valid":
                continue
            elif head is not newest and head.generation == newest.generation:
                self._find(at, MENDED, "another sector has its generation, too: void")
            elif head.flags & fields.STAMP:
                if head.generation < stamp:
                    self._find(at, MENDED, "a stamp older than the newest")
            elif head.flags & fields.COMPACTED and not fields.cleared(head.done):
                self._find(
                    at,
                    MENDED,
                    "power failed while records were moved here; they are whole where they were",
                )
            elif head.generation < stamp:
                self._find(at, MENDED, "older than the newest stamp: what it holds was discarded")
            else:
                if head.flags & fields.COMPACTED and head.done:
                    self._find(at + fields.DONE, MENDED, f"done is {head.done:#04x} instead of 0")
                found.append(_Sector(s, head))
        found.sort(key=lambda sector: (sector.head.first, sector.head.generation))
        return found

    def _damaged(self, s):
        text = "the header is damaged; a board takes the sector for a free one"
        if count := len(lost_parts(self.data, s)):
            # A sector that was being erased looks the same, with records that were delivered.
            good = "record in it has a good checksum", "records in it have good checksums"
            text += f". {counted(count, *good)}: see repair --salvage"
        self._find(s * SECTOR, MENDED, text)

    def _scan(self, sector):
        base = sector.index * SECTOR
        end = base + SECTOR
        at = base + SECTOR_HEAD
        seed = sector.head.seed
        slot = sector.head.slot
        while at + HEAD <= end:
            part = fields.part_at(self.data, at, end, seed ^ at - base)
            if part is not None:
                if part.flipped is not None:
                    text = f"one bit of record {part.seq}'s header flipped"
                    self._find(at + part.flipped // 8, MENDED, text)
                if part.acked and part.head[fields.ACK]:
                    text = f"the ack of record {part.seq} is {part.head[fields.ACK]:#04x}"
                    self._find(at + fields.ACK, MENDED, text + " instead of 0")
                sector.parts.append(part)
                at += part.size(slot)
                continue
            following = self.data[at : at + SIXTEEN]
            if int.from_bytes(following, "little").bit_count() <= 1:
                at = self._page_behind(at)  # a void slot, a bit of which may have flipped
                continue
            if self._blank_at(at):
                return
            broken = at
            at += slot
            while at + HEAD <= end:
                if fields.part_at(self.data, at, end, seed ^ at - base, repair=False):
                    break
                at += slot
            if at + HEAD > end:
                sector.broken_at = broken
                return
            self._find(broken, LOST, f"{at - broken} bytes that are no record")

    def _torn(self, last):
        """The last record of the last sector, if it was not completed."""
        part = last.parts[-1] if last.parts else None
        if part is None or part.acked or part.good and not self._is_void(last, part):
            return None
        self._find(part.at, MENDED, f"power failed while record {part.seq} was stored")
        return part

    def _is_void(self, sector, part):
        """Whether a start that found it torn was cut while it said so."""
        behind = part.at + part.size(sector.head.slot)
        if behind + HEAD > (sector.index + 1) * SECTOR:
            undecided = sector.head.last_good == 0xFF
        else:
            undecided = self._blank_at(behind)
        return not part.head[fields.MARKS] and undecided

    def _places(self, order):
        for sector in order:
            if sector.broken_at < 0:
                continue
            if sector is order[-1]:
                text = "power failed as a record was begun here"
                rest = self.data[self._page_behind(sector.broken_at) : (sector.index + 1) * SECTOR]
                if rest.strip(BLANK):
                    text = "not blank, and more than an append that was cut; the sector is closed"
            else:
                text = "the log of this sector breaks off here: it was closed"
            self._find(sector.broken_at, MENDED, text)

    def _blank_at(self, at):
        """Whether nothing was programmed there: the log ends."""
        return self.data[at : at + SIXTEEN] == BLANK * SIXTEEN

    @staticmethod
    def _page_behind(at):
        return ((at + fields.ACK) // PAGE + 1) * PAGE

    def _assemble(self):
        for part, after in zip(self.live, self.live[1:], strict=False):
            if part.seq == after.seq:
                text = f"record {after.seq} is there twice, at {part.at:#x} too"
                self._find(after.at, LOST, text)
        whole, orphans = chains(self.live)
        for part in orphans:
            text = f"record {part.seq} is a part of a chain whose other parts are not there"
            self._find(part.at, MENDED, text)
        for parts in whole:
            record = record_of(parts)
            if record.payload is None:
                wrong = next((part for part in parts if not part.good), parts[0])
                text = f"the body of record {wrong.seq} does not have its checksum: it is lost"
                self._find(wrong.at + HEAD, LOST, text)
            self.records.append(record)


def chains(live):
    """(list of the parts of each record, parts of which others are missing), from parts sorted by
    their sequence numbers."""
    whole = []
    orphans = []
    chain = []
    for part in live:
        if chain and (part.seq != chain[-1].seq + 1 or not part.continues):
            orphans += chain
            chain = []
        if part.continues and not chain:
            orphans.append(part)
            continue
        chain.append(part)
        if not part.goes_on:
            whole.append(chain)
            chain = []
    return whole, orphans + chain


def record_of(parts):
    """The Record that a whole chain is."""
    head = parts[0]
    body = b"".join(part.body for part in parts)
    key = body[: head.key_length]
    payload = body[head.key_length :]
    good = all(part.good for part in parts)
    if len(parts) > 1:
        length = int.from_bytes(payload[:4], "little")
        payload = payload[4:]
        good = good and length == len(payload)
    return Record(
        head.seq, head.kind, key, head.priority, head.marks, payload if good else None, parts
    )


def lost_parts(data, s):
    """Parts in sector s, whose header is damaged: their bodies are as their checksums say, and
    their headers agree on what the sector's header was. Whether they were acked, or moved
    elsewhere and acked there, is not known."""
    found = Counter()
    parts = {}
    for slot in sorted(set(fields.SLOT_OF_VERSION.values())):
        base = s * SECTOR
        for at in range(base + SECTOR_HEAD, base + SECTOR - HEAD, slot):
            head = data[at : at + HEAD]
            length = int.from_bytes(head[2:4], "little")
            if head[0] != fields.RECORD_MAGIC or at + HEAD + length > base + SECTOR:
                continue
            part = Part(at, head, data[at + HEAD : at + HEAD + length])
            if part.good and not part.acked and part.key_length <= min(length, fields.MAX_KEY):
                seed = start_of(head) ^ at - base
                if seed < 1 << 30:
                    found[seed] += 1
                    parts.setdefault(seed, {})[at] = part
    if not found:
        return []
    (seed, _), *_ = found.most_common(1)
    return [parts[seed][at] for at in sorted(parts[seed])]


def start_of(head):
    """What the CRC of a record's header was started with, from its outcome: CRC-32 backwards."""
    value = int.from_bytes(head[fields.COVERED : fields.COVERED + 4], "little") ^ 0xFFFFFFFF
    for byte in reversed(head[: fields.COVERED]):
        for _ in range(8):
            # A step shifts right, and adds the polynomial if a one fell out: its top bit tells.
            value = (value ^ 0xEDB88320) << 1 | 1 if value >> 31 else value << 1
        value ^= byte
    return value ^ 0xFFFFFFFF
