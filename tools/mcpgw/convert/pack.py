"""
Layouts of weights for a kind of processor: docs/model-graph.md. Every engine runs every layout,
with the same results; the one it was made for runs it fast.
"""

import numpy as np

from mcpgw.convert.program import CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, Dense, Storage

TARGETS = ("portable", "rp2040", "cortex-m4", "host")

ROWS, FOURS, CHANNELS = 1, 2, 3

# FOURS: most pairs of places in a chunk; QNN_FOURS_CHUNK.
CHUNK = 16
# CHANNELS: words of a line of the input; QNN_M0_PITCH.
PITCH = 14
# What sums and products of sums may come to: a chunk's in 16 bits, a whole one's in 24.
_MOST_WEIGHTS = 255
_MOST_SUM = 1 << 23
# Depthwise scratch beyond which more rows at a time gain little.
_DEPTHWISE_SCRATCH = 2048


def pack(program, target="portable"):
    """
    Changes layouts and scratch memory of a Program's weights, in place, before it is planned.

    Args:
        program: see program.py.
        target: one of TARGETS. cortex-m4 (any core with DSP instructions) wants room to widen what
            it multiplies. rp2040 (any Cortex-M0+) takes two products from one multiply, which
            needs weights whose sums are small; operators whose are not stay plain.
    """
    if target not in TARGETS:
        raise ValueError(f"no such target: {target}; there are {', '.join(TARGETS)}")
    for op in program.ops:
        if isinstance(op, Dense):
            if target == "cortex-m4":
                _for_dsp(op)
            elif target == "rp2040" and _fits(op):
                _PACK[op.code](op)


def packer(target):
    """pack() for build.build()."""
    return lambda program: pack(program, target)


def _for_dsp(op):
    if op.code == CONV_2D:
        row = op.depth + (-op.depth % 4)
        if row != op.depth and _fits(op):
            _conv(op)
        op.storage = Storage(row * (14 if op.layout else 12 if op.is_direct else 13))
    elif op.code == DEPTHWISE_CONV_2D and _is_3x3(op):
        rows, columns = op.y.dims[1:3]
        stride = op.window[1]
        line = 2 * (((columns - 1) * stride[1] + 5) & ~1)
        per_row, fixed = line * stride[0] + 4 * columns, line * (3 - stride[0])
        rows = min(rows, max(1, (_DEPTHWISE_SCRATCH - fixed) // per_row))
        op.storage = Storage(fixed + rows * per_row)


def _is_3x3(op):
    kernel, _, dilation, _ = op.window
    return kernel == (3, 3) and dilation == (1, 1)


def _rows(op):
    """int32 [channels, depth], the depth made even."""
    w = op.weights.T if op.code == DEPTHWISE_CONV_2D else op.weights
    return np.pad(w.astype(np.int32), ((0, 0), (0, w.shape[1] % 2)))


def _fits(op):
    """Whether the kernels' sums and shifts hold this operator's."""
    if np.any(op.shift > 0) or np.any(op.shift < -31):
        return False
    sizes = np.abs(_rows(op))
    pairs = sizes[:, ::2] + sizes[:, 1::2]
    sums = 128 * sizes.sum(1, dtype=np.int64) + np.abs(op.bias.astype(np.int64))
    return pairs.max() <= _MOST_WEIGHTS and sums.max() < _MOST_SUM


def _conv(op):
    row = op.depth + (-op.depth % 4)
    op.layout = ROWS
    op.packed = np.pad(op.weights, ((0, 0), (0, row - op.depth))).tobytes()
    op.storage = Storage(row * (12 if op.is_direct else 14))


def chunks(sizes):
    """
    Lengths, in pairs of places, into which channels that share words have to be cut.

    Args:
        sizes: [channels, places]: absolute weights, an even number of places.
    """
    lengths, sums = [], None
    for pair in (sizes[:, ::2] + sizes[:, 1::2]).T:
        if sums is None or lengths[-1] == CHUNK or np.any(sums + pair > _MOST_WEIGHTS):
            lengths.append(0)
            sums = np.zeros_like(pair)
        lengths[-1] += 1
        sums = sums + pair
    return lengths


def _fully_connected(op):
    w = _rows(op)
    w = np.pad(w, ((0, -w.shape[0] % 4), (0, 0)))
    fours = w.reshape(-1, 4, w.shape[1])
    lists = [chunks(np.abs(four)) for four in fours]
    stride = max(map(len, lists)) + 1
    out = bytearray(stride.to_bytes(4, "little"))
    for lengths in lists:
        out += bytes(CHUNK - n for n in lengths) + b"\xff" * (stride - len(lengths))
    out += bytes(-len(out) % 4)
    words = (fours + 128).astype(np.uint8).transpose(0, 2, 1)
    op.layout = FOURS
    op.packed = bytes(out) + words.tobytes()
    op.storage = Storage(8 * w.shape[1])


def _depthwise(op):
    stride = op.window[1]
    if not _is_3x3(op) or max(stride) > 8:
        return
    rows, columns = op.y.dims[1:3]
    columns = min(columns, (PITCH - 3) // stride[1] + 1)
    # Per line of words: input, and sums of two lines of the output.
    line = 4 * PITCH * stride[0] + 8 * columns
    fixed = 4 * PITCH * (3 - stride[0])
    lines = min((rows + 1) // 2, max(1, (_DEPTHWISE_SCRATCH - fixed) // line))
    op.layout = CHANNELS
    op.packed = np.ascontiguousarray(op.weights.T).tobytes()
    # Never less than QNN_M0_DEPTHWISE_SCRATCH.
    op.storage = Storage(max(fixed + line * lines, 20 * PITCH))


_PACK = {CONV_2D: _conv, FULLY_CONNECTED: _fully_connected, DEPTHWISE_CONV_2D: _depthwise}
