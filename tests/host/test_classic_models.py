"""Trees and neighbours: scikit-learn, the converter's numpy and the C core say the same."""

import joblib
import numpy as np
import pytest
from classic_models import (
    CLASSIFIERS,
    REGRESSORS,
    SCALERS,
    SETS,
    class_numbers,
    fitted,
    samples,
)
from mcpgw import UserError
from mcpgw.convert import mgm
from mcpgw.convert.features import GRID, MISSING, RANKED, for_thresholds, keys_of, linear
from mcpgw.convert.run_classic import Neighbours, Trees
from mcpgw.convert.sklearn import from_estimator, load
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.tree import DecisionTreeClassifier

# Every classifier on every set; with one scaler each, so that all scalers meet all kinds.
CASES = [
    (s, c, list(SCALERS)[(i + j) % len(SCALERS)] if scaled else "raw")
    for i, s in enumerate(SETS)
    for j, c in enumerate(CLASSIFIERS)
    for scaled in (False, True)
    if not (scaled and (i + j) % len(SCALERS) == 0)
]


def compiled(model):
    """The C core with the model's file."""
    file = model.pack()
    return (Trees if mgm.read(file).kind == mgm.TREES else Neighbours)(file)


@pytest.mark.parametrize("dataset, kind, scaler", CASES)
def test_same_class_on_every_sample(dataset, kind, scaler):
    x, y = samples(dataset)
    estimator = fitted(CLASSIFIERS[kind], x, y, scaler)
    model = from_estimator(estimator, samples=x)
    expected = class_numbers(estimator, x)
    assert (model.predict(x) == expected).all()
    core = compiled(model)
    scores = model.scores(x)
    for row, want, score in zip(x, expected, scores, strict=True):
        answer, got = core.run(row)
        assert answer == want
        assert (got == score).all()
    assert len(set(expected)) > 1


@pytest.mark.parametrize("kind", REGRESSORS)
def test_same_value_within_quantisation(kind):
    # As float32: a board's features are, and targets near each other differ much in this set.
    x = samples("diabetes")[0].astype(np.float32).astype(np.float64)
    y = samples("diabetes")[1]
    estimator = fitted(REGRESSORS[kind], x, y)
    model = from_estimator(estimator)
    assert np.abs(model.predict(x)[:, 0] - estimator.predict(x)).max() < 1e-4
    core = compiled(model)
    scale = mgm.read(model.pack()).metadata["outputs"][0]["scale"]
    for row, want, score in zip(x, estimator.predict(x), model.scores(x), strict=True):
        got = core.run(row)[1]
        assert (got == score).all()
        assert abs(got[0] * scale - want) < 1e-4


def test_several_targets():
    x = samples("digits")[0]
    y = np.stack([x[:, 10] + x[:, 20], x[:, 30] * 3, -x[:, 40]], axis=1)
    for kind in ("forest", "neighbours", "weighted-neighbours"):
        estimator = fitted(REGRESSORS[kind], x[:500, 12:52], y[:500])
        model = from_estimator(estimator)
        core = compiled(model)
        real = estimator.predict(x[500:700, 12:52])
        assert np.abs(model.predict(x[500:700, 12:52]) - real).max() < 1e-5
        for row, want in zip(x[500:700, 12:52], real, strict=True):
            scale = model.meta["outputs"][0]["scale"]
            assert np.abs(core.run(row)[1] * scale - want).max() < 1e-5


def random_floats(random, count):
    """Floats of all magnitudes, the odd ones among them."""
    bits = random.integers(0, 1 << 32, count, np.uint32)
    odd = np.float32([0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 0.5, -0.5])
    normal = random.normal(0, 40, count).astype(np.float32)
    values = np.where(random.random(count) < 0.5, normal, bits.view(np.float32))
    values = np.where(np.isnan(values), np.float32("nan"), values)
    return np.concatenate([odd, values, np.round(normal * 2) / 2])


def test_thresholds_decide_as_floats_do(seed):
    """Any thresholds, any value: the encoded comparison is the one of float32 numbers."""
    random = np.random.default_rng(seed)
    seen = set()
    for i in range(60):
        thresholds = random_floats(random, 5)[:: 1 + i % 3]
        thresholds = thresholds[~np.isnan(thresholds)]
        if i % 2:
            thresholds = np.round(random.normal(0, 10 ** (i % 5), 30) * 8) / 8
        keys = keys_of(thresholds)
        feature, place = for_thresholds(keys)
        seen.add(feature.encoding)
        values = random_floats(random, 300)
        values = np.concatenate([values, thresholds, np.nextafter(thresholds, np.inf)])
        values = np.concatenate([values, np.nextafter(thresholds, -np.inf)])
        with np.errstate(invalid="ignore"):
            values = values.astype(np.float32)
        encoded = feature.encode(values)
        missing = np.isnan(values)
        assert (encoded[missing] == MISSING).all() and (encoded[~missing] > MISSING).all()
        for threshold, place_of in zip(np.float32(thresholds), place(keys), strict=True):
            left = values[~missing] <= threshold
            assert (left == (encoded[~missing] <= place_of)).all()
    assert seen == {RANKED, GRID}


def test_features_in_c_are_those_of_python(seed):
    """All encodings with random records over all floats; Python computes with exact fractions."""
    random = np.random.default_rng(seed)
    x, y = samples("iris")
    model = from_estimator(fitted(CLASSIFIERS["tree"], x, y))
    for _ in range(40):
        for i in range(4):
            if random.random() < 0.5:
                scale = float(2.0 ** random.uniform(-40, 40))
                feature = linear(scale, float(random.normal(0, 10000)))
            else:
                feature = for_thresholds(keys_of(np.round(random.normal(0, 99, 9) * 4) / 4))[0]
                feature.exponent = int(random.integers(-128, 128))
            feature.low = int(random.integers(-32767, 0))
            feature.high = int(random.integers(0, 32768))
            model.features[i] = feature
        core = compiled(model)
        values = random_floats(random, 40 * 4)[: 40 * 4].reshape(-1, 4)
        expected = np.stack([f.encode(values[:, i]) for i, f in enumerate(model.features)], axis=1)
        for row, want in zip(values, expected, strict=True):
            assert (core.encode(row) == want).all(), (row, model.features)


def test_missing_values_go_where_they_were_learned_to_go():
    x, y = (a.copy() for a in samples("wine"))
    random = np.random.default_rng(3)
    x[random.random(x.shape) < 0.15] = np.nan
    for kind in ("tree", "forest", "hist-boosting"):
        estimator = fitted(CLASSIFIERS[kind], x, y)
        model = from_estimator(estimator)
        core = compiled(model)
        expected = class_numbers(estimator, x)
        assert [core.run(row)[0] for row in x] == list(expected)
        assert (model.predict(x) == expected).all()


def test_one_leaf_and_one_class():
    x = samples("iris")[0]
    for y in (np.zeros(len(x), int), samples("iris")[1]):
        stump = fitted(lambda: DecisionTreeClassifier(max_depth=1), x, y)
        core = compiled(from_estimator(stump))
        assert [core.run(row)[0] for row in x] == list(class_numbers(stump, x))


def test_labels_and_metadata(tmp_path):
    x, y = samples("iris")
    estimator = fitted(
        CLASSIFIERS["forest"], x, np.array(["setosa", "versicolor", "virginica"])[y]
    )
    joblib.dump(estimator, tmp_path / "iris.joblib")
    model = from_estimator(load(tmp_path / "iris.joblib"), "iris")
    meta = mgm.read(model.pack()).metadata
    assert meta["labels"] == ["setosa", "versicolor", "virginica"]
    assert meta["inputs"] == [{"name": "features", "shape": [4], "dtype": "float32"}]
    assert meta["outputs"][0]["shape"] == [3]
    # The share of trees, by the scale that the metadata gives.
    share = model.scores(x) * meta["outputs"][0]["scale"] / 20
    assert np.abs(share - estimator.predict_proba(x)).max() < 1e-6
    with pytest.raises(UserError, match="2 labels for 3 classes"):
        from_estimator(estimator, labels=["a", "b"])


def test_scores_become_probabilities():
    """What docs/model-trees.md says about each link."""
    x, y = samples("wine")
    logistic = fitted(CLASSIFIERS["boosting"], x, y == 1)
    model = from_estimator(logistic)
    raw = model.scores(x)[:, 0] * model.meta["outputs"][0]["scale"]
    assert np.abs(1 / (1 + np.exp(-raw)) - logistic.predict_proba(x)[:, 1]).max() < 1e-6
    outliers = fitted(CLASSIFIERS["isolation"], x, y)
    model = from_estimator(outliers)
    raw = model.scores(x)[:, 0] * model.meta["outputs"][0]["scale"]
    post = model.meta["post"]
    depth = raw + post["limit"]
    assert np.abs(-(2 ** (-depth / post["normal"])) - outliers.score_samples(x)).max() < 1e-6


@pytest.mark.parametrize(
    "estimator, what",
    [
        (lambda x, y: LogisticRegression(max_iter=5000).fit(x, y), "LogisticRegression is not"),
        (lambda x, y: AdaBoostClassifier().fit(x, y), "AdaBoostClassifier is not supported"),
        (lambda x, y: RandomForestClassifier(), "not fitted"),
        (
            lambda x, y: make_pipeline(Normalizer(), DecisionTreeClassifier()).fit(x, y),
            "Normalizer",
        ),
        (lambda x, y: KNeighborsClassifier(metric="manhattan").fit(x, y), "manhattan"),
        (lambda x, y: KNeighborsClassifier(100).fit(x, y), "100 neighbours; at most 64"),
        (
            lambda x, y: GradientBoostingClassifier(init=DecisionTreeClassifier()).fit(x, y),
            "leave init out",
        ),
        (lambda x, y: DecisionTreeClassifier().fit(x, np.stack([y, y], 1)), "several classes"),
        (lambda x, y: {"not": "an estimator"}, "dict is not supported"),
    ],
)
def test_what_is_not_supported_is_said(estimator, what):
    with pytest.raises(UserError, match=what):
        from_estimator(estimator(*samples("iris")))


def test_files_that_are_no_pickles(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        load(tmp_path / "nothing.joblib")
    (tmp_path / "text.joblib").write_text("hello")
    with pytest.raises(UserError, match="not a pickled estimator"):
        load(tmp_path / "text.joblib")
