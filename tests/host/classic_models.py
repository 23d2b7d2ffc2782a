"""Fitted scikit-learn estimators for tests: every supported kind, on the bundled datasets."""

import warnings
from functools import cache

import numpy as np
from sklearn import cluster, datasets, ensemble, neighbors, tree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from threadpoolctl import threadpool_limits

SETS = ("iris", "wine", "breast_cancer", "digits")

CLASSIFIERS = {
    "tree": lambda: tree.DecisionTreeClassifier(random_state=1),
    "extra-tree": lambda: tree.ExtraTreeClassifier(random_state=1),
    "forest": lambda: ensemble.RandomForestClassifier(20, random_state=1),
    # Leaves with shares of several classes.
    "small-forest": lambda: ensemble.RandomForestClassifier(
        15, random_state=1, max_leaf_nodes=20, min_samples_leaf=3
    ),
    "extra-trees": lambda: ensemble.ExtraTreesClassifier(10, random_state=1, bootstrap=True),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=5, random_state=1),
    "hist-boosting": lambda: ensemble.HistGradientBoostingClassifier(max_iter=5, random_state=1),
    "isolation": lambda: ensemble.IsolationForest(
        n_estimators=20, random_state=1, contamination=0.1, max_features=0.7
    ),
    "neighbours": lambda: neighbors.KNeighborsClassifier(5),
    "weighted-neighbours": lambda: neighbors.KNeighborsClassifier(4, weights="distance"),
    "k-means": lambda: cluster.KMeans(7, random_state=1, n_init=1),
    "centroids": lambda: neighbors.NearestCentroid(),
}

REGRESSORS = {
    "tree": lambda: tree.DecisionTreeRegressor(random_state=1),
    "forest": lambda: ensemble.RandomForestRegressor(15, random_state=1),
    "extra-trees": lambda: ensemble.ExtraTreesRegressor(15, random_state=1, max_depth=8),
    "boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=20, random_state=1),
    "hist-boosting": lambda: ensemble.HistGradientBoostingRegressor(max_iter=20, random_state=1),
    "neighbours": lambda: neighbors.KNeighborsRegressor(4),
    "weighted-neighbours": lambda: neighbors.KNeighborsRegressor(4, weights="distance"),
    "scaled-forest": lambda: make_pipeline(
        StandardScaler(), ensemble.RandomForestRegressor(15, random_state=1)
    ),
}

SCALERS = {
    "raw": None,
    "standard": StandardScaler,
    "min-max": MinMaxScaler,
    "max-abs": MaxAbsScaler,
    "robust": RobustScaler,
}


@cache
def samples(name):
    """(X float64, y) of a bundled dataset."""
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def fitted(make, x, y, scaler="raw"):
    """The estimator, fitted, behind a scaler unless that is "raw"."""
    estimator = make()
    if SCALERS[scaler] is not None:
        estimator = make_pipeline(SCALERS[scaler](), estimator)
    # One thread: several wait for each other on a busy machine.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        return estimator.fit(x, y)


def class_numbers(estimator, x):
    """What the estimator predicts, as numbers of classes from 0."""
    with threadpool_limits(1):
        predicted = estimator.predict(x)
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "classes_"):
        return np.searchsorted(last.classes_, predicted)
    # IsolationForest says -1 and 1; k-means the number itself.
    return (predicted + 1) // 2 if hasattr(last, "offset_") else predicted
