"""Requests that are about the same thing: the newest wins, or one takes in the other.

Requests about one thing are delivered one after the other, whatever their priority. The new one is
stored first, and names the one whose place it takes; so a power cut leaves both, of which the
outbox drops the older when it is made, or the new one alone.
"""

import struct

from ..compat import const
from . import texts
from .records import message_at

# Numbers in records, see records.py.
_SUPERSEDED = const(7)
_MERGED = const(8)
_SENT = const(2)
_BEHIND = const(4)
_UPDATE = const(8)
_MERGE = const(16)
_HEAD_SIZE = const(20)
_UPDATE_FORMAT = "<I8s"


def thing_of(upstream, tool, value):
    """8 bytes for the thing that a call is about. value: str, what of this tool's things."""
    from hashlib import sha256

    return sha256("\0".join((upstream, tool, value)).encode()).digest()[:8]


def update_of(box, handle):
    """(sequence number of what it takes the place of, thing) of the update that is loaded."""
    more = bytearray(12)
    box.ring.read(handle, more, _HEAD_SIZE)
    return struct.unpack(_UPDATE_FORMAT, more)


def replaced(box, handle):
    """Handle of the request whose place an update takes, if it is still there, or None."""
    box.load(handle)
    seq = update_of(box, handle)[0]
    if seq:
        for old, _, _, _ in box.requests(seq - 1):
            return old if old[0] == seq else None
    return None


def is_behind(box, handle):
    """Whether an older request about the same thing has yet to be finished; the update is
    loaded."""
    thing = update_of(box, handle)[1]
    for other, _, _, _ in box.requests():
        if other[0] >= handle[0]:
            return False
        if box.load(other) and box.head[1] & _UPDATE and update_of(box, other)[1] == thing:
            return True
    return False


def pending(box, thing):
    """Whether a request about this thing is there."""
    return bool(_about(box, thing, True))


def put(box, key, upstream, tool, message, expiry_s, priority, owner, sent, thing, policy, merged):
    """box.put() of a call about a thing.

    message: JSON text (bytes) of params; sent: whether it may have been executed already; policy:
    "all", "latest" or "merge"; merged: function(older message) -> message in place of both, or
    None where there is none.
    """
    rows = _about(box, thing, policy == "all")
    flags = _UPDATE | (_SENT if sent else 0)
    old = []
    if policy == "latest":
        old = [row for row in rows if not box.tries.sending(row[0][0])]
    elif rows and policy == "merge" and not sent and not rows[-1][2]:
        # One that was ever sent may have been executed: what is in it must not be sent again under
        # another key.
        payload = box.ring.payload(rows[-1][0]) if _is_young(box, rows[-1][0]) else None
        if payload is not None:
            both = merged(payload[message_at(payload) :])
            if both is not None:
                old = [rows[-1]]
                flags |= _MERGE
                message = both
                priority = max(priority, rows[-1][3])
    if len(rows) > len(old):
        flags |= _BEHIND
    update = struct.pack(_UPDATE_FORMAT, old[-1][0][0] if old else 0, thing)
    box.put(key, upstream, tool, [message], expiry_s, priority, owner, flags, update)
    for row in old[:-1]:
        _superseded(box, row[0], row[1], key, box.times.tick())


def replace(box, unfinished, now):
    """Finish the request in whose place another was put: (its handle, the other's key, whether it
    was merged into that)."""
    handle, by, merged = unfinished
    old = None
    for other, _, key, _ in box.requests(handle[0] - 1):
        if other[0] == handle[0]:
            old = key
        break
    if old is None:
        box.unfinished = None
    elif merged:
        outcome = texts.pointer("it goes on as part of ", by)
        box.conclude(handle, old, _MERGED, outcome, box.TTL_S, now)
    else:
        _superseded(box, handle, old, by, now)


def _superseded(box, handle, key, by, now):
    text = "superseded by "
    if texts.was_sent(box, handle):
        text = "it was sent before, and may have been carried out; else superseded by "
    box.conclude(handle, key, _SUPERSEDED, texts.pointer(text, by), box.TTL_S, now)


def _is_young(box, handle):
    """Whether a request could still be sent."""
    if not box.load(handle):
        return False
    age, limit = box.age(handle, box.times.tick())
    return 0 <= age < limit


def _about(box, thing, any=False):
    """[(handle, key, whether it may have been sent, priority)] of the requests about a thing,
    oldest first; any: one of them will do."""
    rows = []
    for handle, _, key, _ in box.requests():
        priority = box.ring.priority
        if box.load(handle) and box.head[1] & _UPDATE and update_of(box, handle)[1] == thing:
            rows.append((handle, key, texts.was_sent(box, handle), priority))
            if any:
                break
    return rows
