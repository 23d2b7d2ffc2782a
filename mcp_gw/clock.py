"""Time: seconds since the gateway began, and the wall clock once somebody has told it."""

from .compat import HAS_STDERR, MICROPYTHON, ticks_diff, ticks_ms


class Clock:
    """uptime_s counts from the start; tick() must be called at least once in six days."""

    def __init__(self):
        self.uptime_s = 0
        self._at = ticks_ms()  # when uptime_s was reached
        self._unix_at_zero = None

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
        if HAS_STDERR:
            import time

            return int(time.time())
        if self._unix_at_zero is None:
            return None
        return self._unix_at_zero + self.uptime_s

    def set(self, unix_s):
        """Take the time from a peer; where the system has a clock of its own, that stays right."""
        if HAS_STDERR:
            return
        first = self._unix_at_zero is None
        self._unix_at_zero = unix_s - self.uptime_s
        if first and MICROPYTHON:
            from .compat import set_rtc

            set_rtc(unix_s)


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
