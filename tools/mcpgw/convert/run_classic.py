"""Models of kinds 2 and 3 run on this machine by the C core itself, through ctypes."""

import ctypes

import numpy as np

from mcpgw import UserError, native
from mcpgw.convert.mgm import FormatError
from mcpgw.words import counted

# More than the C structures take; only C looks into them.
_ROOM = 2048


class _Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("at", ctypes.c_uint32)]


class _Model:
    """What both kinds share: the file, opened, and memory for features and scores."""

    def __init__(self, file):
        """
        Args:
            file: the bytes of one .mgm file.

        Raises:
            FormatError: what is wrong with it, and where.
        """
        self._lib = native.library()
        self._lib.qnn_error_text.restype = ctypes.c_char_p
        # As uint32, so that it is aligned as the C code wants it.
        self._file = np.zeros((len(file) + 3) // 4, np.uint32)
        self._file.view(np.uint8)[: len(file)] = np.frombuffer(file, np.uint8)
        self._head = ctypes.create_string_buffer(_ROOM)
        self._model = (ctypes.c_uint64 * (_ROOM // 8))()
        error = _Error()
        size = ctypes.c_size_t(len(file))
        at = self._file.ctypes.data_as(ctypes.c_void_p)
        if self._lib.qnn_open(self._head, at, size, ctypes.byref(error)) == 0:
            if file[6] != self._kind:
                raise FormatError("a model of another kind", 6)
            self._open(self._model, self._head, ctypes.byref(error))
        if error.code:
            raise FormatError(self._lib.qnn_error_text(error.code).decode(), error.at)
        body = int.from_bytes(file[24:28], "little")
        self.n_features, self.n_outputs = np.frombuffer(file[body : body + 4], "<u2").tolist()
        self._query = np.zeros(self.n_features, np.int16)
        self._scores = np.zeros(self.n_outputs, np.int32)

    def encode(self, x):
        """int16 features of one float32 sample."""
        x = np.ascontiguousarray(x, np.float32)
        if x.shape != (self.n_features,):
            raise UserError(
                f"the model takes {counted(self.n_features, 'feature')}, not {x.shape}"
            )
        # Both structures begin with the features.
        self._lib.qnn_features_encode(self._model, _memory(x), _memory(self._query))
        return self._query

    def run(self, x):
        """(class or 0, int32 scores) of one float32 sample."""
        self.encode(x)
        return self._run(), self._scores.copy()


class Trees(_Model):
    """A file of kind 2."""

    _kind = 2

    def _open(self, *args):
        return self._lib.qnn_trees_open(*args)

    def _run(self):
        self._lib.qnn_trees_run(self._model, _memory(self._query), _memory(self._scores))
        return self._lib.qnn_trees_class(self._model, _memory(self._scores))


class Neighbours(_Model):
    """A file of kind 3."""

    _kind = 3

    def _open(self, *args):
        return self._lib.qnn_neighbours_open(*args)

    def _run(self):
        search = (ctypes.c_uint64 * (_ROOM // 8))()
        self._lib.qnn_neighbours_begin(search)
        while self._lib.qnn_neighbours_step(self._model, search, _memory(self._query), 100):
            pass
        self._lib.qnn_neighbours_scores(self._model, search, _memory(self._scores))
        self.distance = self._lib.qnn_neighbours_distance(search)
        return self._lib.qnn_neighbours_class(self._model, _memory(self._scores))


def _memory(array):
    return array.ctypes.data_as(ctypes.c_void_p)
