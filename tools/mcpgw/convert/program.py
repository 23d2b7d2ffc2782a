"""A lowered graph: operators of the format over values in the arena; docs/model-graph.md."""

import struct
from dataclasses import dataclass, field
from math import prod

import numpy as np

from mcpgw.convert.loops import merge, pad_to

TYPES = {"int8": 0, "uint8": 1, "int16": 2, "int32": 3, "float32": 4}

FULLY_CONNECTED, CONV_2D, DEPTHWISE_CONV_2D, AVERAGE_POOL_2D, MAX_POOL_2D = 1, 2, 3, 4, 5
ADD, SUB, MUL, COPY, FILL, SOFTMAX, MEAN, DEQUANTIZE, QUANTIZE, LOAD = range(6, 16)

MAX_RANK = 6

NAMES = {
    FULLY_CONNECTED: "FULLY_CONNECTED",
    CONV_2D: "CONV_2D",
    DEPTHWISE_CONV_2D: "DEPTHWISE_CONV_2D",
    AVERAGE_POOL_2D: "AVERAGE_POOL_2D",
    MAX_POOL_2D: "MAX_POOL_2D",
    ADD: "ADD",
    SUB: "SUB",
    MUL: "MUL",
    COPY: "COPY",
    FILL: "FILL",
    SOFTMAX: "SOFTMAX",
    MEAN: "MEAN",
    DEQUANTIZE: "DEQUANTIZE",
    QUANTIZE: "QUANTIZE",
    LOAD: "LOAD",
}


@dataclass(eq=False)
class Storage:
    """
    A piece of the arena; values that are views of each other share one. plan.py sets the rest.
    """

    size: int
    first: int = 0
    last: int = 0
    offset: int | None = None


@dataclass(eq=False)
class Value:
    """A tensor of the format: a storage seen in a shape."""

    name: str
    dims: tuple
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    storage: Storage = None

    def __post_init__(self):
        self.dims = tuple(self.dims)
        if self.storage is None:
            self.storage = Storage(self.size)

    @property
    def count(self):
        """Number of elements."""
        return prod(self.dims)

    @property
    def size(self):
        """Bytes."""
        return self.count * np.dtype(self.dtype).itemsize


@dataclass(eq=False)
class Op:
    """
    An operator: `code`, values, and what its words say beyond those.

    `fields` are the words after the first two, in order: an int, or bytes or an array for the data
    section, whose offset then becomes the word. `in_place` lists the inputs whose memory the
    output may take.
    """

    code: int
    x: Value
    y: Value
    fields: list
    x2: Value = None
    in_place: tuple = ()
    macs: int = 0
    layout: int = 0
    storage: Storage = None  # scratch memory

    @property
    def inputs(self):
        """Values it reads."""
        read = [] if self.code in (FILL, LOAD) else [self.x]
        return read + ([self.x2] if self.x2 else [])

    @property
    def scratch(self):
        """Bytes of scratch memory."""
        return self.storage.size if self.storage else 0


@dataclass(eq=False)
class Dense(Op):
    """
    FULLY_CONNECTED and the two convolutions; pack.py may change layout, packed and scratch.

    Args:
        weights: int8 [channels, depth]; depthwise [depth, channels].
        bias: int32 [channels], the input's zero point folded in.
        multiplier, shift: int32 and int8 arrays of one element or of one for each channel.
        zeros: zero points of input and output.
        limits: least and greatest output.
        window: None, or kernel, stride, dilation and padding (top, left), each (h, w).
        packed: bytes of the weights in the operator's layout; None: plain.
    """

    fields: list = field(default_factory=list)
    weights: np.ndarray = None
    bias: np.ndarray = None
    multiplier: np.ndarray = None
    shift: np.ndarray = None
    zeros: tuple = (0, 0)
    limits: tuple = (-128, 127)
    window: tuple = None
    packed: bytes = None

    @property
    def channels(self):
        """Of the output."""
        return self.weights.shape[1 if self.code == DEPTHWISE_CONV_2D else 0]

    @property
    def depth(self):
        """Products per output."""
        return self.weights.shape[0 if self.code == DEPTHWISE_CONV_2D else 1]

    @property
    def is_direct(self):
        """Whether the input's positions are the rows of the product as they lie."""
        if self.window is None:
            return True
        kernel, stride, _, padding = self.window
        same = self.x.dims[:3] == self.y.dims[:3]
        return same and kernel == (1, 1) and stride == (1, 1) and padding == (0, 0)

    def words(self):
        """`fields`, made of the rest."""
        weights = self.packed if self.packed is not None else self.weights.tobytes()
        scratch = self.storage.offset if self.storage else 0
        per_tensor = int(self.multiplier.size == 1 and self.channels > 1)
        out = [weights, self.bias, self.multiplier, self.shift, packed(*self.zeros, *self.limits)]
        out += [scratch, self.scratch, per_tensor]
        if self.window:
            out += [pair(a, b) for a, b in self.window]
        return out


@dataclass(eq=False)
class Program:
    """What a graph becomes; plan.py places its storages."""

    name: str
    inputs: list
    outputs: list
    ops: list
    meta: dict
    arena: int = 0

    @property
    def macs(self):
        """Of one run."""
        return sum(op.macs for op in self.ops)

    def values(self):
        """Every value once."""
        seen = {}
        for value in [
            *self.inputs,
            *(v for op in self.ops for v in (op.x, op.x2, op.y)),
            *self.outputs,
        ]:
            if value is not None:
                seen.setdefault(id(value), value)
        return list(seen.values())


def packed(*values):
    """Four int8 as one word."""
    return int.from_bytes(struct.pack("<4b", *values), "little")


def pair(low, high):
    """Two u16 as one word; ValueError where one does not fit."""
    for value in (low, high):
        if not 0 <= value < 65536:
            raise ValueError(f"{value} is out of range")
    return low | high << 16


def copy_op(x, y, sizes, strides, starts=(0, 0), table=None):
    """COPY; sizes, strides and starts in elements, those of several bytes become one more loop."""
    width = y.size // y.count
    if width > 1:
        sizes = [*sizes, width]
        strides = [[*(s * width for s in one), 1] for one in strides]
        starts = [s * width for s in starts]
    sizes, strides = merge(sizes, strides)
    loops = pad_to(4, sizes, 1) + pad_to(4, strides[0], 0) + pad_to(4, strides[1], 0)
    return Op(COPY, x, y, [0 if table is None else table, *starts, *loops])
