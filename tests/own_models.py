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


def language(seed=1, positions=64):
    """(model, vocabulary): files of a language model of random weights, which writes nonsense."""
    from mcpgw.convert import llama
    from mcpgw.convert.llama2c import angles
    from mcpgw.tokenizer import mgt, readers

    texts = [bytes([i]) for i in range(256)] + [b"th", b"the", b" t", b"ed", b" s", b"re", b" a"]
    ranks = {text: i for i, text in enumerate(texts)}
    vocabulary = mgt.pack(readers.from_ranks(ranks, "gpt2", {"<|endoftext|>": len(texts)}))
    r = np.random.default_rng(seed)
    dim, hidden, layers, heads, kv_heads, size = 32, 80, 2, 4, 2, 8
    vocab = len(texts) + 1

    def weights(*shape):
        return r.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

    def gains(*shape):
        return np.exp(r.normal(0, 0.3, shape)).astype(np.float32)

    tensors = {
        "embedding": weights(vocab, dim) * 3,
        "attn_norm": gains(layers, dim),
        "wq": weights(layers, heads * size, dim),
        "wk": weights(layers, kv_heads * size, dim),
        "wv": weights(layers, kv_heads * size, dim),
        "wo": weights(layers, dim, heads * size),
        "ffn_norm": gains(layers, dim),
        "w1": weights(layers, hidden, dim),
        "w2": weights(layers, dim, hidden),
        "w3": weights(layers, hidden, dim),
        "norm": gains(dim),
    }
    spec = llama.LlamaSpec(
        "nonsense",
        dim=dim,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        vocab=vocab,
        positions=positions,
        eps=1e-5,
        rope=angles(positions, size, 10000.0),
        tensors=tensors,
        bos=vocab - 1,
        eos=vocab - 1,
    )
    return llama.lower(spec, "row"), vocabulary
