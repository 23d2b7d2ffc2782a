"""Ages of queued records on a board that may not know the time, and forgets it with each reset.

A record carries the wall clock's time, or, while that is unknown, the seconds since the start. As
soon as the clock is known, one DATES record gives the date of this start, and with it of all that
carry seconds. What a start without a clock left behind is of unknown age for ever.
"""

import struct

from ..compat import const, ticks_diff

# Kind of the record: sequence number from which on records are dated by it (to itself), date of
# the start in unix seconds.
DATES = const(3)

# Ages, beside seconds from 0 on: not known before the clock is, and never to be known.
HOLD = const(-1)
UNKNOWN = const(-2)

# A clock may be set back this many seconds; beyond that, times in the future are not believed.
_SLACK = const(300)


class Times:
    """clock() -> unix seconds or None; ticks() -> milliseconds as compat.ticks_ms.

    tick() must be called at least once in 6 days.
    """

    def __init__(self, clock, ticks, boot_seq):
        self._clock = clock
        self._ticks = ticks
        self._at = ticks()
        self._ms = 0
        self.boot_seq = boot_seq
        self.uptime = 0
        # Whether records of this start wait to be dated.
        self.undated = False
        # Of DATES records: (first sequence number, one past the last, date of start, handle).
        self._spans = []
        self._used = set()

    def tick(self):
        """Advance the uptime. Returns the unix time or None."""
        at = self._ticks()
        self._ms += ticks_diff(at, self._at)
        self._at = at
        self.uptime += self._ms // 1000
        self._ms %= 1000
        return self._clock()

    def stamp(self, now):
        """What a new record carries: (1, unix seconds) or (0, seconds since the start)."""
        if now is None:
            self.undated = True
            return 0, self.uptime
        return 1, now

    def dates(self, now):
        """Payload of the DATES record that dates this start."""
        return struct.pack("<II", self.boot_seq, now - self.uptime)

    def clear(self):
        """Forget the DATES records."""
        self._spans = []
        self._used.clear()

    def add(self, handle, payload):
        """Take in a DATES record; add() all before asking for ages."""
        first, base = struct.unpack_from("<II", payload, 0)
        self._spans.append((first, handle[0], base, handle))
        if first == self.boot_seq:
            self.undated = False

    def unix(self, seq, dated, value, now):
        """The record's date in unix seconds, or None."""
        if dated:
            return value
        for i, (first, end, base, _) in enumerate(self._spans):
            if first <= seq < end:
                self._used.add(i)
                return base + value
        if seq >= self.boot_seq and now is not None:
            return now - (self.uptime - value)
        return None

    def age(self, seq, dated, value, now):
        """Seconds since the record was stored, HOLD or UNKNOWN."""
        date = self.unix(seq, dated, value, now)
        if not dated and seq >= self.boot_seq:
            return self.uptime - value
        if date is None:
            return UNKNOWN
        if now is None:
            return HOLD
        return max(0, now - date) if now - date >= -_SLACK else UNKNOWN

    def begin(self):
        """Before a pass over all records' ages."""
        self._used.clear()

    def unused(self):
        """After it: handles of the DATES records that date nothing any more, forgotten here."""
        handles = [span[3] for i, span in enumerate(self._spans) if i not in self._used]
        self._spans = [span for i, span in enumerate(self._spans) if i in self._used]
        self._used.clear()
        return handles
