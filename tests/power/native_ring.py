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
_lib.ring_seek.restype = _lib.ring_checked.restype = ctypes.c_bool
_lib.ring_crc32.restype = ctypes.c_uint32
# The source last used, and whose it is: making one takes longer than a scan.
_last = (None, None, None)


def _source(src):
    global _last
    if _last[0] is not src:
        source = _Source()
        if isinstance(src, memoryview):
            source.map = ctypes.addressof(ctypes.c_char.from_buffer(src))
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
        _last = (src, source, ctypes.byref(source))
    return _last[2]


def _address(buf):
    return ctypes.addressof(ctypes.c_char.from_buffer(buf))


def header(src, addr, buf):
    return _lib.ring_header(_source(src), addr, ctypes.c_void_p(_address(buf)))


def seek(src, head, f, mode, kinds=None):
    source = _source(src)
    numbers = ctypes.c_void_p(f.buffer_info()[0])
    if not _lib.ring_checked(source, numbers):
        raise ValueError("wrong numbers")
    if kinds is not None and not kinds:
        return False
    n = len(kinds) if kinds is not None else 0
    return _lib.ring_seek(source, ctypes.c_void_p(_address(head)), numbers, mode, kinds, n)


def scan(src, head, f):
    source = _source(src)
    numbers = ctypes.c_void_p(f.buffer_info()[0])
    if not _lib.ring_checked(source, numbers):
        raise ValueError("wrong numbers")
    return _lib.ring_scan(source, ctypes.c_void_p(_address(head)), numbers)
