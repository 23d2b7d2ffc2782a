"""Converted models on every board, in place from ROM: trees, neighbours and ONNX nets answer as on
the host, and trees as scikit-learn does."""

import sys
from array import array

import joblib
import numpy as np
import pytest
import soak
import targets
from mcpgw import romfs
from mcpgw.convert import build, calibrate, mgm
from mcpgw.convert import onnx as onnx_reader
from mcpgw.convert.pack import packer
from mcpgw.convert.run import GraphModel
from mcpgw.convert.run_classic import Neighbours, Trees
from mcpgw.sim import CortexM3Sim, PicoSim
from romfs import flash_with

sys.path.insert(0, str(targets.ROOT / "tests" / "host"))
import onnx_models  # noqa: E402

CLASSIC = (
    "iris-forest",
    "wine-neighbours",
    "cancer-boosting",
    "machine-outliers",
    "diabetes-trees",
)

SCRIPT = """
import gc, _qnn
from array import array

def opened(folder, name):
    file = open(folder + name + '.mgm', 'rb')
    return memoryview(file if folder == '/rom/' else file.read())

def numbers(folder, name, kind):
    return array(kind, open(folder + name, 'rb').read())

def classic(folder, name, kind, steps):
    gc.collect()
    before = gc.mem_alloc()
    file = opened(folder, name)
    _qnn.check(file)
    model = getattr(_qnn, kind)(file)
    taken = gc.mem_alloc() - before
    features, scores, is_class = model.info()
    x = numbers(folder, name + '.in', 'f')
    want = numbers(folder, name + '.out', 'i')
    got = array('i', [0] * scores)
    wrong = 0
    for k in range(len(x) // features):
        row = x[k * features:(k + 1) * features]
        if steps:
            model.begin(row)
            while model.step(100):
                pass
            answer = model.predict()
        else:
            answer = model.predict(row)
        model.scores(got)
        expected = want[k * (scores + 1):(k + 1) * (scores + 1)]
        if answer != (expected[0] if is_class else expected[1]) or got != expected[1:]:
            wrong += 1
    print(name, len(x) // features, wrong, taken if folder == '/rom/' else 0)

def net(folder, name):
    file = opened(folder, name)
    graph = _qnn.Graph(file, bytearray(_qnn.info(file)[2]))
    x = numbers(folder, name + '.in', 'b')
    want = numbers(folder, name + '.out', 'b')
    into, wrong = graph.input(), 0
    n, out = len(into), len(bytes(graph.output()))
    for k in range(len(x) // n):
        for i in range(n):
            into[i] = x[k * n + i]
        graph.run()
        if bytes(graph.output()) != bytes(want[k * out:(k + 1) * out]):
            wrong += 1
    print(name, len(x) // n, wrong, 0)
"""


def classic_files(folder, name, rows):
    """{file name: bytes} of a model of kind 2 or 3, samples, and (class, scores) of each."""
    file = (folder / f"{name}.mgm").read_bytes()
    x = np.load(folder / f"{name}.npz")["x"][:: max(1, 150 // rows)][:rows].astype(np.float32)
    core = (Trees if mgm.read(file).kind == mgm.TREES else Neighbours)(file)
    out = array("i")
    estimator = joblib.load(folder / f"{name}.joblib")
    for row, said in zip(x, estimator.predict(x.astype(np.float64)), strict=True):
        answer, scores = core.run(row)
        if "outliers" in name:
            said = (said + 1) // 2
        assert said == answer or "diabetes" in name
        out.extend([answer, *scores.tolist()])
    return {f"{name}.mgm": file, f"{name}.in": x.tobytes(), f"{name}.out": out.tobytes()}


def net_files(folder, scratch, name, rows, target):
    """The same for an ONNX model that onnxruntime has quantised."""
    x = np.load(folder / f"{name}.npz")["x"]
    quantised = scratch / f"{name}.onnx"
    onnx_models.quantised(
        folder / f"{name}.onnx", quantised, "pixels", x[:100], "QDQ", "QInt8", True
    )
    graph = onnx_reader.read(quantised, name)
    axes = graph.meta["pre"].get("axes", [None])[0]
    scale, zero = graph.inputs[0].quantisation
    real = calibrate.fit(x[:rows], graph.inputs[0].shape, axes, name)
    q = np.clip(np.rint(real / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    plain = GraphModel(build.build(graph))
    out = b"".join(plain.run(row)[0].tobytes() for row in q)
    file = build.build(graph, packer(target))
    assert target != "rp2040" or file != build.build(graph)
    return {f"{name}.mgm": file, f"{name}.in": q.tobytes(), f"{name}.out": out}


def on_unix(tmp_path, files, script):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return targets.UnixTarget(tmp_path).run(script(f"{tmp_path}/"))


def on_the_cortex_m3(tmp_path, files, script):
    image = tmp_path / "rom.img"
    image.write_bytes(romfs.build(files))
    with CortexM3Sim(targets.firmware("cortex-m3"), rom=image) as sim:
        return targets.run(sim, script("/rom/"))


def on_the_pico(tmp_path, files, script):
    flash = flash_with(tmp_path / "flash.img", files)
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        return targets.run(sim, script("/rom/"))


RUN_ON = {"unix": on_unix, "cortex-m3": on_the_cortex_m3, "pico": on_the_pico}


@pytest.mark.parametrize("where", RUN_ON)
def test_models(where, models_dir, tmp_path):
    rows = {"unix": 150, "cortex-m3": 50, "pico": soak.count(8, 50)}[where]
    target = "rp2040" if where == "pico" else "portable"
    files = {}
    for name in CLASSIC:
        files |= classic_files(models_dir, name, rows)
    for name in ("digits-cnn", "digits-mlp"):
        files |= net_files(models_dir, tmp_path, name, rows, target)

    def script(folder):
        text = SCRIPT
        for name in CLASSIC:
            kind = "Neighbours" if "neighbours" in name else "Trees"
            for steps in (0, 1) if kind == "Neighbours" else (0,):
                text += f"classic({folder!r}, {name!r}, {kind!r}, {steps})\n"
        return text + "".join(f"net({folder!r}, {n!r})\n" for n in ("digits-cnn", "digits-mlp"))

    out = RUN_ON[where](tmp_path, files, script)
    print(out)
    lines = [line.split() for line in out.splitlines()]
    assert len(lines) == len(CLASSIC) + 3
    for name, count, wrong, taken in lines:
        assert (int(count), int(wrong)) == (rows, 0), name
        # In place: the object with its scores and features, and nothing of the file.
        assert int(taken) < 2048, name


BAD = """
import _qnn
from array import array
def refused(call):
    try:
        call()
    except (ValueError, TypeError) as e:
        print(type(e).__name__, e)
    else:
        print("accepted")
file = open('FOLDERiris-forest.mgm', 'rb').read()
near = open('FOLDERwine-neighbours.mgm', 'rb').read()
refused(lambda: _qnn.Trees(near))
refused(lambda: _qnn.Neighbours(file))
refused(lambda: _qnn.Trees(file[:500]))
refused(lambda: _qnn.check(file[:200] + b'x' * 300 + file[500:]))
t, n = _qnn.Trees(file), _qnn.Neighbours(near)
refused(lambda: t.predict(array('f', [1, 2, 3])))
refused(lambda: t.predict(array('i', [1, 2, 3, 4])))
refused(lambda: t.predict(b'1234'))
refused(lambda: t.predict([1, 2, 3, 4]))
refused(lambda: t.scores(array('i', [0])))
refused(lambda: t.scores(array('f', [0, 0, 0])))
refused(lambda: n.predict(array('f', [float('nan')] * 13)))
refused(lambda: n.distance())
print(t.predict(array('f', [5.1, 3.5, 1.4, 0.2])), t.predict(array('h', [0] * 4)))
n.predict(array('f', [13.0] * 13))
print(n.distance() > 0)
file, near = bytearray(file), bytearray(near)
t, n = _qnn.Trees(file), _qnn.Neighbours(near)
n.begin(array('f', [13.0] * 13))
file.extend(bytes(100000))
near.extend(bytes(100000))
refused(lambda: t.predict(array('h', [0] * 4)))
refused(lambda: n.step(1))
refused(lambda: n.predict())
refused(lambda: n.begin(array('f', [13.0] * 13)))
"""


def test_wrong_use_is_an_error(models_dir, tmp_path):
    for name in ("iris-forest", "wine-neighbours"):
        (tmp_path / f"{name}.mgm").write_bytes((models_dir / f"{name}.mgm").read_bytes())
    out = targets.UnixTarget(tmp_path).run(BAD.replace("FOLDER", f"{tmp_path}/")).splitlines()
    assert out[:2] == ["ValueError a model of another kind at offset 6"] * 2
    assert out[2] == "ValueError file is cut short at offset 8"
    assert out[3].startswith("ValueError ") and " at offset " in out[3]
    whole = "ValueError not array('f') or array('h') of all features"
    assert out[4:7] == [whole] * 3
    assert out[7].startswith("TypeError")
    assert out[8:10] == ["ValueError not array('i') of all scores"] * 2
    assert out[10] == "ValueError a feature is not a number"
    assert out[11] == "ValueError nothing was searched for"
    assert out[12] == "0 0"
    assert out[13:] == ["True"] + ["ValueError model has moved"] * 4
