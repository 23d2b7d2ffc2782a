"""Fitted scikit-learn estimators to trees and neighbours; see docs/model-trees.md.

Trees: DecisionTree*, ExtraTree*, RandomForest*, ExtraTrees*, GradientBoosting*,
HistGradientBoosting* and IsolationForest. Neighbours: KNeighbors*, KMeans, MiniBatchKMeans,
NearestCentroid. A pipeline may put scalers before them that treat each feature by itself and keep
its order.
"""

from pathlib import Path

import numpy as np

from .. import UserError
from ..words import counted
from .features import values_of
from .forest import Forest, Tree
from .nearest import Nearest

_SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
_INFINITY = 0x7F800000


def load(path):
    """
    The estimator in a pickle or joblib file.

    Loading one runs whatever code its author put into it; the caller warns of that.

    Raises:
        UserError: no such file, not a pickle, or made with a scikit-learn that this one cannot
            read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        import joblib
    except ModuleNotFoundError:
        raise UserError("scikit-learn is not installed: pip install 'mcpgw[convert]'") from None
    try:
        return joblib.load(path)
    except Exception as error:
        raise UserError(
            f"{path} is not a pickled estimator that this scikit-learn reads: "
            f"{type(error).__name__}: {error}"
        ) from None


def from_estimator(estimator, name="model", labels=None, width=None, samples=None):
    """
    A fitted estimator as Forest or Nearest.

    Args:
        estimator: the estimator, or a Pipeline that ends in one.
        name: name of the model.
        labels: names of the classes instead of the estimator's own.
        width: bytes of a value of a neighbours' vector; None: what the data needs.
        samples: float [samples, features] of what the model will see; centroids need it where that
            lies far outside of them.

    Raises:
        UserError: not fitted, or not of a kind listed above; the text says what to do.
    """
    scalers, estimator = _steps(estimator)
    kind = type(estimator).__name__
    if kind not in _READERS:
        raise UserError(f"{kind} is not supported: convert one of {', '.join(_READERS)}")
    if not hasattr(estimator, "n_features_in_"):
        raise UserError(f"this {kind} is not fitted: call its fit() first")
    if getattr(estimator, "n_outputs_", 1) != 1 and hasattr(estimator, "classes_"):
        raise UserError(f"this {kind} predicts several classes at a time: convert one per output")
    names = getattr(scalers[0] if scalers else estimator, "feature_names_in_", None)
    n = estimator.n_features_in_
    source = {"name": "features", "shape": [n], "dtype": "float32"}
    if names is not None:
        source["features"] = [str(f) for f in names]
    meta = {"name": name, "inputs": [source], "source": f"scikit-learn {kind}"}
    classes = getattr(estimator, "classes_", None)
    if labels is not None:
        if classes is not None and len(labels) != len(classes):
            raise UserError(f"{counted(len(labels), 'label')} for {len(classes)} classes")
        meta["labels"] = list(labels)
    elif classes is not None:
        meta["labels"] = [str(c) for c in classes]
    if samples is not None and (np.ndim(samples) != 2 or np.shape(samples)[1] != n):
        raise UserError(f"samples have shape {np.shape(samples)}; the model takes [samples, {n}]")
    return _READERS[kind](_Source(name, estimator, scalers, meta, width, samples))


def _steps(estimator):
    """(scalers, the estimator behind them) of a pipeline or an estimator by itself."""
    if type(estimator).__name__ != "Pipeline":
        return [], estimator
    *before, last = [step for _, step in estimator.steps if step not in (None, "passthrough")]
    for step in before:
        if type(step).__name__ not in _SCALERS:
            raise UserError(
                f"the pipeline's {type(step).__name__} is not supported: "
                f"use one of {', '.join(_SCALERS)}, or do that step before the model"
            )
    return before, last


class _Source:
    """What a reader needs: the estimator, what comes before it, and the metadata so far."""

    def __init__(self, name, estimator, scalers, meta, width, samples):
        self.name = name
        self.estimator = estimator
        self.scalers = scalers
        self.meta = meta
        self.width = width
        self.samples = samples
        self.n_features = estimator.n_features_in_

    def scale(self, x):
        """What the estimator sees of float64 [samples, features]."""
        with np.errstate(all="ignore"):
            for scaler in self.scalers:
                x = _apply(scaler, x)
        return x

    def keys(self, feature, threshold, single=True):
        """
        Keys of the largest float32 inputs that go left at these nodes.

        Args:
            feature, threshold: of each node.
            single: whether the estimator rounds what it sees to float32, as all but
                HistGradientBoosting do.

        Scaling keeps the order of values, so that the largest is found by bisection over the
        floats, with the scalers' own arithmetic: what they round is rounded here as well.
        HistGradientBoosting's thresholds may be samples themselves, of which a board sees the
        nearest float32: so they are rounded to the nearest, not down.
        """
        low = np.full(len(threshold), -_INFINITY - 1, np.int64)
        high = np.full(len(threshold), _INFINITY, np.int64)
        while (low < high).any():
            middle = (low + high + 1) // 2
            left = self._goes_left(
                values_of(middle).astype(np.float64), feature, threshold, single
            )
            low, high = np.where(left, middle, low), np.where(left, high, middle - 1)
        low = np.maximum(low, -_INFINITY)
        if not single:
            above = np.minimum(low + 1, _INFINITY)
            with np.errstate(all="ignore"):
                middle = (values_of(low).astype(np.float64) + values_of(above)) / 2
            left = self._goes_left(middle, feature, threshold, single)
            low = np.where(left & np.isfinite(middle), above, low)
        return low

    def _goes_left(self, values, feature, threshold, single):
        if self.scalers:
            rows = np.arange(len(values))
            x = np.zeros((len(values), self.n_features))
            x[rows, feature] = values
            values = self.scale(x)[rows, feature]
        if single:
            with np.errstate(over="ignore"):
                values = values.astype(np.float32).astype(np.float64)
        return values <= threshold

    def affine(self):
        """(scale, shift) per feature of all scalers together: seen = value * scale + shift."""
        zero = np.zeros((1, self.n_features))
        scale, shift = zero[0] + 1, zero[0]
        for scaler in self.scalers:
            if getattr(scaler, "clip", False):
                raise UserError("a MinMaxScaler with clip=True is not supported before neighbours")
            s, b = _affine(scaler, self.n_features)
            scale, shift = scale * s, shift * s + b
        return scale, shift


def _affine(scaler, n):
    """value * scale + shift is what a scaler makes of a feature, but for rounding."""
    kind = type(scaler).__name__
    one, zero = np.ones(n), np.zeros(n)
    if kind == "MinMaxScaler":
        return scaler.scale_, scaler.min_
    scale = getattr(scaler, "scale_", None)
    scale = one if scale is None else 1 / scale
    centre = None
    if kind == "StandardScaler" and scaler.with_mean:
        centre = scaler.mean_
    elif kind == "RobustScaler" and scaler.with_centering:
        centre = scaler.center_
    return scale, zero if centre is None else -centre * scale


def _apply(scaler, x):
    """transform(), in the order of its operations, for values such as infinity too."""
    kind = type(scaler).__name__
    if kind == "MinMaxScaler":
        x = x * scaler.scale_ + scaler.min_
        return np.clip(x, *scaler.feature_range) if scaler.clip else x
    if kind == "StandardScaler" and scaler.with_mean:
        x = x - scaler.mean_
    elif kind == "RobustScaler" and scaler.with_centering:
        x = x - scaler.center_
    scale = getattr(scaler, "scale_", None)
    return x if scale is None else x / scale


def _tree(source, tree, values, output=0, features=None):
    """A tree_ of scikit-learn whose nodes have these values [nodes, 1 or outputs]."""
    feature = np.maximum(tree.feature, 0)
    if features is not None:
        feature = np.asarray(features)[feature]
    inner = tree.children_left >= 0
    key = np.zeros(tree.node_count, np.int64)
    if inner.any():
        key[inner] = source.keys(feature[inner], tree.threshold[inner])
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count, bool))
    return Tree(feature, key, missing, tree.children_left, tree.children_right, values, output)


def _forest(source):
    """Single trees and forests: votes are averaged probabilities, values are averaged values."""
    estimator = source.estimator
    trees = [t.tree_ for t in getattr(estimator, "estimators_", [estimator])]
    is_classifier = hasattr(estimator, "classes_")
    if is_classifier:
        values = [t.value[:, 0, :] for t in trees]
        n_outputs = len(estimator.classes_)
    else:
        values = [t.value[:, :, 0] / len(trees) for t in trees]
        n_outputs = values[0].shape[1]
    post = {"type": "argmax", "link": "share"} if is_classifier else {"type": "values"}
    return Forest(
        source.name,
        [_tree(source, t, v) for t, v in zip(trees, values, strict=True)],
        source.n_features,
        n_outputs,
        np.zeros(n_outputs),
        post["type"],
        {**source.meta, "post": post},
    )


def _boosted_post(estimator, n_outputs):
    if not hasattr(estimator, "classes_"):
        return {"type": "values"}
    if n_outputs == 1:
        return {"type": "sign", "link": "logistic"}
    return {"type": "argmax", "link": "softmax"}


def _gradient_boosting(source):
    estimator = source.estimator
    if not (estimator.init_ == "zero" or type(estimator.init_).__name__.startswith("Dummy")):
        raise UserError(
            "GradientBoosting with an estimator as `init` is not supported: leave init out"
        )
    n_outputs = estimator.estimators_.shape[1]
    zeros = np.zeros((1, source.n_features), np.float32)
    init = np.ravel(estimator._raw_predict_init(zeros))
    trees = []
    for stage in estimator.estimators_:
        for output, tree in enumerate(stage):
            values = tree.tree_.value[:, :, 0] * estimator.learning_rate
            trees.append(_tree(source, tree.tree_, values, output))
    post = _boosted_post(estimator, n_outputs)
    meta = {**source.meta, "post": post}
    return Forest(source.name, trees, source.n_features, n_outputs, init, post["type"], meta)


def _hist_gradient_boosting(source):
    estimator = source.estimator
    if getattr(estimator, "is_categorical_", None) is not None:
        raise UserError(
            "HistGradientBoosting with categorical features is not supported: encode them"
        )
    if not hasattr(estimator, "classes_") and estimator.loss not in (
        "squared_error",
        "absolute_error",
        "quantile",
    ):
        raise UserError(f"HistGradientBoosting with loss {estimator.loss} is not supported")
    init = np.ravel(estimator._baseline_prediction)
    trees = []
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            inner = nodes["is_leaf"] == 0
            feature = nodes["feature_idx"].astype(np.int64)
            key = np.zeros(len(nodes), np.int64)
            if inner.any():
                thresholds = nodes["num_threshold"][inner]
                key[inner] = source.keys(feature[inner], thresholds, single=False)
            left = np.where(inner, nodes["left"].astype(np.int64), -1)
            right = nodes["right"].astype(np.int64)
            missing = nodes["missing_go_to_left"].astype(bool)
            trees.append(Tree(feature, key, missing, left, right, nodes["value"][:, None], output))
    post = _boosted_post(estimator, len(init))
    # A score of exactly 0 is class 0 here, and class 1 in GradientBoosting.
    bias = -1 if post["type"] == "sign" else 0
    meta = {**source.meta, "post": post}
    return Forest(source.name, trees, source.n_features, len(init), init, post["type"], meta, bias)


def _isolation_forest(source):
    """The mean depth of a sample, above where it becomes an outlier: class 1 is an inlier."""
    from sklearn.ensemble._iforest import _average_path_length

    estimator = source.estimator
    trees = []
    for tree, features in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        tree = tree.tree_
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):
            for child in (tree.children_left[node], tree.children_right[node]):
                if child >= 0:
                    depth[child] = depth[node] + 1
        depth += _average_path_length(tree.n_node_samples)
        trees.append(_tree(source, tree, depth[:, None] / len(estimator.estimators_), 0, features))
    # score = -2^(-depth / normal) is below `offset_` for outliers.
    normal = float(_average_path_length([estimator._max_samples])[0])
    limit = float(-np.log2(-estimator.offset_) * normal)
    post = {"type": "sign", "link": "depth", "normal": normal, "limit": limit}
    meta = {**source.meta, "labels": ["outlier", "inlier"], "post": post}
    return Forest(source.name, trees, source.n_features, 1, [-limit], "sign", meta)


def _neighbours(source):
    estimator = source.estimator
    metric, p = estimator.effective_metric_, (estimator.effective_metric_params_ or {}).get("p", 2)
    if metric not in ("euclidean", "sqeuclidean") and not (metric == "minkowski" and p == 2):
        raise UserError(
            f"neighbours by {metric} distance are not supported: use the euclidean one"
        )
    if estimator.weights not in ("uniform", "distance", None):
        raise UserError(
            "neighbours with weights of their own are not supported: uniform or distance"
        )
    if not isinstance(estimator._fit_X, np.ndarray):
        raise UserError("neighbours of sparse vectors are not supported")
    is_classifier = hasattr(estimator, "classes_")
    post = {"type": "argmax", "link": "share"} if is_classifier else {"type": "values"}
    return Nearest(
        source.name,
        estimator._fit_X,
        *source.affine(),
        estimator._y,
        len(estimator.classes_) if is_classifier else None,
        estimator.n_neighbors,
        estimator.weights == "distance",
        {**source.meta, "post": post},
        source.width,
        source.samples,
    )


def _centroids(source):
    estimator = source.estimator
    if hasattr(estimator, "cluster_centers_"):
        centres, answers = estimator.cluster_centers_, np.arange(len(estimator.cluster_centers_))
    else:
        if estimator.metric != "euclidean":
            raise UserError("NearestCentroid with a metric other than euclidean is not supported")
        priors = getattr(estimator, "class_prior_", np.zeros(1))
        if not np.isclose(priors, priors[0]).all():
            raise UserError("NearestCentroid with priors is not supported: use priors='uniform'")
        centres, answers = estimator.centroids_, np.arange(len(estimator.centroids_))
    meta = {**source.meta, "post": {"type": "argmax", "link": "nearest"}}
    return Nearest(
        *(source.name, centres, *source.affine(), answers, len(centres), 1, False, meta),
        *(source.width, source.samples),
    )


_READERS = {
    "DecisionTreeClassifier": _forest,
    "DecisionTreeRegressor": _forest,
    "ExtraTreeClassifier": _forest,
    "ExtraTreeRegressor": _forest,
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "ExtraTreesClassifier": _forest,
    "ExtraTreesRegressor": _forest,
    "GradientBoostingClassifier": _gradient_boosting,
    "GradientBoostingRegressor": _gradient_boosting,
    "HistGradientBoostingClassifier": _hist_gradient_boosting,
    "HistGradientBoostingRegressor": _hist_gradient_boosting,
    "IsolationForest": _isolation_forest,
    "KNeighborsClassifier": _neighbours,
    "KNeighborsRegressor": _neighbours,
    "KMeans": _centroids,
    "MiniBatchKMeans": _centroids,
    "NearestCentroid": _centroids,
}
