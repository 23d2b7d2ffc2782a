"""Outbox: calls that wait for their upstream, and outcomes that wait to be read. On a Ring.

Delivery is at least once: a request's record goes only after its outcome is stored. The outbox
knows no MCP beyond the few results it writes itself: messages and outcomes are JSON text that it
passes on. docs/queue-format.md describes its records.
"""

import struct

from ..compat import const, ticks_ms
from ..errors import QueueFull
from . import layout, texts
from .ring import TooLarge
from .times import DATES, HOLD, UNKNOWN, Times
from .tries import Tries

REQUEST = const(1)
OUTCOME = const(2)

_QUEUED = const(0)
_SENDING = const(1)
_DONE = const(2)
_FAILED = const(3)
_EXPIRED = const(4)
_CANCELLED = const(5)
STATES = ("queued", "sending", "done", "failed", "expired", "cancelled")

_FORMAT = const(1)
# Format, whether dated, lengths of upstream and tool, queued at, expires after; then upstream,
# tool, message.
_REQUEST_HEAD = "<BBBBII"
_REQUEST_SIZE = const(12)
# Format, whether dated, lengths of upstream and tool, stored at, time to live, queued at, expires
# at (unix seconds or 0), attempts, state, 0; then upstream, tool, outcome.
_OUTCOME_HEAD = "<BBBBIIIIHBB"
_OUTCOME_SIZE = const(24)

# Seconds between looks for what has expired, unless something is known to expire earlier.
_LOOK_S = const(60)
_U32 = const(0xFFFFFFFF)


class Item:
    """A request on its way. key, message: bytes; upstream, tool: str; attempts: how often next()
    has handed it out since the start, this time included; queued_at, expires_at: unix seconds or
    None.
    """

    def __init__(self, handle, key):
        self.handle = handle
        self.key = key


class Outbox:
    """On a mounted Ring; clock() -> unix seconds, or None while unknown; ticks: as
    compat.ticks_ms.

    Requests come before outcomes: when the ring is full, put() drops outcomes whose time is up,
    then the oldest ones (`dropped` counts those whose time was not up). next() or expire() must be
    called at least once in six days.
    """

    # Bytes of the ring that requests leave to outcomes.
    RESERVE = 512
    # Seconds that the outcome of an expired or cancelled request is kept.
    TTL_S = 86400

    def __init__(self, ring, clock, ticks=ticks_ms):
        self._ring = ring
        self._times = Times(clock, ticks, ring.next_seq)
        self._tries = Tries()
        self._head = bytearray(_OUTCOME_SIZE)
        # Handle of a request whose outcome is stored, until it is acked.
        self._concluded = None
        self.dropped = 0
        # Uptime at which to look for what has expired.
        self._look_at = 0
        last = self._count()
        if last is not None:
            # A cut between storing an outcome and acking its request: only the last one can be so.
            request = self._find(REQUEST, last[1])
            if request is not None and request[0] < last[0]:
                # The outcome itself may have been torn, and not be there any more after this.
                ring.settle()
                if self._count() == last:
                    self._ack_request(request)

    def _count(self):
        # Returns sequence number and key of the last outcome.
        last = None
        self.pending = self._outcome_bytes = 0
        self._times.clear()
        for handle, kind, key, length in self._ring.records():
            if kind == REQUEST:
                self.pending += 1
            elif kind == OUTCOME:
                self._outcome_bytes += layout.padded(len(key) + length)
                last = handle[0], key
            elif kind == DATES:
                payload = self._ring.payload(handle)
                if payload is not None:
                    self._times.add(handle, payload)
        return last

    # Requests

    def put(self, key, upstream, tool, message_parts, expiry_s):
        """Accept a call; it is durable on return.

        key: 8 to 32 bytes of ASCII, never used before; upstream, tool: str; message_parts: list of
        bytes-like, the JSON text of the call's params; expiry_s: seconds after which it must not
        be delivered any more. Raises QueueFull, TooLarge.
        """
        if not 8 <= len(key) <= 32 or min(key) < 33 or max(key) > 126:
            raise ValueError("a key is 8 to 32 ASCII characters")
        now = self._tick()
        upstream = upstream.encode()
        tool = tool.encode()
        if len(upstream) > 255 or len(tool) > 255:
            raise TooLarge("a name of more than 255 bytes")
        dated, at = self._times.stamp(now)
        expiry_s = min(expiry_s, _U32)
        head = struct.pack(_REQUEST_HEAD, _FORMAT, dated, len(upstream), len(tool), at, expiry_s)
        parts = [head, upstream, tool]
        parts.extend(message_parts)
        self._append(REQUEST, key, parts, self.RESERVE, now)
        self.pending += 1
        self._tries.changed()
        self._look_at = min(self._look_at, self._times.uptime + expiry_s)

    def next(self, now_ms, deliverable=None):
        """The oldest request that may be sent now, or None. It is taken to be on its way until
        retry() or done().

        now_ms: ticks; deliverable(upstream name) -> bool leaves out what cannot be sent anyway.
        """
        now = self._tick()
        tries = self._tries
        if tries.nothing_new(now_ms, now is not None, deliverable):
            return None
        for handle, kind, key, length in self._ring.records():
            if kind != REQUEST or not tries.may(handle[0], now_ms):
                continue
            item = self._item(handle, key, length, now)
            if item is None:
                continue
            if deliverable is not None and not deliverable(item.upstream):
                tries.waiting.add(item.upstream)
                continue
            if self._ring.settle():
                # Only now is it certain that it is there.
                tries.changed()
                return self.next(now_ms, deliverable)
            if self._was_concluded(handle, key):
                continue
            payload = self._ring.payload(handle)
            if payload is None:
                self.pending -= 1
                continue
            item.message = payload[_REQUEST_SIZE + self._head[2] + self._head[3] :]
            item.attempts = tries.sent(handle[0])
            return item
        return None

    def retry(self, item, now_ms):
        """It could not be delivered: try again later."""
        self._tries.back_off(item.handle[0], now_ms)

    def hurry(self, now_ms):
        """What was put off by retry() may be sent now."""
        self._tries.hurry(now_ms)

    def done(self, item, outcome, ttl_s, failed=False):
        """Store the outcome (JSON text of a tool result, bytes) for ttl_s seconds, and drop the
        request.

        item: an Item or a key. An outcome too large for a record is replaced by a result that says
        so. False if there is no such request (any more).
        """
        now = self._tick()
        if isinstance(item, Item):
            handle, key = item.handle, item.key
        else:
            key = item
            handle = self._find(REQUEST, key)
        if handle is None:
            return False
        return self._conclude(handle, key, _FAILED if failed else _DONE, outcome, ttl_s, now)

    def cancel(self, key):
        """Drop a request that is not on its way; its outcome says so. False if it cannot be."""
        now = self._tick()
        handle = self._find(REQUEST, key)
        if handle is None or self._tries.sending(handle[0]):
            return False
        outcome = texts.result("cancelled before it was delivered", True)
        return self._conclude(handle, key, _CANCELLED, outcome, self.TTL_S, now)

    def expire(self, now=None):
        """Give requests past their time an outcome and drop outcomes past theirs. Cheap when there
        is nothing to do. now: unix seconds; None: as the clock says.
        """
        clock = self._tick()
        if now is None:
            now = clock
        times = self._times
        if times.uptime < self._look_at:
            return
        soonest = _LOOK_S
        times.begin()
        for handle, kind, key, _ in self._ring.records():
            if kind != REQUEST and kind != OUTCOME or not self._load(handle, kind):
                continue
            _, dated, _, _, at, limit = struct.unpack_from(_REQUEST_HEAD, self._head, 0)
            age = times.age(handle[0], dated, at, now)
            if kind == OUTCOME and age == UNKNOWN:
                # Its time begins again with each start.
                age = times.uptime
            if age == HOLD or 0 <= age < limit:
                soonest = min(soonest, limit - age)
            elif kind == OUTCOME:
                self._drop_outcome(handle)
            elif not self._tries.sending(handle[0]) and not self._was_concluded(handle, key):
                text = "expired (age unknown)" if age == UNKNOWN else "expired"
                outcome = texts.result(text + " before it could be delivered", True)
                self._conclude(handle, key, _EXPIRED, outcome, self.TTL_S, now)
        self._look_at = times.uptime + soonest
        for handle in times.unused():
            self._ring.ack(handle)

    # Looking

    def status(self, key):
        """What is known of a request, as JSON text (bytes), or None."""
        request = None
        for handle, kind, other, length in self._ring.records():
            if other != key or kind != REQUEST and kind != OUTCOME:
                continue
            if kind == OUTCOME:
                payload = self._ring.payload(handle)
                if payload is not None:
                    return self._told(key, payload)
            elif self._load(handle, kind):
                request = handle, length
        if request is None:
            return None
        handle, length = request
        item = self._item(handle, key, length, self._tick(), True)
        if item is None:
            return None
        state = STATES[_SENDING if self._tries.sending(handle[0]) else _QUEUED]
        known = (key, state, item.tool, item.upstream, item.queued_at, item.expires_at)
        return texts.about(known, self._tries.attempts(handle[0])) + b"}"

    def keys(self):
        """Iterate the keys of all that status() knows."""
        for _, kind, key, _ in self._ring.records():
            if kind == REQUEST or kind == OUTCOME:
                yield key

    def _told(self, key, payload):
        head = struct.unpack_from(_OUTCOME_HEAD, payload, 0)
        _, _, n, m, _, _, queued, expires, attempts, state, _ = head
        at = _OUTCOME_SIZE
        upstream = payload[at : at + n].decode()
        tool = payload[at + n : at + n + m].decode()
        known = (key, STATES[state], tool, upstream, queued or None, expires or None)
        return texts.about(known, attempts) + b',"result":' + payload[at + n + m :] + b"}"

    # Records

    def _load(self, handle, kind):
        # The fixed part of a record, unchecked, into _head.
        head = self._head
        if kind == REQUEST:
            head = memoryview(head)[:_REQUEST_SIZE]
        return self._ring.read(handle, head) and self._head[0] == _FORMAT

    def _find(self, wanted, key):
        for handle, kind, other, _ in self._ring.records():
            if kind == wanted and other == key:
                return handle
        return None

    def _item(self, handle, key, length, now, expired=False):
        # A request without its message; None if it is none, or must not be sent (any more).
        if not self._load(handle, REQUEST):
            return None
        _, dated, n, m, at, limit = struct.unpack_from(_REQUEST_HEAD, self._head, 0)
        age = self._times.age(handle[0], dated, at, now)
        if not expired and not 0 <= age < limit:
            if age != HOLD:
                self._look_at = 0
            return None
        names = bytearray(min(n + m, length))
        self._ring.read(handle, names, _REQUEST_SIZE)
        item = Item(handle, key)
        try:
            item.upstream = bytes(names[:n]).decode()
            item.tool = bytes(names[n:]).decode()
        except UnicodeError:
            # Bits have flipped: reading all of it counts and drops it.
            if self._ring.payload(handle) is None:
                self.pending -= 1
            return None
        item.queued_at = self._times.unix(handle[0], dated, at, now)
        item.expires_at = None if item.queued_at is None else item.queued_at + limit
        return item

    def _was_concluded(self, handle, key):
        # An ack that was cut may show one way at one start and the other at the next. Requests of
        # earlier starts are therefore sent only if no outcome is there.
        if handle[0] >= self._times.boot_seq or self._tries.attempts(handle[0]):
            return False
        self._ring.settle()
        for _, kind, other_key, _ in self._ring.records(handle[0]):
            if kind == OUTCOME and other_key == key:
                self._ack_request(handle)
                return True
        return False

    def _conclude(self, handle, key, state, outcome, ttl_s, now):
        if not self._load(handle, REQUEST):
            return False
        _, dated, n, m, at, limit = struct.unpack_from(_REQUEST_HEAD, self._head, 0)
        names = bytearray(n + m)
        self._ring.read(handle, names, _REQUEST_SIZE)
        queued = self._times.unix(handle[0], dated, at, now) or 0
        expires = min(queued + limit, _U32) if queued else 0
        attempts = min(self._tries.attempts(handle[0]), 0xFFFF)
        dated, at = self._times.stamp(now)
        times = (at, min(ttl_s, _U32), queued, expires)
        head = struct.pack(_OUTCOME_HEAD, _FORMAT, dated, n, m, *times, attempts, state, 0)
        room = self._ring.max_body - len(key) - len(head) - len(names)
        error = state != _DONE
        if len(outcome) > room:
            outcome = texts.shortened(outcome, room, error)
        try:
            self._append(OUTCOME, key, [head, names, outcome], 0, now)
        except QueueFull:
            # Better no outcome than the request sent again.
            text = "the outcome (%d bytes) was dropped: the queue is full" % len(outcome)
            try:
                self._append(OUTCOME, key, [head, names, texts.result(text, error)], 0, now)
            except QueueFull:
                self.dropped += 1
        self._concluded = handle
        self._ack_request(handle)
        self._look_at = min(self._look_at, self._times.uptime + ttl_s)
        return True

    def _ack_request(self, handle):
        self._ring.ack(handle)
        self._concluded = None
        self.pending -= 1
        self._tries.forget(handle[0])

    def _tick(self):
        if self._concluded is not None:
            self._ack_request(self._concluded)
        times = self._times
        now = times.tick()
        if now is not None and times.undated:
            payload = times.dates(now)
            try:
                times.add(self._append(DATES, b"", [payload], 0, now), payload)
            except QueueFull:
                # Ages are counted in uptime as long as this start lasts; the next call tries
                # again.
                pass
        return now

    # Room

    def _append(self, kind, key, parts, reserve, now):
        ring = self._ring
        length = len(key) + sum(len(part) for part in parts)
        size = layout.padded(length)
        if length <= ring.max_body and size > ring.free - reserve + self._outcome_bytes:
            raise QueueFull(
                "the queue is full: %d bytes wanted, %d free of %d, %d kept for outcomes"
                % (size, ring.free, ring.capacity, reserve)
            )
        looked = False
        while True:
            full = None
            if length > ring.max_body or size <= ring.free - reserve:
                try:
                    handle = ring.append(kind, key, parts)
                    break
                except TooLarge:
                    raise
                except QueueFull as e:
                    full = e
            if not self._drop_an_outcome(now, looked):
                raise full or QueueFull("the queue is full: %d bytes wanted" % size)
            looked = True
        if kind == OUTCOME:
            self._outcome_bytes += size
        return handle

    def _drop_an_outcome(self, now, looked):
        # Those whose time is up at first, then the oldest. False if there is none.
        oldest = None
        found = False
        for handle, kind, _, _ in self._ring.records():
            if kind != OUTCOME:
                continue
            if oldest is None:
                oldest = handle
                if looked:
                    break
            if self._load(handle, kind):
                _, dated, _, _, at, limit = struct.unpack_from(_REQUEST_HEAD, self._head, 0)
                if self._times.age(handle[0], dated, at, now) >= limit:
                    self._drop_outcome(handle)
                    found = True
        if oldest is not None and not found:
            self.dropped += 1
            self._drop_outcome(oldest)
        return oldest is not None

    def _drop_outcome(self, handle):
        before = self._ring.free
        self._ring.ack(handle)
        self._outcome_bytes -= self._ring.free - before
