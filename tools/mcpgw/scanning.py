"""The C scanner of c_modules/mcpscan for CPython: install() puts it in the twin's place.

It is 20 times as fast as the twin (mcp_gw/protocol/scan.py), which a gateway that serves many
notices. It takes the place of the firmware's module `_mcpscan`, so it has to be installed before
mcp_gw.protocol.framing is imported.
"""

import ctypes
import sys
import types

from mcp_gw.protocol import buffers

from . import UserError, native

# More than mcpscan_t has.
_STATE_SIZE = 1024
_SPANS_LEN = 26
_DEPTH_LIMIT = 128


def install():
    """Returns None, or why the C scanner cannot be used (str)."""
    if "_mcpscan" in sys.modules:
        return None
    if "mcp_gw.protocol.framing" in sys.modules:
        return "another scanner is in use already"
    try:
        run = native.library().mcpscan_run
    except (UserError, OSError, AttributeError) as e:
        return str(e)
    module = types.ModuleType("_mcpscan")
    module.scan = _scanner(run)
    module.find, module.gather, module.move = buffers.find, buffers.gather, buffers.move
    sys.modules["_mcpscan"] = module
    return None


def _scanner(run):
    """scan() as mcp_gw/protocol/scan.py has it, over the C function."""
    run.restype = ctypes.c_int
    run.argtypes = [
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint32,
        ctypes.c_void_p,
        ctypes.c_uint,
    ]
    memory = ctypes.create_string_buffer(_STATE_SIZE)
    state = ctypes.addressof(memory)
    place = ctypes.c_char * 0  # one type for buffers of all lengths

    def scan(buf, start, end, spans, max_depth):
        # One thread scans at a time: the event loop's.
        if not 0 <= start <= end <= len(buf):
            raise ValueError("range outside buffer")
        if spans.typecode != "i" or len(spans) < _SPANS_LEN:
            raise ValueError("spans too small or not array('i')")
        if not 1 <= max_depth <= _DEPTH_LIMIT:
            raise ValueError("max_depth")
        kind = type(buf)
        if kind is bytearray and buf:
            buf = place.from_buffer(buf)
        elif kind is not bytes:
            buf = bytes(buf)
        return run(state, buf, start, end, spans.buffer_info()[0], max_depth)

    scan.memory = memory  # as long as it can be called
    return scan
