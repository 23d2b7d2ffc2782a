"""FULLY_CONNECTED, the convolutions and pooling."""

from dataclasses import replace

import numpy as np

from mcpgw.convert import fixed
from mcpgw.convert.graph import resolve_padding
from mcpgw.convert.program import (
    AVERAGE_POOL_2D,
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
    MAX_POOL_2D,
    Dense,
    Op,
    Storage,
    Value,
    copy_op,
    packed,
    pair,
)

# Longest sum of products; QNN_DEPTH_MAX.
MAX_DEPTH = 65536


def _int8(tensor):
    if tensor.dtype != "int8":
        raise ValueError(f"{tensor.name} is {tensor.dtype}, not int8: quantise the model first")
    return tensor.quantisation


def scales(x, weights, y, channels, product=float, once=False):
    """
    (multiplier, shift) arrays: x_scale * w_scale / y_scale, one or one for each channel.

    The reference computes in float64, but for the first product of FULLY_CONNECTED: `product` is
    what that is rounded to. `once`: round as onnxruntime does, which computes in float32.
    """
    w = weights.scale
    if w is None or w.size not in (1, channels):
        raise ValueError(f"{weights.name} has not one scale for each channel")
    if np.any(weights.zero_point):
        raise ValueError(f"{weights.name}: weights with a zero point are not supported")
    x_scale, y_scale = x.quantisation[0], y.quantisation[0]
    if once:
        reals = np.float32(x_scale) * w.astype(np.float32) / np.float32(y_scale)
        pairs = [fixed.quantize_once(float(real)) for real in reals]
    else:
        reals = (float(product(x_scale * float(s))) / y_scale for s in w)
        pairs = [fixed.quantize_multiplier(real) for real in reals]
    # Equal ones need not be stored for each channel.
    if len(set(pairs)) == 1:
        pairs = pairs[:1]
    return np.array([m for m, _ in pairs], "<i4"), np.array([s for _, s in pairs], np.int8)


def folded_bias(bias, sums, x_zero):
    """bias - x_zero * (sum of each channel's weights), as int32 arithmetic wraps."""
    total = -x_zero * sums.astype(np.int64)
    if bias is not None:
        if not bias.is_constant or bias.dtype != "int32":
            raise ValueError(f"{bias.name}: the bias is not a constant of int32")
        total = total + bias.data.reshape(-1).astype(np.int64)
    return (total & 0xFFFFFFFF).astype(np.uint32).view(np.int32).astype("<i4")


def _weights(tensor):
    if not tensor.is_constant or tensor.dtype != "int8":
        raise ValueError(f"{tensor.name}: the weights are not a constant of int8")
    return tensor.data


def _bias(node):
    return node.inputs[2] if len(node.inputs) > 2 else None


def _dense(state, node, code, x, weights, window=None):
    """The operator; x may be the input of a padding that `window` has taken over."""
    w, y = node.inputs[1], node.outputs[0]
    (_, x_zero), (y_scale, y_zero) = _int8(x), _int8(y)
    axis = 0 if code == DEPTHWISE_CONV_2D else 1
    if weights.shape[axis] > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} products in a sum")
    rounded = np.float32 if code == FULLY_CONNECTED else float
    once = node.attrs.get("rounding") == "once"
    multiplier, shift = scales(x, w, y, weights.shape[1 - axis], rounded, once)
    state.add(
        Dense(
            code,
            state.value(x),
            state.new(y),
            weights=np.ascontiguousarray(weights),
            bias=folded_bias(_bias(node), weights.sum(axis=axis, dtype=np.int64), x_zero),
            multiplier=multiplier,
            shift=shift,
            zeros=(x_zero, y_zero),
            limits=fixed.activation_range(node.attrs.get("activation"), y_scale, y_zero),
            window=window,
            macs=y.size * weights.shape[axis],
        )
    )
    return state.ops[-1]


def _fully_connected(state, node):
    weights = _weights(node.inputs[1])
    x, y = node.inputs[0], node.outputs[0]
    channels, depth = weights.shape
    if x.size % depth or y.shape[-1] != channels or x.size // depth != y.size // channels:
        raise ValueError(f"shapes {x.shape} and {weights.shape} do not fit")
    _dense(state, node, FULLY_CONNECTED, x, weights)


def _padding_of(state, x, attrs):
    """(tensor before a padding, padding): a PAD that only this operator reads becomes its own."""
    pad = state.padded.get(id(x))
    if pad is None:
        return x, attrs["padding"]
    return pad.inputs[0], tuple(pad.attrs["paddings"][1:3])


def _window(node, x, padding, filter_h, filter_w):
    """(kernel, stride, dilation, (top, left)), each (h, w), checked against the output's shape."""
    attrs = node.attrs
    sizes = (filter_h, filter_w)
    strides = (attrs["stride_h"], attrs["stride_w"])
    dilations = (attrs.get("dilation_h", 1), attrs.get("dilation_w", 1))
    before = []
    for i in range(2):
        one = padding if isinstance(padding, str) else padding[i]
        out, first, _ = resolve_padding(one, x.shape[1 + i], sizes[i], strides[i], dilations[i])
        if out != node.outputs[0].shape[1 + i]:
            raise ValueError(
                f"output {node.outputs[0].shape} does not follow from the input {x.shape}"
            )
        before.append(first)
    if max(*sizes, *strides, *dilations, *before) >= 65536 or min(*strides, *dilations) < 1:
        raise ValueError("kernel, stride, dilation or padding out of range")
    return sizes, strides, dilations, tuple(before)


def _conv(state, node):
    weights = _weights(node.inputs[1])
    x, padding = _padding_of(state, node.inputs[0], node.attrs)
    out_c, filter_h, filter_w, in_c = weights.shape
    window = _window(node, x, padding, filter_h, filter_w)
    groups, rest = divmod(x.shape[3], in_c)
    if rest or out_c % groups:
        raise ValueError(f"weights {weights.shape} do not fit an input {x.shape}")
    op = _dense(state, node, CONV_2D, x, weights.reshape(out_c, -1), window)
    for part in _grouped(state, groups) if groups > 1 else [op]:
        if not part.is_direct:
            part.storage = Storage(scratch_size(part))


def _grouped(state, groups):
    """Puts as many convolutions in the place of the last one, with copies around each; these."""
    whole = state.ops.pop()
    parts = []
    in_c, out_c = whole.x.dims[3] // groups, whole.channels // groups
    for g in range(groups):
        x, y = (
            Value(f"{v.name} ({g})", (*v.dims[:3], n), v.dtype, v.scale, v.zero_point)
            for v, n in ((whole.x, in_c), (whole.y, out_c))
        )
        rows = slice(g * out_c, (g + 1) * out_c)
        one = whole.multiplier.size == 1
        part = replace(
            whole,
            x=x,
            y=y,
            weights=np.ascontiguousarray(whole.weights[rows]),
            bias=whole.bias[rows],
            multiplier=whole.multiplier if one else whole.multiplier[rows],
            shift=whole.shift if one else whole.shift[rows],
            macs=whole.macs // groups,
        )
        # A row of channels is a part of the wider one.
        for n, source, to, starts in (
            (in_c, whole.x, x, (g * in_c, 0)),
            (out_c, y, whole.y, (0, g * out_c)),
        ):
            steps = [source.dims[3], 1], [to.dims[3], 1]
            state.add(copy_op(source, to, [source.count // source.dims[3], n], steps, starts))
            if source is whole.x:
                state.add(part)
        parts.append(part)
    return parts


# Positions of the output whose inputs are gathered at a time, and what that may take.
_POSITIONS = 8
_MAX_SCRATCH = 4096


def scratch_size(op):
    """Bytes for rows of the gathered input: as many as pay, no more than the output has."""
    row = op.depth + (-op.depth % 4)
    positions = op.y.count // op.channels
    return row * max(1, min(_POSITIONS, positions, _MAX_SCRATCH // row))


def _depthwise(state, node):
    weights = _weights(node.inputs[1])
    x, padding = _padding_of(state, node.inputs[0], node.attrs)
    _, filter_h, filter_w, channels = weights.shape
    if weights.shape[0] != 1 or channels % x.shape[3]:
        raise ValueError(f"weights {weights.shape} do not fit an input {x.shape}")
    window = _window(node, x, padding, filter_h, filter_w)
    _dense(state, node, DEPTHWISE_CONV_2D, x, weights.reshape(-1, channels), window)


def _pool(code):
    def function(state, node):
        x, y, attrs = node.inputs[0], node.outputs[0], node.attrs
        _int8(x)
        scale, zero_point = _int8(y)
        if (scale, zero_point) != x.quantisation:
            raise ValueError("input and output have different scales")
        kernel, stride, _, padding = _window(
            node, x, attrs["padding"], attrs["filter_h"], attrs["filter_w"]
        )
        low, high = fixed.activation_range(attrs.get("activation"), scale, zero_point)
        fields = [packed(0, 0, low, high), pair(*kernel), pair(*stride), pair(*padding)]
        macs = y.size * kernel[0] * kernel[1]
        state.add(Op(code, state.value(x), state.new(y), fields, macs=macs))

    return function


OPS = {
    "FULLY_CONNECTED": _fully_connected,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _pool(AVERAGE_POOL_2D),
    "MAX_POOL_2D": _pool(MAX_POOL_2D),
}
