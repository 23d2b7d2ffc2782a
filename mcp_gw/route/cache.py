"""Answers of upstreams that may be given again for a while, the least recently used dropped
first."""

from collections import OrderedDict

from ..compat import const, ticks_add, ticks_diff, ticks_ms
from ..protocol.jsontext import members

_OVERHEAD = const(64)  # bytes that an entry counts beside its text
_MAX_TTL_MS = const(86400000)  # ticks tell no more than six days apart


class Cache:
    """Holds `most` bytes. Keys are tuples whose first item is the upstream's name."""

    def __init__(self, most):
        self._most = most
        self._rows = OrderedDict()  # key -> (upstream, raw, when it ends)
        self.bytes = 0
        self.hits = self.misses = self.dropped = 0

    def __len__(self):
        return len(self._rows)

    def get(self, keys, now):
        """(upstream, JSON text of the result) under the first of the keys that there is, with the
        time that is left as its ttlMs; None."""
        for key in keys:
            row = self._rows.get(key)
            if row is None:
                continue
            left = ticks_diff(row[2], now)
            if left <= 0:
                self.remove(key)
                continue
            del self._rows[key]  # to the end
            self._rows[key] = row
            self.hits += 1
            return row[0], _with_ttl(row[1], left)
        self.misses += 1
        return None

    def put(self, public, private, upstream, raw, now):
        """Keep a result (JSON text, bytes) if it says that it may be kept: under the key `public`
        or, where it is for whoever asked alone, `private`."""
        ttl, scope = hints(raw)
        key = public if scope == b'"public"' else private
        self.remove(key)
        if ttl <= 0 or len(raw) + _OVERHEAD > self._most:
            return
        self.bytes += len(raw) + _OVERHEAD
        self._rows[key] = upstream, raw, ticks_add(now, min(ttl, _MAX_TTL_MS))
        while self.bytes > self._most:
            self.remove(next(iter(self._rows)))
            self.dropped += 1

    def answers(self, passage):
        """Answer a Routed resources/read from what is kept; False: it has to be asked for."""
        params = passage.params
        if b'"requestState"' in params or b'"inputResponses"' in params:
            return False
        request = passage.request
        session = request.session
        name = passage.first.same_as or passage.first.name
        who = session.principal
        if who is None:
            # Whoever is not authenticated is told apart by the connection; that it is in the key
            # keeps it from being taken for a later one.
            who = session, session.age
        passage.kept_from = (name, request.name), (name, request.name, who)
        found = self.get(passage.kept_from, ticks_ms())
        if found is None:
            return False
        passage.upstream, raw = found
        passage.finish(True, raw, None)
        return True

    def keep(self, passage, raw):
        """What a Routed resources/read brought."""
        upstream = passage.upstream
        if upstream.modern and passage.kept_from is not None:
            self.put(*passage.kept_from, upstream, bytes(raw), ticks_ms())

    def remove(self, key):
        row = self._rows.pop(key, None)
        if row is not None:
            self.bytes -= len(row[1]) + _OVERHEAD

    def forget(self, name):
        """What an upstream (by name) has given is not so any more."""
        for key in list(self._rows):
            if key[0] == name:
                self.remove(key)

    def tick(self, now):
        """Drop what is over; called more often than once in six days."""
        for key in list(self._rows):
            if ticks_diff(self._rows[key][2], now) <= 0:
                self.remove(key)


def hints(raw):
    """(ttlMs or 0, cacheScope as JSON text) of a result (JSON text, bytes)."""
    ttl = 0
    scope = b'"private"'
    if b'"ttlMs"' in raw:
        for key, _, lo, hi in members(raw):
            if key == b"ttlMs" and raw[lo:hi].isdigit() and hi - lo < 16:
                ttl = int(raw[lo:hi])
            elif key == b"cacheScope":
                scope = raw[lo:hi]
            elif key == b"resultType" and raw[lo:hi] != b'"complete"':
                return 0, scope
    return ttl, scope


def _with_ttl(raw, left):
    for key, _, lo, hi in members(raw):
        if key == b"ttlMs":
            return raw[:lo] + b"%d" % left + raw[hi:]
    return raw
