"""Runs a model of kind 1 over arrays of ulab, or of numpy: for firmware that has no _qnn.

The same integers as the C core gives, from float32 arrays: sums of products of int8 stay exact
while they are made of at most 1024 terms (2**24), longer ones are made of such pieces
(arrays_ops.py). Only what ulab offers is used: one or two dimensions, no int32, no indexing by
arrays. docs/model-graph.md has the file byte by byte.
"""

import struct
from array import array

try:
    from ulab import numpy as np

    FLOAT = np.float
except ImportError:
    import numpy as np

    FLOAT = np.float32

_BODY = 16
_TENSOR = 48
TYPES = "bBhif"  # of tensors: int8, uint8, int16, int32, float32
_SIZES = (1, 1, 2, 4, 4)
# Words of each operator, by its code.
_WORDS = (0, 10, 14, 14, 6, 6, 21, 21, 21, 17, 3, 4, 19, 3, 4, 3)


def _wrong(what, at):
    raise ValueError("%s at offset %d" % (what, at))


def info(buf):
    """(kind, size of the file, of the arena, MACs, metadata at, its length). Raises ValueError."""
    if len(buf) < 96:
        if bytes(buf[:4]) != b"MGM1"[: len(buf)]:
            _wrong("not a model (.mgm)", 0)
        _wrong("file is cut short", len(buf))
    words = struct.unpack_from("<4sHHIIIIIIIIII", buf, 0)
    magic, version, kind, size, flags = words[:5]
    arena, macs = words[11:]
    if magic != b"MGM1":
        _wrong("not a model (.mgm)", 0)
    if version != 1:
        _wrong("unknown version of the format", 4)
    if not 1 <= kind <= 4:
        _wrong("a model of another kind", 6)
    if size < 96:
        _wrong("sections overlap or are out of order", 8)
    if size > len(buf):
        _wrong("file is cut short", 8)
    if flags or any(buf[80:96]):
        _wrong("reserved field is not 0", 12 if flags else 80)
    end = 96
    for i in (5, 7, 9):
        at, length = words[i : i + 2]
        if at % 16 or not end <= at <= min(size, end + 15) or length > size - at:
            _wrong("sections overlap or are out of order", 16 + 4 * (i - 5))
        end = at + length
    if arena % 8 or arena > 0x40000000:
        _wrong("outside the arena", 40)
    return kind, size, arena, macs, words[5], words[6]


def check(buf):
    """Raise ValueError, saying what is wrong where, unless buf holds one model of kind 1, 2 or 3
    that can be run here."""
    kind = info(buf)[0]
    if kind in (2, 3):
        from . import tabular_twin

        tabular_twin.check(buf)
        return
    if kind != 1:
        _wrong("a model of another kind: this firmware's engine runs no language models", 6)
    for _ in _File(buf).operators():
        pass


class Tensor:
    """One tensor: where it lies in the arena, its type (index of TYPES), zero point,
    dimensions."""

    def __init__(self, buf, at, arena):
        self.at, self.size = struct.unpack_from("<II", buf, at)
        self.type = buf[at + 8]
        rank = buf[at + 9]
        self.scale, self.zero = struct.unpack_from("<fi", buf, at + 12)
        if self.type > 4 or rank > 6:
            _wrong("bad tensor", at + 8)
        self.dims = struct.unpack_from("<%dI" % rank, buf, at + 24)
        if self.at + self.size > arena:
            _wrong("outside the arena", at)


class _File:
    """The parts of a file of kind 1."""

    def __init__(self, buf):
        self.buf = buf
        self.arena = info(buf)[2]
        self.body, self.body_len, self.data, self.data_len = struct.unpack_from("<IIII", buf, 24)
        if self.body_len < _BODY:
            _wrong("counts do not fit into the body", 28)
        counts = struct.unpack_from("<HHHH", buf, self.body)
        self.tensors, self.count, self.inputs, self.outputs = counts
        lists = self.inputs + self.outputs
        self.lists = self.body + _BODY + self.tensors * _TENSOR
        self.first = self.lists + (lists + 1 & ~1) * 2
        if self.first > self.body + self.body_len:
            _wrong("counts do not fit into the body", self.body)
        for i in range(lists):
            self.tensor(self._listed(i))

    def _listed(self, i):
        return struct.unpack_from("<H", self.buf, self.lists + 2 * i)[0]

    def tensor(self, index):
        if index >= self.tensors:
            _wrong("no such tensor", self.body)
        return Tensor(self.buf, self.body + _BODY + index * _TENSOR, self.arena)

    def end(self, i, output):
        """Tensor of input or output i."""
        if not 0 <= i < (self.outputs if output else self.inputs):
            raise ValueError("no such input or output")
        return self.tensor(self._listed(i + self.inputs if output else i))

    def operators(self):
        """Yield the offset of every operator, looked at as far as it takes to find its parts."""
        at = self.first
        end = self.body + self.body_len
        for _ in range(self.count):
            if at + 4 > end:
                _wrong("counts do not fit into the body", at)
            code, layout = self.buf[at], self.buf[at + 1]
            words = struct.unpack_from("<H", self.buf, at + 2)[0]
            if not 0 < code < len(_WORDS):
                _wrong("unknown operator", at)
            if words != _WORDS[code] or at + 4 * words > end:
                _wrong("counts do not fit into the body", at + 2)
            # Rows are for CONV_2D, fours for FULLY_CONNECTED, channels for DEPTHWISE_CONV_2D.
            if layout and (code, layout) not in ((2, 1), (1, 2), (3, 3)):
                _wrong("unknown layout of weights", at + 1)
            for i in range(4, 10 if code in (6, 7, 8) else 8, 2):
                self.tensor(struct.unpack_from("<H", self.buf, at + i)[0])
            yield at
            at += 4 * words


class Graph:
    """One model of kind 1, ready to run. buf: the file; arena: a writable buffer."""

    def __init__(self, buf, arena):
        check(buf)
        self._file = file = _File(buf)
        if len(arena) < file.arena:
            raise ValueError("an arena of %d bytes, not %d" % (file.arena, len(arena)))
        self._arena = arena
        self._work = None

    def counts(self):
        """(inputs, outputs)"""
        return self._file.inputs, self._file.outputs

    def shape(self, i=0, output=False):
        """(typecode, scale, zero point, dimensions) of input or output i; scale 0.0: it is not
        quantised."""
        t = self._file.end(i, output)
        return TYPES[t.type], t.scale, t.zero, t.dims

    def input(self, i=0):
        """What input i is made of: a writable buffer of its values."""
        return self._values(self._file.end(i, False))

    def output(self, i=0):
        """The values of output i."""
        return self._values(self._file.end(i, True))

    def _values(self, t):
        dtype = ("int8", "uint8", "int16", "", "float")[t.type]
        if hasattr(memoryview, "cast"):
            view = memoryview(self._arena).cast("B")[t.at : t.at + t.size]
            return view.cast(TYPES[t.type])
        if not dtype:
            return array("i", memoryview(self._arena)[t.at : t.at + t.size])
        count = t.size // _SIZES[t.type]
        view = memoryview(self._arena)[t.at : t.at + t.size]
        return np.frombuffer(view, dtype=getattr(np, dtype), count=count)

    def begin(self):
        """Start a run over what lies in the inputs."""
        from .arrays_ops import run

        self._work = run(self._file, self._arena)

    def step(self, budget):
        """Do about `budget` MACs of work, at least one piece. Returns whether more remains."""
        if self._work is not None:
            for cost in self._work:
                budget -= cost
                if budget <= 0:
                    return True
            self._work = None
        return False

    def run(self):
        """begin(), and all steps."""
        self.begin()
        while self.step(1 << 28):
            pass
