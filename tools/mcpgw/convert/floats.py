"""A graph of float32 run by numpy, over a batch: what calibration measures, what tests ask."""

import numpy as np

from mcpgw import UserError
from mcpgw.convert.graph import resolve_padding

_ACTIVATIONS = {
    "NONE": lambda y: y,
    "RELU": lambda y: np.maximum(y, 0),
    "RELU6": lambda y: np.clip(y, 0, 6),
    "RELU_N1_TO_1": lambda y: np.clip(y, -1, 1),
}


def execute(graph, inputs, seen=None):
    """
    The outputs of a float graph.

    Args:
        graph: see graph.py; its shapes have a batch of 1.
        inputs: list of float arrays [samples, ...], one for each input.
        seen: None, or a function that is called with each tensor computed and its values.

    Returns:
        List of arrays [samples, ...].
    """
    values = {}
    for tensor, data in zip(graph.inputs, inputs, strict=True):
        data = np.asarray(data, np.float32).reshape(-1, *tensor.shape[1:])
        values[id(tensor)] = data
        if seen:
            seen(tensor, data)
    for node in graph.nodes:
        function = _OPS.get(node.op)
        if function is None:
            raise UserError(f"operator {node.op} ({node.where}) has no float form here")
        args = [_value(values, t) for t in node.inputs]
        result = function(node, *args)
        # Only an operator that says so has the activation as an attribute.
        result = _ACTIVATIONS[node.attrs.get("activation", "NONE")](result)
        result = result.astype(np.float32)
        values[id(node.outputs[0])] = result
        if seen:
            seen(node.outputs[0], result)
    return [values[id(t)] for t in graph.outputs]


def _value(values, tensor):
    if tensor is None:
        return None
    return real(tensor) if tensor.is_constant else values[id(tensor)]


def real(tensor):
    """The real values of a constant."""
    data = tensor.data.astype(np.float32) if tensor.scale is None else tensor.data
    if tensor.scale is None:
        return data
    shape = [1] * len(tensor.shape)
    if tensor.scale.size > 1:
        shape[tensor.axis] = -1
    zero = np.broadcast_to(tensor.zero_point, tensor.scale.shape).reshape(shape)
    return ((data.astype(np.float64) - zero) * tensor.scale.reshape(shape)).astype(np.float32)


def _windows(node, x, kernel, fill):
    """x [n, h, w, c] as [n, out_h, out_w, c, kernel_h, kernel_w]."""
    attrs = node.attrs
    padding = attrs["padding"]
    pads, spans, dilations = [(0, 0)], [], []
    for i, axis in enumerate("hw"):
        dilation = attrs.get(f"dilation_{axis}", 1)
        one = padding if isinstance(padding, str) else padding[i]
        stride = attrs[f"stride_{axis}"]
        _, before, after = resolve_padding(one, x.shape[1 + i], kernel[i], stride, dilation)
        pads.append((before, after))
        spans.append((kernel[i] - 1) * dilation + 1)
        dilations.append(dilation)
    x = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(x, spans, axis=(1, 2))
    views = views[:, :: attrs["stride_h"], :: attrs["stride_w"]]
    return views[..., :: dilations[0], :: dilations[1]]


def _conv(node, x, w, b):
    groups = x.shape[3] // w.shape[3]
    parts = zip(np.split(x, groups, axis=3), np.split(w, groups), strict=True)
    y = [
        np.tensordot(_windows(node, xg, wg.shape[1:3], 0), wg, axes=([3, 4, 5], [3, 1, 2]))
        for xg, wg in parts
    ]
    y = np.concatenate(y, axis=3)
    return y if b is None else y + b


def _depthwise(node, x, w, b):
    windows = _windows(node, x, w.shape[1:3], 0)
    multiplier = w.shape[3] // x.shape[3]
    weights = w[0].reshape(*w.shape[1:3], x.shape[3], multiplier)
    y = np.einsum("nhwcij,ijcm->nhwcm", windows, weights)
    y = y.reshape(*y.shape[:3], -1)
    return y if b is None else y + b


def _fully_connected(node, x, w, b):
    y = x.reshape(len(x), -1, w.shape[1]) @ w.T
    y = y if b is None else y + b
    return y.reshape(len(x), *node.outputs[0].shape[1:])


def _average_pool(node, x):
    kernel = (node.attrs["filter_h"], node.attrs["filter_w"])
    total = _windows(node, x, kernel, 0).sum(axis=(4, 5))
    # What lies in the padding does not count.
    count = _windows(node, np.ones_like(x[:1]), kernel, 0).sum(axis=(4, 5))
    return total / count


def _max_pool(node, x):
    kernel = (node.attrs["filter_h"], node.attrs["filter_w"])
    return _windows(node, x, kernel, -np.inf).max(axis=(4, 5))


def _reshape(node, x):
    return x.reshape(len(x), *node.outputs[0].shape[1:])


def _pad(node, x):
    value = node.attrs.get("real_value", 0.0)
    return np.pad(x, [(0, 0), *node.attrs["paddings"][1:]], constant_values=value)


def _mean(node, x):
    rank = len(node.inputs[0].shape)
    axes = tuple(a % rank for a in node.attrs["axes"])
    if 0 in axes:
        raise UserError(f"{node.where}: a mean over the batch has no meaning here")
    return x.mean(axis=axes).reshape(len(x), *node.outputs[0].shape[1:])


def _softmax(node, x):
    e = np.exp((x - x.max(axis=-1, keepdims=True)) * node.attrs.get("beta", 1.0))
    return e / e.sum(axis=-1, keepdims=True)


def _transpose(node, x):
    return x.transpose(node.attrs["perm"])


def _slice(node, x):
    begin, shape = node.attrs["begin"], node.outputs[0].shape
    cut = [slice(None), *(slice(b, b + n) for b, n in zip(begin[1:], shape[1:], strict=True))]
    return x[tuple(cut)]


def _concatenation(node, *inputs):
    rank = len(node.outputs[0].shape)
    count = max(len(x) for x in inputs)
    same = [np.broadcast_to(x, (count, *x.shape[1:])) for x in inputs]
    return np.concatenate(same, axis=node.attrs["axis"] % rank)


def _logistic(node, x):
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


_OPS = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "ADD": lambda node, a, b: a + b,
    "SUB": lambda node, a, b: a - b,
    "MUL": lambda node, a, b: a * b,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "FLATTEN": _reshape,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "LOGISTIC": _logistic,
    "TANH": lambda node, x: np.tanh(x),
    "RELU": lambda node, x: np.maximum(x, 0),
    "RELU6": lambda node, x: np.clip(x, 0, 6),
    "RELU_N1_TO_1": lambda node, x: np.clip(x, -1, 1),
    "LEAKY_RELU": lambda node, x: np.where(x >= 0, x, x * node.attrs["alpha"]),
    "HARD_SWISH": lambda node, x: x * np.clip(x + 3, 0, 6) / 6,
}
