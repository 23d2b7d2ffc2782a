"""Trees and neighbours (models of kind 2 and 3) with the interface of engine.Graph: one input, the
features as float32; one output, the scores as integers with a scale. docs/model-trees.md."""

import math
from array import array

from . import engine

_TREES = 2


def _types():
    """The module with Trees and Neighbours: the C module, or the same in Python."""
    if hasattr(engine.module, "Trees"):
        return engine.module
    from . import tabular_twin

    return tabular_twin


def kinds():
    """The kinds of model that this firmware has beside graphs, a tuple of int."""
    try:
        _types()
    except ImportError:
        return ()
    return 2, 3


class Tabular:
    """buf: the file; kind: 2 or 3; meta: its metadata."""

    def __init__(self, buf, kind, meta):
        self._steps = kind != _TREES
        types = _types()
        self._made = (types.Neighbours if self._steps else types.Trees)(buf)
        features, scores, _ = self._made.info()
        self._x = array("f", [0.0] * features)
        self._scores = array("i", [0] * scores)
        self._post = meta.get("post") or {}
        self._scale = 1.0
        for row in meta.get("outputs") or ():
            self._scale = row.get("scale") or 1.0
        self.chosen = 0  # the class, or the first score where the scores are the answer

    def counts(self):
        return 1, 1

    def shape(self, i=0, output=False):
        if i:
            raise ValueError("no such input or output")
        if output:
            return "i", self._scale, 0, (len(self._scores),)
        return "f", 0.0, 0, (len(self._x),)

    def input(self, i=0):
        return self._x

    def output(self, i=0):
        return self._scores

    def begin(self):
        if self._steps:
            self._made.begin(self._x)

    def step(self, budget):
        """Trees are gone through at once: they take a millisecond or two."""
        if self._steps:
            if self._made.step(budget):
                return True
            self.chosen = self._made.predict()
        else:
            self.chosen = self._made.predict(self._x)
        self._made.scores(self._scores)
        return False

    def distance(self):
        """How far the nearest vector is, in the features' scale."""
        return self._made.distance() * self._post.get("distance_scale", 1.0)

    def classes(self):
        """The scores (list of floats) of the classes, in order, as their training library gives
        them where that is a probability."""
        values = [score * self._scale for score in self._scores]
        link = self._post.get("link")
        if link == "softmax":
            top = max(values)
            values = [math.exp(v - top) for v in values]
            total = sum(values)
            return [v / total for v in values]
        if link == "share":
            total = sum(values) or 1.0
            return [v / total for v in values]
        if self._post.get("type") != "sign":
            return values
        v = values[0]
        if link == "depth":
            # Of an isolation forest: the anomaly score of its paper, 2 ** (-depth / normal).
            outlier = 2.0 ** (-(v + self._post["limit"]) / self._post["normal"])
            return [outlier, 1 - outlier]
        # Without an overflow, however large v is.
        e = math.exp(-abs(v))
        high = 1 / (1 + e)
        return [1 - high, high] if v >= 0 else [high, 1 - high]
