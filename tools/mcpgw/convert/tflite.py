"""TFLite models into graphs, through the flatbuffer classes of the package `tflite`."""

import struct
from pathlib import Path

import numpy as np

from mcpgw import UserError
from mcpgw.convert.graph import Graph, Node, Tensor

_TYPES = {0: "float32", 2: "int32", 3: "uint8", 7: "int16", 9: "int8"}
_FLOAT16, _INT64 = 1, 4
_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}
_PADDINGS = {0: "SAME", 1: "VALID"}


def read(source, name=None):
    """
    Graph of a .tflite file.

    Args:
        source: path, or the file's bytes.
        name: of the model; default: the file's.

    Raises UserError where the file is none or holds what a graph cannot say.
    """
    import tflite

    if not isinstance(source, bytes):
        name = name or Path(source).stem
        source = Path(source).read_bytes()
    if source[4:8] != b"TFL3":
        raise UserError("not a TFLite model (no TFL3 at byte 4)")
    try:
        return _Reader(tflite, tflite.Model.GetRootAs(source, 0)).graph(name or "model")
    except (
        struct.error,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as e:
        # What flatbuffers, numpy and struct raise where an offset leads outside of the file.
        raise UserError(f"the TFLite model is damaged: {type(e).__name__}: {e}") from e


class _Reader:
    def __init__(self, tflite, model):
        self.tflite = tflite
        self.model = model
        if model.SubgraphsLength() != 1:
            raise UserError(
                f"a TFLite model with {model.SubgraphsLength()} subgraphs; one is supported"
            )
        self.sub = model.Subgraphs(0)
        self.tensors = {}

    def graph(self, name):
        sub = self.sub
        inputs = [self.tensor(i) for i in sub.InputsAsNumpy()]
        nodes = [self.node(sub.Operators(i)) for i in range(sub.OperatorsLength())]
        outputs = [self.tensor(i) for i in sub.OutputsAsNumpy()]
        return Graph(name, inputs, outputs, nodes, {"source": "tflite"})

    def tensor(self, index):
        """Tensor of an index, None of -1 (an input left out)."""
        index = int(index)
        if index < 0:
            return None
        if index not in self.tensors:
            self.tensors[index] = self._tensor(self.sub.Tensors(index), index)
        return self.tensors[index]

    def _tensor(self, t, index):
        name = (t.Name() or b"").decode(errors="replace") or f"tensor {index}"
        shape = tuple(int(n) for n in t.ShapeAsNumpy()) if t.ShapeLength() else ()
        # Converters leave -1 in a signature where the shape says 1.
        if any(n < 1 for n in shape):
            raise UserError(f"{name}: shape {shape} is not fixed; convert it with a batch of 1")
        raw = self.model.Buffers(t.Buffer()).DataAsNumpy() if t.Buffer() else None
        has_data = isinstance(raw, np.ndarray) and raw.size > 0
        if t.Type() == _INT64 and has_data:
            # Shapes and axes; nothing else of this type can be used.
            return Tensor(
                name, shape, "int32", data=raw.view("<i8").reshape(shape).astype(np.int32)
            )
        if t.Type() == _FLOAT16 and has_data:
            # Weights of a float model, which a DEQUANTIZE makes float32.
            return Tensor(name, shape, "float32", data=raw.view("<f2").reshape(shape))
        if t.Type() not in _TYPES:
            raise UserError(f"{name}: type number {t.Type()} is not supported")
        dtype = _TYPES[t.Type()]
        data = raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape) if has_data else None
        scale, zero_point, axis = self._quantisation(t)
        return Tensor(name, shape, dtype, scale, zero_point, axis, data)

    @staticmethod
    def _quantisation(t):
        q = t.Quantization()
        if q is None or not q.ScaleLength():
            return None, None, None
        with np.errstate(invalid="ignore"):  # lower.py refuses what is not a number
            scale = q.ScaleAsNumpy().astype(np.float64)
        zero_point = q.ZeroPointAsNumpy() if q.ZeroPointLength() else np.zeros(scale.size)
        zero_point = np.asarray(zero_point).astype(np.int64)
        if scale.size == 1:
            return scale, int(zero_point[0]), None
        return scale, zero_point, int(q.QuantizedDimension())

    def node(self, op):
        code = self.model.OperatorCodes(op.OpcodeIndex())
        # Old files have only the byte, and codes beyond 127 only the other.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = self.tflite.BUILTIN_OPCODE2NAME.get(number, f"number {number}")
        if number == self.tflite.BuiltinOperator.CUSTOM:
            name = f"custom {(code.CustomCode() or b'').decode(errors='replace')}"
        inputs = [self.tensor(i) for i in op.InputsAsNumpy()]
        outputs = [self.tensor(i) for i in op.OutputsAsNumpy()]
        if not outputs or None in outputs:
            raise UserError(f"the TFLite model is damaged: {name} has no output")
        reader = _READERS.get(name)
        attrs = reader(self, op, inputs) if reader else {}
        if name in _DATA_INPUT:
            inputs = [inputs[_DATA_INPUT[name]]]
        return Node(name, inputs, outputs, attrs)

    def options(self, op, kind):
        """The operator's table of options, of class `kind`; defaults where the file has none."""
        table = op.BuiltinOptions()
        if table is None:
            return None
        options = getattr(self.tflite, kind)()
        options.Init(table.Bytes, table.Pos)
        return options


def _activation(options):
    number = options.FusedActivationFunction() if options else 0
    return _ACTIVATIONS.get(number, f"number {number}")


def _conv(reader, op, inputs, kind="Conv2DOptions"):
    o = reader.options(op, kind)
    return {
        "stride_h": o.StrideH(),
        "stride_w": o.StrideW(),
        "dilation_h": o.DilationHFactor(),
        "dilation_w": o.DilationWFactor(),
        "padding": _PADDINGS[o.Padding()],
        "activation": _activation(o),
    }


def _depthwise(reader, op, inputs):
    return _conv(reader, op, inputs, "DepthwiseConv2DOptions")


def _pool(reader, op, inputs):
    o = reader.options(op, "Pool2DOptions")
    return {
        "filter_h": o.FilterHeight(),
        "filter_w": o.FilterWidth(),
        "stride_h": o.StrideH(),
        "stride_w": o.StrideW(),
        "padding": _PADDINGS[o.Padding()],
        "activation": _activation(o),
    }


def _fully_connected(reader, op, inputs):
    o = reader.options(op, "FullyConnectedOptions")
    if o is not None and o.WeightsFormat() != 0:
        raise UserError("FULLY_CONNECTED with shuffled weights is not supported")
    return {"activation": _activation(o), "keep_num_dims": bool(o and o.KeepNumDims())}


def _with_activation(kind):
    return lambda reader, op, inputs: {"activation": _activation(reader.options(op, kind))}


def _concatenation(reader, op, inputs):
    o = reader.options(op, "ConcatenationOptions")
    return {"axis": o.Axis(), "activation": _activation(o)}


def _constant(tensor, what):
    if tensor is None or not tensor.is_constant:
        raise UserError(f"{what} is computed by the model; only a constant is supported")
    return tensor.data


def _pad(reader, op, inputs):
    pairs = _constant(inputs[1], "padding").reshape(-1, 2)
    attrs = {"paddings": tuple((int(a), int(b)) for a, b in pairs)}
    if len(inputs) > 2 and inputs[2] is not None:
        attrs["value"] = int(_constant(inputs[2], "value of padding").reshape(-1)[0])
    return attrs


def _mean(reader, op, inputs):
    o = reader.options(op, "ReducerOptions")
    axes = _constant(inputs[1], "axis of MEAN").reshape(-1)
    return {"axes": tuple(int(a) for a in axes), "keep_dims": bool(o and o.KeepDims())}


def _transpose(reader, op, inputs):
    rank = len(inputs[0].shape)
    return {
        "perm": tuple(
            int(i) % rank for i in _constant(inputs[1], "order of TRANSPOSE").reshape(-1)
        )
    }


def _slice(reader, op, inputs):
    return {"begin": tuple(int(i) for i in _constant(inputs[1], "begin of SLICE").reshape(-1))}


def _split(reader, op, inputs):
    axis = inputs[2] if len(inputs) > 2 else inputs[0]
    return {"axis": int(_constant(axis, "axis of SPLIT").reshape(-1)[0])}


def _axis(kind):
    return lambda reader, op, inputs: {"axis": reader.options(op, kind).Axis()}


def _strided_slice(reader, op, inputs):
    o = reader.options(op, "StridedSliceOptions")
    if o.EllipsisMask() or o.NewAxisMask():
        raise UserError("STRIDED_SLICE with new axes is not supported")
    if not all(t.is_constant for t in inputs[1:]):
        return {}  # of a shape, which nothing needs: lower.py leaves it out
    begin, end, strides = ([int(i) for i in t.data.reshape(-1)] for t in inputs[1:4])

    def masked(values, mask):
        return [None if mask >> i & 1 else v for i, v in enumerate(values)]

    return {
        "begin": masked(begin, o.BeginMask()),
        "end": masked(end, o.EndMask()),
        "strides": strides,
        "shrink": {i for i in range(len(begin)) if o.ShrinkAxisMask() >> i & 1},
    }


def _blocks(name):
    def function(reader, op, inputs):
        block = [int(n) for n in _constant(inputs[1], "block").reshape(-1)]
        pairs = _constant(inputs[2], name).reshape(-1, 2)
        return {"block": block, name: tuple((int(a), int(b)) for a, b in pairs)}

    return function


def _softmax(reader, op, inputs):
    o = reader.options(op, "SoftmaxOptions")
    return {"beta": o.Beta() if o else 1.0}


def _leaky_relu(reader, op, inputs):
    return {"alpha": reader.options(op, "LeakyReluOptions").Alpha()}


_READERS = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _with_activation("AddOptions"),
    "SUB": _with_activation("SubOptions"),
    "MUL": _with_activation("MulOptions"),
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "MEAN": _mean,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _axis("PackOptions"),
    "UNPACK": _axis("UnpackOptions"),
    "STRIDED_SLICE": _strided_slice,
    "SPACE_TO_BATCH_ND": _blocks("paddings"),
    "BATCH_TO_SPACE_ND": _blocks("crops"),
    "SOFTMAX": _softmax,
    "LEAKY_RELU": _leaky_relu,
}

# Which input is left when those that became attributes are gone.
_DATA_INPUT = {
    **dict.fromkeys(("RESHAPE", "EXPAND_DIMS", "SQUEEZE", "PAD", "PADV2", "MEAN", "TRANSPOSE"), 0),
    **dict.fromkeys(("SLICE", "STRIDED_SLICE", "SPLIT_V"), 0),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), 0),
    "SPLIT": 1,
}
