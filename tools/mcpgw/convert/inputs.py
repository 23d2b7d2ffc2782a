"""Inputs for `mcpgw run` and `--check`: files of samples, and models that take them."""

import json
import sys
from pathlib import Path

import numpy as np

from mcpgw import UserError
from mcpgw.convert import calibrate, mgm
from mcpgw.convert.run import GraphModel
from mcpgw.convert.run_classic import Neighbours, Trees


def load(source, file):
    """
    Samples for a model from a file or standard input.

    Args:
        source: path of a .npy, .npz, .csv or .json file, a raw one of the input's own type, or "-"
            for JSON on standard input. Several inputs: .npz, or JSON objects, by name.
        file: mgm.File of the model.

    Returns:
        A list with an array [samples, ...] for each input: float32, or the input's own type where
        that is what came.

    Raises:
        UserError: it cannot be read, or does not fit the inputs.
    """
    wanted = file.metadata["inputs"]
    shapes = [list(info["shape"]) for info in wanted]
    if file.kind != mgm.GRAPH:
        shapes = [[1, *shape] for shape in shapes]
    path = Path(source)
    suffix = path.suffix.lower()
    if source == "-":
        arrays = _json(sys.stdin.read(), "standard input")
    elif suffix == ".json":
        arrays = _json(_text(path), source)
    elif suffix in (".npy", ".npz", ".csv"):
        arrays = calibrate.read_arrays(path)
    elif len(wanted) == 1:
        return [_raw(path, shapes[0], wanted[0]["dtype"])]
    else:
        arrays = [None]
    arrays = calibrate.chosen(arrays, [info["name"] for info in wanted], source)
    axes = file.metadata.get("pre", {}).get("axes", [None] * len(wanted))
    result = []
    for array, info, shape, order in zip(arrays, wanted, shapes, axes, strict=True):
        dtype = np.asarray(array).dtype
        fitted = calibrate.fit(array, shape, order, source)
        is_raw = dtype == info["dtype"] and dtype != np.float32
        result.append(fitted.astype(dtype) if is_raw else fitted)
    if len({len(x) for x in result}) != 1:
        raise UserError(f"{source}: its inputs have different numbers of samples")
    return result


def _text(path):
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8") from None


def _json(text, what):
    try:
        value = json.loads(text)
        if isinstance(value, dict):
            return {name: np.array(x, np.float64) for name, x in value.items()}
        return [np.array(value, np.float64)]
    except (ValueError, TypeError) as error:
        raise UserError(f"{what} is not JSON of numbers: {error}") from None


def _raw(path, shape, dtype):
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    data = path.read_bytes()
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not data or len(data) % size:
        raise UserError(f"{path} has {len(data):,} bytes; a raw input of this model has {size:,}")
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(-1, *shape[1:])


class Runner:
    """
    A model run by the boards' own C code.

    Args:
        file: the bytes of one .mgm file of kind 1, 2 or 3.

    Raises:
        UserError: the file is damaged or of another kind.
    """

    def __init__(self, file):
        self.file = mgm.read(file)
        self.meta = self.file.metadata
        kinds = {mgm.GRAPH: GraphModel, mgm.TREES: Trees, mgm.NEIGHBOURS: Neighbours}
        if self.file.kind not in kinds:
            raise UserError(f"a model of kind {mgm.KINDS[self.file.kind]} is not run by samples")
        self.core = kinds[self.file.kind](file)
        self.labels = self.meta.get("labels") or []

    def raw(self, *sample):
        """The outputs of one sample (an array for each input) as they are: a list of arrays."""
        if self.file.kind != mgm.GRAPH:
            chosen, scores = self.core.run(np.asarray(sample[0], np.float32).reshape(-1))
            self.chosen = chosen
            return [scores]
        taken = []
        for x, into, info in zip(sample, self.core.inputs, self.meta["inputs"], strict=True):
            x = np.asarray(x)
            if x.dtype != into.dtype:
                x = self._quantised(x, into.dtype, info)
            taken.append(x.reshape(into.shape))
        return self.core.run(*taken)

    def _quantised(self, sample, dtype, info):
        if dtype == np.float32:
            return sample.astype(np.float32)
        pre = self.meta.get("pre", {})
        if pre.get("values") != "real" and np.array_equal(sample, np.trunc(sample)):
            # Whole numbers are what the input holds, unless it is said otherwise.
            q = sample
        else:
            q = np.rint(sample / np.float32(info["scale"])) + info["zero_point"]
        limits = np.iinfo(dtype)
        return np.clip(q, limits.min, limits.max).astype(dtype)

    def real(self, *sample):
        """The outputs of one sample as real values: a list of float arrays."""
        result = []
        for values, info in zip(self.raw(*sample), self.meta["outputs"], strict=True):
            if info.get("scale"):
                values = (values.astype(np.float64) - info["zero_point"]) * info["scale"]
            result.append(np.asarray(values, np.float64))
        return result

    def is_classifier(self):
        """Whether an answer is one of several classes."""
        post = self.meta.get("post", {})
        if self.file.kind != mgm.GRAPH:
            return post.get("type") != "values"
        return bool(self.labels)

    def ranked(self, *sample):
        """[(label, score)] of one sample, the best first."""
        values = self.real(*sample)[0].ravel()
        scores = shares(values, self.meta.get("post", {}))
        labels = self.labels or [str(i) for i in range(len(scores))]
        order = np.argsort(-scores, kind="stable")
        if self.file.kind != mgm.GRAPH:
            # The core's own choice comes first: where two scores are equal, too.
            order = [self.chosen, *(i for i in order if i != self.chosen)]
        return [(labels[i], float(scores[i])) for i in order]


def shares(values, post):
    """Scores of classes from a model's real outputs, as docs/model-trees.md says."""
    link = post.get("link")
    if link == "logistic":
        high = 1 / (1 + np.exp(-values[0]))
        return np.array([1 - high, high])
    if link == "depth":
        outlier = 2.0 ** (-(values[0] + post["limit"]) / post["normal"])
        return np.array([outlier, 1 - outlier])
    if link == "softmax":
        e = np.exp(values - values.max())
        return e / e.sum()
    if link == "share":
        return values / (values.sum() or 1.0)
    return np.asarray(values)
