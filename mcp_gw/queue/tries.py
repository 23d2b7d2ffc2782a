"""Which requests have been tried, when each may be tried again, and whether looking is of use at
all.
"""

import random

from ..compat import const, ticks_add, ticks_diff

_ATTEMPTS = const(0)
_DUE = const(1)


class Tries:
    """In RAM only: after a reset everything may be tried at once, though how often it was tried
    before is not forgotten. Times are ticks in ms."""

    # Back-off: first and longest; a random part of up to half is left off.
    FIRST_MS = 1000
    LONGEST_MS = 300000
    # Requests under way or backing off at a time; the others wait.
    MOST = 64

    def __init__(self):
        # sequence number: [attempts, when due; None while on its way, False once it is due]
        self._tried = {}
        # Names of upstreams that requests were found waiting for at the last look.
        self.waiting = set()
        self._due = None
        self._idle = False
        self._dated = False

    def changed(self):
        """Looking again may find something."""
        self._idle = False

    def nothing_new(self, now, dated, deliverable):
        """True if a look would find nothing, as the last one did; else one begins.

        dated: whether the clock is known; deliverable(upstream name) -> bool, or None.
        """
        if self._idle and dated == self._dated:
            if self._due is None or ticks_diff(self._due, now) > 0:
                for name in self.waiting:
                    if deliverable is None or deliverable(name):
                        break
                else:
                    return True
        # Unless sent() is called this look will have found nothing.
        self._idle = True
        self._dated = dated
        self._due = None
        self.waiting.clear()
        return False

    def may(self, seq, now):
        """Whether this request may be sent now."""
        tried = self._tried.get(seq)
        if tried is None:
            return len(self._tried) < self.MOST
        due = tried[_DUE]
        if due is None:
            return False
        if due is False or ticks_diff(due, now) <= 0:
            # From now on, for however long: ticks compare for six days only.
            tried[_DUE] = False
            return True
        if self._due is None or ticks_diff(due, self._due) < 0:
            self._due = due
        return False

    def sent(self, seq, before):
        """It is on its way now. before: how often it was according to flash. Returns how often,
        this time included."""
        self._idle = False
        tried = self._tried.setdefault(seq, [before, None])
        tried[_ATTEMPTS] += 1
        tried[_DUE] = None
        return tried[_ATTEMPTS]

    def back_off(self, seq, now, wait_ms=None):
        """It failed. wait_ms: when to try again, where somebody has said so."""
        tried = self._tried.get(seq)
        if tried is None or tried[_DUE] is not None:
            return
        if wait_ms is not None:
            tried[_DUE] = ticks_add(now, min(wait_ms, self.LONGEST_MS))
            self._idle = False
            return
        delay = min(self.FIRST_MS << min(tried[_ATTEMPTS] - 1, 16), self.LONGEST_MS)
        delay -= random.getrandbits(10) * delay // 2048
        tried[_DUE] = ticks_add(now, delay)
        self._idle = False

    def hurry(self, now):
        """What backs off is due now; how often it was tried is not forgotten."""
        for tried in self._tried.values():
            if tried[_DUE] is not None:
                tried[_DUE] = now
        self._idle = False

    def forget(self, seq):
        self._tried.pop(seq, None)
        self._idle = False

    def sending(self, seq):
        tried = self._tried.get(seq)
        return tried is not None and tried[_DUE] is None

    def attempts(self, seq):
        tried = self._tried.get(seq)
        return 0 if tried is None else tried[_ATTEMPTS]
