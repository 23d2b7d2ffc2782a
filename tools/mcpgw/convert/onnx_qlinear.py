"""Quantised ONNX operators: QuantizeLinear and DequantizeLinear, and those that contain both.

QLinearConv and its like become the operator itself between a DequantizeLinear of each input and a
QuantizeLinear of the output.
"""

import numpy as np

from mcpgw import UserError
from mcpgw.convert import onnx_ops
from mcpgw.convert.onnx_values import Constant, scale_of


def dequantise(call, x, scale, zero, axis=1, name=None):
    """What DequantizeLinear makes of x."""
    if isinstance(x, Constant):
        if not isinstance(scale, Constant) or not (zero is None or isinstance(zero, Constant)):
            raise UserError("the scale of a constant is computed by the model")
        if scale.data.ndim > 1:
            raise UserError("quantisation in blocks is not supported")
        points = np.zeros(scale.data.size, int) if zero is None else zero.data.reshape(-1)
        many = scale.data.size > 1
        scales = scale.data.reshape(-1).astype(np.float64)
        return Constant(x.data, scales, points, axis % x.data.ndim if many else None)
    real, point = scale_of(scale, zero, x.tensor.name)
    if x.is_quantised:
        if x.tensor.quantisation != (real, point):
            raise UserError(f"{x.tensor.name} is read with a scale other than its own")
        return x
    return x.annotate(call.reader, real, point, name or call.name)


def quantise(call, x, scale, zero, name=None):
    """What QuantizeLinear makes of x."""
    name = name or call.name
    real, point = scale_of(scale, zero, name)
    if isinstance(x, Constant):
        if x.scale is not None:
            x = Constant(x.real)
        q = np.clip(np.round(x.data / real) + point, -128, 127).astype(np.int8)
        return Constant(q, np.array([real]), np.array([point]))
    return x.annotate(call.reader, real, point, name)


def _alias(call, result):
    if result is call[0]:
        uses = call.reader.uses
        uses[call.name] = uses.get(call.name, 0) + uses[call.input_names[0]] - 1
    return result


def _quantize_linear(call):
    return _alias(call, quantise(call, call[0], call[1], call[2]))


def _dequantize_linear(call):
    return _alias(call, dequantise(call, call[0], call[1], call[2], call.attrs.get("axis", 1)))


def _within(op, inputs, output, extra=(), weights=None):
    """
    A quantised operator as the plain one `op`.

    Args:
        inputs: places of (value, scale, zero point) of each quantised input.
        output: places of the output's scale and zero point.
        extra: places of inputs that are passed on as they are.
        weights: (which of the inputs are weights, the axis of their channels).
    """

    def function(call):
        values = []
        for i, (x, scale, zero) in enumerate(inputs):
            axis = weights[1] if weights and weights[0] == i else 0
            if op == "Gemm" and not call.attrs.get("transB", 0):
                axis = 1
            values.append(dequantise(call, call[x], call[scale], call[zero], axis))
        scale, zero = (call[i] for i in output)
        values += [call[i] for i in extra if call[i] is not None]
        # What may be fused is decided by names; an inner operator reads nothing but quantised
        # values, to which nothing is fused.
        names = [call.input_names[x] for x, _, _ in inputs]
        call.inputs = values
        call.input_names = names + [
            call.input_names[i] for i in extra if i < len(call.input_names)
        ]
        result = onnx_ops.OPS[op](call)
        if isinstance(result, Constant):
            return quantise(call, result, scale, zero)
        return result.annotate(call.reader, *scale_of(scale, zero, call.name), call.name)

    return function


def _concat(call):
    scale, zero = call[0], call[1]
    triples = [call.inputs[i : i + 3] for i in range(2, len(call.inputs), 3)]
    call.inputs = [dequantise(call, *triple) for triple in triples]
    result = onnx_ops.OPS["Concat"](call)
    return result.annotate(call.reader, *scale_of(scale, zero, call.name), call.name)


def _channels_last(function):
    def checked(call):
        if call.attrs.get("channels_last", 0):
            raise UserError("channels_last is not supported: export the model without it")
        return function(call)

    return checked


_TWO = ((0, 1, 2), (3, 4, 5))
_ONE = ((0, 1, 2),)

OPS = {
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "QLinearConv": _within("Conv", _TWO, (6, 7), (8,), (1, 0)),
    "QLinearMatMul": _within("MatMul", _TWO, (6, 7), (), (1, 1)),
    "QGemm": _within("Gemm", _TWO, (7, 8), (6,), (1, 0)),
    "QLinearAdd": _within("Add", _TWO, (6, 7)),
    "QLinearMul": _within("Mul", _TWO, (6, 7)),
    "QLinearSigmoid": _within("Sigmoid", _ONE, (3, 4)),
    "QLinearLeakyRelu": _within("LeakyRelu", _ONE, (3, 4)),
    "QLinearSoftmax": _within("Softmax", _ONE, (3, 4)),
    "QLinearAveragePool": _channels_last(_within("AveragePool", _ONE, (3, 4))),
    "QLinearGlobalAveragePool": _channels_last(_within("GlobalAveragePool", _ONE, (3, 4))),
    "QLinearReduceMean": _within("ReduceMean", _ONE, (3, 4)),
    "QLinearConcat": _concat,
}
