"""Bytes to text where they may not be valid UTF-8: MicroPython's decode() lets surrogates pass,
and knows no errors="replace"."""


def character(text, at, end):
    """(length, code point) of the character at `at`; length 0 if it is not valid UTF-8, -1 if the
    text ends within it."""
    lead = text[at]
    if lead < 0x80:
        return 1, lead
    if not 0xC2 <= lead <= 0xF4:
        return 0, 0
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & 0x7F >> size
    # The second byte is where overlong forms, surrogates and values past U+10FFFF show.
    low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
    high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
    for i in range(at + 1, at + size):
        if i == end:
            return -1, 0
        if not low <= text[i] <= high:
            return 0, 0
        point = point << 6 | text[i] & 0x3F
        low, high = 0x80, 0xBF
    return size, point


def _bad(data, at):
    """The place of the first byte from `at` on that begins no character, and the length of what
    U+FFFD replaces there: the beginning of a character as far as it goes (Unicode 3.9, U+FFFD
    substitution of maximal subparts)."""
    end = len(data)
    while at < end:
        size = character(data, at, end)[0]
        if size <= 0:
            # Up to where it goes wrong it is the beginning of something.
            length = 1
            while length < 4 and at + length < end and character(data, at, at + length + 1)[0] < 0:
                length += 1
            return at, length
        at += size
    return end, 0


def to_text(data):
    """str of bytes, with U+FFFD for what is no character."""
    bad, length = _bad(data, 0)
    if not length:
        return data.decode()
    parts = []
    at = 0
    while length:
        parts.append(data[at:bad].decode())
        parts.append("\ufffd")
        at = bad + length
        bad, length = _bad(data, at)
    parts.append(data[at:].decode())
    return "".join(parts)


def complete(data):
    """How many bytes there are before a character that has begun and may be completed by more."""
    end = len(data)
    for at in range(max(0, end - 3), end):
        if data[at] >= 0xC2 and character(data, at, end)[0] < 0:
            return at
    return end
