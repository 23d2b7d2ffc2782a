"""Model over trees and neighbours, on the unix build: labels and scores are scikit-learn's."""

import json
import os
import subprocess

import numpy as np
import pytest
import targets
from mcpgw.convert.sklearn import from_estimator
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, IsolationForest, RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

X, Y = load_iris(return_X_y=True)
NAMES = ["setosa", "versicolor", "virginica"]
TWO = Y < 2
# Equal vectors with different values leave it open which is nearest.
UNIQUE, AT = np.unique(X[:, :3], axis=0, return_index=True)
ESTIMATORS = {
    "forest": (RandomForestClassifier(10, random_state=0), X, Y),
    "boosted": (GradientBoostingClassifier(n_estimators=8, random_state=0), X, Y),
    "two": (GradientBoostingClassifier(n_estimators=8, random_state=0), X[TWO], Y[TWO]),
    "outliers": (IsolationForest(n_estimators=20, random_state=0), X, None),
    "nearest": (KNeighborsClassifier(1), X, Y),
    "means": (KMeans(3, n_init=2, random_state=0), X, None),
    "value": (DecisionTreeRegressor(max_depth=4, random_state=0), X[:, :3], X[:, 3]),
    "near": (KNeighborsRegressor(1), UNIQUE, X[AT, 3]),
}
SCRIPT = """
import asyncio, json
from mcp_gw import Model
rows = json.load(open("rows.json"))
m = Model("model.mgm")
out = []
for i, row in enumerate(rows):
    ranked = asyncio.run(m.aclassify(row)) if i % 2 else m.classify(row)
    out.append([ranked, m.scores()])
print(json.dumps({"name": m.name, "labels": m.labels, "rows": out}))
"""


def on_unix(folder, file, rows):
    (folder / "model.mgm").write_bytes(file)
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [targets.firmware("unix"), "script.py"],
        cwd=folder,
        env={**os.environ, "MICROPYPATH": f"{targets.ROOT}:.frozen"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_as_scikit_learn(name, tmp_path):
    estimator, x, y = ESTIMATORS[name]
    estimator.fit(x, y)
    labels = [NAMES[c] for c in estimator.classes_] if hasattr(estimator, "classes_") else None
    rows = x[::3].astype(np.float32)
    found = on_unix(
        tmp_path, from_estimator(estimator, name=name, labels=labels).pack(), rows.tolist()
    )
    assert found["name"] == name
    expected = estimator.predict(rows.astype(np.float64))
    best = [ranked[0][0] for ranked, _ in found["rows"]]
    if name in ("value", "near"):
        values = [scores[0] for _, scores in found["rows"]]
        assert np.allclose(values, expected, atol=1e-5)
    elif name == "outliers":
        assert found["labels"] == ["outlier", "inlier"]
        assert best == [found["labels"][int(c > 0)] for c in expected]
        scores = [dict(map(tuple, ranked))["outlier"] for ranked, _ in found["rows"]]
        assert np.allclose(scores, -estimator.score_samples(rows), atol=1e-5)
    elif name == "means":
        assert best == [str(c) for c in expected]
    else:
        assert found["labels"] == labels
        assert best == [NAMES[c] for c in expected]
        for (ranked, _), due in zip(found["rows"], estimator.predict_proba(rows), strict=True):
            got = dict(map(tuple, ranked))
            assert np.allclose([got[label] for label in labels], due, atol=1e-5)


def test_features_are_checked(tmp_path):
    estimator, x, y = ESTIMATORS["nearest"]
    file = from_estimator(estimator.fit(x, y), name="nearest").pack()
    for row, told in (([1.0, 2.0], "2 values in, not 4"), ([1.0, 2.0, 3.0, float("nan")], "")):
        with pytest.raises(subprocess.CalledProcessError) as raised:
            on_unix(tmp_path, file, [row])
        assert told in raised.value.stderr
