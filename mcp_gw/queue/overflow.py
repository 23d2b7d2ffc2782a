"""What gives way when the queue is full. Loaded when it is for the first time."""

from ..compat import const
from ..errors import QueueFull
from . import texts
from .records import room_of

# Numbers in records, see records.py.
_REQUEST = const(1)
_DROPPED = const(6)


def give_way(box, kind, size, priority, now, full):
    """Give up something for a record of `size` bytes: outcomes whose time is up, then, if there
    are more than requests leave room for, the oldest, then requests of a lower priority. Raises
    QueueFull where none may be, or all of it would not do.

    full: what the ring said, or None if there are not even the bytes.
    """
    ring = box.ring
    oldest = None
    found = False
    for handle, _, key, length in box.outcomes():
        oldest = oldest or (handle, key, length)
        if box.load(handle):
            age, limit = box.age(handle, now)
            if age >= limit:
                box.drop_outcome(handle, key, length)
                found = True
    if found:
        return
    request = kind == _REQUEST
    if request and full is None:
        room = ring.free - max(0, box.reserve - box.outcome_bytes)
        room += max(0, box.outcome_bytes - box.reserve)
        if room < size and room + _droppable(box, priority) < size:
            raise QueueFull(
                "the queue is full: %d bytes wanted, %d free of %d, %d kept for outcomes"
                % (size, ring.free, ring.capacity, max(0, box.reserve - box.outcome_bytes))
            )
    if oldest is not None and (not request or box.outcome_bytes > box.reserve):
        box.dropped += 1
        box.drop_outcome(*oldest)
        return
    victim = _victim(box, priority) if request else None
    if victim is None:
        raise full or QueueFull("the queue is full: %d bytes wanted" % size)
    text = "dropped (the queue was full, and others had a higher priority)"
    outcome = texts.ended(box, victim[0], text)
    box.conclude(victim[0], victim[1], _DROPPED, outcome, box.TTL_S, now)
    box.dropped_calls += 1


def _droppable(box, priority):
    """Bytes that go with the requests of a lower priority, beyond what their outcomes take."""
    total = 0
    if box.overflow == "drop":
        for handle, _, key, length in box.requests():
            if box.ring.priority < priority and not box.tries.sending(handle[0]):
                total += room_of(box.ring, len(key) + length)
    return total


def _victim(box, priority):
    """(handle, key) of the oldest of the requests of the lowest priority below this one, or
    None."""
    best = None
    if box.overflow == "drop":
        for handle, _, key, _ in box.requests():
            other = box.ring.priority
            if other < priority and not box.tries.sending(handle[0]):
                priority = other
                best = handle, key
    return best
