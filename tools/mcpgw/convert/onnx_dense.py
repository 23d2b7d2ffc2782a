"""ONNX operators to nodes of a graph: Conv, Gemm, MatMul, pooling and means."""

import numpy as np

from mcpgw import UserError
from mcpgw.convert.graph import Tensor
from mcpgw.convert.onnx_values import Constant, Value


def _weights(name, c, move, axis):
    """
    A constant as weights.

    Args:
        name: of the tensor.
        c: the Constant.
        move: function from the source's array to the graph's.
        axis: the channels' axis in the latter.
    """
    if c.scale is None:
        return Tensor(name, move(c.data).shape, "float32", data=move(c.data))
    data, zero = c.signed()
    if zero.any():
        raise UserError(
            "its weights have zero points: quantise weights symmetrically (onnxruntime: "
            "weight_type=QInt8, WeightSymmetric=True)"
        )
    if data.dtype != np.int8:
        raise UserError(f"its weights are {data.dtype}; int8 and uint8 are supported")
    per_channel = np.size(c.scale) > 1
    scale = np.reshape(c.scale, -1)
    moved = move(data)
    return Tensor(
        name,
        moved.shape,
        "int8",
        scale,
        np.zeros(scale.size, int) if per_channel else 0,
        axis if per_channel else None,
        moved,
    )


def _bias(name, c, x, weights):
    """The bias as a tensor: int32 of the products' scale where the model is quantised."""
    if c is None:
        return None
    if weights.scale is None:
        return Tensor(name, (c.data.size,), "float32", data=c.real.reshape(-1))
    scale = x.tensor.quantisation[0] * weights.scale
    if c.data.dtype == np.int32 and (c.scale is None or np.allclose(c.scale, scale, 1e-5, 0)):
        data = c.data.reshape(-1).astype(np.int64)
    else:
        data = np.round(c.real.reshape(-1).astype(np.float64) / scale)
    limit = (1 << 31) - 1
    data = np.clip(data, -limit - 1, limit).astype(np.int32)
    return Tensor(name, data.shape, "int32", scale, 0, 0 if scale.size > 1 else None, data)


def _need_scale(x, weights):
    if weights.scale is not None and not x.is_quantised:
        raise UserError(
            "its weights are quantised and its input is not (dynamic or weight-only "
            "quantisation): quantise it statically"
        )


def _spatial(call, rank):
    """(strides, dilations, padding or None for auto_pad SAME_*, auto) of `rank` spatial axes."""
    attrs = call.attrs
    strides = list(attrs.get("strides", [1] * rank))
    dilations = list(attrs.get("dilations", [1] * rank))
    pads = list(attrs.get("pads", [0] * 2 * rank))
    auto = attrs.get("auto_pad", b"NOTSET")
    if auto == b"VALID":
        pads = [0] * 2 * rank
    return strides, dilations, pads, auto


def _window(call, x, kernel, ceil=False):
    """
    (attributes, spatial sizes of the output) of a window over x [batch, height, width, channels].

    Args:
        kernel: (height, width).
    """
    rank = len(call[0].shape) - 2
    strides, dilations, pads, auto = _spatial(call, rank)
    if rank == 1:
        strides, dilations = [1, *strides], [1, *dilations]
        pads = [0, pads[0], 0, pads[1]]
    if min(*strides, *dilations, *kernel) < 1 or min(pads) < 0:
        raise UserError("strides, dilations and filters are at least 1, padding at least 0")
    sizes, padding = [], []
    for i in range(2):
        size = x.tensor.shape[1 + i]
        span = (kernel[i] - 1) * dilations[i] + 1
        before, after = pads[i], pads[i + 2]
        if auto in (b"SAME_UPPER", b"SAME_LOWER"):
            total = max((-(-size // strides[i]) - 1) * strides[i] + span - size, 0)
            before, after = total // 2, total - total // 2
            if auto == b"SAME_LOWER":
                before, after = after, before
        if ceil:
            # One more place where something is left over, if it begins inside of the input.
            places = -(-(size + before + after - span) // strides[i])
            if places * strides[i] >= size + before:
                places -= 1
            after = max(after, places * strides[i] + span - size - before)
        room = size + before + after - span
        if room < 0:
            raise UserError("its filter is larger than its input")
        sizes.append(room // strides[i] + 1)
        padding.append((before, after))
    attrs = {"stride_h": strides[0], "stride_w": strides[1], "padding": tuple(padding)}
    if all(p == (0, 0) for p in padding):
        attrs["padding"] = "VALID"
    return attrs, sizes, dilations


def _as_image(call, x):
    """x as [batch, height, width, channels]: rows of one dimension have height 1."""
    rank = len(x.shape)
    if rank not in (3, 4):
        raise UserError(f"input of {rank} dimensions; 3 or 4 are supported")
    order = (0, *range(2, rank), 1)
    x = x.ordered(call.reader, order)
    if rank == 4:
        return x
    batch, channels, length = x.shape
    image = Value(x.like(f"{x.tensor.name}/image", (batch, 1, length, channels)), x.shape)
    return call.reader.add("RESHAPE", [x], image)


def _from_image(call, op, inputs, channels, sizes, attrs, like=None):
    """The node, and its output in the form of the source's input."""
    rank = len(call[0].shape)
    stored = (1, *sizes, channels)
    tensor = Tensor(call.name, stored, "float32")
    if like is not None:
        tensor = like.like(call.name, stored)
    if rank == 4:
        result = Value(tensor, (1, channels, *sizes), (0, 2, 3, 1))
        return call.add(op, inputs, result, attrs)
    image = Tensor(f"{call.name}/image", stored, tensor.dtype, tensor.scale, tensor.zero_point)
    node = call.reader.add(op, inputs, Value(image, stored), attrs).node
    tensor.shape = (1, sizes[1], channels)
    result = Value(tensor, (1, channels, sizes[1]), (0, 2, 1))
    call.add("RESHAPE", [image], result)
    # An activation that follows becomes part of what makes the image.
    result.node = node
    return result


def _conv(call):
    w = call[1]
    if not isinstance(w, Constant):
        raise UserError("its weights are computed by the model; only constants are supported")
    x = _as_image(call, call[0])
    out, per_group, *kernel = w.shape
    kernel = [1, *kernel] if len(kernel) == 1 else kernel
    group = call.attrs.get("group", 1)
    channels = x.tensor.shape[3]
    is_depthwise = group == channels and per_group == 1 and group > 1
    if group * per_group != channels:
        raise UserError(f"{group} groups of {per_group} channels do not make {channels}")

    def move(data):
        data = data.reshape(out, per_group, *kernel)
        return data.transpose(1, 2, 3, 0) if is_depthwise else data.transpose(0, 2, 3, 1)

    weights = _weights(f"{call.name}/weights", w, move, 3 if is_depthwise else 0)
    _need_scale(x, weights)
    bias = _bias(f"{call.name}/bias", call[2], x, weights)
    attrs, sizes, dilations = _window(call, x, kernel)
    attrs.update(dilation_h=dilations[0], dilation_w=dilations[1], activation="NONE")
    attrs.update(rounding="once")
    op = "DEPTHWISE_CONV_2D" if is_depthwise else "CONV_2D"
    return _from_image(call, op, [x, weights, bias], out, sizes, attrs)


def fully_connected(call, x, w, c):
    """x times the Constant w [outputs, inputs], plus the Constant c or nothing."""
    if x.order is not None and x.flat is None:
        x = x.plain(call.reader)
    outputs, inputs = w.shape
    if x.shape[-1] != inputs:
        raise UserError(f"{x.shape} does not fit weights for {inputs} values")
    flat = x.flat

    def move(data):
        if flat is None:
            return data
        axes = (0, *range(2, len(flat) + 1), 1)
        return data.reshape(outputs, *flat).transpose(axes).reshape(outputs, inputs)

    weights = _weights(f"{call.name}/weights", w, move, 0)
    _need_scale(x, weights)
    bias = _bias(f"{call.name}/bias", c, x, weights)
    result = call.output((*x.shape[:-1], outputs))
    attrs = {"activation": "NONE", "keep_num_dims": len(x.shape) > 2, "rounding": "once"}
    return call.add("FULLY_CONNECTED", [x, weights, bias], result, attrs)


def _turned(w):
    axis = None if w.axis is None else 1 - w.axis % 2
    return Constant(w.data.T, w.scale, w.zero, axis)


def _gemm(call):
    x, w, c = call[0], call[1], call[2]
    attrs = call.attrs
    if not isinstance(w, Constant) or isinstance(c, Value):
        raise UserError("only constant weights and bias are supported")
    if attrs.get("transA", 0):
        raise UserError("transA is not supported")
    if not attrs.get("transB", 0):
        w = _turned(w)
    alpha, beta = attrs.get("alpha", 1.0), attrs.get("beta", 1.0)
    if alpha != 1.0:
        if w.scale is not None:
            w = Constant(w.data, w.scale * alpha, w.zero, w.axis)
        else:
            w = Constant(w.data * alpha)
    if c is not None:
        if c.data.size not in (1, w.shape[0]):
            raise UserError(f"its bias has shape {c.shape}")
        if beta != 1.0 or c.data.size != w.shape[0]:
            c = Constant(np.broadcast_to(c.real.reshape(-1) * beta, (w.shape[0],)))
    return fully_connected(call, x, w, c)


def _matmul(call):
    x, w = call[0], call[1]
    if not isinstance(w, Constant) or w.data.ndim != 2 or isinstance(x, Constant):
        raise UserError("only a product with a constant matrix on the right is supported")
    return fully_connected(call, x, _turned(w), None)


def _fusable(call, x, index=0):
    node = x.node if isinstance(x, Value) else None
    return (
        node is not None
        and node.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
        and not x.is_quantised
        and call.is_only_use(index)
        and node.attrs["activation"] == "NONE"
    )


def _per_channel(x, c):
    """A Constant's real values, one for each channel of x; None if that is not what it is."""
    axis = 1 if x.order is not None else len(x.shape) - 1
    shape = (1,) * (len(x.shape) - len(c.shape)) + tuple(c.shape)
    channels = x.shape[axis]
    if any(n != 1 for i, n in enumerate(shape) if i != axis) or len(shape) != len(x.shape):
        return None
    return np.broadcast_to(np.asarray(c.real, np.float64).reshape(-1), (channels,))


def fuse_bias(call, x, c, sign, index=0):
    """x with a constant added to its bias, where it comes from a convolution or product."""
    if not _fusable(call, x, index) or x.flat is not None:
        return None
    values = _per_channel(x, c)
    if values is None:
        return None
    node = x.node
    old = node.inputs[2]
    weights = node.inputs[1]
    if weights.scale is None:
        total = sign * values + (0 if old is None else old.data)
        node.inputs[2] = Tensor(f"{call.name}/bias", total.shape, "float32", data=total)
    else:
        scale = node.inputs[0].quantisation[0] * weights.scale
        total = np.round(sign * values / scale) + (0 if old is None else old.data)
        axis = 0 if scale.size > 1 else None
        node.inputs[2] = Tensor(f"{call.name}/bias", total.shape, "int32", scale, 0, axis, total)
    return x


def fold_scale(call, x, factor, shift):
    """Multiply what makes x by `factor` per channel and add `shift`; False if that cannot be."""
    if not _fusable(call, x) or x.node.inputs[1].scale is not None:
        return False
    node = x.node
    weights, bias = node.inputs[1], node.inputs[2]
    axis = 3 if node.op == "DEPTHWISE_CONV_2D" else 0
    along = [1] * weights.data.ndim
    along[axis] = -1
    data = weights.data * np.reshape(factor, along)
    node.inputs[1] = Tensor(weights.name, weights.shape, "float32", data=data)
    total = shift + (0 if bias is None else bias.data * factor)
    node.inputs[2] = Tensor(f"{call.name}/bias", np.shape(total), "float32", data=total)
    return True


def _pool(op):
    def function(call):
        x = _as_image(call, call[0])
        kernel = list(call.attrs["kernel_shape"])
        kernel = [1, *kernel] if len(kernel) == 1 else kernel
        if any(d != 1 for d in call.attrs.get("dilations", [1])):
            raise UserError("pooling with dilations is not supported")
        ceil = bool(call.attrs.get("ceil_mode", 0))
        attrs, sizes, _ = _window(call, x, kernel, ceil)
        if (
            op == "AVERAGE_POOL_2D"
            and call.attrs.get("count_include_pad", 0)
            and attrs["padding"] != "VALID"
        ):
            raise UserError("count_include_pad=1 is not supported: use 0, or a Pad before it")
        attrs.update(activation="NONE")
        channels = x.tensor.shape[3]
        if op == "AVERAGE_POOL_2D" and x.is_quantised and attrs["padding"] == "VALID":
            return _average(call, x, kernel, sizes, attrs)
        attrs.update(filter_h=kernel[0], filter_w=kernel[1])
        return _from_image(call, op, [x], channels, sizes, attrs, like=x)

    return function


def _average(call, x, kernel, sizes, attrs):
    """A mean whose results are rounded once, to the output's scale."""
    _, height, width, channels = x.tensor.shape
    strides = [attrs["stride_h"], attrs["stride_w"]]
    if strides == list(kernel) and (height, width) == (sizes[0] * kernel[0], sizes[1] * kernel[1]):
        # Windows side by side are two axes more.
        split = (1, sizes[0], kernel[0], sizes[1], kernel[1], channels)
        tiles = x.like(f"{call.name}/tiles", split)
        call.add("RESHAPE", [x], tiles)
        mean = {"axes": (2, 4), "keep_dims": False, "rounding": "with zero point"}
        return _from_image(call, "MEAN", [tiles], channels, sizes, mean)
    # Else the sum that it is.
    ones = np.ones((1, *kernel, channels), np.int8)
    scale = 1 / (kernel[0] * kernel[1])
    weights = Tensor(f"{call.name}/ones", ones.shape, "int8", scale, 0, None, ones)
    attrs.update(dilation_h=1, dilation_w=1, rounding="once")
    return _from_image(call, "DEPTHWISE_CONV_2D", [x, weights, None], channels, sizes, attrs)


def _global_average(call):
    return _mean_over(call, call[0], range(2, len(call[0].shape)), True)


def _global_max(call):
    x = _as_image(call, call[0])
    _, height, width, channels = x.tensor.shape
    attrs = {"stride_h": 1, "stride_w": 1, "padding": "VALID", "activation": "NONE"}
    attrs.update(filter_h=height, filter_w=width)
    return _from_image(call, "MAX_POOL_2D", [x], channels, [1, 1], attrs, like=x)


def _reduce_mean(call):
    axes = call.attrs.get("axes")
    if axes is None:
        axes = call.constant(1, "axes")
    rank = len(call[0].shape)
    axes = range(rank) if axes is None else [int(a) % rank for a in np.reshape(axes, -1)]
    return _mean_over(call, call[0], axes, bool(call.attrs.get("keepdims", 1)))


def _mean_over(call, x, axes, keep):
    if x.flat is not None:
        x = x.plain(call.reader)
    if not keep and x.order is not None:
        # What is left is in the source's order only if channels alone are, or nothing moved.
        left = [i for i in x.order if i not in axes]
        if left != sorted(left):
            x = x.plain(call.reader)
    rank = len(x.shape)
    if rank == len(axes):
        raise UserError("a mean over everything is not supported: keep the batch")
    stored = [i if x.order is None else x.order.index(i) for i in axes]
    # Without keep_dims, of which the format has a form of its own that rounds twice.
    attrs = {"axes": tuple(sorted(stored)), "keep_dims": False, "rounding": "once"}
    kept = [n for i, n in enumerate(x.shape) if i not in axes]
    if not keep:
        return call.add("MEAN", [x], call.output(kept), attrs)
    mean = Tensor(
        f"{call.name}/mean", [x.tensor.shape[i] for i in range(rank) if i not in stored], "float32"
    )
    call.add("MEAN", [x], mean, attrs)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return call.add("RESHAPE", [mean], call.output(shape, x.order))


OPS = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _pool("MAX_POOL_2D"),
    "AveragePool": _pool("AVERAGE_POOL_2D"),
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _reduce_mean,
}
