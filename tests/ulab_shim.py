"""ulab's numpy as far as mcp_gw/infer/arrays*.py may use it, over the real numpy: code that takes
anything that ulab has not, or that means something else there, fails.

From ulab's sources (code/ndarray*.c, numpy/*.c), built with two dimensions, as is usual: the
types uint8, int8, uint16, int16, float (float32 on boards) and bool; no int32; no indexing by
lists or integer arrays; no keepdims; scalars that come out are Python's. Operators between two
integer arrays are refused here, since ulab and numpy promote them differently.
"""

import contextlib
import importlib
import sys
import types

import numpy

_DTYPES = {numpy.dtype(t) for t in ("u1", "i1", "u2", "i2", "f4", "?")}
# Methods and properties of ulab's ndarray.
_KNOWN = {"shape", "size", "dtype", "reshape", "transpose", "flatten", "tolist"}


def _plain(value):
    """A result as ulab gives it."""
    if isinstance(value, numpy.ndarray) and value.ndim:
        return Array(value)
    return value.item() if isinstance(value, (numpy.generic, numpy.ndarray)) else value


def _raw(value):
    return value._array if isinstance(value, Array) else value


class Array:
    def __init__(self, array):
        if array.dtype not in _DTYPES:
            raise TypeError(f"ulab has no {array.dtype}")
        if not 1 <= array.ndim <= 2:
            raise ValueError(f"{array.ndim} dimensions")
        self._array = array

    def __getattr__(self, name):
        if name not in _KNOWN:
            raise AttributeError(f"ulab's ndarray has no {name}")
        found = getattr(self._array, name)
        if not callable(found):
            return found

        def call(*args):
            if name == "reshape" and not isinstance(args[0], tuple):
                raise TypeError("shape must be a tuple")
            return _plain(found(*args))

        return call

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (_plain(row) for row in self._array)

    def _index(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        for part in parts:
            if not isinstance(part, (int, slice)):
                raise TypeError(f"ulab does not index by {type(part).__name__}")
        if len(parts) > self._array.ndim:
            raise IndexError("too many indices")
        return index

    def __getitem__(self, index):
        return _plain(self._array[self._index(index)])

    def __setitem__(self, index, value):
        if not isinstance(value, (Array, int, float)):
            raise TypeError(f"ulab does not assign a {type(value).__name__}")
        self._array[self._index(index)] = _raw(value)

    def __abs__(self):
        return Array(abs(self._array))

    def __neg__(self):
        return Array(-self._array)


def _operator(name):
    def operate(self, other):
        if not isinstance(other, (Array, int, float)):
            raise TypeError(f"an operator with a {type(other).__name__}")
        floats = [isinstance(x, float) or _is_float(x) for x in (self, other)]
        comparing = name in ("__lt__", "__gt__", "__le__", "__ge__", "__eq__", "__ne__")
        if not any(floats) and not comparing:
            raise TypeError("an operator between integers: the types that come out differ")
        a, b = _raw(self), _raw(other)
        if not comparing:
            # int8 with float32 is float64 for numpy in some places.
            a = a.astype(numpy.float32)
            b = b.astype(numpy.float32) if isinstance(b, numpy.ndarray) else numpy.float32(b)
        return _plain(getattr(a, name)(b))

    return operate


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "lt", "gt", "le", "ge"):
    setattr(Array, f"__{_name}__", _operator(f"__{_name}__"))


def _is_float(x):
    return isinstance(x, Array) and x._array.dtype == numpy.float32


def _shape(shape):
    if not isinstance(shape, (int, tuple)):
        raise TypeError("a shape is an int or a tuple")
    return shape


def _array(value, *, dtype=numpy.float32):
    if isinstance(value, Array):
        kept = value._array
        if kept.dtype == numpy.float32 and dtype != numpy.float32:
            # In C, a float that does not fit is undefined.
            info = numpy.iinfo(dtype)
            assert kept.size == 0 or (kept.min() >= info.min and kept.max() <= info.max)
        return Array(kept.astype(dtype))
    if not isinstance(value, (list, tuple, range)):
        raise TypeError(f"an array of a {type(value).__name__}")
    return Array(numpy.array(list(value), dtype=dtype))


def _frombuffer(buffer, *, dtype=numpy.float32, count=-1, offset=0):
    return Array(numpy.frombuffer(buffer, dtype=dtype, count=count, offset=offset))


def _dot(a, b):
    """Sums in float32, one product after the other."""
    if not isinstance(a, Array) or not isinstance(b, Array) or a._array.ndim + b._array.ndim != 4:
        raise TypeError("a product of two matrices")
    exact = numpy.dot(a._array.astype(numpy.float64), b._array.astype(numpy.float64))
    largest = numpy.dot(abs(a._array.astype(numpy.float64)), abs(b._array.astype(numpy.float64)))
    assert largest.size == 0 or largest.max() <= 1 << 24, "the sum is not exact in float32"
    return Array(exact.astype(numpy.float32))


def _checked(function, arguments):
    def call(*args):
        if len(args) != arguments:
            raise TypeError("number of arguments")
        return _plain(function(*map(_raw, args)))

    return call


def _nonzero(x):
    found = numpy.nonzero(_raw(x))
    return tuple(Array(a.astype(numpy.uint16)) for a in found)


def module():
    """The module ulab.numpy."""
    made = types.ModuleType("ulab.numpy")
    for name in ("uint8", "int8", "uint16", "int16"):
        setattr(made, name, getattr(numpy, name))
    made.float = numpy.float32
    made.array = _array
    made.frombuffer = _frombuffer
    made.dot = _dot
    made.nonzero = _nonzero
    made.zeros = lambda shape, *, dtype=numpy.float32: Array(numpy.zeros(_shape(shape), dtype))
    made.ones = lambda shape, *, dtype=numpy.float32: Array(numpy.ones(_shape(shape), dtype))
    for name, arguments in (("floor", 1), ("any", 1), ("maximum", 2), ("clip", 3), ("where", 3)):
        setattr(made, name, _checked(getattr(numpy, name), arguments))
    return made


@contextlib.contextmanager
def arrays():
    """mcp_gw.infer.arrays, imported anew over the shim."""
    ours = ["mcp_gw.infer.arrays" + part for part in ("", "_flat", "_math", "_ops")]
    kept = {name: sys.modules.pop(name) for name in ours if name in sys.modules}
    ulab = types.ModuleType("ulab")
    ulab.numpy = module()
    sys.modules["ulab"] = ulab
    try:
        yield importlib.import_module(ours[0])
    finally:
        del sys.modules["ulab"]
        for name in ours:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
