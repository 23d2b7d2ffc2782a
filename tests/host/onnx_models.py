"""Small ONNX models for tests: each operator that is read, in odd shapes, with random weights."""

import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Samples(CalibrationDataReader):
    """Sample inputs for onnxruntime's quantiser."""

    def __init__(self, name, x):
        self.items = iter([{name: row[None]} for row in x])

    def get_next(self):
        return next(self.items, None)


def model(nodes, shape, weights, output="y", dtype=TensorProto.FLOAT, opset=14):
    """A ModelProto of nodes (op, inputs, output or outputs, attributes) over the input x."""
    made = [
        helper.make_node(op, ins.split(), outs.split(), **attrs) for op, ins, outs, attrs in nodes
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info("x", dtype, ["batch", *shape])],
        [helper.make_tensor_value_info(output, dtype, None)],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def session(proto):
    """An onnxruntime session of a ModelProto or path, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = proto if isinstance(proto, str) else proto.SerializeToString()
    return onnxruntime.InferenceSession(source, options)


def quantised(source, target, name, x, form, activation, per_channel):
    """A float model's file quantised by onnxruntime."""
    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        str(source),
        str(target),
        Samples(name, x),
        quant_format=QuantFormat[form],
        activation_type=QuantType[activation],
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    return onnx.load(target)


def random_weights(seed, **shapes):
    """{name: float32 array} of these shapes."""
    random = np.random.default_rng(seed)
    scales = {k: 0.7 / np.sqrt(max(1, np.prod(v[1:]))) for k, v in shapes.items()}
    return {k: random.normal(0, scales[k], v).astype(np.float32) for k, v in shapes.items()}


def ints(*values):
    """int64 constant."""
    return np.array(values, np.int64)


def scalar(value):
    """float32 constant without dimensions."""
    return np.float32(value)


def _conv(name, shape, kernel, **attrs):
    spatial = kernel[2:]
    return (
        name,
        shape,
        [("Conv", "x w b", "y", {"kernel_shape": spatial, **attrs})],
        {
            "w": kernel,
            "b": kernel[:1],
        },
    )


def _one(name, shape, op, ins="x", extra=None, **attrs):
    return name, shape, [(op, ins, "y", attrs)], extra or {}


_IMAGE = (6, 9, 7)

# (name, shape of x without batch, nodes, {weight: shape, or the values themselves}).
OPERATORS = [
    _conv("conv", (3, 9, 7), (5, 3, 3, 2)),
    _conv("conv-stride-pads", (3, 9, 7), (4, 3, 3, 3), strides=[2, 3], pads=[1, 0, 2, 1]),
    _conv("conv-dilation", (2, 11, 10), (3, 2, 3, 3), dilations=[2, 3], pads=[2, 3, 2, 3]),
    _conv("conv-same-upper", (2, 8, 9), (4, 2, 3, 4), auto_pad="SAME_UPPER", strides=[2, 2]),
    _conv("conv-same-lower", (2, 8, 9), (4, 2, 2, 4), auto_pad="SAME_LOWER", strides=[2, 2]),
    _conv("conv-1x1", (6, 5, 5), (8, 6, 1, 1)),
    _conv("depthwise", _IMAGE, (6, 1, 3, 3), group=6, pads=[1, 1, 1, 1]),
    _conv("depthwise-multiplier", (3, 8, 8), (6, 1, 3, 3), group=3, strides=[2, 1]),
    _conv("conv-groups", _IMAGE, (4, 3, 3, 3), group=2, pads=[1, 1, 1, 1]),
    _conv("conv-1d", (4, 20), (6, 4, 5), strides=[2], pads=[2, 2]),
    _conv("depthwise-1d", (4, 20), (4, 1, 3), group=4, dilations=[2]),
    _one("max-pool", _IMAGE, "MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    _one("max-pool-ceil", _IMAGE, "MaxPool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    _one("max-pool-1d", (4, 21), "MaxPool", kernel_shape=[4], strides=[3]),
    _one("average-pool", _IMAGE, "AveragePool", kernel_shape=[3, 3], strides=[1, 2]),
    _one("average-pool-tiles", (5, 8, 6), "AveragePool", kernel_shape=[2, 3], strides=[2, 3]),
    _one("average-pads", _IMAGE, "AveragePool", kernel_shape=[3, 3], pads=[1] * 4),
    _one("global-average", _IMAGE, "GlobalAveragePool"),
    _one("global-max", _IMAGE, "GlobalMaxPool"),
    _one("mean-image", _IMAGE, "ReduceMean", axes=[2, 3], keepdims=0),
    _one("mean-channels", _IMAGE, "ReduceMean", axes=[1], keepdims=1),
    _one("gemm", (12,), "Gemm", "x w b", {"w": (12, 5), "b": (5,)}),
    _one("gemm-turned", (12,), "Gemm", "x w b", {"w": (5, 12), "b": (5,)}, transB=1, alpha=0.5),
    _one("matmul", (7, 12), "MatMul", "x w", {"w": (12, 5)}),
    _one("relu", _IMAGE, "Relu"),
    _one("leaky-relu", _IMAGE, "LeakyRelu", alpha=0.125),
    _one("sigmoid", _IMAGE, "Sigmoid"),
    _one("tanh", (30,), "Tanh"),
    _one("softmax", (30,), "Softmax", axis=-1),
    _one("clip", _IMAGE, "Clip", "x low high", {"low": scalar(0), "high": scalar(6)}),
    _one("add-channel", _IMAGE, "Add", "x w", {"w": (6, 1, 1)}),
    _one("multiply-row", (4, 9), "Mul", "x w", {"w": (9,)}),
    _one("subtract-from", (9,), "Sub", "w x", {"w": (1, 9)}),
    _one("divide", (9,), "Div", "x w", {"w": np.linspace(0.5, 3, 9, dtype=np.float32)}),
    _one("pad", _IMAGE, "Pad", "x p", {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    _one("slice", _IMAGE, "Slice", "x s e", {"s": ints(0, 1, 2, 0), "e": ints(1, 5, 9, -1)}),
    _one("transpose", _IMAGE, "Transpose", perm=[0, 3, 1, 2]),
    _one("reshape", _IMAGE, "Reshape", "x s", {"s": ints(0, 9, -1)}),
    (
        "residual",
        (4, 6, 6),
        [
            ("Conv", "x w b", "a", {"kernel_shape": [3, 3], "pads": [1] * 4}),
            ("Relu", "a", "r", {}),
            ("Conv", "r v", "c", {"kernel_shape": [1, 1]}),
            ("Add", "c x", "s", {}),
            ("Relu", "s", "y", {}),
        ],
        {"w": (4, 4, 3, 3), "b": (4,), "v": (4, 4, 1, 1)},
    ),
    (
        "branches",
        (3, 8, 8),
        [
            ("Conv", "x w", "a", {"kernel_shape": [1, 1]}),
            ("Conv", "x v b", "c", {"kernel_shape": [3, 3], "pads": [1] * 4}),
            ("Relu", "c", "d", {}),
            ("Concat", "a d", "y", {"axis": 1}),
        ],
        {"w": (2, 3, 1, 1), "v": (5, 3, 3, 3), "b": (5,)},
    ),
    (
        "image-to-row",
        (3, 6, 5),
        [
            ("Conv", "x w", "a", {"kernel_shape": [3, 3]}),
            ("Flatten", "a", "f", {}),
            ("Relu", "f", "r", {}),
            ("Gemm", "r v b", "g", {"transB": 1}),
            ("Relu", "g", "y", {}),
        ],
        {"w": (4, 3, 3, 3), "v": (7, 48), "b": (7,)},
    ),
    (
        "row-to-image",
        (24,),
        [
            ("Gemm", "x w", "g", {}),
            ("Reshape", "g s", "i", {}),
            ("Conv", "i v", "c", {"kernel_shape": [2, 2]}),
            ("Reshape", "c t", "y", {}),
        ],
        {"w": (24, 24), "s": ints(0, 2, 3, 4), "v": (3, 2, 2, 2), "t": ints(0, -1)},
    ),
    (
        "channels-last-source",
        (6, 5, 3),
        [
            ("Transpose", "x", "a", {"perm": [0, 3, 1, 2]}),
            ("Conv", "a w", "c", {"kernel_shape": [3, 3]}),
            ("Transpose", "c", "y", {"perm": [0, 2, 3, 1]}),
        ],
        {"w": (4, 3, 3, 3)},
    ),
    (
        "split",
        (6, 4, 4),
        [
            ("Conv", "x w", "a", {"kernel_shape": [1, 1]}),
            ("Split", "a", "b c", {"axis": 1}),
            ("Add", "b c", "y", {}),
        ],
        {"w": (6, 6, 1, 1)},
    ),
]

# What only a float model has; a quantiser folds these or does not know them.
FLOAT_ONLY = [
    _one("hard-swish", _IMAGE, "HardSwish"),
    (
        "batch-norm-folded",
        (3, 5, 6),
        [
            ("Conv", "x w b", "a", {"kernel_shape": [2, 2]}),
            ("BatchNormalization", "a s t m v", "n", {}),
            ("Relu", "n", "y", {}),
        ],
        {
            **{"w": (4, 3, 2, 2), "b": (4,), "s": (4,), "t": (4,), "m": (4,)},
            "v": np.float32([0.5, 1, 2, 0.1]),
        },
    ),
    (
        "batch-norm",
        (3, 5, 6),
        [("BatchNormalization", "x s t m v", "y", {})],
        {"s": (3,), "t": (3,), "m": (3,), "v": np.float32([0.5, 1, 2])},
    ),
    (
        "bias-apart",
        (3, 5, 6),
        [
            ("Conv", "x w", "a", {"kernel_shape": [1, 1]}),
            ("Add", "a b", "c", {}),
            ("Flatten", "c", "f", {}),
            ("MatMul", "f v", "g", {}),
            ("Add", "d g", "y", {}),
        ],
        {"w": (4, 3, 1, 1), "b": (1, 4, 1, 1), "v": (120, 5), "d": (5,)},
    ),
    (
        "shapes-computed",
        (3, 4, 4),
        [
            ("Shape", "x", "s", {}),
            ("Gather", "s zero", "n", {"axis": 0}),
            ("Concat", "n rest", "t", {"axis": 0}),
            ("Reshape", "x t", "y", {}),
        ],
        {"zero": ints(0), "rest": ints(-1)},
    ),
    (
        "squeezed",
        (1, 8),
        [
            ("Squeeze", "x a", "b", {}),
            ("Dropout", "b", "c", {}),
            ("Unsqueeze", "c d", "y", {}),
        ],
        {"a": ints(1), "d": ints(1, 3)},
    ),
]


def behind(case):
    """The case behind a convolution or product, without which a quantiser leaves most alone."""
    name, shape, nodes, weights = case
    channels = shape[-1] if len(shape) == 1 else shape[0]
    if len(shape) == 1:
        first, kernel = ("Gemm", "x first", "x0", {"transB": 1}), (channels, channels)
    else:
        kernel = (channels, channels, *(1 for _ in shape[1:]))
        first = ("Conv", "x first", "x0", {"kernel_shape": kernel[2:]})
    inner = [
        (op, " ".join("x0" if i == "x" else i for i in ins.split()), outs, attrs)
        for op, ins, outs, attrs in nodes
    ]
    return name, shape, [first, *inner], {**weights, "first": kernel}


def build(case, seed=5):
    """(ModelProto, samples float32) of one of the cases above."""
    _, shape, nodes, weights = case
    given = {k: v for k, v in weights.items() if not isinstance(v, tuple)}
    made = random_weights(seed, **{k: v for k, v in weights.items() if isinstance(v, tuple)})
    proto = model(nodes, shape, {**given, **made})
    x = np.random.default_rng(seed).normal(0, 1, (24, *shape)).astype(np.float32)
    return proto, x
