"""What the scanner must say about a text, worked out by CPython's json and UTF-8 decoder."""

import json
import re

SYNTAX, UTF8, DEPTH, DUPLICATE, BATCH, NOT_OBJECT, ENVELOPE = range(-1, -8, -1)
NAMES = (
    ("jsonrpc", "id", "method", "params", "result", "error"),
    ("name", "arguments", "_meta"),
    ("progressToken", "io.modelcontextprotocol/protocolVersion", "mcp-gw/key"),
)
ABSENT = object()
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
_BRACKET = re.compile(rb"[\[{]|[\]}]")


class Members(list):
    """A JSON object as its (key, value) pairs, so that none is lost."""


class Number(str):
    """A number as it was written: no rounding, no limit on its digits."""


def _refuse(name):
    raise ValueError(name)


def parse(text):
    """The value of the JSON text `text` (bytes); ValueError if it is none."""
    return json.loads(
        text.decode(),
        object_pairs_hook=Members,
        parse_int=Number,
        parse_float=Number,
        parse_constant=_refuse,
    )


def depth(text):
    """How deep a valid JSON text is nested."""
    now = most = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", text)):
        now += 1 if bracket in b"[{" else -1
        most = max(most, now)
    return most


def first(members, name):
    for key, value in members:
        if key == name:
            return value
    return ABSENT


def judge(value):
    """(code, {field: value}) for a parsed message that is not nested too deeply."""
    if isinstance(value, Members):
        levels = [value]
    else:
        return (BATCH if isinstance(value, list) else NOT_OBJECT), {}
    for name in ("params", "_meta"):
        inner = first(levels[-1], name)
        if not isinstance(inner, Members):
            break
        levels.append(inner)
    fields = {}
    twice = False
    number = 0
    for i, names in enumerate(NAMES):
        for name in names:
            if i < len(levels):
                twice |= [key for key, _ in levels[i]].count(name) > 1
                found = first(levels[i], name)
                if found is not ABSENT:
                    fields[number] = found
            number += 1
    return (DUPLICATE if twice else _envelope(value)), fields


def _envelope(message):
    version, ident, method, params, result, error = (first(message, n) for n in NAMES[0])
    if version is ABSENT or version != "2.0":
        return ENVELOPE
    if isinstance(ident, Number):
        if not re.fullmatch(r"-?[0-9]+", ident):
            return ENVELOPE
    elif ident is not None and ident is not ABSENT and not isinstance(ident, str):
        return ENVELOPE
    if method is not ABSENT:
        if not isinstance(method, str) or isinstance(method, Number) or ident is None:
            return ENVELOPE
        if result is not ABSENT or error is not ABSENT:
            return ENVELOPE
        if params is not ABSENT and not isinstance(params, Members):
            return ENVELOPE
        return 2 if ident is ABSENT else 1
    if (result is ABSENT) == (error is ABSENT):
        return ENVELOPE
    if error is not ABSENT:
        return 4 if isinstance(error, Members) else ENVELOPE
    return ENVELOPE if ident is None or ident is ABSENT else 3


def check(text, max_depth, start, result, spans):
    """None, or what is wrong with the scanner's answer about text (bytes), whose first byte it
    found at offset `start`."""
    at = spans[25] - start
    shift = [n - start if n >= 0 else n for n in spans[:24]]
    found = {f: text[shift[2 * f] : shift[2 * f + 1]] for f in range(12) if shift[2 * f] >= 0}
    if (spans[25] < 0) != (result > 0) or (result < 0 and not 0 <= at <= len(text)):
        return f"error offset {at}"
    # A part skipped for its depth may hold a backslash where none can be.
    for f in range(12 if result != DEPTH else 0):
        if (b"\\" in found.get(f, b"")) != bool(spans[24] >> f & 1):
            return f"escape bit of field {f}"
    try:
        value = parse(text)
    except UnicodeDecodeError as e:
        if result == UTF8:
            return None if e.start == at else f"UTF-8 breaks at {e.start}"
        if result == SYNTAX:
            return None if at <= e.start else "went past broken UTF-8"
        return None if result == DEPTH else "accepted broken UTF-8"
    except RecursionError:
        return None if result == DEPTH else "accepted what breaks the stack"
    except ValueError:
        return _rejected(text, result, at, found)
    if depth(text) > max_depth:
        return None if result == DEPTH else "accepted what is nested too deeply"
    if text[shift[0] : shift[1]] != b'"2.0"' and first_version(value) == "2.0":
        # Only the plain spelling of the version counts; the oracle cannot see how it was spelled.
        return None if result in (DUPLICATE, ENVELOPE) else "accepted an escaped version"
    code, fields = judge(value)
    if code != result:
        return f"expected {code}"
    if fields.keys() != found.keys():
        return f"expected fields {sorted(fields)}, got {sorted(found)}"
    for f, part in found.items():
        if parse(part) != fields[f] or part.strip() != part:
            return f"field {f} is {part!r}"
    return None


def first_version(value):
    return first(value, "jsonrpc") if isinstance(value, Members) else ABSENT


def _rejected(text, result, at, found):
    if result not in (SYNTAX, DEPTH):
        return "accepted what is no JSON"
    if result == SYNTAX:
        for f, part in found.items():
            try:
                parse(part)
            except ValueError:
                return f"field {f} is {part!r}"
            if text.find(part) > at:
                return f"field {f} lies behind the error"
    return None
