"""Ages of queued records on a board that may not know the time, and forgets it with each reset.

A record carries the wall clock's time, or, while that is unknown, the seconds since the start and
which start that was. A start that stores such records says what it knows of itself in one record
more: the newest date there was before it, how long it has lasted, and, once the clock is known,
when it began.
"""

import struct

from ..compat import const, ticks_diff

# Kind of that record: sequence number that the start began with; its date in unix seconds, or 0;
# seconds that it lasted at least; a date that it was not before, or 0.
DATES = const(3)
_FORMAT = "<IIII"
_DATE = const(0)
_LASTED = const(1)
_AFTER = const(2)
_HANDLE = const(3)

# Ages, beside seconds from 0 on: not known before the clock is, and never to be known.
HOLD = const(-1)
UNKNOWN = const(-2)

# A clock may be set back this many seconds; beyond that, times in the future are not believed.
_SLACK = const(300)
# Jumps of the clock that are remembered.
_ZEROS = const(4)
# Without a clock, how long the start has lasted is stored again after so many seconds.
_SAVE_S = const(3600)


class Times:
    """clock() -> unix seconds or None; ticks() -> milliseconds as compat.ticks_ms; start: the
    sequence number of the first record that this start stores.

    tick() must be called at least once in 6 days.
    """

    def __init__(self, clock, ticks, start):
        self._clock = clock
        self._ticks = ticks
        self._at = ticks()
        self._ms = 0
        self.start = start
        self.uptime = 0
        # Whether this start has stored records that wait to be dated.
        self.undated = False
        # Of DATES records: start -> (date, lasted, after, handle).
        self._starts = {}
        self._stale = []  # handles of those that a later one took the place of
        self._first = 0  # the first start that something undated is of, in a pass
        self._saved = 0
        # Date of this start, as the clock has it, and since which second; the last few, for a
        # clock that jumps.
        self._zeros = []

    def tick(self):
        """Advance the uptime. Returns the unix time or None."""
        at = self._ticks()
        self._ms += ticks_diff(at, self._at)
        self._at = at
        self.uptime += self._ms // 1000
        self._ms %= 1000
        now = self._clock()
        if now is not None:
            zero = now - self.uptime
            if not self._zeros or abs(zero - self._zeros[-1][0]) > _SLACK:
                self._zeros = self._zeros[-_ZEROS:] + [(zero, self.uptime)]
        return now

    def own_age(self, at):
        """Seconds since a record of this start that carries the date `at` was stored, by the clock
        as it was then; None where it is still the same."""
        if len(self._zeros) > 1:
            until = self.uptime
            for zero, since in reversed(self._zeros):
                if since - _SLACK <= at - zero <= until + _SLACK:
                    return max(0, self.uptime - (at - zero))
                until = since
        return None

    def stamp(self, now):
        """What a new record carries: (dated, time, start)."""
        if now is None:
            self.undated = True
            return 0, self.uptime, self.start
        return 1, now, 0

    @property
    def introduced(self):
        """Whether this start's record is there."""
        return self.start in self._starts

    def about(self, date, after):
        """Payload of the record about this start."""
        self._saved = self.uptime
        return struct.pack(_FORMAT, self.start, date, self.uptime, after)

    def due(self, now):
        """The payload, where it is time to store it (again), or None."""
        own = self._starts.get(self.start)
        if now is not None:
            date = now - self.uptime
            if self.undated and not (own and abs(own[_DATE] - date) <= _SLACK):
                return self.about(date, 0)
        elif self._starts and self.uptime - self._saved >= _SAVE_S:
            return self.about(0, own[_AFTER] if own else self.newest())
        return None

    def clear(self):
        """Forget the DATES records."""
        self._starts = {}
        self._stale = []

    def add(self, handle, payload):
        """Take in a DATES record; add() all, oldest first, before asking for ages."""
        start, date, lasted, after = struct.unpack_from(_FORMAT, payload, 0)
        before = self._starts.get(start)
        if before:
            self._stale.append(before[_HANDLE])
        self._starts[start] = date, lasted, after, handle

    def newest(self):
        """The newest date in unix seconds that the DATES records tell of, or 0."""
        newest = 0
        for date, lasted, after, _ in self._starts.values():
            newest = max(newest, date + lasted if date else after)
        return newest

    def unix(self, dated, at, start, now):
        """A record's date in unix seconds, or None."""
        if dated:
            return at
        known = self._starts.get(start)
        if known and known[_DATE]:
            return known[_DATE] + at
        if start == self.start and now is not None:
            return now - (self.uptime - at)
        return None

    def age(self, dated, at, start, limit, now):
        """Seconds since the record was stored, or more where that is certain to be over `limit`
        or below it; HOLD or UNKNOWN."""
        if not dated:
            self._first = min(self._first, start)
            if start == self.start:
                return self.uptime - at
        date = self.unix(dated, at, start, now)
        if date is not None and now is not None:
            return max(0, now - date) if now - date >= -_SLACK else UNKNOWN
        least = self.uptime
        if date is None:
            # Of each start since then it is known how long it lasted at least, not how long the
            # board was off.
            for other, row in self._starts.items():
                if other == start:
                    least += max(0, row[_LASTED] - at)
                elif start < other < self.start:
                    least += row[_LASTED]
        if least >= limit:
            return least
        if now is None:
            return HOLD
        known = self._starts.get(start)
        most = now - known[_AFTER] if known and known[_AFTER] else -1
        return most if 0 <= most < limit else UNKNOWN

    def begin(self):
        """Before a pass over all records' ages."""
        self._first = 0xFFFFFFFF

    def unused(self):
        """After it: handles of the DATES records that are of no use any more, forgotten here."""
        handles, self._stale = self._stale, []
        for start, row in list(self._starts.items()):
            # This start's own is kept as long as there may be more to come.
            if start < self._first and (start != self.start or row[_DATE]):
                handles.append(row[_HANDLE])
                del self._starts[start]
        return handles
