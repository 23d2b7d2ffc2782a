"""A model of kind 1 run on this machine by the C core itself, through ctypes."""

import ctypes
from functools import cache

import numpy as np

from mcpgw import native
from mcpgw.convert.mgm import FormatError

_DTYPES = ("int8", "uint8", "int16", "int32", "float32")


class _File(ctypes.Structure):
    # qnn_file_t
    _fields_ = [
        ("bytes", ctypes.c_void_p),
        ("size", ctypes.c_uint32),
        ("kind", ctypes.c_uint16),
        *((name, ctypes.c_uint32) for name in ("meta", "meta_len", "body", "body_len")),
        *((name, ctypes.c_uint32) for name in ("data", "data_len", "arena", "macs")),
    ]


class _Error(ctypes.Structure):
    # qnn_error_t
    _fields_ = [("code", ctypes.c_int), ("at", ctypes.c_uint32)]


class _Run(ctypes.Structure):
    # qnn_run_t
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("file", "arena", "tensors", "operators", "at")),
        ("unit", ctypes.c_uint32),
        *((name, ctypes.c_uint16) for name in ("inputs", "outputs", "count", "left")),
    ]


class _Tensor(ctypes.Structure):
    # qnn_tensor_t
    _fields_ = [
        ("offset", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("type", ctypes.c_uint8),
        ("rank", ctypes.c_uint8),
        ("scale", ctypes.c_uint32),
        ("zero_point", ctypes.c_int32),
        ("dims", ctypes.c_uint32 * 6),
    ]


@cache
def _library():
    lib = native.library()
    lib.qnn_error_text.restype = ctypes.c_char_p
    lib.qnn_open.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t, ctypes.c_void_p]
    lib.qnn_check.argtypes = [ctypes.c_void_p] * 2
    lib.qnn_init.argtypes = [ctypes.c_void_p] * 3
    lib.qnn_tensor.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p]
    lib.qnn_begin.argtypes = [ctypes.c_void_p]
    lib.qnn_step.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    return lib


class GraphModel:
    """
    A file of kind 1, ready to run.

    Args:
        file: its bytes.
        budget: MACs of one step; smaller ones cut operators into more pieces.

    Raises FormatError for a file that the core refuses.
    """

    def __init__(self, file, budget=1 << 30):
        self._lib = _library()
        # The core wants both aligned, as memory from an allocator is.
        self._file = np.frombuffer(bytearray(file), np.uint8)
        self._budget = budget
        header, error = _File(), _Error()
        address = self._file.ctypes.data
        if self._lib.qnn_open(ctypes.byref(header), address, len(file), ctypes.byref(error)) or (
            self._lib.qnn_check(ctypes.byref(header), ctypes.byref(error))
        ):
            raise FormatError(self._lib.qnn_error_text(error.code).decode(), error.at)
        self.arena = np.zeros(header.arena // 8 + 1, np.uint64).view(np.uint8)[: header.arena]
        self._run = _Run()
        self._lib.qnn_init(ctypes.byref(self._run), ctypes.byref(header), self.arena.ctypes.data)
        self.macs = header.macs
        self.inputs = [self._array(0, i) for i in range(self._run.inputs)]
        self.outputs = [self._array(1, i) for i in range(self._run.outputs)]

    def _array(self, output, i):
        """The array of an input or output within the arena."""
        t = _Tensor()
        self._lib.qnn_tensor(ctypes.byref(self._run), output, i, ctypes.byref(t))
        piece = self.arena[t.offset : t.offset + t.size].view(_DTYPES[t.type])
        return piece.reshape(tuple(t.dims[: t.rank]))

    def run(self, *inputs):
        """Copies of the outputs for arrays as long as the inputs; they are not quantised here."""
        if len(inputs) != len(self.inputs):
            raise ValueError(f"{len(self.inputs)} inputs, not {len(inputs)}")
        for to, values in zip(self.inputs, inputs, strict=True):
            to[...] = np.asarray(values).astype(to.dtype, casting="same_kind").reshape(to.shape)
        self._lib.qnn_begin(ctypes.byref(self._run))
        while self._lib.qnn_step(ctypes.byref(self._run), self._budget):
            pass
        return [out.copy() for out in self.outputs]
