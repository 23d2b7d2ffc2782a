"""ONNX operators to nodes of a graph, those that move values and those of one or two arrays.

A function takes an onnx.Call and returns what the operator's outputs are.
"""

import numpy as np

from mcpgw import UserError
from mcpgw.convert import onnx_dense
from mcpgw.convert.graph import Tensor
from mcpgw.convert.onnx_values import Constant, Value

IMAGE = (0, 2, 3, 1)


def _alias(call, value):
    """The input under another name; who uses one uses the other."""
    uses = call.reader.uses
    uses[call.name] = uses.get(call.name, 0) + uses[call.input_names[0]] - 1
    return value


def _identity(call):
    return _alias(call, call[0])


def _activation(call, activation, x=None):
    """RELU and its like: part of the operator before where only this one reads that."""
    x = x or call[0]
    node = x.node
    if (
        node is not None
        and not x.is_quantised
        and call.is_only_use(0)
        and node.attrs.get("activation") == "NONE"
        and node.op not in ("CONCATENATION",)
    ):
        node.attrs["activation"] = activation
        return _alias(call, x)
    return _unary(call, activation)


def _relu(call):
    return _activation(call, "RELU")


def _clip(call):
    low = call.attrs.get("min", call.constant(1, "min of Clip"))
    high = call.attrs.get("max", call.constant(2, "max of Clip"))
    low = -np.inf if low is None else float(np.reshape(low, -1)[0])
    high = np.inf if high is None else float(np.reshape(high, -1)[0])
    if high > 1e30:
        high = np.inf
    known = {(0, np.inf): "RELU", (0, 6): "RELU6", (-1, 1): "RELU_N1_TO_1"}
    if (low, high) not in known:
        raise UserError(f"clipping to {low:g} .. {high:g} is not supported: use (0, 6), (-1, 1)")
    return _activation(call, known[low, high])


def _unary(call, op, attrs=None):
    x = call[0]
    attrs = {**(attrs or {}), "rounding": "once"}
    result = call.output(x.shape, x.order)
    result.flat = x.flat
    result.tensor.shape = x.tensor.shape
    return call.add(op, [x], result, attrs)


def _leaky_relu(call):
    return _unary(call, "LEAKY_RELU", {"alpha": float(call.attrs.get("alpha", 0.01))})


def _softmax(call):
    x = call[0]
    rank = len(x.shape)
    axis = call.attrs.get("axis", -1 if call.reader.opset >= 13 else 1) % rank
    if x.flat is not None or (rank - 1 if x.order is None else x.order[-1]) != axis:
        x = x.plain(call.reader)
        if axis != rank - 1 and any(n != 1 for n in x.shape[axis + 1 :]):
            raise UserError("Softmax over an axis that is not the last is not supported")
    result = call.output(x.shape, x.order)
    call.add("SOFTMAX", [x], result, {"beta": 1.0})
    if x.is_quantised:
        # The only scale that the operator has; another one is a step of its own.
        result.annotate(call.reader, 1 / 256, -128, call.name)
    return result


# ---- two arrays


def _constant_operand(call, c, x):
    """A constant as a tensor whose axes are those of the activation x."""
    data = c.data
    rank = len(x.shape)
    if data.ndim > rank:
        if data.size != 1:
            raise UserError("a constant has more dimensions than what it is added to")
        data = data.reshape(())
    if x.order is not None and data.ndim:
        data = data.reshape((1,) * (rank - data.ndim) + data.shape).transpose(x.order)
    name = f"{call.name}/constant"
    if c.scale is None:
        return constant_tensor(name, data, x.is_quantised)
    signed, zero = Constant(data, c.scale, c.zero).signed()
    if np.size(c.scale) != 1:
        raise UserError("a constant with several scales is only supported as weights")
    return Tensor(name, data.shape, "int8", c.scale, int(zero.reshape(-1)[0]), data=signed)


def constant_tensor(name, data, quantised):
    """A float constant, or its int8 where the model is quantised."""
    data = np.asarray(data, np.float64)
    if not quantised:
        return Tensor(name, data.shape, "float32", data=data)
    low, high = min(float(data.min()), 0.0), max(float(data.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    zero = int(np.clip(round(-128 - low / scale), -128, 127))
    q = np.clip(np.round(data / scale) + zero, -128, 127)
    return Tensor(name, data.shape, "int8", scale, zero, data=q)


def _together(call, a, b):
    """Two activations with their axes in the same order."""
    if a.order == b.order and a.flat == b.flat and len(a.shape) == len(b.shape):
        return a, b
    reader = call.reader
    if a.flat or b.flat or len(a.shape) != len(b.shape):
        return a.plain(reader), b.plain(reader)
    return (a, b.ordered(reader, a.order)) if a.order else (a.ordered(reader, b.order), b)


def _binary(op):
    def function(call):
        a, b = call[0], call[1]
        if isinstance(b, Constant) and op in ("ADD", "SUB"):
            fused = onnx_dense.fuse_bias(call, a, b, -1 if op == "SUB" else 1)
            if fused is not None:
                return _alias(call, fused)
        if isinstance(a, Constant) and op == "ADD":
            fused = onnx_dense.fuse_bias(call, b, a, 1, 1)
            if fused is not None:
                uses = call.reader.uses
                uses[call.name] = uses.get(call.name, 0) + uses[call.input_names[1]] - 1
                return fused
        shape = np.broadcast_shapes(a.shape, b.shape)
        x = a if isinstance(a, Value) else b
        if x.flat is not None and isinstance(a, Value) != isinstance(b, Value):
            x = x.plain(call.reader)
        if isinstance(a, Constant):
            inputs = [_constant_operand(call, a, x), x]
        elif isinstance(b, Constant):
            inputs = [x, _constant_operand(call, b, x)]
        else:
            inputs = list(_together(call, a, b))
            x = inputs[0]
        result = call.output(shape, x.order)
        result.flat = x.flat
        if x.flat is not None:
            result.tensor.shape = x.tensor.shape
        return call.add(op, inputs, result, {"activation": "NONE", "rounding": "once"})

    return function


def _divide(call):
    divisor = call[1]
    if not isinstance(divisor, Constant):
        raise UserError("division by what the model computes is not supported")
    call.inputs[1] = Constant(1 / np.asarray(divisor.real, np.float64))
    return _binary("MUL")(call)


def _batch_normalization(call):
    scale, shift, mean, variance = (call.constant(i, "batch normalisation") for i in range(1, 5))
    factor = scale / np.sqrt(variance.astype(np.float64) + call.attrs.get("epsilon", 1e-5))
    shift = shift - mean * factor
    x = call[0]
    if onnx_dense.fold_scale(call, x, factor, shift):
        return _alias(call, x)
    shape = (-1, *(1,) * (len(x.shape) - 2))
    product = call.reader.tensor(f"{call.name}/scaled", x.shape, x.order)
    factor = _constant_operand(call, Constant(factor.reshape(shape)), x)
    call.add("MUL", [x, factor], product, {"activation": "NONE"})
    shift = _constant_operand(call, Constant(shift.reshape(shape)), x)
    return call.add("ADD", [product, shift], call.output(x.shape, x.order), {"activation": "NONE"})


# ---- moving values


def _reshape_to(call, shape):
    x = call[0]
    if isinstance(x, Constant):
        return Constant(x.data.reshape(shape), x.scale, x.zero, x.axis)
    shape = tuple(int(n) for n in shape)
    if np.prod(shape) != np.prod(x.shape):
        raise UserError(f"{x.shape} cannot become {shape}")
    reader = call.reader
    if x.flat is not None and shape == (1, *x.flat):
        order = (0, *range(2, len(shape)), 1)
        result = Value(x.like(call.name, tuple(shape[i] for i in order)), shape, order)
        return call.add("RESHAPE", [x], result)
    is_row = len(shape) == 2 and shape[0] == 1
    if is_row and x.order == (0, *range(2, len(x.shape)), 1) and len(x.shape) > 2:
        positions = [n for n in x.shape[2:] if n != 1]
        flat = x.shape[1:] if x.shape[1] != 1 and positions else None
        result = Value(x.like(call.name, shape), shape, None, flat)
        return call.add("RESHAPE", [x], result)
    x = x.plain(reader)
    return call.add("RESHAPE", [x], Value(x.like(call.name, shape), shape))


def _reshape(call):
    x = call[0]
    wanted = [int(n) for n in call.constant(1, "the new shape").reshape(-1)]
    keep_zero = call.attrs.get("allowzero", 0)
    shape = [x.shape[i] if n == 0 and not keep_zero else n for i, n in enumerate(wanted)]
    total = int(np.prod(x.shape))
    known = int(np.prod([n for n in shape if n != -1]))
    return _reshape_to(call, [total // known if n == -1 else n for n in shape])


def _flatten(call):
    shape = call[0].shape
    axis = call.attrs.get("axis", 1) % (len(shape) + 1)
    return _reshape_to(call, (int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))))


def _axes(call, i=1):
    axes = call.attrs.get("axes")
    if axes is None:
        axes = call.constant(i, "axes")
    return None if axes is None else [int(a) for a in np.reshape(axes, -1)]


def _squeeze(call):
    shape, axes = call[0].shape, _axes(call)
    if axes is None:
        axes = [i for i, n in enumerate(shape) if n == 1]
    axes = [a % len(shape) for a in axes]
    return _reshape_to(call, [n for i, n in enumerate(shape) if i not in axes])


def _unsqueeze(call):
    axes = _axes(call)
    shape = list(call[0].shape)
    for axis in sorted(a % (len(shape) + len(axes)) for a in axes):
        shape.insert(axis, 1)
    return _reshape_to(call, shape)


def _transpose(call):
    x = call[0]
    rank = len(x.shape)
    perm = tuple(call.attrs.get("perm", range(rank - 1, -1, -1)))
    if isinstance(x, Constant):
        axis = None if x.axis is None else perm.index(x.axis)
        return Constant(x.data.transpose(perm), x.scale, x.zero, axis)
    if x.flat is not None:
        x = x.plain(call.reader)
    # Nothing moves: the axes are only called otherwise.
    order = tuple(perm.index(i) for i in (x.order or range(rank)))
    shape = tuple(x.shape[i] for i in perm)
    plain = order == tuple(range(rank))
    return _alias(call, Value(x.tensor, shape, None if plain else order, None, x.node))


def _concat(call):
    values = list(call.inputs)
    known = [v for v in values if isinstance(v, Value)]
    first = known[0] if known[0].flat is None else known[0].plain(call.reader)
    rank = len(first.shape)
    axis = call.attrs["axis"] % rank
    inputs = []
    for v in values:
        if isinstance(v, Constant):
            inputs.append(_constant_operand(call, v, first))
        else:
            inputs.append(v.ordered(call.reader, first.order))
    shape = list(first.shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    stored = axis if first.order is None else first.order.index(axis)
    result = call.output(shape, first.order)
    attrs = {"axis": stored, "activation": "NONE", "rounding": "once"}
    return call.add("CONCATENATION", inputs, result, attrs)


def _pad(call):
    x = call[0]
    if call.attrs.get("mode", b"constant") != b"constant":
        raise UserError("padding with anything but a constant is not supported")
    pads = call.attrs.get("pads", call.constant(1, "padding"))
    value = call.attrs.get("value", call.constant(2, "value of padding"))
    axes = call.constant(3, "axes")
    if np.size(value) and np.asarray(value).dtype in (np.int8, np.uint8) and x.is_quantised:
        # Padding of quantised values is by one of them.
        scale, zero = x.tensor.quantisation
        offset = 128 if np.asarray(value).dtype == np.uint8 else 0
        value = (int(np.reshape(value, -1)[0]) - offset - zero) * scale
    value = 0.0 if value is None or np.size(value) == 0 else float(np.reshape(value, -1)[0])
    return pad(call, x, pads, value, axes)


def pad(call, x, pads, value, axes=None):
    """PAD by ONNX's list: all that come before, then all that come after."""
    rank = len(x.shape)
    axes = range(rank) if axes is None else [int(a) % rank for a in np.reshape(axes, -1)]
    pairs = [(0, 0)] * rank
    pads = [int(n) for n in np.reshape(pads, -1)]
    for i, axis in enumerate(axes):
        pairs[axis] = (pads[i], pads[i + len(axes)])
    if min(min(p) for p in pairs) < 0:
        raise UserError("negative padding is not supported")
    if x.flat is not None:
        x = x.plain(call.reader)
    shape = [n + a + b for n, (a, b) in zip(x.shape, pairs, strict=True)]
    result = call.reader.tensor(f"{call.name}/padded", shape, x.order)
    result.tensor = x.like(result.tensor.name, result.tensor.shape)
    stored = pairs if x.order is None else [pairs[i] for i in x.order]
    attrs = {"paddings": tuple(stored)}
    if value:
        attrs["real_value"] = value
        if x.is_quantised:
            scale, zero = x.tensor.quantisation
            attrs["value"] = int(np.clip(round(value / scale) + zero, -128, 127))
    return call.reader.add("PAD" if not value else "PADV2", [x], result, attrs)


def _slice(call):
    x = call[0].plain(call.reader)
    starts, ends = (call.constant(i, "slice").reshape(-1) for i in (1, 2))
    axes = call.constant(3, "axes")
    steps = call.constant(4, "steps")
    if steps is not None and (np.asarray(steps) != 1).any():
        raise UserError("Slice with steps other than 1 is not supported")
    axes = range(len(starts)) if axes is None else [int(a) for a in axes.reshape(-1)]
    begin, shape = [0] * len(x.shape), list(x.shape)
    for axis, start, end in zip(axes, starts, ends, strict=True):
        first, last, _ = slice(int(start), int(end)).indices(x.shape[axis])
        begin[axis], shape[axis] = first, max(last - first, 0)
    return _piece(call, x, begin, shape, call.name)


def _piece(call, x, begin, shape, name):
    if 0 in shape:
        raise UserError("nothing is left of it")
    result = Value(x.like(name, tuple(shape)), tuple(shape))
    return call.add("SLICE", [x], result, {"begin": tuple(begin)})


def _split(call):
    x = call[0].plain(call.reader)
    axis = call.attrs.get("axis", 0) % len(x.shape)
    sizes = call.attrs.get("split", call.constant(1, "sizes of Split"))
    count = len(call.output_names)
    if sizes is None:
        step = -(-x.shape[axis] // count)
        sizes = [min(step, x.shape[axis] - step * i) for i in range(count)]
    pieces, at = [], 0
    for name, size in zip(call.output_names, sizes, strict=True):
        begin, shape = [0] * len(x.shape), list(x.shape)
        begin[axis], shape[axis] = at, int(size)
        pieces.append(_piece(call, x, begin, shape, name))
        at += int(size)
    return pieces


OPS = {
    **onnx_dense.OPS,
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _identity,
    "Relu": _relu,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": lambda call: _unary(call, "LOGISTIC"),
    "HardSwish": lambda call: _unary(call, "HARD_SWISH"),
    "Tanh": lambda call: _unary(call, "TANH"),
    "Softmax": _softmax,
    "Add": _binary("ADD"),
    "Sub": _binary("SUB"),
    "Mul": _binary("MUL"),
    "Div": _divide,
    "BatchNormalization": _batch_normalization,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
}
