"""Reads and checks files of kind 1, from docs/model-graph.md and independently of the C engine."""

import struct
from dataclasses import dataclass
from math import prod

import numpy as np

from mcpgw.convert import graph_layouts, mgm
from mcpgw.convert.mgm import FormatError
from mcpgw.convert.program import NAMES

TYPES = ("int8", "uint8", "int16", "int32", "float32")
_WIDTHS = (1, 1, 2, 4, 4)
MAX_DEPTH = 65536
MAX_POOL = MAX_MEAN = 1 << 23
MAX_UNIT = 1 << 24  # MACs, or what takes as long, of the smallest piece of an operator
MAX_LOOKS = 1 << 24  # multipliers and chunks of all operators
CHUNK = 64

_DENSE = ("weights", "bias", "multiplier", "shift", "zeros", "scratch_at", "scratch", "flags")
_WINDOW = ("kernel", "stride", "dilation", "padding")
_SCALES = ("multiplier1", "multiplier2", "multiplier", "shifts")
_LOOPS = ("n", "strides1", "strides2")
# Names of an operator's words from word 2 on; those in _FOURS take four words.
_FOURS = {"n", "strides1", "strides2", "kept", "kept_strides", "reduced", "reduced_strides"}
_WORDS = {
    "FULLY_CONNECTED": _DENSE,
    "CONV_2D": _DENSE + _WINDOW,
    "DEPTHWISE_CONV_2D": _DENSE + _WINDOW,
    "AVERAGE_POOL_2D": ("zeros", "kernel", "stride", "padding"),
    "MAX_POOL_2D": ("zeros", "kernel", "stride", "padding"),
    "ADD": ("x2", "zeros", "limits", *_SCALES, *_LOOPS),
    "SUB": ("x2", "zeros", "limits", *_SCALES, *_LOOPS),
    "MUL": ("x2", "zeros", "limits", *_SCALES, *_LOOPS),
    "COPY": ("table", "x_at", "y_at", *_LOOPS),
    "FILL": ("value",),
    "SOFTMAX": ("table", "depth"),
    "MEAN": ("table", "kept", "kept_strides", "reduced", "reduced_strides"),
    "DEQUANTIZE": ("table",),
    "QUANTIZE": ("scale", "zero"),
    "LOAD": ("table",),
}
_PAIRS = set(_WINDOW)
_BYTES = {"zeros", "limits", "shifts"}


@dataclass
class Tensor:
    """A tensor of the file."""

    offset: int
    size: int
    dtype: str
    dims: tuple
    scale: float
    zero_point: int


@dataclass
class Operator:
    """An operator: tensors by index, parameters by the names in _WORDS; `at` is its offset."""

    name: str
    at: int
    layout: int
    x: int
    y: int
    params: dict


@dataclass
class GraphFile:
    """A checked file of kind 1."""

    file: mgm.File
    tensors: list
    inputs: list
    outputs: list
    operators: list


def read(file):
    """GraphFile of the bytes of a model. Raises FormatError for all that the format forbids."""
    return _Reader(bytes(file)).read()


class _Reader:
    def __init__(self, raw):
        self.raw = raw
        self.file = mgm.read(raw)
        self.tensors = []
        self.looks = 0

    def read(self):
        if self.file.kind != mgm.GRAPH:
            raise FormatError("a model of another kind", 6)
        (at, length) = self.file.sections[1]
        end = at + length
        if length < 16:
            raise FormatError("counts do not fit into the body", 28)
        tensors, operators, inputs, outputs, *zeros = struct.unpack_from("<4H2I", self.raw, at)
        if any(zeros):
            raise FormatError("reserved field is not 0", at + 8)
        lists = at + 16 + 48 * tensors
        first = lists + 2 * (inputs + outputs + (inputs + outputs) % 2)
        if first > end or not inputs or not outputs:
            raise FormatError("counts do not fit into the body", at)
        self.tensors = [self.tensor(at + 16 + 48 * i) for i in range(tensors)]
        indices = struct.unpack_from(f"<{inputs + outputs}H", self.raw, lists)
        for i, index in enumerate(indices):
            self.index(index, lists + 2 * i)
        made = []
        at = first
        for _ in range(operators):
            operator, at = self.operator(at, end)
            made.append(operator)
        if at != end:
            raise FormatError("counts do not fit into the body", at)
        return GraphFile(self.file, self.tensors, indices[:inputs], indices[inputs:], made)

    def index(self, index, at):
        if index >= len(self.tensors):
            raise FormatError("no such tensor", at)

    def tensor(self, at):
        offset, size, kind, rank, zero, scale, zero_point, zero2, *dims = struct.unpack_from(
            "<II2BHfiI6I", self.raw, at
        )
        if kind >= len(TYPES) or rank > 6 or zero or zero2:
            raise FormatError("bad tensor", at + 8)
        if min(dims) < 1 or any(n != 1 for n in dims[rank:]) or prod(dims) * _WIDTHS[kind] != size:
            raise FormatError("bad tensor", at + 24)
        self.arena(offset, size, at)
        if not (np.isfinite(scale) and not np.signbit(scale)):
            raise FormatError("scale out of bounds", at + 12)
        limits = {0: (-128, 127), 1: (0, 255)}.get(kind, (-(2**31), 2**31))
        if not limits[0] <= zero_point <= limits[1]:
            raise FormatError("zero point out of bounds", at + 16)
        return Tensor(offset, size, TYPES[kind], tuple(dims[:rank]), scale, zero_point)

    def arena(self, offset, size, at):
        if offset % 8 or offset + size > self.file.arena:
            raise FormatError("outside the arena", at)

    def operator(self, at, end):
        if at + 4 > end or self.raw[at] not in NAMES:
            raise FormatError("unknown operator", at)
        code, layout, words = struct.unpack_from("<2BH", self.raw, at)
        name = NAMES[code]
        names = _WORDS[name]
        if words != 2 + sum(4 if n in _FOURS else 1 for n in names) or at + 4 * words > end:
            raise FormatError("unknown operator", at + 2)
        x, y = struct.unpack_from("<2H", self.raw, at + 4)
        params = {}
        place = at + 8
        for n in names:
            kind = "4I" if n in _FOURS else "2H" if n in _PAIRS else "4b" if n in _BYTES else "I"
            value = struct.unpack_from("<" + kind, self.raw, place)
            params[n] = value if len(value) > 1 else value[0]
            place += struct.calcsize("<" + kind)
        self.index(x, at + 4)
        self.index(y, at + 6)
        if "x2" in params:
            params["x2"] &= 0xFFFF
            self.index(params["x2"], at + 8)
        operator = Operator(name, at, layout, x, y, params)
        try:
            _CHECKS[name](self, operator, params, self.tensors[x], self.tensors[y])
        except _Bad as e:
            raise FormatError(f"{name}: {e}", at) from None
        return operator, at + 4 * words

    def data(self, offset, size, align=4):
        at, length = self.file.sections[2]
        _need(offset % align == 0 and at <= offset <= offset + size <= at + length, "data")


class _Bad(Exception):
    """An operator's parameters do not fit."""


def _need(condition, what):
    if not condition:
        raise _Bad(what)


def _types(*tensors):
    _need(all(t.dtype == "int8" for t in tensors), "types")


def _limits(low, high):
    _need(low <= high, "range")


def _scaling(multiplier, shift):
    _need(multiplier < 2**31 and -31 <= shift <= 30, "multiplier or shift")


def _piece(units, cost):
    _need(0 < units < 2**31 and cost <= MAX_UNIT, "too large")


def _dense(reader, o, p, x, y):
    _types(x, y)
    windowed = o.name != "FULLY_CONNECTED"
    channels = y.dims[-1] if y.dims else 1
    if not windowed:
        positions = y.size // channels
        depth = x.size // positions
        _need(positions * depth == x.size, "shapes")
        units, cost = -(-channels // 4), 4 * depth * positions
    else:
        _need(len(x.dims) == len(y.dims) == 4 and x.dims[0] == y.dims[0], "shapes")
        _need(all(min(p[n]) > 0 for n in _WINDOW[:3]), "window")
        depth = prod(p["kernel"])
        positions, cost = y.dims[0] * y.dims[1], channels * depth
        if o.name == "CONV_2D":
            depth, cost, units = depth * x.dims[3], cost * x.dims[3], positions * y.dims[2]
        else:
            _need(channels % x.dims[3] == 0, "channels")
            units, cost = positions, cost * y.dims[2]
    _need(depth <= MAX_DEPTH, "depth")
    size = graph_layouts.weights_size(o.name, o.layout, channels, depth)
    _need(size is not None, "layout")
    _need(p["flags"] <= 1, "flags")
    _limits(p["zeros"][2], p["zeros"][3])
    n = 1 if p["flags"] else channels
    for name, length, align in (
        ("weights", size, 4),
        ("bias", 4 * channels, 4),
        ("multiplier", 4 * n, 4),
        ("shift", n, 1),
    ):
        reader.data(p[name], length, align)
    reader.looks += n
    if o.layout == graph_layouts.FOURS:
        end = sum(reader.file.sections[2])
        lists = reader.raw[p["weights"] : end]
        reader.looks += -(-channels // 4) * int.from_bytes(lists[:4], "little")
        _need(reader.looks <= MAX_LOOKS, "too much to check")
        _need(graph_layouts.lists_fit(lists, channels, depth), "data")
    _need(reader.looks <= MAX_LOOKS, "too much to check")
    multipliers = np.frombuffer(reader.raw, "<u4", n, p["multiplier"])
    shifts = np.frombuffer(reader.raw, np.int8, n, p["shift"])
    _need(multipliers.max() < 2**31 and shifts.min() >= -31 and shifts.max() <= 30, "multipliers")
    _need(
        p["scratch_at"] % 8 == 0 and p["scratch_at"] + p["scratch"] <= reader.file.arena, "scratch"
    )
    _need(p["scratch"] >= graph_layouts.scratch_size(o.name, o.layout, p, x, y, depth), "scratch")
    for t in (x, y):
        apart = p["scratch_at"] + p["scratch"] <= t.offset or t.offset + t.size <= p["scratch_at"]
        _need(not p["scratch"] or apart, "scratch")
    _piece(units, cost)


def _pool(reader, o, p, x, y):
    _types(x, y)
    _need(len(x.dims) == len(y.dims) == 4, "shapes")
    _need(x.dims[0] == y.dims[0] and x.dims[3] == y.dims[3], "shapes")
    _need(x.dims[1] * x.dims[2] <= MAX_POOL, "shapes")
    _limits(p["zeros"][2], p["zeros"][3])
    _need(min(*p["kernel"], *p["stride"]) > 0, "window")
    window = min(p["kernel"][0], x.dims[1]) * min(p["kernel"][1], x.dims[2])
    _piece(y.dims[0] * y.dims[1], window * y.dims[2] * y.dims[3])


def _within(sizes, strides, at, size):
    _need(min(sizes) > 0, "loops")
    last = at + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
    _need(last < size, "loops")
    return last


def _chunks(n):
    _piece(prod(n[:3]) * -(-n[3] // CHUNK), CHUNK)


def _binary(reader, o, p, x, y):
    x2 = reader.tensors[p["x2"]]
    _types(x, x2, y)
    _limits(*p["limits"][:2])
    left = p["shifts"][3] & 255
    _need(left <= 20, "left shift")
    for i, name in enumerate(_SCALES[:3]):
        _scaling(p[name], p["shifts"][i])
    _within(p["n"], p["strides1"], 0, x.size)
    _within(p["n"], p["strides2"], 0, x2.size)
    _need(prod(p["n"]) == y.size, "loops")
    _chunks(p["n"])


def _copy(reader, o, p, x, y):
    if p["table"]:
        reader.data(p["table"], 256)
    _within(p["n"], p["strides1"], p["x_at"], x.size)
    _within(p["n"], p["strides2"], p["y_at"], y.size)
    _need(prod(p["n"]) <= y.size, "loops")
    _chunks(p["n"])


def _softmax(reader, o, p, x, y):
    _types(x, y)
    _need(x.size == y.size and p["depth"] > 0 and x.size % p["depth"] == 0, "shapes")
    reader.data(p["table"], 1024)
    _piece(x.size // p["depth"], 16 * p["depth"])


def _mean(reader, o, p, x, y):
    _types(x, y)
    _need(x.size <= MAX_MEAN, "shapes")
    reader.data(p["table"], 1020)
    last = _within(p["kept"], p["kept_strides"], 0, x.size)
    _within(p["reduced"], p["reduced_strides"], last, x.size)
    _need(prod(p["kept"]) == y.size and prod(p["reduced"]) == x.size // y.size, "loops")
    _piece(y.size, prod(p["reduced"]) + 16)


def _float(reader, o, p, x, y):
    q, f = (x, y) if o.name == "DEQUANTIZE" else (y, x)
    _need(f.dtype == "float32" and q.dtype in ("int8", "uint8"), "types")
    _need(f.size == 4 * q.size, "shapes")
    if o.name == "DEQUANTIZE":
        reader.data(p["table"], 1024)
        return
    scale = np.uint32(p["scale"]).view(np.float32)
    _need(np.isfinite(scale) and scale >= np.float32(2.0**-100), "scale")
    low = -128 if q.dtype == "int8" else 0
    zero = p["zero"] - (p["zero"] >> 31 << 32)
    _need(low <= zero <= low + 255, "zero point")


def _fill(reader, o, p, x, y):
    _need(p["value"] <= 255, "value")


def _load(reader, o, p, x, y):
    reader.data(p["table"], y.size)


_CHECKS = {
    **dict.fromkeys(("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"), _dense),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _pool),
    **dict.fromkeys(("ADD", "SUB", "MUL"), _binary),
    **dict.fromkeys(("DEQUANTIZE", "QUANTIZE"), _float),
    "COPY": _copy,
    "FILL": _fill,
    "LOAD": _load,
    "SOFTMAX": _softmax,
    "MEAN": _mean,
}
