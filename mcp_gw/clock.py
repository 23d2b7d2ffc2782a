"""Time: seconds since the gateway began, and the wall clock once somebody has told it."""

from .compat import HAS_STDERR, MICROPYTHON, const, ticks_diff, ticks_ms

# A peer that tells an earlier time has no clock itself: 2025-01-01, before this was written.
_EARLIEST = const(1735689600)
# A time that differs by more seconds than this makes the clock jump, and is taken only when it was
# told for so long, or by somebody who knows better.
_JUMP_S = const(120)
_DOUBT_S = const(60)


class Clock:
    """uptime_s counts from the start; tick() must be called at least once in six days.

    system: whether the operating system's clock is believed, which boards do not have.
    """

    system = HAS_STDERR

    def __init__(self):
        self.uptime_s = 0
        self._at = ticks_ms()  # when uptime_s was reached
        self._unix_at_zero = None
        # Rank of who told it; another time at zero that is told, and since when.
        self._rank = 0
        self._doubt = None

    def tick(self, now):
        """now: ticks in ms. Returns whether a second or more has passed since the last that
        had."""
        passed = ticks_diff(now, self._at)
        if passed < 1000:
            return False
        self.uptime_s += passed // 1000
        self._at = now - passed % 1000
        return True

    def unix(self):
        """Seconds since 1970 UTC, or None while nobody has told the time."""
        if self.system:
            import time

            return int(time.time())
        if self._unix_at_zero is None:
            return None
        return self._unix_at_zero + self.uptime_s

    def set(self, unix_s, rank=0):
        """Take the time (seconds since 1970) that a peer tells. Returns whether it was believed.

        rank: 0 for a peer that only passes its own clock on, 1 for a time server. Where the system
        has a clock of its own, that stays right. A time that makes the clock jump is believed when
        it is of a higher rank, or when nobody of this rank told another one for a minute.
        """
        if self.system or not _EARLIEST <= unix_s < 1 << 32:
            return False
        zero = unix_s - self.uptime_s
        known = self._unix_at_zero
        jump = known is None or abs(zero - known) > _JUMP_S
        if known is not None:
            if rank < self._rank:
                return not jump
            if jump and rank == self._rank and not self._confirmed(zero):
                return False
        self._rank = rank
        self._unix_at_zero = zero
        self._doubt = None
        if jump and MICROPYTHON:
            from .compat import set_rtc

            set_rtc(unix_s)
        return True

    def _confirmed(self, zero):
        doubt = self._doubt
        if doubt is None or abs(zero - doubt[0]) > _JUMP_S:
            doubt = self._doubt = zero, self.uptime_s
        return self.uptime_s - doubt[1] >= _DOUBT_S


def iso_time(unix_s):
    """Seconds since 1970 UTC as ISO 8601; the ports' own time functions differ in their epochs.

    The calendar: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    """
    days, rest = divmod(unix_s, 86400)
    days += 719468
    era, doe = divmod(days, 146097)
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (month < 3)
    day = doy - (153 * mp + 2) // 5 + 1
    clock = rest // 3600, rest // 60 % 60, rest % 60
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % ((year, month, day) + clock)
