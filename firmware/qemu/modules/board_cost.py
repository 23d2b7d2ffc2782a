"""How many instructions something takes, where the emulator counts them (icount=6)."""

import gc
import time

from micropython import const

_TICK_NS = const(40)  # of the clock behind ticks_cpu()
_INSTRUCTION_NS = const(64)  # 2**6: what icount=6 makes of one


def instructions(function, *arguments):
    """Instructions that function(*arguments) takes, less those of a Python function that does
    nothing.

    Exact but for the interpreter's own way to the function: native code is called some hundred
    instructions faster than Python, and it takes some tens more or less to find room on the heap.
    At most 670 million, after which the clock's reading wraps. The interrupts of what arrives on
    the console meanwhile count, so nothing should.
    """
    gc.collect()
    _measure(_nothing, arguments)  # the interpreter finds names faster the second time
    idle = _measure(_nothing, arguments)
    return _measure(function, arguments) - idle


def _nothing(*_):
    pass


def _measure(function, arguments):
    begin = time.ticks_cpu()
    function(*arguments)
    return time.ticks_diff(time.ticks_cpu(), begin) * _TICK_NS // _INSTRUCTION_NS
