"""What the outbox seldom does. Loaded when it does."""

import struct

from ..compat import const

_REQUEST = const(1)
_DATED = const(1)  # flag


def newest_date(box):
    """The newest date in unix seconds of which something in the outbox tells, or 0."""
    newest = box.times.newest()
    for handle, _, _, _ in box.ring.records(0, b"\x01\x02"):
        if box.load(handle) and box.head[1] & _DATED:
            newest = max(newest, struct.unpack_from("<I", box.head, 4)[0])
    return newest


def drop_foreign(box, handle, kind):
    """Drop a record of another format; a damaged one the ring drops itself."""
    if box.ring.payload(handle) is not None:
        box.ring.ack(handle)
    if kind == _REQUEST:
        box.pending -= 1
        box.dropped_calls += 1
    else:
        box.dropped += 1
