"""Post-training quantisation: float models, from TFLite and ONNX, keep their accuracy in int8."""

import numpy as np
import onnx_models
import pytest
import tflite_maker
from mcpgw import UserError
from mcpgw.convert import build, calibrate, floats, sources, tflite
from mcpgw.convert import onnx as reader
from mcpgw.convert.graph import Graph, Node, Tensor
from mcpgw.convert.run import GraphModel
from tflite_runtime.interpreter import Interpreter


def on_core(graph, x):
    """Real outputs of an int8 graph, by the C core, for real inputs [samples, ...]."""
    core = GraphModel(build.build(graph))
    scale, zero = graph.inputs[0].quantisation
    q = np.clip(np.rint(x / scale) + zero, -128, 127).astype(np.int8)
    out_scale, out_zero = graph.outputs[0].quantisation
    rows = [core.run(row[None])[0].astype(np.int64).ravel() for row in q]
    return (np.array(rows) - out_zero) * out_scale


@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp"])
@pytest.mark.parametrize("percentile", [100.0, 99.9])
def test_accuracy_on_digits(name, percentile, models_dir):
    with np.load(models_dir / f"{name}.npz") as data:
        x, y = data["x"], data["y"]
    graph = reader.read(models_dir / f"{name}.onnx")
    axes = graph.meta["pre"].get("axes", [None])[0]
    x = calibrate.fit(x, graph.inputs[0].shape, axes, name)
    (real,) = floats.execute(graph, [x])
    quantised = calibrate.quantise(graph, [x[1::5]], percentile)
    got = on_core(quantised, x).argmax(axis=1)
    before, after = (real.argmax(axis=1) == y).mean(), (got == y).mean()
    print(f"{name}: {before:.4f} in float, {after:.4f} in int8")
    assert before > 0.96
    assert after > before - 0.005
    assert (got == real.argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize(
    "case", onnx_models.OPERATORS + onnx_models.FLOAT_ONLY, ids=lambda c: c[0]
)
def test_every_operator_stays_near_its_float_form(case):
    proto, x = onnx_models.build(case)
    graph = reader.read(proto.SerializeToString(), case[0])
    axes = graph.meta["pre"].get("axes", [None])[0]
    x = calibrate.fit(x, graph.inputs[0].shape, axes, "x")
    (real,) = floats.execute(graph, [x])
    quantised = calibrate.quantise(graph, [x])
    got = on_core(quantised, x)
    span = np.ptp(real)
    error = np.abs(got - real.reshape(len(x), -1))
    # Of 256 steps: half a one from each of some roundings, on the average far less.
    assert error.max() < span * 0.05, error.max() / span
    assert error.mean() < span * 0.006, error.mean() / span


def test_the_scheme_is_tflites():
    """Zero is a value of every scale; weights are symmetric per channel; biases fit the sums."""
    proto, x = onnx_models.build(onnx_models.OPERATORS[0])
    graph = reader.read(proto.SerializeToString())
    x = calibrate.fit(np.abs(x) + 1, graph.inputs[0].shape, [0, 2, 3, 1], "x")
    quantised = calibrate.quantise(graph, [x])
    scale, zero = quantised.inputs[0].quantisation
    assert zero == -128 and scale == np.float32(x.max() / 255)
    node = quantised.nodes[0]
    _, weights, bias = node.inputs
    assert weights.axis == 0 and weights.scale.size == 5 and not weights.zero_point.any()
    assert np.abs(weights.data).reshape(5, -1).max(axis=1).tolist() == [127] * 5
    assert np.allclose(bias.scale, scale * weights.scale)
    real = floats.real(graph.nodes[0].inputs[2])
    assert np.abs(bias.data * bias.scale - real).max() <= bias.scale.max()


def test_weights_of_zeros_and_large_biases():
    x = Tensor("x", (1, 4), "float32")
    y = Tensor("y", (1, 2), "float32")
    w = Tensor("w", (2, 4), "float32", data=np.float32([[0, 0, 0, 0], [1e-12, 0, 0, 1e-12]]))
    b = Tensor("b", (2,), "float32", data=np.float32([3, -40000]))
    node = Node("FULLY_CONNECTED", [x, w, b], [y], {"activation": "NONE"})
    samples = np.random.default_rng(1).normal(0, 1, (20, 4)).astype(np.float32)
    quantised = calibrate.quantise(Graph("g", [x], [y], [node]), [samples])
    got = on_core(quantised, samples)
    assert np.abs(got - [3, -40000]).max() < quantised.outputs[0].quantisation[0]


def test_percentiles_cut_outliers():
    proto, x = onnx_models.build(("r", (50,), [("Relu", "x", "y", {})], {}))
    x[0, 0] = 1000
    graph = reader.read(proto.SerializeToString())
    whole = calibrate.quantise(graph, [x]).inputs[0].quantisation[0]
    cut = calibrate.quantise(graph, [x], 99.5).inputs[0].quantisation[0]
    assert whole > 3.9 and cut < 0.05


def test_samples_of_every_format(tmp_path):
    proto, x = onnx_models.build(onnx_models.OPERATORS[0])
    graph = reader.read(proto.SerializeToString())
    moved = x.transpose(0, 2, 3, 1)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=moved, y=np.zeros(24))
    rows = x.reshape(24, -1)
    header = ",".join(f"f{i}" for i in range(rows.shape[1]))
    np.savetxt(tmp_path / "c.csv", rows, delimiter=",", header=header, comments="")
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",")
    for name in ("a.npy", "b.npz", "c.csv", "d.csv"):
        (got,) = calibrate.load_samples(tmp_path / name, graph)
        assert got.shape == (24, 9, 7, 3)
        assert np.abs(got - moved).max() < 1e-6


@pytest.mark.parametrize(
    "name, content, what",
    [
        ("none.npy", None, "there is no file"),
        ("a.npy", b"hello", "cannot be read as npy"),
        ("a.npz", b"hello", "cannot be read as npz"),
        ("a.csv", b"a,b\n1,x\n", "cannot be read as csv"),
        ("a.txt", b"1 2 3", "sample data is .npy, .npz or .csv"),
        ("b.csv", b"1,2,3\n", "a sample has"),
        ("c.csv", b"1,2,nan,4\n", "not finite"),
    ],
)
def test_samples_that_are_none(name, content, what, tmp_path):
    proto, _ = onnx_models.build(("r", (4,), [("Relu", "x", "y", {})], {}))
    graph = reader.read(proto.SerializeToString())
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=what):
        calibrate.load_samples(tmp_path / name, graph)


def float_tflite(stored):
    """A .tflite file that computes in floating point; `stored`: as what its weights are kept."""
    maker = tflite_maker.Maker(4)
    random = np.random.default_rng(4)

    def weights(*shape):
        values = random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        if stored == "float32":
            return maker.constant(values, "float32")
        if stored == "float16":
            wide = maker.output(shape, dtype="float32")
            return maker.op("DEQUANTIZE", [maker.constant(values, "float16")], wide)
        scale = float(np.float32(np.abs(values).max() / 127))
        q = np.round(values / scale).astype(np.int8)
        return maker._tensor(shape, "int8", scale, 0, q)

    def add(op, inputs, shape, kind, **options):
        return maker.op(op, inputs, maker.output(shape, dtype="float32"), kind, **options)

    x = maker.input((1, 9, 8, 3), "float32")
    options = tflite_maker._window_options((2, 2), (1, 1), "SAME", "RELU6")
    bias = maker.constant(random.normal(0, 0.3, 6), "float32")
    y = add("CONV_2D", [x, weights(6, 3, 3, 3), bias], (1, 5, 4, 6), "Conv2DOptions", **options)
    y = add("RESHAPE", [y, maker.constant([1, 120])], (1, 120), None)
    bias = maker.constant(random.normal(0, 0.3, 7), "float32")
    y = add("FULLY_CONNECTED", [y, weights(7, 120), bias], (1, 7), "FullyConnectedOptions")
    y = add("LOGISTIC", [y], (1, 7), None)
    return maker.finish([x], [y])


@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
def test_float_tflite(stored, tmp_path):
    source = tmp_path / "net.tflite"
    source.write_bytes(float_tflite(stored))
    x = np.random.default_rng(2).normal(0, 1, (60, 9, 8, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    graph = tflite.read(source)
    sources.fold_constants(graph)
    (real,) = floats.execute(graph, [x])
    options = sources.Options(calibrate=tmp_path / "x.npy")
    converted = sources.convert(source, options)
    assert converted.is_calibrated
    got = on_core(converted.graph, x)
    assert np.abs(got - real).max() < 0.05
    if stored != "int8":
        # In float as TFLite computes it, which for weights in int8 quantises activations, too.
        reference = Interpreter(str(source))
        reference.allocate_tensors()
        for row, mine in zip(x, real, strict=True):
            reference.set_tensor(reference.get_input_details()[0]["index"], row[None])
            reference.invoke()
            want = reference.get_tensor(reference.get_output_details()[0]["index"])
            assert np.abs(mine - want).max() < 1e-5
    with pytest.raises(UserError, match="computes in floating point"):
        sources.convert(source, sources.Options())
