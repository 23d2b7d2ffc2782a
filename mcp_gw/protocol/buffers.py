"""What the C module _mcpscan does with bytes beside scanning, in Python."""


def check_range(buf, start, end):
    """Raise ValueError unless the bytes buf[start:end] all exist."""
    if start < 0 or end < start or end > len(buf):
        raise ValueError("range outside buffer")


def find(buf, byte, start, end):
    """Index of the first `byte` (0..255) in buf[start:end], or -1."""
    check_range(buf, start, end)
    if not 0 <= byte <= 255:
        raise ValueError("not a byte")
    try:
        return buf.find(byte, start, end)
    except (AttributeError, TypeError):
        # CPython's memoryview and MicroPython's buffers have no such method.
        for i in range(start, end):
            if buf[i] == byte:
                return i
    return -1


def gather(parts, buf, at):
    """Copy the bytes-like items of `parts` into buf[at:], one behind the other.

    Returns the index after the last; -1 if they do not fit, and then buf may hold some of them.
    """
    if not 0 <= at <= len(buf):
        raise ValueError("outside the buffer")
    for part in parts:
        end = at + len(part)
        if end > len(buf):
            return -1
        buf[at:end] = part
        at = end
    return at


def move(buf, start, end):
    """Copy buf[start:end] down to buf[0:end - start]."""
    check_range(buf, start, end)
    buf[0 : end - start] = bytes(memoryview(buf)[start:end])
