"""A new image with all the records that can be saved from another."""

from dataclasses import dataclass, field

from . import QueueError, fields
from .fields import BLANK, SECTOR_HEAD
from .image import SECTOR, chains, lost_parts, record_of

_SLOT = fields.SLOT_OF_VERSION[fields.NEWEST_VERSION]


@dataclass
class Repaired:
    """data: the new image. kept: how many records are in it; salvaged: how many of them come from
    sectors whose header is damaged; lost: texts, one for each record that is not there; doubtful:
    numbers of sectors used that the board had left out."""

    data: bytes = b""
    kept: int = 0
    salvaged: int = 0
    lost: list[str] = field(default_factory=list)
    doubtful: list[int] = field(default_factory=list)


def repair(image, salvage=False):
    """Make a Repaired of an Image. salvage: take the records of sectors whose header is damaged,
    too. Raises QueueError where nothing fits.

    Records keep their sequence numbers, priorities and marks, and sectors their erase counts, one
    more for what is written. What was acked, or never stored as a whole, is left out.
    """
    new = Repaired()
    records = _salvaged(image, new) if salvage else image.records
    groups = []
    for record in records:
        if record.payload is None:
            new.lost.append(f"record {record.seq}: its body is damaged")
        else:
            groups.append(record.parts)
    _write(image, groups, new)
    return new


def _salvaged(image, new):
    """All records, with the parts that lie in sectors whose header is damaged."""
    parts = {part.seq: part for part in image.live}
    found = set()
    for s, head in enumerate(image.heads):
        if head.what == "damaged":
            for part in lost_parts(image.data, s):
                if part.seq not in parts:
                    parts[part.seq] = part
                    found.add(part.seq)
    whole, orphans = chains([parts[seq] for seq in sorted(parts)])
    for part in orphans:
        if part.seq in found:
            new.lost.append(f"record {part.seq}: other parts of its chain are not there")
    records = [record_of(chain) for chain in whole]
    new.salvaged = sum(any(part.seq in found for part in record.parts) for record in records)
    return records


def _write(image, groups, new):
    # A fresh queue: a stamp, whose sector is the one that stays free, and behind it the records.
    # Sectors that the board left out come last: better a record in one of those than none.
    bad = image.bad
    stamp, *free = sorted(range(image.sectors), key=lambda s: (s in bad, s))
    generation = image.generation + 1
    top = max((parts[-1].seq for parts in groups), default=0)
    next_seq = max(top, *(head.first for head in image.heads), *(h.last for h in image.heads)) + 1
    data = bytearray()
    for s, head in enumerate(image.heads):
        keeps = image.data[s * SECTOR : s * SECTOR + SECTOR_HEAD]
        ahead = BLANK * 8 + fields.pack_wear(_wear(image, head)).to_bytes(4, "little") + BLANK * 20
        data += (keeps if s in bad else ahead) + BLANK * (SECTOR - SECTOR_HEAD)
    _head(data, image, stamp, fields.STAMP, generation, next_seq)
    at = end = 0
    for parts in groups:
        sizes = [part.size(_SLOT) for part in parts]
        if _more_sectors(sizes, at, end) > len(free):
            if at == end == 0:
                raise QueueError("the first record does not fit")
            new.lost.append(f"record {parts[0].seq}: there is no room for it")
            continue
        for part, size in zip(parts, sizes, strict=True):
            if at + size > end:
                s = free.pop(0)
                new.doubtful += [s] if s in bad else []
                generation += 1
                _head(data, image, s, 0, generation, part.seq)
                at, end = s * SECTOR + SECTOR_HEAD, (s + 1) * SECTOR
                head = fields.sector_head(data[s * SECTOR : at])
            offset = at % SECTOR
            whole = fields.part_head(part, head.seed, offset) + part.body
            data[at : at + len(whole)] = whole
            at += size
        new.kept += 1
    new.data = bytes(data)


def _wear(image, head):
    """A sector's erase count after one more. Lost ones count as the highest, as on the board."""
    counts = [other.wear for other in image.heads if other.wear is not None]
    if head.wear is None:
        return 1 + (min(counts, default=0) if head.what == "blank" else max(counts, default=0))
    return head.wear + 1


def _head(data, image, s, flags, generation, first):
    wear = _wear(image, image.heads[s])
    head = fields.pack_sector(SECTOR, _SLOT, flags, wear, generation, first)
    data[s * SECTOR : s * SECTOR + SECTOR_HEAD] = head


def _more_sectors(sizes, at, end):
    """How many sectors more the parts take."""
    count = 0
    for size in sizes:
        if at + size > end:
            count += 1
            at, end = SECTOR_HEAD, SECTOR
        at += size
    return count
