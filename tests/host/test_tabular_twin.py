"""The Python twin of trees and neighbours against the C core: the same answers, and of damaged
files the same error at the same place; under CPython and on the unix build."""

import os
import random
import subprocess
from array import array

import numpy as np
import pytest
import soak
import targets
from classic_models import CLASSIFIERS, REGRESSORS, fitted, samples
from mcpgw.convert.mgm import FormatError
from mcpgw.convert.run_classic import Neighbours, Trees
from mcpgw.convert.sklearn import from_estimator
from test_classic_fuzz import mutated

from mcp_gw.infer import arrays, tabular_twin

SAMPLES = 6
NAMES = ("iris-forest", "wine-neighbours", "cancer-boosting", "machine-outliers", "diabetes-trees")


@pytest.fixture(scope="module")
def files():
    """(file, C type, twin) of small models of every layout."""
    x, y = samples("iris")
    trees = [
        from_estimator(fitted(CLASSIFIERS[kind], x[::2], y[::2])).pack()
        for kind in ("tree", "small-forest", "boosting", "isolation")
    ]
    near = [
        from_estimator(fitted(CLASSIFIERS[kind], x[::6], y[::6]), width=width).pack()
        for kind in ("neighbours", "weighted-neighbours")
        for width in (1, 2)
    ]
    near.append(from_estimator(fitted(REGRESSORS["weighted-neighbours"], x[::6], y[::6])).pack())
    kinds = [(Trees, tabular_twin.Trees), (Neighbours, tabular_twin.Neighbours)]
    return [(f, *kinds[0]) for f in trees] + [(f, *kinds[1]) for f in near]


def compare(core, twin, r):
    """Both over some samples, the odd ones among them."""
    features, outputs, is_class = twin.info()
    assert (features, outputs) == (core.n_features, core.n_outputs)
    for _ in range(SAMPLES):
        row = [
            r.choice((r.gauss(3, 3), r.choice((0.0, -0.0, 1e30, -1e-30, float("inf")))))
            for _ in range(features)
        ]
        x = array("f", row)
        answer, scores = core.run(np.array(x, np.float32))
        expected = answer if is_class else scores[0]
        assert twin.predict(x) == expected
        got = array("i", [0] * outputs)
        twin.scores(got)
        assert list(got) == scores.tolist()
        if isinstance(core, Neighbours):
            assert twin.distance() == core.distance
            twin.begin(x)
            while twin.step(50):
                pass
            assert twin.predict() == expected


def test_the_same_answers(files, seed):
    r = random.Random(seed)
    for file, core, twin in files:
        compare(core(file), twin(memoryview(file)), r)


def test_missing_values(seed):
    x, y = (a.copy() for a in samples("wine"))
    x[np.random.default_rng(seed).random(x.shape) < 0.1] = np.nan
    file = from_estimator(fitted(CLASSIFIERS["tree"], x, y)).pack()
    twin = tabular_twin.Trees(file)
    core = Trees(file)
    for row in x:
        assert twin.predict(array("f", row.tolist())) == core.run(row)[0]


def test_the_same_errors(files, seed):
    r = random.Random(seed)
    refused = 0
    count = soak.count(1500, 30_000)
    for _ in range(count):
        file, core, twin = r.choice(files)
        file = mutated(r, file)
        try:
            arrays.info(memoryview(file))
        except ValueError:
            refused += 1
            with pytest.raises(FormatError):
                core(file)
            continue
        try:
            made = twin(memoryview(file))
        except ValueError as error:
            refused += 1
            with pytest.raises(FormatError) as wrong:
                core(file)
            assert str(error) == str(wrong.value)
            continue
        compare(core(file), made, r)
    assert count // 5 < refused < count * 4 // 5


SCRIPT = """
import _qnn
from array import array
from mcp_gw.infer import tabular_twin
for name, kind in NAMES:
    file = open("FOLDER/" + name + ".mgm", "rb").read()
    tabular_twin.check(file)
    ours, twin = getattr(_qnn, kind)(file), getattr(tabular_twin, kind)(file)
    features, scores, is_class = ours.info()
    assert twin.info() == ours.info()
    x = array("f", open("FOLDER/" + name + ".in", "rb").read())
    for i in range(len(x) // features):
        row = x[i * features:(i + 1) * features]
        assert ours.predict(row) == twin.predict(row)
        a, b = array("i", [0] * scores), array("i", [0] * scores)
        ours.scores(a)
        twin.scores(b)
        assert a == b
        small = array("h", [i * 7 - j * 3 for j in range(features)])
        assert ours.predict(small) == twin.predict(small)
    for bad in ([1.0] * features, array("i", [1] * features), array("f", [1.0])):
        for model in (ours, twin):
            try:
                model.predict(bad)
            except (TypeError, ValueError):
                continue
            raise AssertionError(bad)
    print(name, "ok")
"""


def test_on_micropython(models_dir, tmp_path):
    order = []
    for name in NAMES:
        (tmp_path / f"{name}.mgm").write_bytes((models_dir / f"{name}.mgm").read_bytes())
        x = np.load(models_dir / f"{name}.npz")["x"][::30].astype(np.float32)
        (tmp_path / f"{name}.in").write_bytes(x.tobytes())
        order.append((name, "Neighbours" if "neighbours" in name else "Trees"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("NAMES", repr(order)).replace("FOLDER", str(tmp_path)))
    done = subprocess.run(
        [targets.firmware("unix"), script],
        capture_output=True,
        text=True,
        env={**os.environ, "MICROPYPATH": f"{targets.ROOT}:.frozen"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"{name} ok" for name in NAMES]
