"""A model between a reader (TFLite, ONNX, ...) and lower.py, in the terms of TFLite.

Images are NHWC, weights of CONV_2D and FULLY_CONNECTED OHWI and OI, of DEPTHWISE_CONV_2D 1HWO, as
TFLite keeps them. Real value = scale * (q - zero_point). Nodes are in an order in which they can
run.

Operators and the attributes that lower.py looks at (activation: "NONE", "RELU", "RELU6",
"RELU_N1_TO_1"; padding: "SAME", "VALID" or ((top, bottom), (left, right))):

    CONV_2D            stride_h, stride_w, dilation_h, dilation_w, padding, activation;
                       inputs x, weights, bias|None
    DEPTHWISE_CONV_2D  the same; the depth multiplier follows from the shapes
    FULLY_CONNECTED    activation, keep_num_dims; inputs x, weights, bias|None
    AVERAGE_POOL_2D, MAX_POOL_2D  filter_h, filter_w, stride_h, stride_w, padding, activation
        of all three: rounding="once" where results are rounded as onnxruntime does
    ADD, SUB, MUL      activation; shapes broadcast
    CONCATENATION      axis, activation
    PAD, PADV2         paddings ((before, after) per axis), value (quantised; default: zero point)
    MEAN               axes, keep_dims
    SOFTMAX            beta; LEAKY_RELU alpha
    RESHAPE, SQUEEZE, EXPAND_DIMS, FLATTEN   nothing: the output's shape says it
    LOGISTIC, TANH, RELU, RELU6, RELU_N1_TO_1, HARD_SWISH, QUANTIZE, DEQUANTIZE   nothing
"""

from dataclasses import dataclass, field
from math import prod

import numpy as np

DTYPES = ("int8", "uint8", "int16", "int32", "float32")


@dataclass(eq=False)
class Tensor:
    """
    One array.

    Args:
        name: what the source calls it, for messages.
        shape: its dimensions, batch included; all known.
        dtype: one of DTYPES.
        scale: None, or float array of one element or one per channel along `axis`; doubles,
            so that a reader keeps the source's float32 exactly.
        zero_point: None where scale is, else int or an int array as long as scale.
        axis: the channels' axis where there are several scales, else None.
        data: the values of a constant, else None.
    """

    name: str
    shape: tuple
    dtype: str
    scale: np.ndarray | None = None
    zero_point: int | np.ndarray | None = None
    axis: int | None = None
    data: np.ndarray | None = None

    def __post_init__(self):
        self.shape = tuple(int(n) for n in self.shape)
        if self.dtype not in DTYPES:
            raise ValueError(f"{self.name}: no such type: {self.dtype}")
        if self.scale is not None:
            self.scale = np.atleast_1d(np.asarray(self.scale, np.float64))
            if self.zero_point is None:
                self.zero_point = 0
        if self.data is not None:
            self.data = np.asarray(self.data, self.dtype).reshape(self.shape)

    @property
    def size(self):
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self):
        """Size in bytes."""
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def is_constant(self):
        """Whether its values are known at conversion."""
        return self.data is not None

    @property
    def quantisation(self):
        """(scale, zero point) of a tensor that has one of each; ValueError otherwise."""
        if self.scale is None or self.scale.size != 1:
            raise ValueError(f"{self.name}: has no single scale")
        return float(self.scale[0]), int(np.atleast_1d(self.zero_point)[0])


@dataclass(eq=False)
class Node:
    """One operator: its name in TFLite, tensors (an input left out is None) and attributes."""

    op: str
    inputs: list
    outputs: list
    attrs: dict = field(default_factory=dict)

    @property
    def where(self):
        """What a message calls it."""
        return f"{self.op} -> {self.outputs[0].name}"


@dataclass(eq=False)
class Graph:
    """
    A model; `meta` is what goes into the file's metadata beside what its inputs and outputs say.
    """

    name: str
    inputs: list
    outputs: list
    nodes: list
    meta: dict = field(default_factory=dict)

    def tensors(self):
        """Every tensor once, in the order of first use."""
        seen = {}
        for tensor in self.inputs:
            seen.setdefault(id(tensor), tensor)
        for node in self.nodes:
            for tensor in (*node.inputs, *node.outputs):
                if tensor is not None:
                    seen.setdefault(id(tensor), tensor)
        for tensor in self.outputs:
            seen.setdefault(id(tensor), tensor)
        return list(seen.values())

    def uses(self, tensor):
        """How many times nodes and the model's outputs read it."""
        used = sum(t is tensor for node in self.nodes for t in node.inputs)
        return used + sum(t is tensor for t in self.outputs)


def same_padding(size, filter_size, stride, dilation=1):
    """
    (output size, before, after) of "SAME" along one axis, as TFLite computes it.

    The odd one of an odd number of padded places comes after.
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + (filter_size - 1) * dilation + 1 - size, 0)
    return out, total // 2, total - total // 2


def resolve_padding(padding, size, filter_size, stride, dilation=1):
    """
    (output size, before, after) along one axis for padding "SAME", "VALID" or (before, after).

    Raises ValueError where the filter does not fit.
    """
    if padding == "SAME":
        return same_padding(size, filter_size, stride, dilation)
    before, after = (0, 0) if padding == "VALID" else padding
    span = size + before + after - ((filter_size - 1) * dilation + 1)
    if span < 0:
        raise ValueError("filter larger than its padded input")
    return span // stride + 1, before, after
