"""Nearest neighbours and centroids, files of kind 3; see docs/model-trees.md."""

import struct
from math import isqrt

import numpy as np

from .. import UserError
from .features import HIGH, encode_features, linear, pack_features
from .mgm import NEIGHBOURS, Data, write

_BODY = struct.Struct("<HHBBBB" + "IIIIII")
MAX_K = 64
# Of the widest feature's range, how much more a value may lie outside of the vectors before it is
# clamped, on either side: an answer can change where one is.
_MARGIN = 0.25
_MARGIN_OF_CENTRES = 1.5


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
        samples: float [samples, features] of what will be compared; None: the vectors tell.
    """

    def __init__(
        self, name, vectors, scale, shift, answers, n_classes, k, by_distance, meta, width, samples
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
        margin = _MARGIN_OF_CENTRES if meta["post"].get("link") == "nearest" else _MARGIN
        seen = vectors
        if samples is not None:
            seen = np.concatenate([vectors, np.asarray(samples, float) * scale + shift])
            margin = _MARGIN
        self._choose_step(vectors, seen, margin, width)
        self._quantise(vectors, seen, scale, shift)
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

    def _choose_step(self, vectors, seen, margin, width):
        """One step for all features, since the squares of their differences are added."""
        span = float(np.ptp(seen, axis=0).max()) * (1 + 2 * margin) or 1.0
        if not 1e-30 < span < 1e30:
            raise UserError(f"{self.name}: values too large or too small: scale the features")
        grid = _grid_step(vectors, span)
        if width is None:
            width = 1 if grid is not None and span / grid <= 254 else 2
        steps = 254 if width == 1 else 2 * HIGH
        self.width = width
        self.step = span / steps
        if grid is not None and grid >= self.step:
            self.step = grid

    def _quantise(self, vectors, seen, scale, shift):
        low = vectors.min(axis=0)
        middle = (
            low
            + np.round(((seen.min(axis=0) + seen.max(axis=0)) / 2 - low) / self.step) * self.step
        )
        self.features = []
        for i in range(self.n_features):
            try:
                f = linear(scale[i] / self.step, (shift[i] - middle[i]) / self.step)
            except ValueError as error:
                raise UserError(f"{self.name}: feature {i}: {error}") from None
            f.low, f.high = (-127, 127) if self.width == 1 else (-HIGH, HIGH)
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

    def pack(self):
        """The file."""
        records, keys, n_keys = pack_features(self.features)
        row = (self.n_features * self.width + 3) & ~3
        rows = np.zeros((self.n_vectors, row // self.width), f"<i{self.width}")
        rows[:, : self.n_features] = self.vectors
        data = Data()
        at = [
            data.add(records, 4),
            data.add(keys, 4),
            data.add(rows.tobytes(), 4),
            data.add(self.answers.astype("<u2" if self.is_classes else "<i4").tobytes(), 4),
        ]

        def body(data_at):
            features, keys, vectors, answers = (data_at + offset for offset in at)
            return _BODY.pack(
                *(self.n_features, self.n_outputs, self.k, self.width),
                *(self.by_distance, self.is_classes),
                *(features, keys, n_keys, vectors, self.n_vectors, answers),
            )

        return write(NEIGHBOURS, self.meta, body, bytes(data.bytes), self.arena, self.macs)

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
                total = sum(
                    w * int(self.answers[i, j]) for i, w in zip(index, weights, strict=True)
                )
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


def _grid_step(vectors, span):
    """The step of which all differences are multiples, if it is not too fine; else None."""
    offsets = vectors - vectors.min(axis=0)
    for step in (1.0, 0.5, 0.25, 0.1, 0.05, 0.01):
        scaled = offsets / step
        if span / step <= 2 * HIGH and (np.abs(scaled - np.round(scaled)) < 1e-6).all():
            return step
    return None
