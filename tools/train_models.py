#!/usr/bin/env python3
"""Train the repository's own small models on scikit-learn's bundled data and convert them.

    train_models.py [-o FOLDER] [NAME ...]

Tests and examples use what this writes into build/models/ (or FOLDER), so that a clone without
other data has a model of every kind. The same packages give the same files. Per model NAME.mgm,
beside it what it was converted from (.joblib, .onnx) and samples for it (NAME.npz: x, y).

    iris-forest      random forest, 4 features, 3 classes
    wine-neighbours  5 nearest neighbours behind a scaler, 13 features, 3 classes
    cancer-boosting  gradient boosting, 30 features, 2 classes
    machine-outliers isolation forest: is this sample like those before?
    diabetes-trees   extra trees, 10 features, a value
    digits-mlp       fully connected, 64-32-10, from ONNX, calibrated
    digits-cnn       convolutions, strided and depthwise, from ONNX, calibrated
"""

import argparse
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn import datasets, ensemble, neighbors, pipeline, preprocessing
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
from mcpgw.convert import build, calibrate  # noqa: E402
from mcpgw.convert import onnx as onnx_reader  # noqa: E402
from mcpgw.convert.sklearn import from_estimator  # noqa: E402


def data(name):
    """(x float32, y, names of the classes or None) of a bundled dataset."""
    bunch = getattr(datasets, f"load_{name}")()
    names = [str(n) for n in bunch.target_names] if "target_names" in bunch else None
    return bunch.data.astype(np.float32), bunch.target, names


def split(x, y):
    """Every fifth sample is for testing: (x_train, y_train, x_test, y_test)."""
    test = np.arange(len(x)) % 5 == 0
    return x[~test], y[~test], x[test], y[test]


def iris_forest(folder, name):
    """Share of right answers on samples that training did not see."""
    estimator = ensemble.RandomForestClassifier(10, max_depth=4, random_state=1)
    return classic(folder, name, estimator, "iris")


def wine_neighbours(folder, name):
    """As iris_forest()."""
    scaler = preprocessing.StandardScaler()
    estimator = pipeline.make_pipeline(scaler, neighbors.KNeighborsClassifier(5))
    return classic(folder, name, estimator, "wine")


def cancer_boosting(folder, name):
    """As iris_forest()."""
    estimator = ensemble.GradientBoostingClassifier(n_estimators=30, max_depth=2, random_state=1)
    return classic(folder, name, estimator, "breast_cancer")


def machine_outliers(folder, name):
    """As iris_forest(): malignant samples stand for a machine's unusual days."""
    x, y, _ = data("breast_cancer")
    usual = x[y == 1][:, :10]
    estimator = ensemble.IsolationForest(
        n_estimators=30, max_samples=128, contamination=0.05, random_state=1
    ).fit(usual)
    x = x[:, :10]
    joblib.dump(estimator, folder / f"{name}.joblib")
    np.savez(folder / f"{name}.npz", x=x, y=y)
    model = from_estimator(estimator, name)
    (folder / f"{name}.mgm").write_bytes(model.pack())
    return (model.predict(x) == y).mean()


def diabetes_trees(folder, name):
    """Share of the variance that is explained."""
    estimator = ensemble.ExtraTreesRegressor(20, max_depth=6, random_state=1)
    return classic(folder, name, estimator, "diabetes")


def classic(folder, name, estimator, dataset):
    """Train, convert and write a model of kinds 2 and 3."""
    x, y, labels = data(dataset)
    x_train, y_train, x_test, y_test = split(x, y)
    estimator.fit(x_train, y_train)
    joblib.dump(estimator, folder / f"{name}.joblib")
    np.savez(folder / f"{name}.npz", x=x, y=y)
    model = from_estimator(estimator, name, labels)
    (folder / f"{name}.mgm").write_bytes(model.pack())
    if labels is None:
        error = ((model.predict(x_test)[:, 0] - y_test) ** 2).mean()
        return 1 - error / y_test.var()
    return (model.predict(x_test) == y_test).mean()


# ---- nets


class Net:
    """An ONNX model being written, its weights float32."""

    def __init__(self):
        self.nodes = []
        self.weights = []
        self.last = "pixels"

    def add(self, op, *weights, **attrs):
        """An operator over the last result."""
        output = f"{op.lower()}{len(self.nodes)}"
        names = []
        for i, values in enumerate(weights):
            names.append(f"{output}.{i}")
            values = np.ascontiguousarray(values, np.float32)
            self.weights.append(numpy_helper.from_array(values, names[-1]))
        self.nodes.append(helper.make_node(op, [self.last, *names], [output], **attrs))
        self.last = output
        return self

    def model(self, name, shape, classes):
        """The ModelProto for an input [batch, *shape]."""
        batch = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *shape])]
        result = [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, ["batch", classes])]
        graph = helper.make_graph(self.nodes, name, batch, result, self.weights)
        opset = helper.make_opsetid("", 13)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(model)
        return model


def digits_mlp(folder, name):
    """As iris_forest()."""
    x, y, _ = data("digits")
    x_train, y_train, _, _ = split(x / 16, y)
    mlp = MLPClassifier((32,), random_state=1, max_iter=60, learning_rate_init=0.005)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged after 60 rounds, and need not
        mlp.fit(x_train, y_train)
    net = Net()
    for i, (w, b) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        net.add("Gemm", w, b)
        net.add("Relu") if i == 0 else net.add("Softmax", axis=1)
    return write_net(folder, name, net.model(name, (64,), 10), (64,))


def digits_cnn(folder, name):
    """As iris_forest()."""
    x, y, _ = data("digits")
    x_train, y_train, _, _ = split(x.reshape(-1, 1, 8, 8) / 16, y)
    w = train_cnn(x_train, y_train)
    net = Net()
    net.add("Conv", w[0], w[1], pads=[1, 1, 1, 1], kernel_shape=[3, 3]).add("Relu")
    net.add("Conv", w[2], w[3], pads=[1] * 4, strides=[2, 2], group=8, kernel_shape=[3, 3])
    net.add("Relu")
    net.add("Conv", w[4], w[5], kernel_shape=[1, 1]).add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Flatten").add("Gemm", w[6], w[7]).add("Softmax", axis=1)
    return write_net(folder, name, net.model(name, (1, 8, 8), 10), (1, 8, 8))


def write_net(folder, name, model, shape):
    """Write the ONNX model, calibrate and convert it."""
    source = folder / f"{name}.onnx"
    onnx.save(model, source)
    x, y, _ = data("digits")
    x = (x / 16).reshape(-1, *shape)
    np.savez(folder / f"{name}.npz", x=x, y=y)
    x_train, _, x_test, y_test = split(x, y)
    graph = onnx_reader.read(source, name)
    axes = graph.meta.get("pre", {}).get("axes", [None])[0]
    samples = calibrate.fit(x_train[:300], graph.inputs[0].shape, axes, "digits")
    quantised = calibrate.quantise(graph, [samples])
    quantised.meta["labels"] = [str(i) for i in range(10)]
    file = build.build(quantised)
    (folder / f"{name}.mgm").write_bytes(file)
    return accuracy(
        file, quantised, calibrate.fit(x_test, graph.inputs[0].shape, axes, ""), y_test
    )


def accuracy(file, graph, x, y):
    """Share of right answers of a file, run by the C core."""
    from mcpgw.convert.run import GraphModel

    scale, zero = graph.inputs[0].quantisation
    q = np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)
    model = GraphModel(file)
    return np.mean(
        [model.run(row[None])[0].argmax() == want for row, want in zip(q, y, strict=True)]
    )


def train_cnn(x, y, rounds=25, rate=0.004):
    """
    Weights of a small convolutional net, trained by Adam in numpy.

    Layers: 3x3 conv to 8 channels, 3x3 depthwise conv of stride 2, 1x1 conv to 16, each with a
    ReLU; 2x2 max pool; fully connected to 10.
    """
    random = np.random.default_rng(1)
    shapes = [(8, 1, 3, 3), (8,), (8, 1, 3, 3), (8,), (16, 8, 1, 1), (16,), (64, 10), (10,)]
    fans = [9, 1, 9, 1, 8, 1, 64, 1]
    w = [
        random.normal(0, np.sqrt(2 / fan), s) * (len(s) > 1)
        for s, fan in zip(shapes, fans, strict=True)
    ]
    first = [np.zeros(s) for s in shapes]
    second = [np.zeros(s) for s in shapes]
    step = 0
    for _ in range(rounds):
        order = random.permutation(len(x))
        for at in range(0, len(x), 64):
            batch = order[at : at + 64]
            step += 1
            for i, g in enumerate(gradients(w, x[batch], y[batch])):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g * g
                mean = first[i] / (1 - 0.9**step)
                w[i] = w[i] - rate * mean / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
    return w


def patches(x, stride):
    """3x3 neighbourhoods of [n, c, h, w] with a border of zeros: [n, c, h/stride, w/stride, 9]."""
    views = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )[:, :, ::stride, ::stride]
    return views.reshape(*views.shape[:4], 9)


def gradients(w, x, y):
    """Of the mean cross entropy over a batch, by each of the weights."""
    n = len(x)
    p1 = patches(x, 1)
    a1 = np.einsum("nchwk,ock->nohw", p1, w[0].reshape(8, 1, 9)) + w[1][:, None, None]
    p2 = patches(np.maximum(a1, 0), 2)
    a2 = np.einsum("nchwk,ck->nchw", p2, w[2].reshape(8, 9)) + w[3][:, None, None]
    r2 = np.maximum(a2, 0)
    a3 = np.einsum("nchw,oc->nohw", r2, w[4][:, :, 0, 0]) + w[5][:, None, None]
    r3 = np.maximum(a3, 0)
    pooled = r3.reshape(n, 16, 2, 2, 2, 2).max(axis=(3, 5))
    logits = pooled.reshape(n, -1) @ w[6] + w[7]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    d = e / e.sum(axis=1, keepdims=True)
    d[np.arange(n), y] -= 1
    d /= n
    g6, g7 = pooled.reshape(n, -1).T @ d, d.sum(axis=0)
    is_largest = r3.reshape(n, 16, 2, 2, 2, 2) == pooled[:, :, :, None, :, None]
    d3 = (d @ w[6].T).reshape(n, 16, 2, 1, 2, 1) * is_largest
    d3 = d3.reshape(n, 16, 4, 4) * (a3 > 0)
    g4, g5 = np.einsum("nohw,nchw->oc", d3, r2)[:, :, None, None], d3.sum(axis=(0, 2, 3))
    d2 = np.einsum("nohw,oc->nchw", d3, w[4][:, :, 0, 0]) * (a2 > 0)
    g2, g3 = np.einsum("nchw,nchwk->ck", d2, p2).reshape(8, 1, 3, 3), d2.sum(axis=(0, 2, 3))
    # Back through the strided windows: each of the nine places adds to where it came from.
    d1 = np.zeros((n, 8, 10, 10))
    for k in range(9):
        row, column = divmod(k, 3)
        d1[:, :, row : row + 8 : 2, column : column + 8 : 2] += (
            d2 * w[2].reshape(8, 9)[:, k][:, None, None]
        )
    d1 = d1[:, :, 1:9, 1:9] * (a1 > 0)
    g0 = np.einsum("nohw,nchwk->ok", d1, p1).reshape(8, 1, 3, 3)
    return g0, d1.sum(axis=(0, 2, 3)), g2, g3, g4, g5, g6, g7


MODELS = {
    "iris-forest": iris_forest,
    "wine-neighbours": wine_neighbours,
    "cancer-boosting": cancer_boosting,
    "machine-outliers": machine_outliers,
    "diabetes-trees": diabetes_trees,
    "digits-mlp": digits_mlp,
    "digits-cnn": digits_cnn,
}


def train(folder, names=None):
    """{name: quality} of the models, written into a folder; quality as their functions say."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # One thread: sums in another order would be other weights.
    with threadpool_limits(1):
        return {name: MODELS[name](folder, name) for name in names or MODELS}


def main():
    """The command."""
    parser = argparse.ArgumentParser(description="Train and convert the repository's own models.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(MODELS)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.name) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    for name in args.name or MODELS:
        (quality,) = train(args.output, [name]).values()
        size = (args.output / f"{name}.mgm").stat().st_size
        print(f"{name}: {quality:.3f}, {size} bytes")


if __name__ == "__main__":
    main()
