"""Nearest neighbours and centroids, files of kind 3; see docs/model-trees.md."""

import struct
from math import isqrt

import numpy as np

from .. import UserError
from .features import HIGH, encode_features, linear, pack_features

_BODY = struct.Struct("<HHBBBB" + "I" + "IIIII")
MAX_K = 64
# Of the range of a feature, how much more a value may lie outside of what was seen in training before it
# is clamped, on either side.
_MARGIN = 0.25


class Nearest:
    """
    Vectors and their answers in integers.

    Args:
        name: what a message calls it.
        vectors: float [vectors, features], what the estimator compares with.
        scale, shift: of each feature: the estimator compares value * scale + shift.
        answers: int classes of each vector, or float [vectors, outputs] targets.
        n_classes: number of classes; None for targets.
        k: how many neighbours answer.
        by_distance: whether a neighbour's weight is 1 / distance.
        meta: metadata of the file; "outputs" and more of "post" are added.
        width: bytes of a value, 1 or 2; None: 1 where that loses nothing.
    """

    kind = 3

    def __init__(
        self, name, vectors, scale, shift, answers, n_classes, k, by_distance, meta, width=None
    ):
        self.name = name
        vectors = np.asarray(vectors, np.float64)
        self.n_vectors, self.n_features = vectors.shape
        self.k = k
        self.by_distance = bool(by_distance)
        self.is_classes = n_classes is not None
        if k > MAX_K or k > self.n_vectors:
            raise UserError(f"{name}: {k} neighbours; at most {MAX_K}, and not more than vectors")
        if self.n_features > 0xFFFF or (n_classes or 0) > 0xFFFF:
            raise UserError(f"{name}: more than 65,535 features or classes")
        if not np.isfinite(vectors).all():
            raise UserError(f"{name}: a vector has a value that is not finite")
        self._quantise(vectors, np.asarray(scale, float), np.asarray(shift, float), width)
        if self.is_classes:
            self.n_outputs = n_classes
            self.answers = np.asarray(answers, np.int64)
            self.target_scale = 1.0 / (1 << 24 if by_distance else k)
        else:
            targets = np.asarray(answers, np.float64).reshape(self.n_vectors, -1)
            self.n_outputs = targets.shape[1]
            self.target_scale = 2.0 ** (int(np.frexp(np.abs(targets).max())[1]) - 31)
            self.answers = np.minimum(np.round(targets / self.target_scale), (1 << 31) - 1)
            self.answers = self.answers.astype(np.int64)
        score = {"name": "scores", "shape": [self.n_outputs], "dtype": "int32"}
        score.update(scale=self.target_scale, zero_point=0)
        post = {**meta["post"], "distance_scale": self.step}
        self.meta = {**meta, "post": post, "outputs": [score]}

    def _quantise(self, vectors, scale, shift, width):
        """One step for all features, since their differences are added; an offset for each."""
        low, high = vectors.min(axis=0), vectors.max(axis=0)
        span = float((high - low).max()) or 1.0
        if not 1e-30 < span < 1e30:
            raise UserError(f"{self.name}: values too large or too small: scale the features")
        grid = _grid_step(vectors, low, span)
        if width is None:
            width = 1 if grid is not None and span / grid * (1 + 2 * _MARGIN) <= 254 else 2
        self.width = width
        steps = 254 if width == 1 else 2 * HIGH
        self.step = span * (1 + 2 * _MARGIN) / steps
        if grid is not None and grid >= self.step:
            self.step = grid
        middle = low + np.floor((high - low) / 2 / self.step) * self.step
        self.features = []
        for i in range(self.n_features):
            try:
                f = linear(scale[i] / self.step, (shift[i] - middle[i]) / self.step)
            except ValueError as error:
                raise UserError(f"{self.name}: feature {i}: {error}") from None
            f.low, f.high = (-127, 127) if width == 1 else (-HIGH, HIGH)
            self.features.append(f)
        self.vectors = np.round((vectors - middle) / self.step).astype(np.int64)

    @property
    def arena(self):
        """Bytes of RAM beside the file: encoded features, scores and the nearest."""
        return (4 * self.n_outputs + 2 * self.n_features + 12 * MAX_K + 8 + 7) & ~7

    @property
    def macs(self):
        """Differences squared and added for one answer."""
        return self.n_vectors * self.n_features

    def sections(self, body_at, data_at):
        """(body, data) of a file in which they begin at these offsets."""
        records, keys, n_keys = pack_features(self.features)
        row = (self.n_features * self.width + 3) & ~3
        rows = np.zeros((self.n_vectors, row // self.width), f"<i{self.width}")
        rows[:, : self.n_features] = self.vectors
        answers = self.answers.astype("<u2" if self.is_classes else "<i4").tobytes()
        vectors_at = data_at + len(keys)
        body = _BODY.pack(
            *(self.n_features, self.n_outputs, self.k, self.width),
            *(self.by_distance, self.is_classes, body_at + _BODY.size),
            *(data_at, n_keys, vectors_at, self.n_vectors, vectors_at + rows.nbytes),
        )
        return body + records, keys + rows.tobytes() + answers + bytes(-len(answers) % 4)

    def nearest(self, x):
        """(indices, squared distances) [samples, k]; of equal distances the first index."""
        encoded = encode_features(self.features, x).astype(np.int64)
        indices, distances = [], []
        for row in encoded:
            d = ((self.vectors - row) ** 2).sum(axis=1)
            order = np.argsort(d, kind="stable")[: self.k]
            indices.append(order)
            distances.append(d[order])
        return np.array(indices), np.array(distances)

    def scores(self, x):
        """Integer scores [samples, outputs]."""
        result = np.zeros((len(x), self.n_outputs), np.int64)
        for row, (index, distance) in enumerate(zip(*self.nearest(x), strict=True)):
            weights = self._weights([int(d) for d in distance])
            if self.is_classes:
                for i, w in zip(index, weights, strict=True):
                    result[row, self.answers[i]] += w
                continue
            for j in range(self.n_outputs):
                total = sum(w * int(self.answers[i, j]) for i, w in zip(index, weights, strict=True))
                half = sum(weights) // 2
                sign = 1 if total >= 0 else -1
                result[row, j] = sign * ((abs(total) + half) // sum(weights))
        return result

    def _weights(self, distances):
        if not self.by_distance:
            return [1] * self.k
        if distances[0] == 0:
            return [int(d == 0) for d in distances]
        roots = [isqrt(d << 32) if d < 1 << 32 else isqrt(d) << 16 for d in distances]
        raw = [(1 << 47) // root for root in roots]
        return [(w << 24) // sum(raw) for w in raw]

    def predict(self, x):
        """Class numbers, or real values."""
        scores = self.scores(x)
        return scores.argmax(axis=1) if self.is_classes else scores * self.target_scale


def _grid_step(vectors, low, span):
    """The step of which all differences are multiples, if it is coarse enough to be one; else None."""
    offsets = vectors - low
    for step in (1.0, 0.5, 0.25, 0.1, 0.05, 0.01):
        scaled = offsets / step
        if span / step <= 2 * HIGH and (np.abs(scaled - np.round(scaled)) < 1e-6).all():
            return step
    return None
