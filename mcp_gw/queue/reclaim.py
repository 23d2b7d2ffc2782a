"""Makes room in a Ring: live records of neighbouring sectors are copied together into a free one.

The copy keeps the records' order and takes its victims' place as a whole, by one programmed byte:
before it the copy is void, after it the victims are. There is always one free sector to copy to.
"""

import struct

from ..compat import const
from ..errors import QueueFull
from . import layout
from .layout import HEAD, SECTOR_HEAD, SLOT
from .reader import FlashError

# Numbers in `f`, see ring_twin.py, and modes of seek().
_ADDR = const(0)
_SIZE = const(13)
_RAW = const(0)
_LIVE = const(1)

# Sectors copied at most to gain one: beyond that the queue counts as full rather than stall.
_ROUNDS = const(8)
# Arrangements of records tried at most before it counts as full.
_TRIES = const(4)
_PAD = b"\xff" * 3


def make_room(ring, size):
    """Leave `size` bytes at the ring's tail or two free sectors; QueueFull (nothing written) if
    neither can be.
    """
    order = ring.order
    live = ring.live
    n = len(order)
    usable = _usable(ring)
    # The longest run of sectors whose live records fit into one gains most for one erase.
    best = 1
    at = low = total = 0
    for high in range(n):
        total += live[order[high]]
        while total > usable:
            total -= live[order[low]]
            low += 1
        if high - low + 1 > best:
            best = high - low + 1
            at = low
    if best > 1:
        compact(ring, at, best, usable)
        return
    if live[order[n - 1]] * SLOT + size <= usable * SLOT:
        compact(ring, n - 1, 1, usable)
        return
    at, n = _plan(ring, size // SLOT, usable)
    while n:
        n -= compact(ring, at, n, usable)
        at += 1


def move(ring, s):
    """Copy the live records of sector s, and of those behind it that fit too, elsewhere."""
    i = 0
    while ring.order[i] != s:
        i += 1
    n = total = 0
    for other in ring.order[i:]:
        total += ring.live[other]
        if total > _usable(ring):
            break
        n += 1
    compact(ring, i, n, _usable(ring))


def _usable(ring):
    return (ring.dev.sector_size - SECTOR_HEAD) // SLOT


def _plan(ring, need, usable):
    # A run of sectors whose live records fit into one sector less, or the last ones with room for
    # `need`.
    order = ring.order
    n = len(order)
    tries = _TRIES
    for into in range(1, min(_ROUNDS, n) + 1):
        total = sum(ring.live[s] for s in order[n - into :])
        if total + need <= into * usable and tries:
            tries -= 1
            if _fits(ring, n - into, into, into, need, usable):
                return n - into, into
        for i in range(n - into):
            total = sum(ring.live[s] for s in order[i : i + into + 1])
            if total <= into * usable and tries:
                tries -= 1
                if _fits(ring, i, into + 1, into, 0, usable):
                    return i, into + 1
    raise full(ring, need * SLOT)


def full(ring, size):
    """The error that says so."""
    if not ring.capacity:
        return FlashError("no two sectors of the queue's flash can be written to")
    return QueueFull(
        "the queue is full: a record takes %d bytes, %d of %d are free in pieces too small"
        % (size, ring.free, ring.capacity)
    )


def _fits(ring, i, n, into, need, usable):
    fill = 0
    for s in ring.order[i : i + n]:
        for record in _records(ring, s):
            slots = layout.padded(record[2]) // SLOT
            if fill + slots > usable:
                into -= 1
                fill = 0
            fill += slots
    return into > 0 and (into > 1 or fill + need <= usable)


def live_slots(ring, s):
    """Slots of the live records in sector s, counted on flash."""
    return sum(layout.padded(record[2]) // SLOT for record in _records(ring, s))


def _records(ring, s, mode=_LIVE):
    # Records and parts of sector s, LIVE or all (RAW): (address, kind, length, sequence number,
    # body CRC, key length, flags, marks).
    f = ring.f
    addr = ring.first(s)
    while ring.seek(s, addr, mode):
        found = struct.unpack_from("<BHIIBB", ring.head, 1)
        addr = f[_ADDR]
        size = f[_SIZE]
        yield (addr,) + found + (ring.head[layout.MARKS],)
        addr += size


def compact(ring, i, n, usable):
    """Copy live records of sectors order[i:i+n] to a free one, as many as fit; the number of
    sectors used up.
    """
    order = ring.order
    fill = first = last = whole = 0
    for s in order[i : i + n]:
        for record in _records(ring, s):
            slots = layout.padded(record[2]) // SLOT
            if fill + slots > usable:
                break
            fill += slots
            last = record[3]
            first = first or last
        else:
            whole += 1
            continue
        break
    at_tail = i + whole == len(order)
    if at_tail:
        last = ring.next_seq - 1
    if not ring.prepare():
        raise full(ring, ring.dev.sector_size)
    if not fill:
        # An ack that a cut left weak was read otherwise when they were counted: mount again.
        raise FlashError(5)
    dst = ring.open(layout.COMPACTED, first, last)
    at = ring.first(dst)
    left = fill * SLOT
    ring.start(at)
    for s in order[i : i + n]:
        for addr, kind, length, seq, crc, keys, flags, marks in _records(ring, s):
            if seq > last:
                break
            left -= layout.padded(length)
            if left < 0:
                break
            # A damaged body keeps its CRC, and so is still found damaged. The mark that none but a
            # void record has is left out: it may have been weak.
            ring.put_head(dst, at, kind, length, seq, crc, keys, flags, marks | 0x80)
            ring.put_from(addr + HEAD, length)
            ring.put(_PAD[: -(HEAD + length) % SLOT])
            at += layout.padded(length)
    if left:
        # An ack that a cut left weak was read otherwise the second time: mount again, which
        # settles it.
        raise FlashError(5)
    ring.flush()
    ring.program_mark(dst * ring.dev.sector_size + layout.DONE)
    # From here on the copies are the records.
    for s in order[i : i + whole]:
        ring.retire(s)
        ring.live[s] = 0
    ring.live[dst] = fill
    if whole < n:
        s = order[i + whole]
        # All of them: the ack of one that reads as acked may be weak.
        ack_moved(ring, (s,), first, last, _RAW)
        ring.live[s] = live_slots(ring, s)
    ring.order = order[:i] + ring.sector_list((dst,)) + order[i + whole :]
    ring.epoch += 1
    if at_tail:
        ring.active = dst
        ring.tail = at
        ring.end = (dst + 1) * ring.dev.sector_size
    return whole


def ack_moved(ring, sectors, first, last, mode=_LIVE):
    """Ack the records in `sectors` that a compaction of first..last has copied; the slots they
    took. mode: RAW acks those again that read as acked.
    """
    slots = 0
    for s in sectors:
        for record in _records(ring, s, mode):
            if first <= record[3] <= last:
                ring.dev.program(record[0] + layout.ACK, b"\0")
                slots += layout.padded(record[2]) // SLOT
    return slots
