"""What the outbox keeps in its ring, and looking at it. docs/queue-format.md has the bytes."""

import struct

from ..compat import const
from . import layout, texts
from .times import HOLD, Times
from .tries import Tries

# Numbers in records. Modules that need them have their own: what is private costs no RAM.
_OUTCOME = const(2)
_QUEUED = const(0)
_SENDING = const(1)
STATES = (
    "queued",
    "sending",
    "done",
    "failed",
    "expired",
    "cancelled",
    "dropped",
    "superseded",
    "merged",
)

FORMAT = const(2)
# Bits of flags: 1 dated; 2 sent: it was sent before it was put, and may have been executed; 4
# behind: an older request about the same thing was there; 8 update: what it takes the place of,
# and which thing it is about, follow the head; 16 merge: what it takes the place of is part of it.
_DATED = const(1)
_UPDATE = const(8)

# Format, flags, lengths of upstream and tool, when stored, lifetime in seconds, sequence number
# that the start began with (undated ones), whose it is.
HEAD = "<BBBBIIII"
_HEAD_SIZE = const(20)
# Behind it, of an update: sequence number of the request it takes the place of, or 0; the thing.
_UPDATE_SIZE = const(12)
# Of an outcome: when queued, when it would have expired (unix seconds or 0), attempts, state, 0.
# Then upstream, tool, and the message or outcome.
MORE = "<IIHBB"
_MORE_SIZE = const(12)


class Item:
    """A request on its way. key, message: bytes; upstream, tool: str; attempts: how often next()
    has handed it out, this time included; queued_at, expires_at: unix seconds or None.
    """

    def __init__(self, handle, key):
        self.handle = handle
        self.key = key


class Records:
    """The part of Outbox that reads. `head` is the fixed part of the record loaded last."""

    def __init__(self, ring, clock, ticks):
        self.ring = ring
        self.times = Times(clock, ticks, ring.next_seq)
        self.tries = Tries()
        self.head = bytearray(_HEAD_SIZE)

    def requests(self, after=0):
        """Iterate the requests, oldest first: (handle, kind, key, length); ring.priority is that
        of the last."""
        return self.ring.records(after, b"\x01")

    def outcomes(self, after=0):
        """The same for outcomes."""
        return self.ring.records(after, b"\x02")

    def seek(self, key):
        """(handle, kind, length, priority) of the record that tells most of a call: its outcome,
        if it has one, or None."""
        for handle, kind, other, length in self.ring.records(0, b"\x01\x02"):
            if other == key:
                found = handle, kind, length, self.ring.priority
                if kind != _OUTCOME:
                    # An ack that a cut left weak may have come back.
                    for later in self.outcomes(handle[0]):
                        if later[2] == key:
                            found = later[0], _OUTCOME, later[3], 0
                return found
        return None

    def status(self, key, found=None):
        """What is known of a request, as JSON text (bytes), or None. found: what seek() found."""
        found = found or self.seek(key)
        if found is None:
            return None
        handle, kind, length, priority = found
        if kind == _OUTCOME:
            payload = self.ring.payload(handle)
            return _told(key, payload) if payload and payload[0] == FORMAT else None
        item = self.item(handle, key, length, self.times.tick(), True)
        if item is None:
            return None
        state = STATES[_SENDING if self.tries.sending(handle[0]) else _QUEUED]
        known = (key, state, item.tool, item.upstream, item.queued_at, item.expires_at)
        attempts = self.tries.attempts(handle[0]) or self.ring.marks(handle)
        return texts.about(known, attempts) + b',"priority":%d}' % priority

    def keys(self):
        """Iterate the keys of all that status() knows."""
        for _, _, key, _ in self.ring.records(0, b"\x01\x02"):
            yield key

    def load(self, handle):
        """Read the fixed part of a record, unchecked, into `head`; whether it is one of this
        format, or None: flash cannot be read there."""
        try:
            return self.ring.read(handle, self.head) and self.head[0] == FORMAT
        except OSError:
            return None

    def find(self, key):
        """Handle of the request with this key, or None."""
        for handle, _, other, _ in self.requests():
            if other == key:
                return handle
        return None

    def age(self, handle, now):
        """(age, lifetime) of the loaded record, see Times.age()."""
        _, flags, _, _, at, limit, start, _ = struct.unpack_from(HEAD, self.head, 0)
        times = self.times
        if flags & _DATED and handle[0] >= times.start:
            age = times.own_age(at)
            if age is not None:
                return age, limit
        return times.age(flags & _DATED, at, start, limit, now), limit

    def start_of_names(self):
        """Where the names of the loaded request begin."""
        return _HEAD_SIZE + (_UPDATE_SIZE if self.head[1] & _UPDATE else 0)

    def item(self, handle, key, length, now, expired=False):
        """The Item of a request, without its message; None if it is none, or must not be sent
        (any more)."""
        if not self.load(handle):
            return None
        _, flags, n, m, at, limit, start, _ = struct.unpack_from(HEAD, self.head, 0)
        times = self.times
        if not expired:
            age, _ = self.age(handle, now)
            if not 0 <= age < limit:
                if age != HOLD:
                    self.look_at = 0
                return None
        names = bytearray(min(n + m, length))
        self.ring.read(handle, names, self.start_of_names())
        item = Item(handle, key)
        try:
            item.upstream = bytes(names[:n]).decode()
            item.tool = bytes(names[n:]).decode()
        except UnicodeError:
            # Bits have flipped: reading all of it counts and drops it.
            if self.ring.payload(handle) is None:
                self.pending -= 1
            return None
        item.queued_at = times.unix(flags & _DATED, at, start, now)
        item.expires_at = None if item.queued_at is None else item.queued_at + limit
        return item


def room_of(ring, length):
    """About the bytes that a record with a body of `length` bytes takes in the ring: one that is
    cut in two because its sector ends takes a few more."""
    return layout.padded(length) + length // ring.dev.sector_size * (layout.HEAD + layout.SLOT)


def message_at(payload):
    """Where the message of a request begins in its payload."""
    at = _HEAD_SIZE + payload[2] + payload[3]
    return at + _UPDATE_SIZE if payload[1] & _UPDATE else at


def _told(key, payload):
    _, flags, n, m, stored, kept_s, _, _ = struct.unpack_from(HEAD, payload, 0)
    queued, expires, attempts, state, _ = struct.unpack_from(MORE, payload, _HEAD_SIZE)
    at = _HEAD_SIZE + _MORE_SIZE
    upstream = payload[at : at + n].decode()
    tool = payload[at + n : at + n + m].decode()
    known = (key, STATES[state], tool, upstream, queued or None, expires or None)
    more = b',"finished_at":%s,"kept_s":%d,"result":'
    more %= b"%d" % stored if flags & _DATED else b"null", kept_s
    return texts.about(known, attempts) + more + payload[at + n + m :] + b"}"
