"""Models of our own, made with the converter's middle form, for tests that need one where no
shared data is at hand: shapes as in a keyword spotter, weights random."""

import numpy as np
from mcpgw.convert.build import build
from mcpgw.convert.graph import Graph, Node, Tensor, same_padding

LABELS = ("silence", "unknown", "yes", "no")


class _Net:
    """A chain of layers; x is the tensor so far."""

    def __init__(self, seed, shape, scale=0.05, zero=3):
        self._rng = np.random.default_rng(seed)
        self.x = self.input = Tensor("input", shape, "int8", scale, zero)
        self.nodes = []

    def _constant(self, name, shape, dtype, spread, scale, axis=None):
        data = self._rng.integers(-spread, spread + 1, shape)
        return Tensor(name, shape, dtype, scale, 0, axis, data)

    def _add(self, op, shape, inputs, scale, zero, **attrs):
        out = Tensor(f"{op.lower()}_{len(self.nodes)}", shape, "int8", scale, zero)
        self.nodes.append(Node(op, [self.x, *inputs], [out], attrs))
        self.x = out

    def conv(self, channels, kernel, stride=1, op="CONV_2D"):
        batch, height, width, depth = self.x.shape
        h, w = (same_padding(n, kernel, stride)[0] for n in (height, width))
        depthwise = op == "DEPTHWISE_CONV_2D"
        channels = depth if depthwise else channels
        shape = (1, kernel, kernel, depth) if depthwise else (channels, kernel, kernel, depth)
        terms = kernel * kernel * (1 if depthwise else depth)
        # Such that outputs are spread over int8 as inputs are.
        scales = self._rng.uniform(0.5, 1.5, channels) / (85 * np.sqrt(terms))
        weights = self._constant("w", shape, "int8", 127, scales, 3 if depthwise else 0)
        x_scale = float(self.x.scale[0])
        bias = self._constant("b", (channels,), "int32", 2000, x_scale * scales, 0)
        self._add(
            op,
            (batch, h, w, channels),
            [weights, bias],
            x_scale,
            -128,
            stride_h=stride,
            stride_w=stride,
            dilation_h=1,
            dilation_w=1,
            padding="SAME",
            activation="RELU",
        )
        return self

    def depthwise(self, kernel, stride=1):
        return self.conv(None, kernel, stride, "DEPTHWISE_CONV_2D")

    def classified(self, labels):
        """A dense layer over all of the image, softmax."""
        scale = float(self.x.scale[0])
        size = self.x.size
        self._add("RESHAPE", (1, size), [], scale, self.x.zero_point)
        factor = 1 / (85 * np.sqrt(size))
        weights = self._constant("w", (len(labels), size), "int8", 127, factor)
        bias = self._constant("b", (len(labels),), "int32", 2000, scale * factor)
        self._add(
            "FULLY_CONNECTED",
            (1, len(labels)),
            [weights, bias],
            scale,
            0,
            activation="NONE",
            keep_num_dims=False,
        )
        self._add("SOFTMAX", self.x.shape, [], 1 / 256, -128, beta=1.0)
        return self

    def file(self, name, **meta):
        return build(Graph(name, [self.input], [self.x], self.nodes, meta))


def spotter(seed=1):
    """A file of 2.5 million MACs: 49 x 10 values in, one of four words out."""
    net = _Net(seed, (1, 49, 10, 1)).conv(64, 3, 2)
    for _ in range(4):
        net.depthwise(3).conv(64, 1)
    return net.classified(LABELS).file("spotter", labels=list(LABELS))


def small(seed=1):
    """A file of a few thousand MACs: 64 values in, one of four words out."""
    net = _Net(seed, (1, 8, 8, 1)).conv(4, 3)
    return net.classified(LABELS).file("small", labels=list(LABELS))
