"""Writes int8 .tflite files with random weights, to compare with TFLite's reference kernels."""

from dataclasses import dataclass

import flatbuffers
import numpy as np
import tflite
from mcpgw.convert.graph import resolve_padding

_TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int8": 9}
_CODES = {name: number for number, name in tflite.BUILTIN_OPCODE2NAME.items()}
_ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_PADDINGS = {"SAME": 0, "VALID": 1}
# The first version of an operator that takes int8, as far as that is not 2.
_VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "RESHAPE": 1,
    "QUANTIZE": 1,
    "SQUEEZE": 1,
    "EXPAND_DIMS": 1,
    "RELU_N1_TO_1": 1,
    "HARD_SWISH": 1,
}


@dataclass(eq=False)
class Made:
    """A tensor of the file; scale is a float or an array, data an array or None."""

    shape: tuple
    dtype: str = "int8"
    scale: object = None
    zero: int = 0
    data: np.ndarray | None = None
    axis: int = 0

    @property
    def int8(self):
        """(scale, zero point)"""
        return self.scale, self.zero


class Maker:
    """A model in the making. Methods named like operators add one and return its output."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.tensors = []
        self.ops = []

    # ---- tensors

    def _tensor(self, *args, **kwargs):
        self.tensors.append(Made(*args, **kwargs))
        return self.tensors[-1]

    def input(self, shape, dtype="int8", scale=None, zero=None):
        """A model's input."""
        if dtype == "float32":
            return self._tensor(tuple(shape), dtype)
        scale, zero = self.quantisation(scale, zero, dtype)
        return self._tensor(tuple(shape), dtype, scale, zero)

    def quantisation(self, scale=None, zero=None, dtype="int8"):
        """(scale, zero point), random where not given."""
        if scale is None:
            scale = float(np.exp(self.random.uniform(-6, 0)))
        if zero is None:
            zero = int(self.random.integers(-128, 128))
            zero += 128 if dtype == "uint8" else 0
        return float(np.float32(scale)), zero

    def constant(self, values, dtype="int32"):
        """A tensor of parameters."""
        values = np.asarray(values, dtype)
        return self._tensor(values.shape, dtype, data=values)

    def output(self, shape, scale=None, zero=None, dtype="int8"):
        """What an operator makes."""
        if dtype == "float32":
            return self._tensor(tuple(shape), dtype)
        return self._tensor(tuple(shape), dtype, *self.quantisation(scale, zero, dtype))

    # ---- operators

    def op(self, name, inputs, output, kind=None, **options):
        """Any operator; `output` may be a list."""
        self.ops.append((name, inputs, output, kind, options))
        return output

    def _weights(self, shape, x, axis, depth, per_channel, bias):
        data = self.random.integers(-127, 128, shape)
        n = shape[axis] if per_channel else 1
        # Real outputs of about 1 whatever x's scale is, so that deep nets do not run away.
        unit = 1 / (73 * 73 * np.sqrt(depth) * x.scale)
        scale = (unit * np.exp(self.random.uniform(-1, 2, n))).astype(np.float32)
        w = self._tensor(shape, "int8", scale, 0, data.astype(np.int8), axis)
        if not bias:
            return w, None, scale
        limit = int(127 * 64 * np.sqrt(depth)) + 1
        values = self.random.integers(-limit, limit, shape[axis]).astype(np.int32)
        b = self._tensor((shape[axis],), "int32", scale * np.float32(x.scale), 0, values)
        return w, b, scale

    def _dense_scale(self, x, scale, depth):
        """An output scale at which few values saturate and none vanish."""
        spread = 73 * 73 * np.sqrt(depth) * x.scale * float(scale.mean())
        return float(np.float32(spread / self.random.uniform(15, 90)))

    def conv(
        self,
        x,
        channels,
        kernel,
        stride=(1, 1),
        dilation=(1, 1),
        padding="SAME",
        activation="NONE",
        per_channel=True,
        groups=1,
    ):
        """CONV_2D; kernel and the others are (h, w)."""
        shape = (channels, *kernel, x.shape[3] // groups)
        depth = kernel[0] * kernel[1] * shape[3]
        w, b, scale = self._weights(shape, x, 0, depth, per_channel, True)
        y = self._windowed(x, channels, kernel, stride, dilation, padding, scale, depth)
        options = _window_options(stride, dilation, padding, activation)
        return self.op("CONV_2D", [x, w, b], y, "Conv2DOptions", **options)

    def _windowed(self, x, channels, kernel, stride, dilation, padding, scale, depth):
        size = [
            resolve_padding(padding, x.shape[1 + i], kernel[i], stride[i], dilation[i])[0]
            for i in range(2)
        ]
        return self.output((x.shape[0], *size, channels), self._dense_scale(x, scale, depth))

    def depthwise(
        self,
        x,
        kernel,
        stride=(1, 1),
        dilation=(1, 1),
        padding="SAME",
        activation="NONE",
        multiplier=1,
        per_channel=True,
        bias=True,
    ):
        """DEPTHWISE_CONV_2D."""
        channels = x.shape[3] * multiplier
        depth = kernel[0] * kernel[1]
        w, b, scale = self._weights((1, *kernel, channels), x, 3, depth, per_channel, bias)
        y = self._windowed(x, channels, kernel, stride, dilation, padding, scale, depth)
        options = _window_options(stride, dilation, padding, activation)
        options["DepthMultiplier"] = multiplier
        return self.op(
            "DEPTHWISE_CONV_2D",
            [x, w, b] if bias else [x, w],
            y,
            "DepthwiseConv2DOptions",
            **options,
        )

    def fully_connected(self, x, channels, activation="NONE", bias=True, keep_dims=False):
        """FULLY_CONNECTED over the last dimension, or over all but the first."""
        depth = x.shape[-1] if keep_dims else int(np.prod(x.shape[1:]))
        w, b, scale = self._weights((channels, depth), x, 0, depth, False, bias)
        shape = (*x.shape[:-1], channels) if keep_dims else (x.shape[0], channels)
        y = self.output(shape, self._dense_scale(x, scale, depth))
        return self.op(
            "FULLY_CONNECTED",
            [x, w, b],
            y,
            "FullyConnectedOptions",
            FusedActivationFunction=_ACTIVATIONS[activation],
            KeepNumDims=keep_dims,
        )

    def pool(self, name, x, kernel, stride=(1, 1), padding="VALID", activation="NONE"):
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        size = [resolve_padding(padding, x.shape[1 + i], kernel[i], stride[i])[0] for i in (0, 1)]
        y = self.output((x.shape[0], *size, x.shape[3]), *x.int8)
        options = _window_options(stride, None, padding, activation)
        options |= {"FilterHeight": kernel[0], "FilterWidth": kernel[1]}
        return self.op(name, [x], y, "Pool2DOptions", **options)

    def binary(self, name, a, b, scale=None, zero=None, activation="NONE"):
        """ADD, SUB or MUL; shapes broadcast."""
        if scale is None:
            scale = a.scale * b.scale * 40 if name == "MUL" else max(a.scale, b.scale)
            scale *= self.random.uniform(0.7, 2)
        y = self.output(np.broadcast_shapes(a.shape, b.shape), scale, zero)
        kind = name.capitalize() + "Options"
        return self.op(name, [a, b], y, kind, FusedActivationFunction=_ACTIVATIONS[activation])

    def unary(self, name, x, scale=None, zero=None, kind=None, **options):
        """A function of each element."""
        return self.op(name, [x], self.output(x.shape, scale, zero), kind, **options)

    def reshape(self, x, shape):
        """RESHAPE."""
        y = self.output(shape, *x.int8)
        return self.op("RESHAPE", [x, self.constant(shape)], y)

    def concatenation(self, inputs, axis):
        """CONCATENATION of inputs of one scale."""
        shape = list(inputs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in inputs)
        y = self.output(shape, *inputs[0].int8)
        options = {"Axis": axis, "FusedActivationFunction": 0}
        return self.op("CONCATENATION", inputs, y, "ConcatenationOptions", **options)

    def pad(self, x, pairs, value=None):
        """PAD, or PADV2 with a value."""
        shape = [n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)]
        y = self.output(shape, *x.int8)
        inputs = [x, self.constant(pairs)]
        if value is None:
            return self.op("PAD", inputs, y, "PadOptions")
        data = np.array([value], np.int8)
        inputs.append(self._tensor((1,), "int8", *x.int8, data))
        return self.op("PADV2", inputs, y, "PadV2Options")

    def mean(self, x, axes, keep_dims, scale=None, zero=None):
        """MEAN."""
        real = {a % len(x.shape) for a in axes}
        shape = [1 if i in real else n for i, n in enumerate(x.shape)]
        if not keep_dims:
            shape = [n for i, n in enumerate(x.shape) if i not in real]
        y = self.output(shape, scale if scale is not None else x.scale / 4, zero)
        inputs = [x, self.constant(list(axes))]
        return self.op("MEAN", inputs, y, "ReducerOptions", KeepDims=keep_dims)

    def softmax(self, x, beta=1.0):
        """SOFTMAX."""
        return self.op(
            "SOFTMAX", [x], self.output(x.shape, 1 / 256, -128), "SoftmaxOptions", Beta=beta
        )

    # ---- the file

    def finish(self, inputs, outputs):
        """The bytes of the file."""
        b = flatbuffers.Builder(1 << 16)
        names = list(dict.fromkeys(name for name, *_ in self.ops))
        buffers, tensors = [_table(b, "Buffer")], []
        for tensor in self.tensors:
            tensors.append(self._write_tensor(b, tensor, len(buffers)))
            if tensor.data is not None:
                data = b.CreateByteVector(np.ascontiguousarray(tensor.data).tobytes())
                buffers.append(_table(b, "Buffer", Data=data))
        codes = []
        for name in names:
            number = _CODES[name]
            fields = {"BuiltinCode": number, "DeprecatedBuiltinCode": min(number, 127)}
            codes.append(_table(b, "OperatorCode", **fields, Version=_VERSIONS.get(name, 2)))
        ops = [self._write_op(b, op, names) for op in self.ops]
        sub = _table(
            b,
            "SubGraph",
            Tensors=_offsets(b, tensors),
            Inputs=self._indices(b, inputs),
            Outputs=self._indices(b, outputs),
            Operators=_offsets(b, ops),
        )
        model = _table(
            b,
            "Model",
            Version=3,
            OperatorCodes=_offsets(b, codes),
            Subgraphs=_offsets(b, [sub]),
            Buffers=_offsets(b, buffers),
        )
        b.Finish(model, b"TFL3")
        return bytes(b.Output())

    def _indices(self, b, tensors):
        index = {id(t): i for i, t in enumerate(self.tensors)}
        return b.CreateNumpyVector(
            np.array([-1 if t is None else index[id(t)] for t in tensors], np.int32)
        )

    def _write_tensor(self, b, t, buffer):
        quantisation = None
        if t.scale is not None:
            scale = np.atleast_1d(np.asarray(t.scale, np.float32))
            zero = np.full(scale.size, t.zero, np.int64)
            quantisation = _table(
                b,
                "QuantizationParameters",
                Scale=b.CreateNumpyVector(scale),
                ZeroPoint=b.CreateNumpyVector(zero),
                QuantizedDimension=t.axis if scale.size > 1 else 0,
            )
        return _table(
            b,
            "Tensor",
            Shape=b.CreateNumpyVector(np.array(t.shape, np.int32)),
            Type=_TYPES[t.dtype],
            Buffer=buffer if t.data is not None else 0,
            Quantization=quantisation,
        )

    def _write_op(self, b, op, names):
        name, inputs, output, kind, options = op
        fields = {"OpcodeIndex": names.index(name)}
        fields["Inputs"] = self._indices(b, inputs)
        fields["Outputs"] = self._indices(b, output if isinstance(output, list) else [output])
        if kind:
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, kind)
            fields["BuiltinOptions"] = _table(b, kind, **options)
        return _table(b, "Operator", **fields)


def _window_options(stride, dilation, padding, activation):
    options = {"StrideH": stride[0], "StrideW": stride[1], "Padding": _PADDINGS[padding]}
    if dilation:
        options |= {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
    return options | {"FusedActivationFunction": _ACTIVATIONS[activation]}


def _table(b, kind, **fields):
    getattr(tflite, f"{kind}Start")(b)
    for name, value in fields.items():
        if value is not None:
            getattr(tflite, f"{kind}Add{name}")(b, value)
    return getattr(tflite, f"{kind}End")(b)


def _offsets(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
