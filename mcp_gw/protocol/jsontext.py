"""JSON text handled without making objects of it, and the gaps of the boards' json module
closed."""

import json

from ..compat import MICROPYTHON, const

try:
    from _mcpscan import gather
except ImportError:
    from .scan import gather

_QUOTE = const(0x22)
_BACKSLASH = const(0x5C)


def loads(data, escaped):
    """Parse JSON text (bytes or memoryview) that the scanner has found valid.

    escaped: whether the text contains a backslash at all. Surrogate escapes are turned into
    characters first: the boards' json makes one invalid character of each half. A lone half
    becomes U+FFFD.
    """
    if (escaped or not MICROPYTHON) and not isinstance(data, bytes):
        # Else it is parsed where it lies: a copy of a long text brings the next collection nearer.
        data = bytes(data)
    if escaped and (b"\\ud" in data or b"\\uD" in data):
        data = _join_surrogates(data)
    return json.loads(data)


def _join_surrogates(data):
    out = bytearray()
    i = 0
    while True:
        j = data.find(b"\\", i)
        if j < 0:
            out.extend(data[i:])
            return bytes(out)
        out.extend(data[i:j])
        if data[j + 1 : j + 2] != b"u":
            out.extend(data[j : j + 2])
            i = j + 2
            continue
        code = int(data[j + 2 : j + 6], 16)
        i = j + 6
        if not 0xD800 <= code < 0xE000:
            out.extend(data[j:i])
            continue
        if code < 0xDC00 and data[i : i + 2] == b"\\u":
            low = int(data[i + 2 : i + 6], 16)
            if 0xDC00 <= low < 0xE000:
                out.extend(chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00).encode())
                i += 6
                continue
        out.extend(b"\xef\xbf\xbd")


def mended(data):
    """The UTF-8 text `data` with surrogates, of which the boards' strings may consist, made into
    characters; a lone half becomes U+FFFD."""
    i = data.find(b"\xed")
    if i < 0:
        return data
    out = bytearray(data[:i])
    while True:
        if data[i + 1] < 0xA0:
            out.extend(data[i : i + 3])  # Hangul
        else:
            high = data[i + 1] << 6 & 0x7C0 | data[i + 2] & 0x3F
            if high < 0x400 and data[i + 3 : i + 4] == b"\xed" and data[i + 4] >= 0xB0:
                low = data[i + 4] << 6 & 0x3C0 | data[i + 5] & 0x3F
                i += 3
                out.extend(chr(0x10000 + (high << 10) + low).encode())
            else:
                out.extend(b"\xef\xbf\xbd")
        start = i + 3
        i = data.find(b"\xed", start)
        if i < 0:
            out.extend(data[start:])
            return bytes(out)
        out.extend(data[start:i])


def one_line(data):
    """The JSON text `data` (bytes) without line breaks, which end a message on a wire."""
    for end in (b"\n", b"\r"):
        if end in data:
            data = data.replace(end, b" ")  # they cannot be part of a string
    return data


def joined(parts):
    """The parts (bytes-like) as one bytearray; MicroPython's join() takes no memoryview."""
    out = bytearray(sum(len(part) for part in parts))
    gather(parts, out, 0)
    return out


def members(data):
    """Yield (key, member start, value start, value end) of each member of the JSON object `data`.

    data: bytes of a valid JSON object. key: the raw bytes between the quotes.
    """
    i = data.find(b"{") + 1
    end = len(data)
    while True:
        i = _skip_space(data, i, end)
        if data[i] == 0x7D:
            return
        start = i
        i = _skip_string(data, i)
        key = data[start + 1 : i - 1]
        i = _skip_space(data, i, end) + 1  # the colon
        i = _skip_space(data, i, end)
        value = i
        i = skip_value(data, i, end)
        yield key, start, value, i
        i = _skip_space(data, i, end)
        if data[i] != 0x2C:
            return
        i += 1


def items(data, i):
    """Yield (start, end) of each value in the JSON array that begins at data[i]."""
    end = len(data)
    i += 1
    while True:
        while data[i] in b" \t\r\n,":
            i += 1
        if data[i] == 0x5D:
            return
        start = i
        i = skip_value(data, i, end)
        yield start, i


def member(data, key):
    """JSON text of member `key` (bytes) of the JSON object `data` (bytes), or None."""
    for name, _, lo, hi in members(data):
        if name == key:
            return data[lo:hi]
    return None


def without_member(data, key):
    """The JSON object `data` (bytes) less its member `key`."""
    pieces = []
    for name, start, _, end in members(data):
        if name != key:
            pieces.append(data[start:end])
    return b"{" + b",".join(pieces) + b"}"


def has_object(data, key):
    """Whether the JSON object `data` (bytes) has a member whose value is an object.

    key: JSON text (bytes) of its name, quotes included.
    """
    at = data.find(key)
    if at < 0:
        return False
    if data.count(b"{", 0, at) - data.count(b"}", 0, at) != 1:
        # It lies deeper, or braces in strings before it hide where it lies.
        return (member(data, key[1:-1]) or b"?")[0] == 0x7B
    end = len(data)
    return data[_skip_space(data, _skip_space(data, at + len(key), end) + 1, end)] == 0x7B


def skip_value(data, i, end):
    """Index after the JSON value that starts at data[i]."""
    c = data[i]
    if c == _QUOTE:
        return _skip_string(data, i)
    if c not in b"{[":
        while i < end and data[i] not in b",]} \t\r\n":
            i += 1
        return i
    depth = 0
    while True:
        # From string to string by find and count, which are C; byte by byte only where it may end.
        j = data.find(b'"', i)
        if j < 0:
            j = end
        closers = data.count(b"}", i, j) + data.count(b"]", i, j)
        if closers < depth:
            depth += data.count(b"{", i, j) + data.count(b"[", i, j) - closers
        else:
            while i < j:
                c = data[i]
                i += 1
                if c in b"{[":
                    depth += 1
                elif c in b"}]":
                    depth -= 1
                    if depth == 0:
                        return i
        i = _skip_string(data, j)


def _skip_string(data, i):
    i += 1
    while True:
        j = data.find(b'"', i)
        n = j - 1
        while data[n] == _BACKSLASH:
            n -= 1
        i = j + 1
        if (j - n) & 1:  # an even number of backslashes before it
            return i


def _skip_space(data, i, end):
    while i < end and data[i] in b" \t\r\n":
        i += 1
    return i
