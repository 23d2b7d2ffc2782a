"""Feeding the portable line buffer from chunks of any size."""


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
