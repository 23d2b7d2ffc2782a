"""The time from the Date field of HTTP answers (RFC 9110, 5.6.7 and 6.6.1), for boards without a
clock."""

_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


def hear(clock, headers):
    """Tell a Clock the time of an answer with these headers (dict of bytes), if it has one."""
    date = headers.get(b"date")
    if date is None or b"age" in headers:  # out of some cache
        return
    try:
        unix_s = parse_date(date)
    except ValueError:
        return
    clock.set(unix_s)


def parse_date(text):
    """Unix seconds of b"Sun, 06 Nov 1994 08:49:37 GMT". Raises ValueError.

    The two older forms are not taken: nobody sends them, and a board has other sources.

    The calendar: Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil.
    """
    if len(text) != 29 or text[3:5] != b", " or text[25:] != b" GMT":
        raise ValueError("date")
    if text[19:20] + text[22:23] != b"::" or any(text[i] != 32 for i in (7, 11, 16)):
        raise ValueError("date")
    at = _MONTHS.find(text[8:11])
    digits = text[5:7], text[12:16], text[17:19], text[20:22], text[23:25]
    for part in digits:
        if part.strip(b"0123456789"):
            raise ValueError("date")
    day, year, hour, minute, second = [int(part) for part in digits]
    if at < 0 or at % 3 or not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60:
        raise ValueError("date")
    month = at // 3 + 1
    year -= month <= 2
    era, yoe = divmod(year, 400)
    doy = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
    return days * 86400 + hour * 3600 + minute * 60 + second
