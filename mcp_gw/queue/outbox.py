"""Outbox: calls that wait for their upstream, and outcomes that wait to be read. On a Ring.

Delivery is at least once: a request's record goes only after its outcome is stored. The outbox
knows no MCP beyond the few results it writes itself: messages and outcomes are JSON text that it
passes on. docs/queue-format.md describes its records.
"""

import struct

from ..compat import const, ticks_ms
from ..errors import QueueFull
from . import texts
from .records import FORMAT, HEAD, MORE, Item, Records, message_at, room_of
from .ring import TooLarge
from .times import DATES, HOLD, UNKNOWN

# Numbers in records, see records.py.
_REQUEST = const(1)
_OUTCOME = const(2)
_DONE = const(2)
_FAILED = const(3)
_EXPIRED = const(4)
_CANCELLED = const(5)
_DROPPED = const(6)
_DATED = const(1)
_BEHIND = const(4)
_UPDATE = const(8)
_MERGE = const(16)
# Priorities.
_NORMAL = const(1)
_HIGH = const(2)

# Seconds between looks for what has expired, unless something is known to expire earlier; and
# while the clock is not known. A look takes a board a millisecond for each record.
_LOOK_S = const(3600)
_BLIND_S = const(60)
# Records finished by one look: each takes up to 40 ms.
_AT_ONCE = const(8)
_U32 = const(0xFFFFFFFF)


class Outbox(Records):
    """On a mounted Ring; clock() -> unix seconds, or None while unknown; ticks: as
    compat.ticks_ms; overflow: what put() does when there is no room: "refuse", or "drop" the
    oldest requests of lower priority.

    Requests leave `reserve` bytes of the ring to outcomes, and no more once there is no room:
    outcomes beyond that give way to them, those whose time is up first, then the oldest (`dropped`
    counts those whose time was not up; `dropped_calls` counts requests that were dropped). next()
    or expire() must be called at least once in six days.
    """

    RESERVE = 512  # bytes, at least; else a sixteenth of the ring
    # Seconds that the outcome of a request is kept which the outbox itself has ended.
    TTL_S = 86400
    # None or function(key), called when a request has got its outcome.
    told = None
    # Sequence numbers of requests that go into no batch.
    alone = ()

    def __init__(self, ring, clock, ticks=ticks_ms, overflow="refuse"):
        Records.__init__(self, ring, clock, ticks)
        self.overflow = overflow
        self.reserve = max(self.RESERVE, ring.capacity // 16)
        # What conclude() or put() has yet to do, should it have been interrupted.
        self.unfinished = None
        self.dropped = self.dropped_calls = 0
        # Uptime at which to look for what has expired.
        self.look_at = 0
        # No request has a higher priority than this.
        self._top = _HIGH
        last = self._count()
        if last is not None:
            unfinished = self._interrupted(last)
            if unfinished is not None:
                # What it follows from may have been torn, and not be there any more after this.
                ring.settle()
                if self._count() == last:
                    self.unfinished = unfinished
                    self._tick()

    def _count(self):
        # Returns handle, kind and key of the last request or outcome.
        last = None
        self.pending = self.outcome_bytes = 0
        self.times.clear()
        ring = self.ring
        for handle, kind, key, length in ring.records():
            if kind == DATES:
                payload = ring.payload(handle)
                if payload is not None:
                    self.times.add(handle, payload)
                continue
            if kind == _REQUEST:
                self.pending += 1
            elif kind == _OUTCOME:
                self.outcome_bytes += room_of(ring, len(key) + length)
            last = handle, kind, key
        return last

    def _interrupted(self, last):
        # A cut between an append and the ack that goes with it: only the last one can be so.
        handle, kind, key = last
        if kind == _OUTCOME:
            old = self.find(key)
            return None if old is None or old[0] > handle[0] else (old,)
        if kind == _REQUEST and self.load(handle) and self.head[1] & _UPDATE:
            from .updates import replaced

            merge = self.head[1] & _MERGE
            old = replaced(self, handle)
            if old is not None:
                return old, key, merge
        return None

    # Requests

    def put(
        self, key, upstream, tool, parts, expiry_s, priority=_NORMAL, owner=0, flags=0, update=None
    ):
        """Accept a call; it is durable on return.

        key: 8 to 32 bytes of ASCII, never used before; upstream, tool: str; parts: list of
        bytes-like, the JSON text of the call's params; expiry_s: seconds after which it must not
        be delivered any more; owner: a number that says whose it is; flags: SENT or 0; update: see
        updates.py. Raises QueueFull, TooLarge.
        """
        if not 8 <= len(key) <= 32 or min(key) < 33 or max(key) > 126:
            raise ValueError("a key is 8 to 32 ASCII characters")
        now = self._tick()
        upstream = upstream.encode()
        tool = tool.encode()
        n, m = len(upstream), len(tool)
        if n > 255 or m > 255:
            raise TooLarge("a name of more than 255 bytes")
        if now is None and not self.times.introduced:
            from .seldom import newest_date

            self._introduce(self.times.about(0, newest_date(self)), now)
        dated, at, start = self.times.stamp(now)
        expiry_s = min(expiry_s, _U32)
        flags |= dated
        head = struct.pack(HEAD, FORMAT, flags, n, m, at, expiry_s, start, owner)
        if update is not None:
            head += update
        handle = self.append(_REQUEST, key, [head, upstream, tool] + parts, now, priority)
        self.pending += 1
        self._top = max(self._top, priority)
        self.tries.changed()
        self.look_at = min(self.look_at, self.times.uptime + expiry_s)
        if update is not None:
            from .updates import replaced

            old = replaced(self, handle)
            if old is not None:
                self.unfinished = old, key, flags & _MERGE
                self._tick()

    def next(self, now_ms, deliverable=None, upstream=None, most=None):
        """The request that may be sent now and is of the highest priority, the oldest of several,
        or None. It is taken to be on its way until retry() or done().

        now_ms: ticks; deliverable(upstream name) -> bool leaves out what cannot be sent anyway.
        upstream, most: for one more to go with others: one of this upstream, and None if it should
        be one of more than `most` bytes.
        """
        now = self._tick()
        tries = self.tries
        if upstream is None and tries.nothing_new(now_ms, now is not None, deliverable):
            return None
        ring = self.ring
        while True:
            item = self._best(now, now_ms, deliverable, upstream)
            if item is None or most is not None and item.length > most:
                return None
            handle = item.handle
            if ring.settle() or self._was_concluded(handle, item.key):
                # Only now is it certain what is there.
                continue
            try:
                payload = ring.payload(handle)
            except OSError:
                # It cannot be read, now at least; the others can.
                tries.sent(handle[0], 0)
                tries.back_off(handle[0], now_ms)
                continue
            if payload is None:
                self.pending -= 1
                continue
            item.message = payload[message_at(payload) :]
            marks = ring.marks(handle)
            ring.mark(handle)
            item.attempts = tries.sent(handle[0], marks)
            return item

    def _best(self, now, now_ms, deliverable, upstream):
        tries = self.tries
        ring = self.ring
        best = None
        top = found = -1
        for handle, _, key, length in self.requests():
            priority = ring.priority
            top = max(top, priority)
            if priority <= found or not tries.may(handle[0], now_ms):
                continue
            try:
                item = self.item(handle, key, length, now)
            except OSError:
                item = None
            if item is None or upstream not in (None, item.upstream):
                continue
            if upstream is None and deliverable is not None and not deliverable(item.upstream):
                tries.waiting.add(item.upstream)
                continue
            self.load(handle)
            if self.head[1] & _BEHIND:
                from .updates import is_behind

                if is_behind(self, handle):
                    continue
            best = item
            item.length = length
            found = priority
            if priority >= self._top:
                break
        else:
            self._top = max(top, 0)
        return best

    def retry(self, item, now_ms, wait_ms=None):
        """It could not be delivered: try again later; wait_ms: at that time, if given."""
        self.tries.back_off(item.handle[0], now_ms, wait_ms)

    def hurry(self, now_ms):
        """What was put off by retry() may be sent now."""
        self.tries.hurry(now_ms)

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
            handle = self.find(key)
        if handle is None:
            return False
        state = _FAILED if failed else _DONE
        return self.conclude(handle, key, state, outcome, ttl_s, now)

    def cancel(self, key, sending=False):
        """Drop a request; its outcome says so. sending: also one that is on its way. False if it
        cannot be."""
        now = self._tick()
        handle = self.find(key)
        if handle is None or self.tries.sending(handle[0]) and not sending:
            return False
        outcome = texts.ended(self, handle, "cancelled")
        return self.conclude(handle, key, _CANCELLED, outcome, self.TTL_S, now)

    def expire(self, now=None):
        """Give requests past their time an outcome and drop outcomes past theirs, a few at a time.
        Cheap when there is nothing to do. now: unix seconds; None: as the clock says.
        """
        clock = self._tick()
        if now is None:
            now = clock
        times = self.times
        if times.uptime < self.look_at:
            return
        soonest = _BLIND_S if now is None else _LOOK_S
        left = _AT_ONCE
        times.begin()
        for handle, kind, key, length in self.ring.records(0, b"\x01\x02"):
            if not left:
                return
            known = self.load(handle)
            if not known:
                if known is False:
                    from .seldom import drop_foreign

                    drop_foreign(self, handle, kind)
                continue
            age, limit = self.age(handle, now)
            if kind == _OUTCOME and age == UNKNOWN:
                # Its time begins again with each start.
                age = times.uptime
            if age == HOLD or 0 <= age < limit:
                soonest = min(soonest, limit - age)
            elif kind == _OUTCOME:
                self.drop_outcome(handle, key, length)
                left -= 1
            elif not self.tries.sending(handle[0]) and not self._was_concluded(handle, key):
                text = "expired (age unknown)" if age == UNKNOWN else "expired"
                outcome = texts.ended(self, handle, text)
                self.conclude(handle, key, _EXPIRED, outcome, self.TTL_S, now)
                left -= 1
        self.look_at = times.uptime + soonest
        for handle in times.unused():
            self.ring.ack(handle)

    # Finishing

    def _was_concluded(self, handle, key):
        # An ack that was cut may show one way at one start and the other at the next. Requests of
        # earlier starts are therefore sent only if no outcome is there.
        if handle[0] >= self.times.start or self.tries.attempts(handle[0]):
            return False
        self.ring.settle()
        for _, _, other_key, _ in self.outcomes(handle[0]):
            if other_key == key:
                self._ack_request(handle)
                return True
        return False

    def conclude(self, handle, key, state, outcome, ttl_s, now):
        """Store the outcome of a request, and drop it. False if it is not there (any more).

        Where there is no room for the outcome it is left out, but for a request that is dropped:
        then QueueFull is raised."""
        if not self.load(handle):
            return False
        head = self.head
        _, flags, n, m, at, limit, start, owner = struct.unpack_from(HEAD, head, 0)
        names = bytearray(n + m)
        self.ring.read(handle, names, self.start_of_names())
        queued = self.times.unix(flags & _DATED, at, start, now) or 0
        expires = min(queued + limit, _U32) if queued else 0
        attempts = self.tries.attempts(handle[0]) or self.ring.marks(handle)
        dated, at, start = self.times.stamp(now)
        head = struct.pack(
            HEAD, FORMAT, dated, n, m, at, min(ttl_s, _U32), start, owner
        ) + struct.pack(MORE, queued, expires, min(attempts, 0xFFFF), state, 0)
        room = self.ring.max_body - len(key) - len(head) - len(names)
        error = state != _DONE
        if len(outcome) > room:
            outcome = texts.shortened(outcome, room, error)
        try:
            self.append(_OUTCOME, key, [head, names, outcome], now)
        except QueueFull:
            if state == _DROPPED:
                raise
            # Better no outcome than the request sent again. Its own room may do.
            self._ack_request(handle)
            text = "the outcome (%d bytes) was dropped: the queue is full" % len(outcome)
            for short in (outcome, texts.result(text, error)):
                try:
                    self.append(_OUTCOME, key, [head, names, short], now)
                    break
                except QueueFull:
                    pass
            else:
                self.dropped += 1
        else:
            self.unfinished = (handle,)
            self._ack_request(handle)
        self.look_at = min(self.look_at, self.times.uptime + ttl_s)
        if self.told is not None:
            self.told(key)
        return True

    def _ack_request(self, handle):
        self.ring.ack(handle)
        self.unfinished = None
        self.pending -= 1
        self.tries.forget(handle[0])

    def _tick(self):
        times = self.times
        now = times.tick()
        unfinished = self.unfinished
        if unfinished is not None:
            if len(unfinished) == 1:
                self._ack_request(unfinished[0])
            else:
                from .updates import replace

                replace(self, unfinished, now)
        about = times.due(now)
        if about is not None:
            try:
                self._introduce(about, now)
            except QueueFull:
                # Ages are counted in uptime as long as this start lasts; the next call tries
                # again.
                pass
        return now

    def _introduce(self, about, now):
        self.times.add(self.append(DATES, b"", [about], now), about)

    # Room

    def append(self, kind, key, parts, now, priority=_NORMAL):
        """Store a record, in place of others if need be. Returns its handle."""
        ring = self.ring
        length = len(key) + sum(len(part) for part in parts)
        if length > ring.max_body:
            raise TooLarge(
                "a record of %d bytes is too large for the queue: %d at most"
                % (length, ring.max_body)
            )
        size = room_of(ring, length)
        while True:
            full = None
            if (
                kind != _REQUEST
                and size <= ring.free
                or size <= ring.free - max(0, self.reserve - self.outcome_bytes)
            ):
                try:
                    handle = ring.append(kind, key, parts, priority)
                    break
                except TooLarge:
                    raise
                except QueueFull as e:
                    full = e
            from .overflow import give_way

            give_way(self, kind, size, priority, now, full)
        if kind == _OUTCOME:
            self.outcome_bytes += size
        return handle

    def drop_outcome(self, handle, key, length):
        self.ring.ack(handle)
        self.outcome_bytes -= room_of(self.ring, len(key) + length)
