"""Whole nets with random weights, in the forms that MLPerf Tiny's models have."""


def resnet8(m):
    """Residual adds over strided convolutions: as its image classification, half as wide."""
    x = m.input((1, 32, 32, 3))
    y = m.conv(x, 8, (3, 3), activation="RELU")
    for channels, stride in ((8, 1), (16, 2), (32, 2)):
        inner = m.conv(y, channels, (3, 3), (stride, stride), activation="RELU")
        inner = m.conv(inner, channels, (3, 3))
        if stride > 1:
            y = m.conv(y, channels, (1, 1), (stride, stride))
        y = m.binary("ADD", y, inner, activation="RELU")
    y = m.pool("AVERAGE_POOL_2D", y, y.shape[1:3])
    y = m.fully_connected(m.reshape(y, (1, 32)), 10)
    return [x], [m.softmax(y)]


def mobilenet(m, size=96):
    """Depthwise separable convolutions with SAME padding, as its visual wake words."""
    x = m.input((1, size, size, 3))
    y = m.conv(x, 8, (3, 3), (2, 2), activation="RELU")
    plan = [
        (16, 1),
        (32, 2),
        (32, 1),
        (64, 2),
        (64, 1),
        (128, 2),
        *[(128, 1)] * 5,
        (256, 2),
        (256, 1),
    ]
    for channels, stride in plan:
        y = m.depthwise(y, (3, 3), (stride, stride), activation="RELU")
        y = m.conv(y, channels, (1, 1), activation="RELU")
    y = m.pool("AVERAGE_POOL_2D", y, y.shape[1:3])
    y = m.conv(y, 2, (1, 1))
    return [x], [m.softmax(m.reshape(y, (1, 2)))]


def inverted_residuals(m):
    """As MobileNet v2 and v3: uint8 in, padding of its own, hard swish, gates, float out."""
    x = m.input((1, 24, 24, 3), "uint8")
    y = m.op("QUANTIZE", [x], m.output(x.shape, x.scale, x.zero - 128))
    y = m.conv(m.pad(y, [(0, 0), (0, 1), (0, 1), (0, 0)]), 8, (3, 3), (2, 2), padding="VALID")
    y = m.unary("HARD_SWISH", y, y.scale)
    for dilation in (1, 2):
        inner = m.conv(y, 24, (1, 1), activation="RELU6")
        inner = m.depthwise(inner, (3, 3), dilation=(dilation, dilation), activation="RELU6")
        gate = m.mean(inner, [1, 2], True)
        gate = m.conv(m.conv(gate, 6, (1, 1), activation="RELU"), 24, (1, 1))
        gate = m.unary("LOGISTIC", gate, 1 / 256, -128)
        inner = m.binary("MUL", inner, gate, scale=inner.scale)
        y = m.binary("ADD", y, m.conv(inner, 8, (1, 1)))
    a, b = m.pool("MAX_POOL_2D", y, (2, 2), (2, 2)), m.pool("AVERAGE_POOL_2D", y, (2, 2), (2, 2))
    y = m.concatenation([a, b], 3)
    y = m.fully_connected(m.mean(y, [1, 2], False), 5)
    return [x], [m.op("DEQUANTIZE", [y], m.output(y.shape, dtype="float32"))]


NETS = {"resnet8": resnet8, "mobilenet": mobilenet, "inverted_residuals": inverted_residuals}
