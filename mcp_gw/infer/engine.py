"""What carries out a graph of int8 operators: the C module where the firmware has it (built in, or
as a native .mpy file), else arrays of ulab or numpy. Both give the same integers.

    check(buf)            raise ValueError, saying what is wrong where, unless buf holds one model
    info(buf)             (kind, bytes of the file, of the arena, MACs, metadata at, its length)
    Graph(buf, arena)     a graph ready to run; keeps both buffers alive
"""

try:
    import _qnn as module
except ImportError:
    try:
        from . import arrays as module
    except ImportError:
        raise ImportError("models need a firmware with _qnn or ulab (or numpy)") from None

# module: for what else it may have
check = module.check
info = module.info
Graph = module.Graph
