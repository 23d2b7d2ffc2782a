"""Random models of one operator each: CASES names them, each a function of Maker and random."""

import numpy as np

ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
PADDINGS = ("SAME", "VALID")


def _int(r, low, high):
    return int(r.integers(low, high))


def _pair(r, low, high):
    return _int(r, low, high), _int(r, low, high)


def _flag(r):
    return bool(r.integers(2))


def _image(m, r, batches=3):
    """An image of odd sizes; now and then one place high or wide."""
    height, width = (1 if r.random() < 0.1 else _int(r, 4, 14) for _ in range(2))
    return m.input((_int(r, 1, batches), height, width, _int(r, 1, 9)))


def _kernel(r, x, padding):
    """A kernel that fits."""
    kernel = _pair(r, 1, 6)
    if padding == "VALID":
        kernel = tuple(min(k, n) for k, n in zip(kernel, x.shape[1:3], strict=True))
    return kernel


def conv(m, r):
    x, padding = _image(m, r), r.choice(PADDINGS)
    kernel, stride = _kernel(r, x, padding), _pair(r, 1, 4)
    activation = r.choice(ACTIVATIONS)
    args = {
        "stride": stride,
        "padding": padding,
        "activation": activation,
        "per_channel": _flag(r),
    }
    return [x], [m.conv(x, _int(r, 1, 14), kernel, **args)]


def conv_1x1(m, r):
    x = _image(m, r)
    return [x], [m.conv(x, _int(r, 1, 40), (1, 1), per_channel=_flag(r))]


def conv_dilated(m, r):
    x = m.input((1, _int(r, 9, 16), _int(r, 9, 16), _int(r, 1, 9)))
    args = {"dilation": _pair(r, 1, 4), "padding": r.choice(PADDINGS)}
    return [x], [m.conv(x, _int(r, 1, 12), _pair(r, 1, 4), **args)]


def depthwise(m, r):
    x, padding = _image(m, r), r.choice(PADDINGS)
    kernel = _kernel(r, x, padding)
    # The reference takes equal strides only.
    stride = (_int(r, 1, 4),) * 2
    args = {"stride": stride, "padding": padding, "activation": r.choice(ACTIVATIONS)}
    args |= {"multiplier": _int(r, 1, 4), "per_channel": _flag(r), "bias": _flag(r)}
    return [x], [m.depthwise(x, kernel, **args)]


def depthwise_dilated(m, r):
    x = m.input((1, _int(r, 9, 16), _int(r, 9, 16), _int(r, 1, 20)))
    args = {"dilation": _pair(r, 1, 4), "padding": r.choice(PADDINGS)}
    return [x], [m.depthwise(x, _pair(r, 1, 4), multiplier=_int(r, 1, 3), **args)]


def fully_connected(m, r):
    keep_dims = _flag(r)
    x = m.input([_int(r, 1, 6) for _ in range(_int(r, 1, 3))] + [_int(r, 1, 90)])
    args = {"bias": _flag(r), "activation": r.choice(ACTIVATIONS), "keep_dims": keep_dims}
    return [x], [m.fully_connected(x, _int(r, 1, 20), **args)]


def _pool(name):
    def function(m, r):
        x, padding = _image(m, r), r.choice(PADDINGS)
        kernel, stride = _kernel(r, x, padding), _pair(r, 1, 4)
        return [x], [m.pool(name, x, kernel, stride, padding, r.choice(ACTIVATIONS))]

    return function


def global_pool(m, r):
    x = _image(m, r)
    return [x], [m.pool("AVERAGE_POOL_2D", x, x.shape[1:3])]


def _binary(name):
    def function(m, r):
        shape = [_int(r, 1, 6) for _ in range(_int(r, 1, 5))]
        other = shape
        if _flag(r):
            other = [n if _flag(r) else 1 for n in shape][_int(r, 0, len(shape)) :]
        a = m.input(shape)
        b = m.input(other, scale=a.scale * float(np.exp(r.uniform(-3, 3))))
        if _flag(r):
            a, b = b, a
        return [a, b], [m.binary(name, a, b, activation=r.choice(ACTIVATIONS))]

    return function


def add_constant(m, r):
    x = m.input((2, 3, 5))
    c = m.input((5,))
    c.data = r.integers(-128, 128, 5).astype(np.int8)
    return [x], [m.binary(r.choice(("ADD", "MUL")), x, c)]


def add_itself(m, r):
    x = m.input((3, 33))
    return [x], [m.binary("ADD", x, x)]


def _unary(name, scale=None, zero=None, kind=None, **options):
    def function(m, r):
        x = m.input((2, 128))
        made = {key: make(r) for key, make in options.items()}
        y_scale = scale or x.scale * r.uniform(0.5, 2)
        return [x], [m.unary(name, x, y_scale, zero, kind, **made)]

    return function


def concatenation(m, r):
    shape = [_int(r, 1, 6) for _ in range(_int(r, 1, 6))]
    axis = _int(r, 0, len(shape))
    inputs = [m.input(shape)]
    for _ in range(_int(r, 1, 4)):
        shape = list(shape)
        shape[axis] = _int(r, 1, 5)
        inputs.append(m.input(shape, scale=inputs[0].scale, zero=inputs[0].zero))
    return inputs, [m.concatenation(inputs, axis - len(shape) if _flag(r) else axis)]


def pad(m, r):
    x = m.input([_int(r, 1, 6) for _ in range(_int(r, 1, 5))])
    pairs = [_pair(r, 0, 4) for _ in x.shape]
    return [x], [m.pad(x, pairs, _int(r, -128, 128) if _flag(r) else None)]


def pad_and_conv(m, r):
    """Padding that the convolution takes over, that it cannot, and that something else reads."""
    x = _image(m, r)
    channels = (0, _int(r, 0, 2))
    padded = m.pad(x, [(0, 0), _pair(r, 0, 3), _pair(r, 0, 3), channels])
    kernel = _kernel(r, padded, "VALID")
    name = r.choice(("conv", "depthwise"))
    if name == "conv":
        y = m.conv(padded, 5, kernel, padding="VALID")
    else:
        y = m.depthwise(padded, kernel, (2, 2), padding="VALID")
    return [x], [y, padded] if _flag(r) else [y]


def mean(m, r):
    x = m.input([_int(r, 1, 10) for _ in range(_int(r, 1, 5))])
    axes = r.choice(len(x.shape), _int(r, 1, len(x.shape) + 1), replace=False)
    axes = [int(a) - (len(x.shape) if _flag(r) else 0) for a in axes]
    scale = x.scale * r.uniform(0.1, 1.5) if _flag(r) else x.scale
    return [x], [m.mean(x, axes, _flag(r), scale, None if _flag(r) else x.zero)]


def mean_of_image(m, r):
    x = m.input((_int(r, 1, 3), _int(r, 1, 24), _int(r, 1, 24), _int(r, 1, 9)))
    return [x], [m.mean(x, [1, 2], _flag(r))]


def softmax(m, r):
    x = m.input([_int(r, 1, 5), _int(r, 1, 60)], scale=float(np.exp(r.uniform(-6, 0))))
    return [x], [m.softmax(x, float(r.choice((1.0, 0.5, 2.0))))]


def reshape(m, r):
    x = m.input((2, 3, 4))
    return [x], [m.reshape(x, (4, 6)), m.unary("RELU", m.reshape(x, (24,)))]


def transpose(m, r):
    x = m.input([_int(r, 1, 6) for _ in range(4)])
    order = [int(i) for i in r.permutation(4)]
    y = m.output([x.shape[i] for i in order], x.scale, x.zero)
    return [x], [m.op("TRANSPOSE", [x, m.constant(order)], y, "TransposeOptions")]


def slices(m, r):
    x = m.input([_int(r, 2, 7) for _ in range(3)])
    begin = [_int(r, 0, n) for n in x.shape]
    size = [_int(r, 1, n - b + 1) for n, b in zip(x.shape, begin, strict=True)]
    y = m.output(size, x.scale, x.zero)
    return [x], [m.op("SLICE", [x, m.constant(begin), m.constant(size)], y, "SliceOptions")]


def conv_grouped(m, r):
    groups = _int(r, 2, 5)
    x = m.input((_int(r, 1, 3), 6, 5, groups * _int(r, 1, 5)))
    kernel = (1, 1) if _flag(r) else _pair(r, 1, 4)
    return [x], [m.conv(x, groups * _int(r, 1, 4), kernel, groups=groups, per_channel=_flag(r))]


def split(m, r):
    parts = _int(r, 1, 4)
    x = m.input([_int(r, 1, 4) * (parts if i == 1 else 1) for i in range(3)])
    shape = [x.shape[0], x.shape[1] // parts, x.shape[2]]
    outputs = [m.output(shape, x.scale, x.zero) for _ in range(parts)]
    m.op("SPLIT", [m.constant(-2), x], outputs, "SplitOptions", NumSplits=parts)
    return [x], outputs


def split_v(m, r):
    sizes = [_int(r, 1, 5) for _ in range(_int(r, 1, 4))]
    x = m.input((2, 3, sum(sizes)))
    outputs = [m.output((2, 3, n), x.scale, x.zero) for n in sizes]
    inputs = [x, m.constant(sizes), m.constant(2)]
    m.op("SPLIT_V", inputs, outputs, "SplitVOptions", NumSplits=len(sizes))
    return [x], outputs


def pack(m, r):
    shape, axis = [_int(r, 1, 5) for _ in range(3)], _int(r, 0, 4)
    a = m.input(shape)
    inputs = [a, *(m.input(shape, scale=a.scale, zero=a.zero) for _ in range(_int(r, 0, 3)))]
    y = m.output([*shape[:axis], len(inputs), *shape[axis:]], a.scale, a.zero)
    options = {"ValuesCount": len(inputs), "Axis": axis - 4 if _flag(r) else axis}
    return inputs, [m.op("PACK", inputs, y, "PackOptions", **options)]


def unpack(m, r):
    shape, axis = [_int(r, 1, 5) for _ in range(4)], _int(r, 0, 4)
    x = m.input(shape)
    small = [n for i, n in enumerate(shape) if i != axis]
    outputs = [m.output(small, x.scale, x.zero) for _ in range(shape[axis])]
    m.op("UNPACK", [x], outputs, "UnpackOptions", Num=shape[axis], Axis=axis)
    return [x], outputs


def strided_slice(m, r):
    x = m.input([_int(r, 2, 9) for _ in range(4)])
    begin, end, strides, shape, shrink, masks = [], [], [], [], 0, [0, 0]
    for i, n in enumerate(x.shape):
        b = _int(r, 0, n)
        e, s = _int(r, b + 1, n + 1), _int(r, 1, 4)
        for k in range(2):
            masks[k] |= (r.random() < 0.2) << i
        b, e = (0 if masks[0] >> i & 1 else b), (n if masks[1] >> i & 1 else e)
        begin.append(b - n if _flag(r) else b)
        end.append(e - n if e < n and _flag(r) else e)
        strides.append(s)
        if not (masks[0] >> i & 1) and r.random() < 0.2:
            shrink |= 1 << i
            strides[-1] = 1
        else:
            shape.append(-(-(e - b) // s))
    options = {"BeginMask": masks[0], "EndMask": masks[1], "ShrinkAxisMask": shrink}
    inputs = [x, m.constant(begin), m.constant(end), m.constant(strides)]
    y = m.output(shape, x.scale, x.zero)
    return [x], [m.op("STRIDED_SLICE", inputs, y, "StridedSliceOptions", **options)]


def dilated_by_batches(m, r):
    """What older converters make of a dilated convolution."""
    x = m.input((_int(r, 1, 3), _int(r, 5, 12), _int(r, 5, 12), _int(r, 1, 5)))
    block = _pair(r, 1, 4)
    before = _pair(r, 0, 4)
    after = [-(n + b) % k + k for n, b, k in zip(x.shape[1:3], before, block, strict=True)]
    pads = [[b, a] for b, a in zip(before, after, strict=True)]
    size = [
        (n + b + a) // k for n, b, a, k in zip(x.shape[1:3], before, after, block, strict=True)
    ]
    shape = (x.shape[0] * block[0] * block[1], *size, x.shape[3])
    y = m.output(shape, x.scale, x.zero)
    y = m.op("SPACE_TO_BATCH_ND", [x, m.constant(block), m.constant(pads)], y)
    z = m.conv(y, 4, (2, 2), padding="VALID")
    whole = [n * k for n, k in zip(z.shape[1:3], block, strict=True)]
    crops = [[_int(r, 0, min(3, n)), 0] for n in whole]
    crops = [[a, _int(r, 0, n - a)] for (a, _), n in zip(crops, whole, strict=True)]
    size = [n - a - b for n, (a, b) in zip(whole, crops, strict=True)]
    image = m.output((x.shape[0], *size, 4), z.scale, z.zero)
    image = m.op("BATCH_TO_SPACE_ND", [z, m.constant(block), m.constant(crops)], image)
    return [x], [image, y]


def _quantise(x_type, y_type):
    def function(m, r):
        x = m.input((3, 77), x_type)
        if y_type == "float32":
            return [x], [m.op("DEQUANTIZE", [x], m.output(x.shape, dtype=y_type))]
        scale = None if x_type == "float32" else x.scale * r.uniform(0.5, 2)
        return [x], [m.op("QUANTIZE", [x], m.output(x.shape, scale, dtype=y_type))]

    return function


CASES = {
    "conv": conv,
    "conv_1x1": conv_1x1,
    "conv_dilated": conv_dilated,
    "depthwise": depthwise,
    "depthwise_dilated": depthwise_dilated,
    "fully_connected": fully_connected,
    "average_pool": _pool("AVERAGE_POOL_2D"),
    "max_pool": _pool("MAX_POOL_2D"),
    "global_pool": global_pool,
    "add": _binary("ADD"),
    "sub": _binary("SUB"),
    "mul": _binary("MUL"),
    "add_constant": add_constant,
    "add_itself": add_itself,
    "logistic": _unary("LOGISTIC", 1 / 256, -128),
    "tanh": _unary("TANH", 1 / 128, 0),
    "relu": _unary("RELU"),
    "relu6": _unary("RELU6"),
    "relu_n1_to_1": _unary("RELU_N1_TO_1"),
    "leaky_relu": _unary(
        "LEAKY_RELU", kind="LeakyReluOptions", Alpha=lambda r: float(r.uniform(0.01, 0.9))
    ),
    "hard_swish": _unary("HARD_SWISH"),
    "concatenation": concatenation,
    "pad": pad,
    "pad_and_conv": pad_and_conv,
    "mean": mean,
    "mean_of_image": mean_of_image,
    "softmax": softmax,
    "reshape": reshape,
    "transpose": transpose,
    "slice": slices,
    "conv_grouped": conv_grouped,
    "split": split,
    "split_v": split_v,
    "pack": pack,
    "unpack": unpack,
    "strided_slice": strided_slice,
    "dilated_by_batches": dilated_by_batches,
    "requantise": _quantise("int8", "int8"),
    "uint8_to_int8": _quantise("uint8", "int8"),
    "int8_to_uint8": _quantise("int8", "uint8"),
    "quantise": _quantise("float32", "int8"),
    "quantise_uint8": _quantise("float32", "uint8"),
    "dequantise": _quantise("int8", "float32"),
    "dequantise_uint8": _quantise("uint8", "float32"),
}
