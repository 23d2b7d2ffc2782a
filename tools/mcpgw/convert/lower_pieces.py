"""Operators that cut tensors into pieces or put them together: copies, all of them."""

from math import prod

from mcpgw.convert.loops import dense_strides
from mcpgw.convert.lower_shape import copy, same_quantisation
from mcpgw.convert.program import FILL, Op


def _split(state, node):
    x = node.inputs[0]
    axis = node.attrs["axis"] % len(x.shape)
    strides = dense_strides(x.shape)
    value = state.value(x)
    at = 0
    for y in node.outputs:
        same_quantisation(x, y)
        steps = [strides, dense_strides(y.shape)]
        copy(state, value, state.new(y), y.shape, steps, (at * strides[axis], 0))
        at += y.shape[axis]
    if at != x.shape[axis]:
        raise ValueError("pieces do not add up to the input")


def _pack(state, node):
    y = node.outputs[0]
    axis = node.attrs["axis"] % len(y.shape)
    strides = dense_strides(y.shape)
    others = strides[:axis] + strides[axis + 1 :]
    values = [state.value(x) for x in node.inputs]
    made = state.new(y)
    for i, (x, value) in enumerate(zip(node.inputs, values, strict=True)):
        same_quantisation(x, y)
        copy(state, value, made, x.shape, [dense_strides(x.shape), others], (0, i * strides[axis]))


def _unpack(state, node):
    x = node.inputs[0]
    axis = node.attrs["axis"] % len(x.shape)
    strides = dense_strides(x.shape)
    others = strides[:axis] + strides[axis + 1 :]
    value = state.value(x)
    for i, y in enumerate(node.outputs):
        same_quantisation(x, y)
        steps = [others, dense_strides(y.shape)]
        copy(state, value, state.new(y), y.shape, steps, (i * strides[axis], 0))


def _strided_slice(state, node):
    x, y, attrs = node.inputs[0], node.outputs[0], node.attrs
    same_quantisation(x, y)
    strides, steps, sizes, start = dense_strides(x.shape), [], [], 0
    for axis, size in enumerate(x.shape):
        begin, end, stride = (attrs[name][axis] for name in ("begin", "end", "strides"))
        if stride < 1:
            raise ValueError("a stride below 1 is not supported")
        begin = 0 if begin is None else min(max(begin + (size if begin < 0 else 0), 0), size)
        if axis in attrs["shrink"]:
            end = begin + 1
        end = size if end is None else min(max(end + (size if end < 0 else 0), 0), size)
        steps.append(strides[axis] * stride)
        sizes.append(-(-(end - begin) // stride))
        start += begin * strides[axis]
    if min(sizes) < 1 or prod(sizes) != y.size:
        raise ValueError(f"{sizes} does not fit the output {y.shape}")
    copy(state, state.value(x), state.new(y), sizes, [steps, dense_strides(sizes)], (start, 0))


def _block_places(block):
    return [(i, j) for i in range(block[0]) for j in range(block[1])]


def _axis(size, block, before, place, count):
    """
    Along one axis: (first in the small image, first in the large one, number) of the places of the
    large image that `place` of each block stands for; the large image begins `before` later.
    """
    first = max(0, -(-(before - place) // block))
    at = first * block + place - before
    return first, at, min(count - first, -(-(size - at) // block))


def _between(state, node, small, large, before, block, to_large):
    """Copies between pieces, (blocks * batches, h, w, c), and an image, (batches, H, W, c)."""
    batches, height, width, channels = large.shape
    if small.shape[0] != batches * block[0] * block[1] or small.shape[3] != channels:
        raise ValueError(f"shapes {small.shape} and {large.shape} do not fit")
    source = state.value(node.inputs[0])
    made = state.new(node.outputs[0])
    if not to_large:
        zero = node.outputs[0].quantisation[1] if node.outputs[0].scale is not None else 0
        state.add(Op(FILL, made, made, [zero & 255]))
    s, b = dense_strides(small.shape), dense_strides(large.shape)
    for n, (i, j) in enumerate(_block_places(block)):
        y0, y_at, rows = _axis(height, block[0], before[0], i, small.shape[1])
        x0, x_at, columns = _axis(width, block[1], before[1], j, small.shape[2])
        if rows < 1 or columns < 1:
            continue
        at_small = n * batches * s[0] + y0 * s[1] + x0 * s[2]
        at_large = y_at * b[1] + x_at * b[2]
        steps = [s, [b[0], b[1] * block[0], b[2] * block[1], 1]]
        starts = [at_small, at_large]
        if not to_large:
            steps.reverse()
            starts.reverse()
        copy(state, source, made, [batches, rows, columns, channels], steps, starts)


def _blocks(node, name):
    block, pairs = node.attrs["block"], node.attrs[name]
    if len(block) != 2 or len(node.inputs[0].shape) != 4 or min(block) < 1:
        raise ValueError("only images (four dimensions, two of them in blocks) are supported")
    same_quantisation(node.inputs[0], node.outputs[0])
    if node.inputs[0].dtype not in ("int8", "uint8"):
        raise ValueError(f"{node.inputs[0].dtype} is not supported")
    return block, [before for before, _ in pairs]


def _batch_to_space(state, node):
    block, before = _blocks(node, "crops")
    _between(state, node, node.inputs[0], node.outputs[0], before, block, True)


def _space_to_batch(state, node):
    block, before = _blocks(node, "paddings")
    _between(state, node, node.outputs[0], node.inputs[0], before, block, False)


OPS = {
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _pack,
    "UNPACK": _unpack,
    "STRIDED_SLICE": _strided_slice,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
}
