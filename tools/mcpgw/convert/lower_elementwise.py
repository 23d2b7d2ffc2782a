"""
ADD, SUB, MUL and functions of one int8, which become tables of 256 with the reference's own
arithmetic.
"""

import math

import numpy as np

from mcpgw.convert import fixed
from mcpgw.convert.hard_swish import hard_swish
from mcpgw.convert.loops import broadcast_strides, merge, pad_to
from mcpgw.convert.program import ADD, COPY, DEQUANTIZE, MUL, QUANTIZE, SOFTMAX, SUB, Op, packed

_LEFT_SHIFT = 20


def _float32(x):
    return float(np.float32(x))


def _binary(code):
    def function(state, node):
        x1, x2 = node.inputs
        y = node.outputs[0]
        for tensor in (x1, x2, y):
            if tensor.dtype != "int8":
                raise ValueError(
                    f"{tensor.name} is {tensor.dtype}, not int8: quantise the model first"
                )
        (s1, z1), (s2, z2), (s, z) = (t.quantisation for t in (x1, x2, y))
        if code == MUL:
            # The reference multiplies in float32.
            real = np.float32(s1) * np.float32(s2) / np.float32(s)
            once = node.attrs.get("rounding") == "once"
            quantize = fixed.quantize_once if once else fixed.quantize_multiplier
            scales = [(0, 0), (0, 0), quantize(float(real))]
        else:
            largest = 2 * max(s1, s2)
            output = largest / ((1 << _LEFT_SHIFT) * s)
            scales = [fixed.quantize_multiplier(v) for v in (s1 / largest, s2 / largest, output)]
        low, high = fixed.activation_range(node.attrs.get("activation"), s, z)
        first, second = state.value(x1), state.value(x2)
        strides = [broadcast_strides(t.shape, y.shape) for t in (x1, x2)]
        sizes, strides = merge(y.shape, strides)
        shifts = packed(*(shift for _, shift in scales), 0 if code == MUL else _LEFT_SHIFT)
        fields = [packed(z1, z2, z, 0), packed(low, high, 0, 0), *(m for m, _ in scales), shifts]
        fields += pad_to(4, sizes, 1) + pad_to(4, strides[0], 0) + pad_to(4, strides[1], 0)
        in_place = tuple(v for v in (first, second) if v.dims == tuple(y.shape))
        state.add(Op(code, first, state.new(y), fields, x2=second, in_place=in_place, macs=y.size))

    return function


def add_table(state, x, y, table):
    """The operator y = table[x]; x and y are values, table 256 bytes for x as an unsigned byte."""
    table = np.ascontiguousarray(table).view(np.uint8)
    loops = [1, 1, 1, x.count, 0, 0, 0, 1, 0, 0, 0, 1]
    state.add(Op(COPY, x, y, [table, 0, 0, *loops], in_place=(x,)))


def table_of(function, x_type="int8", y_type="int8"):
    """Table of a function of all quantised values, clamped to the range of y_type."""
    bits = np.arange(256, dtype=np.uint8).view(x_type).astype(np.int64)
    info = np.iinfo(y_type)
    return np.clip(function(bits), info.min, info.max).astype(y_type)


def requantise_table(x, y):
    """int8 or uint8 of one scale as that of another (the reference's Requantize)."""
    (s1, z1), (s2, z2) = x.quantisation, y.quantisation
    multiplier, shift = fixed.quantize_multiplier(s1 / s2)
    return table_of(lambda q: fixed.multiply(q - z1, multiplier, shift) + z2, x.dtype, y.dtype)


def _float_function(function):
    """The reference's LUTPopulate: in float32, the function's result rounded to float32."""

    def table(x, y):
        (s1, z1), (s2, z2) = x.quantisation, y.quantisation

        def quantised(q):
            real = np.float32(s1) * (q - z1).astype(np.float32)
            result = np.array([function(float(v)) for v in real], np.float32)
            inverse = np.float32(1) / np.float32(s2)
            return (fixed.round_away(result * inverse) + np.float32(z2)).astype(np.int64)

        return table_of(quantised)

    return table


def _logistic(v):
    return float(
        np.float32(1) / (np.float32(1) + np.float32(math.exp(-v) if v > -88.0 else math.inf))
    )


def _relu(activation):
    def table(x, y):
        (s1, z1), (s2, z2) = x.quantisation, y.quantisation
        multiplier, shift = fixed.quantize_multiplier(_float32(np.float32(s1) / np.float32(s2)))
        low, high = fixed.activation_range(activation, s2, z2)
        return table_of(
            lambda q: np.clip(fixed.multiply(q - z1, multiplier, shift) + z2, low, high)
        )

    return table


def _leaky_relu(x, y, alpha):
    (s1, z1), (s2, z2) = x.quantisation, y.quantisation
    identity = fixed.quantize_multiplier(s1 / s2)
    slope = s1 * _float32(alpha) / s2
    if slope < 0:
        raise ValueError("LEAKY_RELU with a negative slope is not supported")
    scaled = fixed.quantize_multiplier(slope)

    def function(q):
        v = q - z1
        return np.where(v >= 0, fixed.multiply(v, *identity), fixed.multiply(v, *scaled)) + z2

    return table_of(function)


def _hard_swish(x, y):
    return table_of(lambda q: hard_swish(q, x.quantisation, y.quantisation))


_REAL = {
    "LOGISTIC": lambda v: 1 / (1 + np.exp(-v)),
    "TANH": np.tanh,
    "RELU": lambda v: np.maximum(v, 0),
    "RELU6": lambda v: np.clip(v, 0, 6),
    "RELU_N1_TO_1": lambda v: np.clip(v, -1, 1),
    "HARD_SWISH": lambda v: v * np.clip(v + 3, 0, 6) / 6,
    "LEAKY_RELU": lambda v, alpha: np.where(v >= 0, v, v * np.float32(alpha)),
}


def _once(x, y, function):
    """Table of a function as onnxruntime computes it: in float32, rounded once, ties to even."""
    (s1, z1), (s2, z2) = x.quantisation, y.quantisation

    def quantised(q):
        real = (q - z1).astype(np.float32) * np.float32(s1)
        result = function(real).astype(np.float32)
        return np.rint(result / np.float32(s2) + np.float32(z2)).astype(np.int64)

    return table_of(quantised)


def requantise_once(x, y):
    """int8 of one scale as that of another, as onnxruntime does it."""
    return _once(x, y, lambda v: v)


def table_once(node):
    """Table of an operator of one value, as onnxruntime computes it."""
    parameters = _parameters(node)
    return _once(node.inputs[0], node.outputs[0], lambda v: _REAL[node.op](v, **parameters))


def _unary(make_table):
    def function(state, node):
        x, y = node.inputs[0], node.outputs[0]
        for tensor in (x, y):
            if tensor.dtype != "int8":
                raise ValueError(
                    f"{tensor.name} is {tensor.dtype}, not int8: quantise the model first"
                )
        if node.attrs.get("rounding") == "once":
            table = table_once(node)
        else:
            table = make_table(x, y, **_parameters(node))
        add_table(state, state.value(x), state.new(y), table)

    return function


def _parameters(node):
    return {"alpha": node.attrs["alpha"]} if node.op == "LEAKY_RELU" else {}


def _softmax(state, node):
    x, y = node.inputs[0], node.outputs[0]
    if x.dtype != "int8" or y.dtype != "int8" or y.quantisation != (1 / 256, -128):
        raise ValueError("SOFTMAX must go from int8 to int8 with scale 1/256 and zero point -128")
    table = fixed.softmax_table(node.attrs.get("beta", 1.0), x.quantisation[0]).astype("<i4")
    value = state.value(x)
    state.add(
        Op(SOFTMAX, value, state.new(y), [table, x.shape[-1]], in_place=(value,), macs=x.size)
    )


def _quantize(state, node):
    x, y = node.inputs[0], node.outputs[0]
    if y.dtype not in ("int8", "uint8") or x.dtype not in ("int8", "uint8", "float32"):
        raise ValueError(f"from {x.dtype} to {y.dtype} is not supported")
    value = state.value(x)
    if x.dtype != "float32":
        is_once = node.attrs.get("rounding") == "once"
        table = (requantise_once if is_once else requantise_table)(x, y)
        add_table(state, value, state.new(y), table)
        return
    scale, zero_point = y.quantisation
    fields = [int(np.float32(scale).view(np.uint32)), zero_point & 0xFFFFFFFF]
    state.add(Op(QUANTIZE, value, state.new(y), fields))


def _dequantize(state, node):
    x, y = node.inputs[0], node.outputs[0]
    if x.dtype not in ("int8", "uint8") or y.dtype != "float32":
        raise ValueError(f"from {x.dtype} to {y.dtype} is not supported")
    scale, zero_point = x.quantisation
    bits = np.arange(256, dtype=np.uint8).view(x.dtype).astype(np.float64)
    table = (scale * (bits - zero_point)).astype("<f4")
    state.add(Op(DEQUANTIZE, state.value(x), state.new(y), [table]))


OPS = {
    "ADD": _binary(ADD),
    "SUB": _binary(SUB),
    "MUL": _binary(MUL),
    "LOGISTIC": _unary(_float_function(_logistic)),
    "TANH": _unary(_float_function(math.tanh)),
    "RELU": _unary(_relu("RELU")),
    "RELU6": _unary(_relu("RELU6")),
    "RELU_N1_TO_1": _unary(_relu("RELU_N1_TO_1")),
    "LEAKY_RELU": _unary(_leaky_relu),
    "HARD_SWISH": _unary(_hard_swish),
    "SOFTMAX": _softmax,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
}
