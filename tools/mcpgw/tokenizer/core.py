"""The C core of the tokenizer on the host: what a board gives for a vocabulary and a text."""

import ctypes
from array import array

from .. import native
from .vocabulary import VocabularyError

SPECIAL, MORE, START = 1, 2, 4
_OK, _WORK = 0, 2
_NONE = 0xFFFFFFFF
_LONGEST = 1023


def _functions():
    lib = native.library()
    lib.bpe_flat_size.restype = ctypes.c_size_t
    lib.bpe_flat_open.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.POINTER(ctypes.c_uint32),
    ]
    lib.bpe_flat_work.argtypes = [ctypes.c_void_p]
    lib.bpe_flat_work.restype = ctypes.c_uint32
    lib.bpe_flat_encode.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.POINTER(ctypes.c_uint32),
    ]
    lib.bpe_flat_token.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_char_p,
        ctypes.c_uint32,
    ]
    lib.bpe_flat_token.restype = ctypes.c_uint32
    return lib


class Core:
    """data: a .mgt file (bytes). Raises VocabularyError, with what is wrong where."""

    def __init__(self, data):
        self._lib = _functions()
        self._data = data  # the core reads it in place
        self._v = ctypes.create_string_buffer(self._lib.bpe_flat_size())
        what, at = ctypes.c_char_p(), ctypes.c_uint32()
        if not self._lib.bpe_flat_open(self._v, data, len(data), what, at):
            raise VocabularyError(f"{what.value.decode()} (at offset {at.value})")
        self._work = array("I", bytes(4 * self._lib.bpe_flat_work(self._v)))
        self._ids = array("I")

    def part(self, text, how=START):
        """(array('I') of tokens, bytes of text used, START or 0 for the next part)."""
        if len(self._ids) < len(text) + 1:
            self._ids = array("I", bytes(4 * len(text) + 4))
        used, count, fresh = self._run(text, how, self._ids)
        return self._ids[:count], used, fresh

    def _run(self, text, how, ids):
        out = (ctypes.c_uint32 * 3)()
        room, place = (len(ids), ids.buffer_info()[0]) if ids is not None else (0, None)
        while True:
            work, words = self._work.buffer_info()
            status = self._lib.bpe_flat_encode(
                self._v, text, len(text), how, place, room, work, words, out
            )
            if status == _OK:
                return tuple(out)
            if status != _WORK:
                raise VocabularyError("the core did not come to an end: this is a fault in mcpgw")
            self._work = array("I", bytes(8 * words))

    def encode(self, text, special=False):
        """array('I') of the tokens of a text (bytes)."""
        return self.part(text, START | special)[0]

    def count(self, text, special=False):
        return self._run(text, START | special, None)[1]

    def token(self, id):
        """The bytes of a token; None if there is none with this number."""
        room = ctypes.create_string_buffer(_LONGEST)
        size = self._lib.bpe_flat_token(self._v, id, room, _LONGEST)
        return None if size == _NONE else room.raw[:size]
