"""Sizes of weights and scratch memory in each layout, from docs/model-graph.md."""

PLAIN, ROWS, FOURS, CHANNELS = range(4)

_HAS = {
    "FULLY_CONNECTED": (PLAIN, FOURS),
    "CONV_2D": (PLAIN, ROWS),
    "DEPTHWISE_CONV_2D": (PLAIN, CHANNELS),
}


def _rounded(n, to=4):
    return n + -n % to


def _fours(channels, depth):
    """(fours of channels, places)."""
    return -(-channels // 4), _rounded(depth, 2)


def weights_size(name, layout, channels, depth):
    """Bytes of an operator's weights, the least for FOURS; None: it has no such layout."""
    if layout not in _HAS[name]:
        return None
    if layout == ROWS:
        return channels * _rounded(depth)
    if layout == FOURS:
        fours, places = _fours(channels, depth)
        return 4 + 4 * fours * places
    return channels * depth


def lists_fit(data, channels, depth):
    """Whether bytes that begin with weights in FOURS have the lists that they must have."""
    fours, places = _fours(channels, depth)
    stride = int.from_bytes(data[:4], "little")
    if stride > places // 2 + 1:
        return False
    if len(data) < 4 + _rounded(fours * stride) + 4 * fours * places:
        return False
    for i in range(fours):
        numbers = data[4 + i * stride : 4 + (i + 1) * stride]
        end = next((k for k, n in enumerate(numbers) if n >= 16), None)
        if end is None or sum(16 - n for n in numbers[:end]) != places // 2:
            return False
    return True


def scratch_size(name, layout, p, x, y, depth):
    """Least scratch memory of an operator with these parameters and tensors."""
    if layout == FOURS:
        return 8 * _rounded(depth, 2)
    if layout == CHANNELS:
        return 280
    if name != "CONV_2D":
        return 0
    direct = p["kernel"] == p["stride"] == (1, 1) and p["padding"] == (0, 0)
    direct = direct and x.dims[1:3] == y.dims[1:3]
    rows = 0 if direct else 1
    if layout == ROWS:
        rows = 12 if direct else 14
    return rows * _rounded(depth)
