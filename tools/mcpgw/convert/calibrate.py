"""Float graphs to int8 (post-training quantisation), from the ranges that sample data shows.

Activations get one scale and zero point each, weights one scale per channel, symmetric, biases
int32 of the product's scale: the scheme of TFLite's quantisation specification.
"""

import csv
from pathlib import Path

import numpy as np

from mcpgw import UserError
from mcpgw.convert.floats import execute, real
from mcpgw.convert.graph import Graph, Node, Tensor
from mcpgw.words import counted

_BATCH = 32
# Output and input share a scale: values only move, or the largest or mean of them is taken.
_SAME = (
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "FLATTEN", "TRANSPOSE", "SLICE", "PAD", "PADV2"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D"),
)
_FIXED = {"SOFTMAX": (1 / 256, -128), "LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
# Where the channels of an operator's weights are.
_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def load_samples(path, graph):
    """
    Sample data for a graph's inputs.

    Args:
        path: .npy: samples of the one input; .npz: an array for each input, by name (of one
            input also x) or in order; .csv: a row per sample, a header is skipped.
        graph: the Graph.

    Returns:
        List of float32 arrays [samples, ...]; images may be in the order of the source's axes.

    Raises:
        UserError: no such file, not numbers, or not of the inputs' shapes.
    """
    arrays = read_arrays(path)
    arrays = chosen(arrays, [t.name for t in graph.inputs], path)
    axes = graph.meta.get("pre", {}).get("axes", [None] * len(arrays))
    return [
        fit(array, tensor.shape, order, f"{path}: input {tensor.name}")
        for array, tensor, order in zip(arrays, graph.inputs, axes, strict=True)
    ]


def chosen(arrays, names, path):
    """Those of the arrays (a list, or a dict by name) that are the inputs: by name, of one input
    also "x", or all in order."""
    if not isinstance(arrays, dict):
        if len(names) != 1:
            raise UserError(f"{path} has one array; the model's inputs are {', '.join(names)}")
        return arrays
    if set(names) <= set(arrays):
        return [arrays[name] for name in names]
    if len(names) == 1 and "x" in arrays:
        return [arrays["x"]]
    if len(arrays) != len(names):
        raise UserError(
            f"{path} has the arrays {', '.join(arrays)}; the model's inputs are {', '.join(names)}"
        )
    return list(arrays.values())


def read_arrays(path):
    """The arrays of a .npy or .csv file as a list of one, those of a .npz as a dict."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    kind = path.suffix.lower()
    try:
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as data:
                return {name: data[name] for name in data.files}
        if kind == ".npy":
            return [np.load(path, allow_pickle=False)]
        if kind == ".csv":
            return [np.array(_csv_rows(path), np.float32)]
    except (ValueError, OSError, EOFError, KeyError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as {kind[1:]}: {error}") from None
    raise UserError(f"{path}: sample data is .npy, .npz or .csv")


def _csv_rows(path):
    """Lists of floats, one as long as the other. ValueError: what is wrong in which line."""
    rows = []
    # Spreadsheets put a mark before the first number.
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        is_first = True
        for row in reader:
            if not row:
                continue
            try:
                rows.append([float(v) for v in row])
            except ValueError as error:
                if not is_first:
                    raise ValueError(f"line {reader.line_num}: {error}") from None
            is_first = False
            if rows and len(row) != len(rows[0]):
                values = counted(len(row), "value")
                raise ValueError(f"line {reader.line_num}: {values}, and {len(rows[0])} before")
    return rows


def fit(array, shape, axes, what):
    """Samples as float32 [samples, *shape[1:]]; `axes`: the source's axes in the model's order."""
    array = np.asarray(array)
    if array.dtype == object or not np.issubdtype(array.dtype, np.number):
        raise UserError(f"{what}: its data are not numbers")
    array = array.astype(np.float32)
    size = int(np.prod(shape[1:]))
    if array.size == 0 or array.size % size:
        raise UserError(f"{what}: its data have shape {array.shape}; a sample has {shape[1:]}")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: its data have values that are not finite")
    axes = list(axes or range(len(shape)))
    source = tuple(shape[axes.index(i)] for i in range(len(shape)))
    given = array.shape[1 - len(shape) :]
    if given == tuple(shape[1:]) and given != source[1:]:
        return array.reshape(-1, *shape[1:])
    # Whatever else it is, also one long row, it is in the order of the source.
    return array.reshape(-1, *source[1:]).transpose(axes)


def ranges(graph, samples, percentile=100.0, progress=None):
    """
    {id of tensor: (low, high)} of every activation over the samples.

    Args:
        samples: list of arrays as load_samples() gives them.
        percentile: 100 for the smallest and largest value, else how many percent of the values of
            a batch lie below the high end, and above the low one; means over the batches.
        progress: None, or a function called with the share that is done.
    """
    found = {}

    def seen(tensor, values):
        if percentile >= 100:
            found.setdefault(id(tensor), []).append((values.min(), values.max()))
        else:
            pair = np.percentile(values, (100 - percentile, percentile))
            found.setdefault(id(tensor), []).append(tuple(pair))

    count = len(samples[0])
    for at in range(0, count, _BATCH):
        execute(graph, [s[at : at + _BATCH] for s in samples], seen)
        if progress:
            progress(min(1.0, (at + _BATCH) / count))
    result = {}
    for key, pairs in found.items():
        low, high = np.array(pairs, np.float64).T
        merged = (low.min(), high.max()) if percentile >= 100 else (low.mean(), high.mean())
        result[key] = merged
    return result


def quantise(graph, samples, percentile=100.0, progress=None):
    """
    The int8 Graph of a float one.

    Args: see ranges().

    Raises:
        UserError: an operator has no float form, or a value is not finite.
    """
    if len({len(s) for s in samples}) != 1:
        raise UserError("the inputs have different numbers of samples")
    return _Quantiser(graph, ranges(graph, samples, percentile, progress)).graph()


class _Quantiser:
    def __init__(self, graph, found):
        self.source = graph
        self.ranges = found
        self.tensors = {}

    def graph(self):
        """The Graph."""
        inputs = [self.activation(t) for t in self.source.inputs]
        nodes = [self.node(n) for n in self.source.nodes]
        outputs = [self.tensors[id(t)] for t in self.source.outputs]
        meta = dict(self.source.meta)
        meta["pre"] = {"values": "real", **meta.get("pre", {})}
        return Graph(self.source.name, inputs, outputs, nodes, meta)

    def node(self, node):
        """The node over quantised tensors."""
        x = self.operand(node.inputs[0])
        if node.op in _CHANNELS:
            inputs = [x, *self.weights(node, x)]
        else:
            inputs = [x, *(self.operand(t) for t in node.inputs[1:])]
        same = x.quantisation if node.op in _SAME else _FIXED.get(node.op)
        y = self.activation(node.outputs[0], same)
        attrs = dict(node.attrs)
        if "real_value" in attrs:
            scale, zero = y.quantisation
            attrs["value"] = int(np.clip(round(attrs["real_value"] / scale) + zero, -128, 127))
        return Node(node.op, inputs, [y], attrs)

    def operand(self, tensor):
        """An activation that is there already, or a constant."""
        if tensor is None:
            return None
        if id(tensor) not in self.tensors:
            values = real(tensor)
            scale, zero = parameters(values.min(), values.max())
            q = np.clip(np.round(values / scale) + zero, -128, 127)
            made = Tensor(tensor.name, tensor.shape, "int8", scale, zero, data=q)
            self.tensors[id(tensor)] = made
        return self.tensors[id(tensor)]

    def activation(self, tensor, quantisation=None):
        """The int8 tensor for a float activation, of the range that was seen."""
        if id(tensor) in self.tensors:
            return self.tensors[id(tensor)]
        low, high = self.ranges[id(tensor)]
        if not np.isfinite([low, high]).all():
            raise UserError(f"{tensor.name} reaches values that are not finite")
        scale, zero = quantisation or parameters(low, high)
        made = Tensor(tensor.name, tensor.shape, "int8", scale, zero)
        self.tensors[id(tensor)] = made
        return made

    def weights(self, node, x):
        """(weights, bias or None) of an operator whose input is x."""
        if node.inputs[1] is None or not node.inputs[1].is_constant:
            raise UserError(f"{node.where}: its weights are computed by the model")
        values, axis = real(node.inputs[1]).astype(np.float64), _CHANNELS[node.op]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.abs(values).max(axis=others) / 127
        x_scale = x.quantisation[0]
        if bias is not None:
            # A bias far larger than the products must still fit into 32 bits.
            offset = real(bias).astype(np.float64).reshape(-1)
            scale = np.maximum(scale, np.abs(offset) / x_scale / (1 << 30))
        scale = np.where(scale == 0, 1.0, scale).astype(np.float32).astype(np.float64)
        shape = [1] * values.ndim
        shape[axis] = -1
        q = np.clip(np.round(values / scale.reshape(shape)), -127, 127)
        zeros = np.zeros(scale.size, np.int64)
        name = node.inputs[1].name
        weights = Tensor(name, values.shape, "int8", scale, zeros, axis, q)
        if bias is None:
            return weights, None
        offset = np.round(offset / (x_scale * scale))
        return weights, Tensor(
            bias.name, offset.shape, "int32", x_scale * scale, zeros, 0, offset.astype(np.int64)
        )


def parameters(low, high):
    """(scale, zero point) of int8 values for a range, widened to hold 0; scale a float32."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = float(np.float32((high - low) / 255)) or 1.0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))
