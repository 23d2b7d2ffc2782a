"""Transformers on the host: the type Llama of the board's module _qnn, over the same C core."""

import ctypes
from functools import cache

from . import native

_INFO = 9
_U64, _SIZE, _POINTER, _U32 = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32


@cache
def _core():
    core = native.library()
    functions = {
        "qnn_llama_host_size": (_SIZE,),
        "qnn_llama_host_open": (ctypes.c_int, _POINTER, _POINTER, _SIZE, _POINTER),
        "qnn_llama_host_info": (None, _POINTER, _POINTER),
        "qnn_llama_host_logits": (_POINTER, _POINTER),
        "qnn_llama_host_rewind": (None, _POINTER, _U32),
        "qnn_llama_state": (_U64, _POINTER, _U32),
        "qnn_llama_init": (_U32, _POINTER, _POINTER, _SIZE),
        "qnn_llama_feed": (None, _POINTER, _U32, ctypes.c_int),
        "qnn_llama_step": (ctypes.c_int, _POINTER),
        "qnn_llama_best": (_U32, _POINTER),
        "qnn_llama_sample": (_U32, _POINTER, _U32, _U32, _POINTER),
        "qnn_error_text": (ctypes.c_char_p, ctypes.c_int),
    }
    for name, (result, *arguments) in functions.items():
        function = getattr(core, name)
        function.restype, function.argtypes = result, arguments
    return core


class _Model:
    """A file, aligned in memory, and the core's structure for it."""

    def __init__(self, data):
        data = bytes(data)
        self._file = (_U64 * (len(data) // 8 + 1))()
        ctypes.memmove(self._file, data, len(data))
        self._m = ctypes.create_string_buffer(_core().qnn_llama_host_size())
        at = _U32()
        code = _core().qnn_llama_host_open(self._m, self._file, len(data), ctypes.byref(at))
        if code:
            raise ValueError(f"{_core().qnn_error_text(code).decode()} at offset {at.value}")

    def _info(self):
        info = (ctypes.c_int32 * _INFO)()
        _core().qnn_llama_host_info(self._m, info)
        return tuple(info)


def check(data):
    """Raise ValueError unless data holds a model of kind 4."""
    _Model(data)


def info(data):
    """(kind, bytes of the file, of the longest run's state, MACs, metadata at, its length)"""
    kind, size = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:12], "little")
    arena, macs, at, length = (int.from_bytes(data[i : i + 4], "little") for i in (40, 44, 16, 20))
    return kind, size, arena, macs, at, length


def llama_state(data, positions):
    """(positions, no more than the model has, bytes of state for so many); see Llama."""
    if positions < 1:
        raise ValueError("no such number of positions")
    model = _Model(data)
    positions = min(positions, model._info()[2])
    return positions, _core().qnn_llama_state(model._m, positions)


class Llama(_Model):
    """
    One run of a model of kind 4; what the board's _qnn.Llama is.

    Args:
        data: the .mgm file.
        state: a bytearray that the run works in; how long it is says how many positions there are.

    Raises ValueError for a file that is wrong or no room for one position.
    """

    def __init__(self, data, state):
        super().__init__(data)
        # Aligned memory; the caller's bytearray only says how much.
        self._state = (_U64 * (len(state) // 8))()
        if not _core().qnn_llama_init(self._m, self._state, len(state)):
            need = _core().qnn_llama_state(self._m, 1)
            raise ValueError(f"state needs at least {need} bytes")
        self._random = _U32(1)
        self._begun = False

    def info(self):
        """(tokens in the vocabulary, positions, most positions, bos or -1, eos or -1)"""
        return self._info()[:5]

    def pos(self):
        """Tokens that were taken in."""
        return self._info()[5]

    def rewind(self, pos):
        """Go back in the text."""
        if not 0 <= pos <= self.pos():
            raise ValueError("no such position")
        _core().qnn_llama_host_rewind(self._m, pos)
        self._begun = False

    def feed(self, token, logits=True):
        """Start on the next token; step() follows. logits: whether they are wanted."""
        vocab, positions = self.info()[:2]
        if not 0 <= token < vocab:
            raise ValueError("no such token")
        if self.pos() >= positions:
            raise ValueError("no room for another token")
        _core().qnn_llama_feed(self._m, token, logits)
        self._begun = True

    def step(self):
        """Half a layer of it: True while more remains."""
        if not self._begun:
            return False
        self._begun = bool(_core().qnn_llama_step(self._m))
        return self._begun

    def _check_ready(self):
        if not self._info()[6]:
            raise ValueError("no logits: feed() and step() come first")

    def best(self):
        """The most likely token."""
        self._check_ready()
        return _core().qnn_llama_best(self._m)

    def seed(self, number):
        """Begin the random numbers of sample() anew."""
        self._random.value = number

    def sample(self, temperature, top_p):
        """Draw a token; both times 65536. Uses up the logits."""
        self._check_ready()
        if not 0 < temperature < 1 << 24 or not 0 <= top_p <= 65536:
            raise ValueError("temperature or top_p out of range")
        return _core().qnn_llama_sample(self._m, temperature, top_p, ctypes.byref(self._random))

    def logits(self, out):
        """Copy the logits to array('i'); a logit is m * 2^e times that, (m, e) is returned."""
        self._check_ready()
        vocab = self.info()[0]
        view = memoryview(out)
        if view.format != "i" or len(view) < vocab:
            raise ValueError("needs an array('i') as long as the vocabulary")
        source = (ctypes.c_int32 * vocab).from_address(_core().qnn_llama_host_logits(self._m))
        view[:vocab] = memoryview(source).cast("B").cast("i")
        return self._info()[7:9]
