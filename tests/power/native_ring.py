"""c_modules/ring on the host, with the functions of its Python twin: what the many cuts are made
fast with. A device that is not mapped is read through a callback, as on a board."""

import ctypes

from mcpgw import native

_READ = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32
)


class _Source(ctypes.Structure):
    _fields_ = [
        ("map", ctypes.c_void_p),
        ("read", _READ),
        ("context", ctypes.c_void_p),
        ("limit", ctypes.c_uint32),
    ]


_lib = native.library()
_lib.ring_seek.restype = _lib.ring_checked.restype = _lib.ring_blank.restype = ctypes.c_bool
_lib.ring_crc32.restype = ctypes.c_uint32


class _Bound:
    """The arguments that a ring calls with, once more: making them takes longer than a scan."""

    def __init__(self, src=None, head=None, f=None):
        self.src = src
        self.head = head
        self.f = f
        if head is None:
            return
        self.source = source = _Source()
        if isinstance(src, memoryview):
            source.map = _address(src)
            source.limit = len(src)
        else:
            source.limit = 0x7FFFFFFF

            def read(_, addr, to, n):
                try:
                    src.read(addr, memoryview((ctypes.c_char * n).from_address(to)).cast("B"))
                except OSError:
                    return False
                return True

            source.read = _READ(read)
        self.buf = ctypes.c_void_p(_address(head))
        self.numbers = None if f is None else ctypes.c_void_p(f.buffer_info()[0])
        self.reference = ctypes.byref(source)


def _address(buf):
    return ctypes.addressof(ctypes.c_char.from_buffer(buf))


# The last ones, of header() and of the others.
_bound = [_Bound(), _Bound()]


def _bind(which, src, head, f=None):
    bound = _bound[which]
    if bound.src is not src or bound.head is not head or bound.f is not f:
        bound = _bound[which] = _Bound(src, head, f)
    return bound


def header(src, addr, buf):
    bound = _bind(0, src, buf)
    return _lib.ring_header(bound.reference, addr, bound.buf)


def seek(src, head, f, mode, kinds=None):
    bound = _bind(1, src, head, f)
    if kinds is not None and not kinds:
        return False
    n = len(kinds) if kinds is not None else 0
    return _lib.ring_seek(bound.reference, bound.buf, bound.numbers, mode, kinds, n)


def scan(src, head, f):
    bound = _bind(1, src, head, f)
    if not _lib.ring_checked(bound.reference, bound.numbers):
        raise ValueError("wrong numbers")
    return _lib.ring_scan(bound.reference, bound.buf, bound.numbers)


def _look(name):
    function = getattr(_lib, name)

    def look(src, buf, f, s):
        bound = _bind(0, src, buf, f)
        return function(bound.reference, bound.buf, bound.numbers, s)

    return look


survey = _look("ring_survey")
judge = _look("ring_judge")
enter = _look("ring_enter")


def blank(src, head, addr, end):
    bound = _bind(1, src, head, _bound[1].f if _bound[1].head is head else None)
    return _lib.ring_blank(bound.reference, bound.buf, addr, end)
