"""Tree ensembles, files of kind 2; see docs/model-trees.md."""

import struct
from dataclasses import dataclass

import numpy as np

from .. import UserError
from .features import MISSING, encode_features, for_thresholds, pack_features
from .mgm import TREES, Data, write

VALUES, ARGMAX, SIGN = range(3)
POST = {"values": VALUES, "argmax": ARGMAX, "sign": SIGN}

_BODY = struct.Struct("<HHHBB" + "IIIIIIIII" + "HH")
_LEAF = 0x8000
_MAX = 0x8000


@dataclass
class Tree:
    """
    One tree as a reader gives it. Node 0 is the root.

    Args:
        feature: of each node; what a leaf has does not matter.
        key: the threshold of each node as key of the largest float32 that goes left
            (features.keys_of).
        missing_left: whether a missing value goes left.
        left, right: the children; left is -1 for a leaf.
        values: [nodes, 1 or outputs] in real units; what an inner node has does not matter.
        output: the score it adds to, where values has one column.
    """

    feature: np.ndarray
    key: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    values: np.ndarray
    output: int = 0

    def inner(self):
        """Numbers of the inner nodes, each before its children, and those of the leaves."""
        inner, leaves, stack = [], [], [0]
        while stack:
            node = stack.pop()
            if self.left[node] < 0:
                leaves.append(node)
            else:
                inner.append(node)
                stack += [int(self.right[node]), int(self.left[node])]
        return inner, leaves


class Forest:
    """
    An ensemble in integers.

    Args:
        name: what a message calls it.
        trees: list of Tree.
        n_features, n_outputs: sizes.
        init: the scores before the first tree, in real units.
        post: "values", "argmax" or "sign".
        meta: metadata of the file; "outputs" is added.
        bias: added to the integer scores, for a sign that shall be 1 only above 0.

    Raises UserError where a model exceeds the format.
    """

    def __init__(self, name, trees, n_features, n_outputs, init, post, meta, bias=0):
        self.name = name
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.post = post
        if max(len(trees), n_outputs) > 0xFFFF or n_features > 0x7FFF:
            raise UserError(f"{name}: more than 65,535 trees or classes, or 32,767 features")
        self.leaf_len = trees[0].values.shape[1]
        walks = [t.inner() for t in trees]
        self._encode_thresholds(trees, walks)
        self._quantise_leaves(trees, walks, np.asarray(init, np.float64), bias)
        self._lay_out(trees, walks)
        score = {"name": "scores", "shape": [n_outputs], "dtype": "int32"}
        score.update(scale=2.0**-self.shift, zero_point=0)
        self.meta = {**meta, "outputs": [score]}

    def _encode_thresholds(self, trees, walks):
        used = [[] for _ in range(self.n_features)]
        for tree, (inner, _) in zip(trees, walks, strict=True):
            for f in np.unique(tree.feature[inner]) if inner else ():
                nodes = np.array(inner)[tree.feature[inner] == f]
                used[f].append(tree.key[nodes])
        self.features, self._place = [], []
        for i, keys in enumerate(used):
            try:
                feature, place = for_thresholds(np.concatenate(keys) if keys else [])
            except ValueError as error:
                raise UserError(f"{self.name}: feature {i}: {error}") from None
            self.features.append(feature)
            self._place.append(place)

    def _quantise_leaves(self, trees, walks, init, bias):
        values = [t.values[leaves] for t, (_, leaves) in zip(trees, walks, strict=True)]
        if not all(np.isfinite(v).all() for v in values) or not np.isfinite(init).all():
            raise UserError(f"{self.name}: a leaf is not a finite number")
        largest = sum(np.abs(v).max() for v in values) + np.abs(init).max()
        # Every sum stays below 2^30.
        finest = 30 - max(int(np.frexp(largest)[1]), -60)
        every = np.concatenate([v.ravel() for v in values])
        self.shift, self.leaf_width = finest, 4
        if not init.any() and not bias:
            # Whole votes and their like need less than 4 bytes.
            for width in (1, 2):
                shift = min(8 * width - 1 - int(np.frexp(np.abs(every).max())[1]), finest)
                scaled = every * 2.0**shift
                if (scaled == np.round(scaled)).all() and np.abs(
                    scaled
                ).max() < 1 << 8 * width - 1:
                    self.shift, self.leaf_width = shift, width
                    break
        scale = 2.0**self.shift
        self.init = np.round(init * scale).astype(np.int64) + bias
        self._leaf_values = [np.round(v * scale).astype(np.int64) for v in values]

    def _lay_out(self, trees, walks):
        """Numbers of leaves: over the whole model where they stay below 2^15, else per tree."""
        shared, index = np.unique(np.concatenate(self._leaf_values), axis=0, return_inverse=True)
        index = index.ravel()
        is_shared = len(shared) <= _MAX
        self.leaves = shared if is_shared else []
        self.trees, self.nodes = [], []
        at, first_leaf, first_node = 0, 0, 0
        for tree, (inner, leaves), values in zip(trees, walks, self._leaf_values, strict=True):
            if is_shared:
                numbers, count = index[at : at + len(leaves)], len(shared)
            else:
                own, numbers = np.unique(values, axis=0, return_inverse=True)
                numbers, count = numbers.ravel(), len(own)
                self.leaves.append(own)
            at += len(leaves)
            if len(inner) > _MAX or count > _MAX:
                raise UserError(
                    f"{self.name}: a tree with {len(leaves)} leaves; at most 32,768: "
                    "limit max_depth or max_leaf_nodes in training"
                )
            nodes = self._nodes(tree, inner, leaves, numbers)
            # A tree that is one leaf has no node to name it.
            only = int(numbers[0]) if not inner else 0
            tree_leaves = count - only
            self.trees.append(
                (first_node, first_leaf + only, len(inner), tree_leaves, tree.output)
            )
            self.nodes.append(nodes)
            first_node += len(inner)
            first_leaf += 0 if is_shared else count
        self.nodes = np.concatenate(self.nodes)
        if not is_shared:
            self.leaves = np.concatenate(self.leaves)

    def _nodes(self, tree, inner, leaves, numbers):
        place = np.zeros(len(tree.left), np.int64)
        place[inner] = np.arange(len(inner))
        place[leaves] = numbers + _LEAF
        nodes = np.zeros(len(inner), [("t", "<i2"), ("f", "<u2"), ("l", "<u2"), ("r", "<u2")])
        for i, node in enumerate(inner):
            f = int(tree.feature[node])
            missing = 0x8000 if tree.missing_left[node] else 0
            q = int(self._place[f](tree.key[node]))
            nodes[i] = (q, f | missing, place[tree.left[node]], place[tree.right[node]])
        return nodes

    @property
    def arena(self):
        """Bytes of RAM beside the file: encoded features and scores."""
        return (4 * self.n_outputs + 2 * self.n_features + 7) & ~7

    @property
    def depth(self):
        """Comparisons on the longest way through all trees."""
        total = 0
        for first, _, count, _, _ in self.trees:
            depth = np.zeros(count, np.int64)
            for i in range(count):
                for side in ("l", "r"):
                    child = int(self.nodes[first + i][side])
                    if child < _LEAF:
                        depth[child] = depth[i] + 1
            total += int(depth.max()) + 1 if count else 0
        return total

    def pack(self):
        """The file."""
        records, keys, n_keys = pack_features(self.features)
        data = Data()
        at = [
            data.add(records, 4),
            data.add(b"".join(struct.pack("<IIHHHH", *t, 0) for t in self.trees), 4),
            data.add(self.init.astype("<i4").tobytes(), 4),
            data.add(keys, 4),
            data.add(self.nodes.tobytes(), 4),
            data.add(self.leaves.astype(f"<i{self.leaf_width}").tobytes(), 4),
        ]

        def body(data_at):
            features, trees, init, keys, nodes, leaves = (data_at + offset for offset in at)
            return _BODY.pack(
                *(self.n_features, self.n_outputs, len(self.trees), POST[self.post]),
                *(self.leaf_width, features, trees, init, keys, n_keys),
                *(nodes, len(self.nodes), leaves, len(self.leaves), self.leaf_len, 0),
            )

        return write(TREES, self.meta, body, bytes(data.bytes), self.arena, self.depth)

    def scores(self, x):
        """int32 scores [samples, outputs] of float32 [samples, features]."""
        encoded = encode_features(self.features, x).astype(np.int64)
        rows = np.arange(len(encoded))
        scores = np.tile(self.init, (len(encoded), 1))
        for first, first_leaf, count, _, output in self.trees:
            at = np.full(len(encoded), 0 if count else _LEAF)
            while (inside := at < _LEAF).any():
                node = self.nodes[first + np.where(inside, at, 0)]
                value = encoded[rows, node["f"] & 0x7FFF]
                left = np.where(value == MISSING, node["f"] >= 0x8000, value <= node["t"])
                at = np.where(inside, np.where(left, node["l"], node["r"]), at)
            leaf = self.leaves[first_leaf + (at & 0x7FFF)]
            if self.leaf_len == 1:
                scores[:, output] += leaf[:, 0]
            else:
                scores += leaf
        return scores

    def predict(self, x):
        """Class numbers, or real values where the scores are the answer."""
        scores = self.scores(x)
        if self.post == "argmax":
            return scores.argmax(axis=1)
        if self.post == "sign":
            return (scores[:, 0] >= 0).astype(np.int64)
        return scores * 2.0**-self.shift
