"""Rules of JSON Schema that few parameters have: equality, multiples, formats.

Loaded when the first parameter has one of them.
"""

# Rounding of a quotient of decimals: a few units in the last place. A board's floats are short.
_ROUNDING = 2.0**-50 if 1 + 2.0**-52 > 1 else 2.0**-20
_HEX = "0123456789abcdefABCDEF"
_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ATEXT = _ALNUM + "!#$%&'*+/=?^_`{|}~-"
_PATH = _ALNUM + "-._~!$&'()*+,;=:@/"


def same(a, b):
    """Equality as JSON has it: 1 is 1.0, but true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list):
        if not isinstance(b, list) or len(a) != len(b):
            return False
        return all(same(a[i], b[i]) for i in range(len(a)))
    if isinstance(a, dict):
        if not isinstance(b, dict) or len(a) != len(b):
            return False
        return all(key in b and same(a[key], b[key]) for key in a)
    return type(a) is not type(None) and a == b or a is b


def repeated(values):
    """Index of the first item that equals an earlier one, or -1. In linear time: a client may send
    thousands."""
    seen = set()
    for i, value in enumerate(values):
        key = _key(value)
        if key in seen:
            return i
        seen.add(key)
    return -1


def _key(value):
    """Something hashable that is equal for equal JSON values only."""
    if isinstance(value, (bool, type(None))):
        return (value is True, value is None)
    if isinstance(value, list):
        return ("[", tuple([_key(v) for v in value]))
    if isinstance(value, dict):
        return ("{", tuple([(key, _key(value[key])) for key in sorted(value)]))
    return value


def is_multiple(value, step):
    """Whether value / step is an integer, up to the rounding of decimals: 0.3 is 3 times 0.1."""
    if isinstance(value, int) and step % 1 == 0:
        return value % int(step) == 0
    try:
        times = value / step
        return abs(times - round(times)) <= abs(times) * _ROUNDING
    except (OverflowError, ValueError):  # beyond the largest float
        return (1 if isinstance(value, int) else value) % step == 0


def _digits(text, count):
    return len(text) == count and all("0" <= c <= "9" for c in text)


def _date(text):
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return False
    if not (_digits(text[:4], 4) and _digits(text[5:7], 2) and _digits(text[8:], 2)):
        return False
    year, month, day = int(text[:4]), int(text[5:7]), int(text[8:])
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 0 < day <= 28 + leap
    return 0 < month <= 12 and 0 < day <= 31 - (month in (4, 6, 9, 11))


def _time(text):
    if len(text) < 9 or text[2] != ":" or text[5] != ":":
        return False
    if not (_digits(text[:2], 2) and _digits(text[3:5], 2) and _digits(text[6:8], 2)):
        return False
    hour, minute, second = int(text[:2]), int(text[3:5]), int(text[6:8])
    at = 8
    if text[8] == ".":
        at = 9
        while at < len(text) and "0" <= text[at] <= "9":
            at += 1
        if at == 9:
            return False
    zone = text[at:]
    offset = 0
    if zone != "Z" and zone != "z":
        if len(zone) != 6 or zone[0] not in "+-" or zone[3] != ":":
            return False
        if not (_digits(zone[1:3], 2) and _digits(zone[4:], 2)):
            return False
        if int(zone[1:3]) > 23 or int(zone[4:]) > 59:
            return False
        offset = int(zone[1:3]) * 60 + int(zone[4:])
        if zone[0] == "-":
            offset = -offset
    if hour > 23 or minute > 59:
        return False
    if second == 60:  # a leap second, which is at 23:59 UTC
        return (hour * 60 + minute - offset) % 1440 == 1439
    return second < 60


def _date_time(text):
    return text[10:11] in ("T", "t") and _date(text[:10]) and _time(text[11:])


def _hostname(text):
    return 0 < len(text) <= 253 and all(
        0 < len(label) <= 63
        and label[0] != "-"
        and label[-1] != "-"
        and all(c in _ALNUM or c == "-" for c in label)
        for label in text.split(".")
    )


def _email(text):
    local, at, domain = text.rpartition("@")
    return (
        len(local) <= 64
        and _hostname(domain)
        and all(atom and all(c in _ATEXT for c in atom) for atom in local.split("."))
    )


def _ipv4(text):
    parts = text.split(".")
    return len(parts) == 4 and all(
        0 < len(p) <= 3 and _digits(p, len(p)) and int(p) < 256 and (p == "0" or p[0] != "0")
        for p in parts
    )


def _uuid(text):
    return len(text) == 36 and all(
        c == "-" if i in (8, 13, 18, 23) else c in _HEX for i, c in enumerate(text)
    )


def _encoded(text, allowed):
    """Whether `text` consists of characters allowed and of %HH."""
    i = 0
    while i < len(text):
        if text[i] == "%":
            if len(text) < i + 3 or text[i + 1] not in _HEX or text[i + 2] not in _HEX:
                return False
            i += 2
        elif text[i] not in allowed:
            return False
        i += 1
    return True


def _uri(text):
    """RFC 3986: a scheme, and what may follow it. Of an address in brackets only the characters
    are checked."""
    scheme, colon, rest = text.partition(":")
    if not colon or not scheme or scheme[0] not in _ALNUM[:52]:
        return False
    if any(c not in _ALNUM and c not in "+-." for c in scheme):
        return False
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    if not (_encoded(fragment, _PATH + "?") and _encoded(query, _PATH + "?")):
        return False
    if rest[:2] == "//":
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, _, host = authority.rpartition("@")
        if not _encoded(user, _PATH[:-2]):
            return False
        if host[:1] == "[":
            address, bracket, port = host[1:].partition("]")
            if not bracket or not address or any(c not in _HEX and c not in ":." for c in address):
                return False
            if port and port[0] != ":":
                return False
            port = port[1:]
        else:
            host, _, port = host.partition(":")
            if not _encoded(host, _PATH[:-3]):
                return False
        if not _digits(port, len(port)):
            return False
    return _encoded(rest, _PATH)


# name: (check, an example for who got it wrong)
FORMATS = {
    "date": (_date, "2026-01-31"),
    "time": (_time, "23:59:00Z"),
    "date-time": (_date_time, "2026-01-31T23:59:00Z"),
    "email": (_email, "name@example.org"),
    "hostname": (_hostname, "pump-1.example.org"),
    "ipv4": (_ipv4, "192.168.0.7"),
    "uri": (_uri, "https://example.org/a"),
    "uuid": (_uuid, "123e4567-e89b-12d3-a456-426614174000"),
}
