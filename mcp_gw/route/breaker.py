"""Circuit breaker of one destination: after failures in a row it is left alone for a while, then
one request may try it. Michael Nygard, "Release It!", chapter Stability Patterns.

No clock: `now` are ticks in ms, compared by ticks_diff. tick() is called more often than once in
six days."""

from ..compat import const, ticks_add, ticks_diff

CLOSED = const(0)  # requests pass
OPEN = const(1)  # none does
HALF_OPEN = const(2)  # one passes, and its outcome decides
STATES = ("closed", "open", "half-open")


class Breaker:
    """failures: in a row, open it; open_ms: for how long at first, doubled with each try that
    fails, max_ms at most."""

    def __init__(self, failures, open_ms, max_ms):
        self.state = CLOSED
        self.opened = 0  # how many times
        self._most = failures
        self._first_ms = self._open_ms = open_ms
        self._max_ms = max_ms
        self._failed = 0  # in a row
        self._until = 0
        self._trying = False

    def tick(self, now):
        if self.state == OPEN and ticks_diff(now, self._until) >= 0:
            self.state = HALF_OPEN
            self._trying = False

    def left_ms(self, now):
        """For how long it stays open."""
        return max(0, ticks_diff(self._until, now)) if self.state == OPEN else 0

    def passes(self, now):
        """Whether a request may be sent."""
        self.tick(now)
        return self.state == CLOSED or (self.state == HALF_OPEN and not self._trying)

    def begin(self):
        """A request is sent. Returns whether it is the one that tries."""
        self._trying = self.state == HALF_OPEN
        return self._trying

    def dropped(self):
        """The request that tries was given up: the next one tries."""
        self._trying = False

    def succeeded(self):
        """A request was answered."""
        self.state = CLOSED
        self._failed = 0
        self._trying = False
        self._open_ms = self._first_ms

    def failed(self, now):
        """A request was not. What was sent before it opened does not prolong it."""
        self._failed += 1
        if self.state == HALF_OPEN:
            self._open_ms = min(2 * self._open_ms, self._max_ms)
        elif self.state == OPEN or self._failed < self._most:
            return
        self.state = OPEN
        self.opened += 1
        self._until = ticks_add(now, self._open_ms)
