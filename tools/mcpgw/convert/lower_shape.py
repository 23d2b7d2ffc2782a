"""Operators that move values or reduce over axes."""

import numpy as np

from mcpgw.convert import fixed
from mcpgw.convert.loops import dense_strides, merge, pad_to
from mcpgw.convert.lower_elementwise import requantise_once, requantise_table
from mcpgw.convert.program import FILL, MEAN, Op, copy_op


def same_quantisation(x, y):
    """ValueError where two tensors do not mean the same by the same bytes."""
    if x.dtype != y.dtype or (x.scale is not None and x.quantisation != y.quantisation):
        raise ValueError(f"{x.name} and {y.name} differ in type or scale")


def _view(state, node):
    x, y = node.inputs[0], node.outputs[0]
    same_quantisation(x, y)
    if x.size != y.size:
        raise ValueError(f"shapes {x.shape} and {y.shape} differ in size")
    state.new(y, storage=state.value(x).storage)


def copy(state, *args, **kwargs):
    """Adds a COPY; see program.copy_op()."""
    state.add(copy_op(*args, **kwargs))


def _concatenation(state, node):
    y = node.outputs[0]
    if node.attrs.get("activation", "NONE") != "NONE":
        raise ValueError("CONCATENATION with an activation is not supported")
    axis = node.attrs["axis"] % len(y.shape)
    inputs = [state.value(x) for x in node.inputs]
    made = state.new(y)
    strides = dense_strides(y.shape)
    at = 0
    for x, value in zip(node.inputs, inputs, strict=True):
        table = None
        if x.scale is not None and x.quantisation != y.quantisation:
            is_once = node.attrs.get("rounding") == "once"
            table = (requantise_once if is_once else requantise_table)(x, y)
        elif x.dtype != y.dtype:
            raise ValueError(f"{x.name} and {y.name} differ in type")
        copy(
            state,
            value,
            made,
            x.shape,
            [dense_strides(x.shape), strides],
            (0, at * strides[axis]),
            table,
        )
        at += x.shape[axis]


def _is_taken_over(state, node):
    """Whether convolutions alone read the padded image, and can pad by themselves."""
    x, y = node.inputs[0], node.outputs[0]
    paddings = node.attrs["paddings"]
    readers = [n for n in state.graph.nodes if any(t is y for t in n.inputs)]
    return (
        len(y.shape) == 4
        and x.dtype == "int8"
        and _pad_value(node) == y.quantisation[1]
        and tuple(paddings[0]) == tuple(paddings[3]) == (0, 0)
        and not any(t is y for t in state.graph.outputs)
        and bool(readers)
        and all(
            n.op in ("CONV_2D", "DEPTHWISE_CONV_2D")
            and n.inputs[0] is y
            and n.attrs["padding"] == "VALID"
            for n in readers
        )
    )


def _pad_value(node):
    value = node.attrs.get("value")
    y = node.outputs[0]
    if value is None:
        value = y.quantisation[1] if y.scale is not None else 0
    return int(value)


def _pad(state, node):
    x, y = node.inputs[0], node.outputs[0]
    same_quantisation(x, y)
    if x.dtype not in ("int8", "uint8"):
        raise ValueError(f"PAD of {x.dtype} is not supported")
    if _is_taken_over(state, node):
        state.padded[id(y)] = node
        return
    value = state.value(x)
    made = state.new(y)
    state.add(Op(FILL, made, made, [_pad_value(node) & 255]))
    strides = dense_strides(y.shape)
    start = sum(before * s for (before, _), s in zip(node.attrs["paddings"], strides, strict=True))
    copy(state, value, made, x.shape, [dense_strides(x.shape), strides], (0, start))


def _transpose(state, node):
    x, y = node.inputs[0], node.outputs[0]
    same_quantisation(x, y)
    strides = dense_strides(x.shape)
    strides = [strides[i] for i in node.attrs["perm"]]
    copy(state, state.value(x), state.new(y), y.shape, [strides, dense_strides(y.shape)])


def _slice(state, node):
    x, y = node.inputs[0], node.outputs[0]
    same_quantisation(x, y)
    strides = dense_strides(x.shape)
    start = sum(b * s for b, s in zip(node.attrs["begin"], strides, strict=True))
    copy(
        state, state.value(x), state.new(y), y.shape, [strides, dense_strides(y.shape)], (start, 0)
    )


def mean_thresholds(to_output, count):
    """
    int32[255]: the output is -128 plus the number of these that a sum of `count` int8 reaches.

    to_output: rising function of an int64 array of sums, before clamping to int8.
    """
    wanted = np.arange(-127, 128, dtype=np.int64)
    low = np.full(255, -128 * count - 1, np.int64)  # does not reach it
    high = np.full(255, 127 * count + 1, np.int64)  # reaches it, or nothing does
    while np.any(high - low > 1):
        middle = (low + high) // 2
        reached = to_output(middle) >= wanted
        high = np.where((high - low > 1) & reached, middle, high)
        low = np.where((high - low > 1) & ~reached, middle, low)
    return high.astype("<i4")


def _mean(state, node):
    x, y = node.inputs[0], node.outputs[0]
    if x.dtype != "int8" or y.dtype != "int8":
        raise ValueError(f"MEAN of {x.dtype} is not supported")
    rank = len(x.shape)
    axes = sorted({a % rank for a in node.attrs["axes"]})
    kept = [i for i in range(rank) if i not in axes]
    count = int(np.prod([x.shape[i] for i in axes]))
    strides = dense_strides(x.shape)
    rounding = node.attrs.get("rounding")
    function = _mean_once(x, y, count, rounding) if rounding else _mean_function(x, y, count)
    fields = [mean_thresholds(function, count)]
    for group in (kept, axes):
        sizes, (steps,) = merge([x.shape[i] for i in group], [[strides[i] for i in group]])
        fields += pad_to(4, sizes, 1) + pad_to(4, steps, 0)
    state.add(Op(MEAN, state.value(x), state.new(y), fields, macs=x.size))


def _mean_once(x, y, count, rounding):
    """onnxruntime's means, ties to even: of a whole image before the zero point is added, of
    windows ("with zero point") after it."""
    (s1, z1), (s2, z2) = x.quantisation, y.quantisation
    inside, outside = (z2, 0) if rounding == "with zero point" else (0, z2)

    def function(total):
        real = (total - z1 * count) / count * (s1 / s2)
        return np.rint(real + inside).astype(np.int64) + outside

    return function


def _mean_function(x, y, count):
    """The reference's arithmetic: the division by `count` goes into the multiplier."""
    (s1, z1), (s2, z2) = x.quantisation, y.quantisation
    multiplier, shift = fixed.quantize_multiplier(s1 / s2)
    # As far as fixed.multiply() goes; what it rounds away is rounded away in the reference.
    left = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier = (multiplier << left) // count

    def function(total):
        return fixed.multiply(total - z1 * count, multiplier, shift - left) + z2

    return function


OPS = {
    "RESHAPE": _view,
    "SQUEEZE": _view,
    "EXPAND_DIMS": _view,
    "FLATTEN": _view,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "MEAN": _mean,
}
