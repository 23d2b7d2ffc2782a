"""JSON text on its way into a frame of the serial link: what it may hold, and how short it is."""

import re

from mcp_gw.protocol.jsontext import member

from .calls import parse

_STRING_OR_SPACE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\x00-\x20]+', re.DOTALL)
# A pair of surrogates, another character by its number, or any other escape.
_ESCAPE = re.compile(rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u....|.)", re.DOTALL)
_UNFIT = re.compile(rb"[\x00-\x1f\x7f]")


def unescaped(raw):
    """Valid JSON text with characters beyond ASCII as UTF-8 rather than as escapes."""
    return _ESCAPE.sub(_as_utf8, raw)


def _as_utf8(match):
    escape = match.group()
    if escape[1:2] != b"u":
        return escape
    char = parse(b'"' + escape + b'"')
    return char.encode() if char >= "\x80" and not "\ud800" <= char < "\ue000" else escape


def compact(raw):
    """Valid JSON text without white space between tokens or bytes that a frame cannot carry."""
    if not _UNFIT.search(raw):
        return raw

    def keep(match):
        found = match[0]
        return found.replace(b"\x7f", b"\\u007f") if found[:1] == b'"' else b""

    return _STRING_OR_SPACE.sub(keep, raw)


def with_result_type(raw):
    """A result's JSON text with the resultType that the modern revision asks for."""
    if member(raw, b"resultType") is not None:
        return raw
    return with_members(raw, b'"resultType":"complete"')


def with_members(raw, added):
    """The JSON object `raw` with members (JSON text without braces) before its own."""
    at = raw.index(b"{") + 1
    comma = b"" if raw[at:].strip() == b"}" else b","
    return raw[:at] + added + comma + raw[at:]
