"""Feeding the portable line buffer from chunks of any size, and what the beginning of a line tells
that is too long for it."""

import re

# A text that does not end is a token of its own: its quote.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|"|[{}\[\],:]|[^\s"{}\[\],:]++', re.DOTALL)
# The envelope of a message stands before what makes it long, if that can be told at all.
_HEAD = 65536


def lines_of(lines, data):
    """Feed bytes to a LineBuffer; yields (kind, line bytes), kind as LineBuffer.next() has it."""
    view = memoryview(data)
    while view:
        n = min(len(lines.buf) - lines.end, len(view))
        lines.buf[lines.end : lines.end + n] = view[:n]
        lines.end += n
        view = view[n:]
        kind = lines.next()
        while kind:
            yield kind, bytes(memoryview(lines.buf)[lines.lo : lines.hi])
            kind = lines.next()


def head_of(line):
    """The members of a JSON object whose text was cut off: dict of name (bytes) -> how its value
    begins, all of a number. Those behind the first 64 KiB are not looked for."""
    found, depth = {}, 0
    name = last = None
    for match in _TOKEN.finditer(line, 0, _HEAD):
        token = match[0]
        if match.end() == _HEAD:
            break  # there may be more of it
        if depth == 1:
            if token == b":":
                name = last
            elif token == b",":
                name = None
            elif name is not None:
                found[name.strip(b'"')] = token
            last = token
        if token == b'"':
            break
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
    return found
