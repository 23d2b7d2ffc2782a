"""ONNX models: what they become computes what onnxruntime does, float and quantised."""

import random

import numpy as np
import onnx
import onnx_models
import pytest
import soak
from mcpgw import UserError
from mcpgw.convert import build, calibrate
from mcpgw.convert import onnx as reader
from mcpgw.convert.floats import execute
from mcpgw.convert.run import GraphModel

CASES = {case[0]: case for case in (*onnx_models.OPERATORS, *onnx_models.FLOAT_ONLY)}
FORMS = [("QDQ", "QInt8"), ("QDQ", "QUInt8"), ("QOperator", "QInt8"), ("QOperator", "QUInt8")]


def in_models_order(graph, x):
    """Samples of the source with their axes in the model's order."""
    axes = graph.meta.get("pre", {}).get("axes", [None])[0]
    return calibrate.fit(x, graph.inputs[0].shape, axes, "x")


def run_core(graph, x):
    """Real outputs [samples, size] of the compiled graph for real inputs."""
    core = GraphModel(build.build(graph))
    scale, zero = graph.inputs[0].quantisation
    # As onnxruntime quantises its input.
    q = np.clip(np.rint(x / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    out_scale, out_zero = graph.outputs[0].quantisation
    rows = [core.run(row[None])[0].astype(np.int64).ravel() for row in q]
    return (np.array(rows) - out_zero) * out_scale


@pytest.mark.parametrize("name", CASES)
def test_float_operator(name):
    proto, x = onnx_models.build(CASES[name])
    graph = reader.read(proto.SerializeToString(), name)
    (got,) = execute(graph, [in_models_order(graph, x)])
    session = onnx_models.session(proto)
    want = np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])
    # Outputs are in the source's order, whatever was moved inside.
    assert graph.outputs[0].shape == (1, *want.shape[1:])
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-4 * max(1, np.abs(want).max())


# What onnxruntime's quantiser leaves in floating point.
NOT_QUANTISED = ("mean-image", "mean-channels", "tanh", "subtract-from", "divide")


@pytest.mark.parametrize("name", [case[0] for case in onnx_models.OPERATORS])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantised_operator(name, form, tmp_path):
    proto, x = onnx_models.build(onnx_models.behind(CASES[name]))
    onnx.save(proto, tmp_path / "float.onnx")
    paths = (tmp_path / "float.onnx", tmp_path / "int8.onnx")
    proto = onnx_models.quantised(*paths, "x", x, form, "QInt8", name != "matmul")
    if name in NOT_QUANTISED:
        with pytest.raises(UserError, match="quantised in part"):
            reader.read(proto.SerializeToString(), name)
        return
    graph = reader.read(proto.SerializeToString(), name)
    got = run_core(graph, in_models_order(graph, x))
    session = onnx_models.session(proto)
    want = np.concatenate([session.run(None, {"x": row[None]})[0].ravel()[None] for row in x])
    steps = np.abs(got - want) / graph.outputs[0].quantisation[0]
    print(f"{(steps > 0.01).sum()} of {steps.size} differ, by {steps.max():.1f} steps at most")
    # Softmax has a scale of its own. Padded means are rounded twice: to the input's scale, and
    # from it to that of the output. Means of windows end in ties, which floats decide there.
    allowed = {
        "softmax": (1, 1.51),
        "average-pads": (0.7, 2.01),
        "average-pool-tiles": (0.1, 1.01),
    }
    share, largest = allowed.get(name, (0.005, 1.01))
    assert steps.max() < largest
    assert (steps > 0.01).mean() <= share


@pytest.mark.parametrize("name", ["digits-cnn", "digits-mlp"])
@pytest.mark.parametrize("form, activation", FORMS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_same_class_on_every_sample(name, form, activation, per_channel, models_dir, tmp_path):
    x = np.load(models_dir / f"{name}.npz")["x"]
    target = tmp_path / "int8.onnx"
    onnx_models.quantised(
        *(models_dir / f"{name}.onnx", target),
        *("pixels", x[:200], form, activation, per_channel),
    )
    graph = reader.read(target)
    got = run_core(graph, in_models_order(graph, x))
    want = onnx_models.session(str(target)).run(None, {"pixels": x})[0]
    assert len(x) == 1797
    assert (got.argmax(axis=1) == want.argmax(axis=1)).all()
    assert np.abs(got - want).max() < 2 / 255


def test_images_are_read_in_the_models_order():
    proto, x = onnx_models.build(CASES["conv"])
    graph = reader.read(proto.SerializeToString())
    assert graph.inputs[0].shape == (1, 9, 7, 3)
    assert graph.meta["pre"] == {"values": "real", "axes": [[0, 2, 3, 1]]}
    moved = calibrate.fit(x, (1, 9, 7, 3), [0, 2, 3, 1], "x")
    assert (moved == x.transpose(0, 2, 3, 1)).all()
    # Rows are the source's, and images may be in either order where that can be told.
    assert (calibrate.fit(x.reshape(24, -1), (1, 9, 7, 3), [0, 2, 3, 1], "x") == moved).all()
    assert (calibrate.fit(moved, (1, 9, 7, 3), [0, 2, 3, 1], "x") == moved).all()


def broken(nodes, shape=(4, 4, 4), **weights):
    """Bytes of a model that is not supported."""
    made = {k: v if isinstance(v, np.ndarray) else v for k, v in weights.items()}
    return onnx_models.model(nodes, shape, made).SerializeToString()


W = np.zeros((4, 1, 3, 3), np.float32)
W2 = np.zeros((4, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    "source, what",
    [
        (b"", "not an ONNX model"),
        (b"hello", "not an ONNX model"),
        (broken([("LSTM", "x w w", "y", {"hidden_size": 3})], w=W), "not one of"),
        (broken([("Conv", "x x", "y", {})]), "only constants are supported"),
        (
            broken([("Conv", "x w", "y", {"group": 2})], shape=(3, 4, 4), w=W2),
            "2 groups of 2 channels do not make 3",
        ),
        (broken([("Clip", "x low", "y", {})], low=np.float32(0.3)), "0.3 .. inf is not supported"),
        (broken([("MatMul", "x x", "y", {})]), "constant matrix"),
        (
            broken([("Resize", "x e e s", "y", {})], e=W[:0].ravel(), s=np.ones(4, np.float32)),
            "Resize",
        ),
        (
            broken([("DynamicQuantizeLinear", "x", "q s z", {}), ("Relu", "x", "y", {})]),
            "DynamicQuantizeLinear 0",
        ),
    ],
)
def test_what_is_not_supported_is_said(source, what):
    with pytest.raises(UserError, match=what):
        reader.read(source)


def test_weights_with_zero_points_are_refused():
    weights = {"s": np.float32(0.1), "z": np.uint8(3), "w": np.ones((5, 12), np.uint8)}
    nodes = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("DequantizeLinear", "w s z", "v", {}),
        ("Gemm", "d v", "y", {"transB": 1}),
    ]
    source = onnx_models.model(nodes, (12,), weights).SerializeToString()
    with pytest.raises(UserError, match="WeightSymmetric"):
        reader.read(source)


def test_a_model_quantised_in_part_is_refused():
    weights = {"s": np.float32(0.1), "z": np.int8(3), "w": np.ones((5, 12), np.float32)}
    nodes = [
        ("QuantizeLinear", "x s z", "q", {}),
        ("DequantizeLinear", "q s z", "d", {}),
        ("Gemm", "d w", "g", {"transB": 1}),
        ("Relu", "g", "y", {}),
    ]
    source = onnx_models.model(nodes, (12,), weights).SerializeToString()
    with pytest.raises(UserError, match="quantised in part"):
        reader.read(source)


@pytest.mark.filterwarnings("ignore:overflow")
def test_damaged_models_convert_or_are_refused(seed):
    r = random.Random(seed)
    sources = [onnx_models.build(case)[0].SerializeToString() for case in CASES.values()]
    refused = 0
    count = soak.count(500, 20_000)
    for _ in range(count):
        source = bytearray(r.choice(sources))
        for _ in range(r.choice((1, 2, 3))):
            source[r.randrange(len(source))] = r.choice((0, 1, 2, 255, r.randrange(256)))
        try:
            reader.read(bytes(source))
        except UserError as error:
            refused += 1
            assert str(error)
    assert count // 10 < refused < count * 9 // 10
