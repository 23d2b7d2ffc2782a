"""Values on their way into a model and out of it: lists, buffers, real quantities, raw
integers."""

from ..compat import MICROPYTHON

# By typecode, as of the array module.
RANGES = {
    "b": (-128, 127),
    "B": (0, 255),
    "h": (-32768, 32767),
    "i": (-0x80000000, 0x7FFFFFFF),
}


def flat(values):
    """Yield the numbers of a list of lists of ..., in order. Raises TypeError for what is
    neither."""
    for value in values:
        if isinstance(value, (int, float)):
            yield value
        elif isinstance(value, (list, tuple)):
            for inner in flat(value):
                yield inner
        else:
            raise TypeError("%s where a number belongs" % type(value).__name__)


def number(value):
    """`value`, a number. Raises TypeError."""
    if not isinstance(value, (int, float)):
        raise TypeError("%s where a number belongs" % type(value).__name__)
    return value


def in_range(value, typecode):
    """`value`, a raw integer, if the type can hold it. Raises ValueError, TypeError."""
    low, high = RANGES[typecode]
    if not isinstance(value, int):
        raise TypeError("%s where a whole number belongs" % type(value).__name__)
    if not low <= value <= high:
        raise ValueError("%d is not within %d to %d" % (value, low, high))
    return value


def quantised(value, scale, zero, typecode):
    """The raw integer for a real value: rounded half away from zero, as TFLite's Quantize, and
    kept within the type. Raises ValueError for what is not finite."""
    low, high = RANGES[typecode]
    q = value / scale
    if q - q != 0:
        raise ValueError("%s cannot be quantised" % value)
    # Bounded first: a huge float makes a huge integer.
    q = min(max(q, -65536.0), 65536.0)
    return min(max(int(q + 0.5 if q >= 0 else q - 0.5) + zero, low), high)


def real(raw, scale, zero):
    """The real value of a raw integer."""
    return (raw - zero) * scale


def holds_floats(buffer):
    """Whether a buffer's items are floats: an array of 'f' or 'd', or a view of one."""
    return len(buffer) > 0 and isinstance(buffer[0], float)


if MICROPYTHON:

    def raw_bytes(buffer):
        """A view of a buffer's items by which those of another can be set, whether signed or
        not."""
        return memoryview(buffer)

else:

    def raw_bytes(buffer):
        return memoryview(buffer).cast("B")
