"""`mcpgw convert` and `mcpgw run`: what they print and write, and a line for what is wrong."""

import importlib.util
import json
import re
import subprocess
import sys

import joblib
import llama_models
import numpy as np
import onnx_models
import pytest
import targets
from mcpgw import cli
from mcpgw.convert import mgm, report
from tflite_maker import Maker

from mcp_gw import config

ROOT = targets.ROOT


def mcpgw(capsys, *args, code=0):
    """(stdout, stderr) of the command, run in this process."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    assert end.value.code == code, err
    return out, err


def test_trees(models_dir, tmp_path, capsys):
    out = tmp_path / "iris.mgm"
    source = models_dir / "iris-forest.joblib"
    args = ("convert", source, "-o", out, "--labels", "setosa,versicolor,virginica", "--check")
    text, err = mcpgw(capsys, *args, "--name", "iris")
    assert "runs code" in err
    assert "10 trees" in text and "rp2040 at 125 MHz: about" in text
    assert "the class is another one for 0 of 100" in text
    file = mgm.read(out.read_bytes())
    assert file.metadata["name"] == "iris"
    text, _ = mcpgw(capsys, "run", out, models_dir / "iris-forest.npz")
    x = np.load(models_dir / "iris-forest.npz")["x"]
    estimator = joblib.load(source)
    names = np.array(["setosa", "versicolor", "virginica"])
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == list(names[estimator.predict(x)])
    shares = estimator.predict_proba(x)
    shown = np.array([float(line.split()[1]) for line in lines])
    assert np.abs(shown - shares.max(axis=1)).max() < 0.0006


def test_neighbours_and_values(models_dir, tmp_path, capsys):
    for name in ("wine-neighbours", "diabetes-trees", "machine-outliers", "cancer-boosting"):
        out = tmp_path / f"{name}.mgm"
        data = models_dir / f"{name}.npz"
        text, _ = mcpgw(
            *(capsys, "convert", models_dir / f"{name}.joblib", "-o", out, "--check"),
            *("--calibrate", data),
        )
        assert "0 of" in text and "given" in text
        mcpgw(capsys, "run", out, data)


def test_a_float_onnx_model(models_dir, tmp_path, capsys):
    source, data = models_dir / "digits-cnn.onnx", models_dir / "digits-cnn.npz"
    out = tmp_path / "digits.mgm"
    _, err = mcpgw(capsys, "convert", source, "-o", out, code=1)
    assert err.startswith("mcpgw: ") and "--calibrate" in err and err.count("\n") == 1
    assert not out.exists()
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit {i}" for i in range(10)) + "\n")
    text, _ = mcpgw(
        *(capsys, "convert", source, "-o", out, "--calibrate", data, "--labels", labels),
        *("--target", "rp2040", "--check", "--inputs", 3),
    )
    assert "1 DEPTHWISE_CONV_2D" in text and "MACs" in text and "images are NHWC" in text
    assert "checked 1797 given and 3 random inputs against onnxruntime" in text
    x, y = (np.load(data)[k] for k in "xy")
    np.save(tmp_path / "some.npy", x[:40])
    text, _ = mcpgw(capsys, "run", out, tmp_path / "some.npy", "--json", "--top", 2)
    answers = [json.loads(line) for line in text.splitlines()]
    assert len(answers) == 40 and all(len(a) == 2 for a in answers)
    right = [a[0]["label"] == f"digit {d}" for a, d in zip(answers, y, strict=False)]
    assert sum(right) > 36


def test_a_quantised_onnx_model(models_dir, tmp_path, capsys):
    x = np.load(models_dir / "digits-mlp.npz")["x"]
    source = tmp_path / "int8.onnx"
    paths = (models_dir / "digits-mlp.onnx", source)
    onnx_models.quantised(*paths, "pixels", x[:100], "QDQ", "QUInt8", True)
    text, _ = mcpgw(
        *(capsys, "convert", source, "--calibrate", models_dir / "digits-mlp.npz", "--check"),
        *("--inputs", 0),
    )
    assert "the largest output is another one for 0 of 1,797 inputs" in text
    assert (tmp_path / "int8.mgm").exists()


def test_tflite_bit_for_bit(tmp_path, capsys):
    maker = Maker(3)
    x = maker.input((1, 6, 5, 3))
    source = tmp_path / "net.tflite"
    source.write_bytes(maker.finish([x], [maker.conv(x, 4, (3, 3))]))
    text, _ = mcpgw(capsys, "convert", source, "--check", "--inputs", 20)
    assert "0 of 20 differ in any output; all are compared bit for bit" in text
    # A raw input is one of the model's own type.
    (tmp_path / "x.bin").write_bytes(bytes(range(90)))
    mcpgw(capsys, "run", tmp_path / "net.mgm", tmp_path / "x.bin")


def test_other_types_and_several_inputs(tmp_path, capsys):
    maker = Maker(5)
    x = maker.input((1, 6, 6, 3), "float32")
    q = maker.op("QUANTIZE", [x], maker.output((1, 6, 6, 3)), None)
    y = maker.conv(q, 4, (3, 3))
    real = maker.op("DEQUANTIZE", [y], maker.output(y.shape, dtype="float32"), None)
    (tmp_path / "float.tflite").write_bytes(maker.finish([x], [real]))
    maker = Maker(6)
    x = maker.input((1, 8), "uint8")
    y = maker.fully_connected(maker.op("QUANTIZE", [x], maker.output((1, 8)), None), 3)
    y = maker.op("QUANTIZE", [y], maker.output((1, 3), dtype="uint8"), None)
    (tmp_path / "bytes.tflite").write_bytes(maker.finish([x], [y]))
    maker = Maker(7)
    a, b = maker.input((1, 8)), maker.input((1, 8))
    (tmp_path / "two.tflite").write_bytes(maker.finish([a, b], [maker.binary("ADD", a, b)]))
    for name in ("float", "bytes", "two"):
        text, _ = mcpgw(capsys, "convert", tmp_path / f"{name}.tflite", "--check", "--inputs", 9)
        assert "0 of 9 differ in any output" in text
    one = np.arange(16, dtype=np.int8).reshape(2, 8)
    np.savez(tmp_path / "in.npz", a=one, b=-one)
    text, _ = mcpgw(capsys, "run", tmp_path / "two.mgm", tmp_path / "in.npz", "--json")
    assert [len(json.loads(line)) for line in text.splitlines()] == [8, 8]
    np.save(tmp_path / "in.npy", one)
    _, err = mcpgw(capsys, "run", tmp_path / "two.mgm", tmp_path / "in.npy", code=1)
    assert "has one array; the model's inputs are" in err


def test_standard_input(models_dir, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mcpgw", "run", models_dir / "iris-forest.mgm", "-"],
        input="[5.1, 3.5, 1.4, 0.2]",
        capture_output=True,
        text=True,
        cwd=ROOT / "tools",
        check=True,
    )
    assert done.stdout.startswith("setosa 1.000")


def test_a_language_model(data_dir, tmp_path, capsys):
    from mcpgw.tokenizer import mgt, readers

    folder = data_dir / "stories260K"
    out = tmp_path / "story.mgm"
    text, _ = mcpgw(
        *(capsys, "convert", folder / "stories260K.bin", "-o", out),
        *("--quant", "q8_0", "--positions", 128),
    )
    assert "5 layers of 64, 8 heads (4 of keys), hidden 172, 512 tokens, q8_0" in text
    assert "RAM is for 128 tokens of context" in text
    assert "for each token" in text
    prompt = "Once upon a time"
    text, err = mcpgw(capsys, "run", out, prompt, code=1)
    assert "there is no vocabulary" in err and text == ""
    vocabulary = readers.llama2c((folder / "tok512.bin").read_bytes())
    (tmp_path / "story.mgt").write_bytes(mgt.pack(vocabulary))
    text, _ = mcpgw(capsys, "run", out, prompt, "--tokens", 12)
    assert text.startswith("Once upon a time, there was a little girl named")
    _, err = mcpgw(capsys, "convert", folder / "stories260K.bin", "--check", "-o", out, code=1)
    assert "knows no runtime for language models" in err


def test_gguf(tmp_path, capsys, seed):
    model = llama_models.spec("grouped", seed)
    source = llama_models.gguf_file(tmp_path / "model.gguf", model, "Q8_0")
    text, _ = mcpgw(capsys, "convert", source, "--name", "small")
    assert "small, llama from gguf" in text
    assert mgm.read((tmp_path / "model.mgm").read_bytes()).kind == mgm.LLAMA
    (tmp_path / "bad.gguf").write_bytes(source.read_bytes()[:200])
    _, err = mcpgw(capsys, "convert", tmp_path / "bad.gguf", code=1)
    assert err.startswith("mcpgw: ") and "internal error" not in err


@pytest.mark.parametrize(
    "args, what",
    [
        (["convert", "none.onnx"], "there is no file none.onnx"),
        (["convert", "notes.txt"], "it is not known what this is"),
        (["convert", "iris.mgm"], "is a converted model already"),
        (["convert", "bad.tflite"], "bad.tflite: not a TFLite model"),
        (["convert", "bad.onnx"], "bad.onnx: not an ONNX model"),
        (["convert", "iris.joblib", "-o", "iris.joblib"], "iris.joblib is read and cannot be"),
        (["convert", "iris.joblib", "-o", "./iris.joblib"], "is read and cannot be written over"),
        (["convert", "iris.joblib", "-o", "."], "is a folder"),
        (["convert", "iris.joblib", "--labels", ""], "names with commas"),
        (
            ["convert", "iris.joblib", "--labels", "none.txt"],
            "--labels: there is no file none.txt",
        ),
        (["convert", "iris.joblib", "--labels", "latin.txt"], "latin.txt: it is no text in UTF-8"),
        (["convert", "bad.joblib"], "not a pickled estimator"),
        (["convert", "bad.bin"], "checkpoint"),
        (["convert", "iris.joblib", "--labels", "a,b"], "2 labels for 3 classes"),
        (["convert", "iris.joblib", "--labels", "a,,b"], "names with commas"),
        (["convert", "iris.joblib", "--quant", "row"], "for language models"),
        (["convert", "iris.joblib", "-o", "nowhere/x.mgm"], "there is no folder nowhere"),
        (["convert", "iris.joblib", "--calibrate", "three.csv"], "the model takes"),
        (["run", "none.mgm", "-"], "there is no file none.mgm"),
        (["run", "bad.onnx", "three.csv"], "bad.onnx: not a model"),
        (["run", "iris.mgm", "latin.json"], "latin.json is no text in UTF-8"),
        (["run", "iris.mgm", "text.csv"], "line 3: could not convert string to float: 'x'"),
        (["run", "iris.mgm", "ragged.csv"], "line 2: 1 value, and 4 before"),
        (["run", "cut.mgm", "three.csv"], "cut short"),
        (["run", "iris.mgm", "three.csv"], r"a sample has \[4\]"),
        (["run", "iris.mgm", "bad.json"], "is not JSON of numbers"),
        (["run", "iris.mgm", "none.json"], "there is no file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(args, what, models_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for ending in ("onnx", "tflite", "joblib", "bin", "json"):
        (tmp_path / f"bad.{ending}").write_bytes(b"no such thing")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "three.csv").write_text("1,2,3\n")
    (tmp_path / "text.csv").write_text("a,b,c,d\n1,2,3,4\n1,x,3,4\n")
    (tmp_path / "ragged.csv").write_text("1,2,3,4\n1\n")
    for ending in ("txt", "json"):
        (tmp_path / f"latin.{ending}").write_bytes(b"\xe9t\xe9\n")
    whole = (models_dir / "iris-forest.mgm").read_bytes()
    (tmp_path / "iris.mgm").write_bytes(whole)
    (tmp_path / "cut.mgm").write_bytes(whole[:600])
    (tmp_path / "iris.joblib").write_bytes((models_dir / "iris-forest.joblib").read_bytes())
    source = (tmp_path / "iris.joblib").read_bytes()
    _, err = mcpgw(capsys, *args, code=1)
    line = err.splitlines()[-1]
    assert line.startswith("mcpgw: ")
    assert re.search(what, line), line
    assert (tmp_path / "iris.joblib").read_bytes() == source


def test_a_first_number_behind_a_byte_order_mark(models_dir, tmp_path, capsys):
    (tmp_path / "x.csv").write_text("\ufeff5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n", "utf-8")
    text, _ = mcpgw(capsys, "run", models_dir / "iris-forest.mgm", tmp_path / "x.csv")
    assert [line.split()[0] for line in text.splitlines()] == ["setosa", "virginica"]


def test_what_a_board_will_lack_is_reported(tmp_path, capsys):
    maker = Maker(3)
    x = maker.input((1, 300, 300, 2))
    (tmp_path / "net.tflite").write_bytes(maker.finish([x], [maker.conv(x, 1, (1, 1))]))
    text, _ = mcpgw(capsys, "convert", tmp_path / "net.tflite")
    assert "no labels: with --labels it brings the tool `classify`" in text
    assert "more RAM than the 131,072 bytes" in text


def test_the_ram_of_boards(monkeypatch):
    monkeypatch.setattr(config, "_SMALL", True)
    assert config.limits()["model_ram"][0] == report.MODEL_RAM


def test_without_numpy(models_dir, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "numpy" else find(name, *a)
    )
    for args in (("convert", models_dir / "iris-forest.joblib"), ("run", "model.mgm", "-")):
        _, err = mcpgw(capsys, *args, code=1)
        assert err == "mcpgw: numpy is not installed: pip install 'mcpgw[convert]'\n"


@pytest.mark.parametrize("package, ending", [("tflite", "tflite"), ("gguf", "gguf")])
def test_without_a_package(package, ending, tmp_path, capsys, monkeypatch):
    source = tmp_path / f"net.{ending}"
    source.write_bytes(b"\0\0\0\0TFL3" + bytes(40))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"mcpgw.convert.{ending}", raising=False)
    monkeypatch.delattr(f"mcpgw.convert.{ending}", raising=False)
    _, err = mcpgw(capsys, "convert", source, code=1)
    assert err == f"mcpgw: {package} is not installed: pip install 'mcpgw[convert]'\n"


def test_wrong_options(models_dir, capsys):
    source = models_dir / "iris-forest.joblib"
    _, err = mcpgw(capsys, "convert", source, "--target", "z80", code=2)
    assert "there are portable, rp2040" in err
    _, err = mcpgw(capsys, "convert", source, "--percentile", "12", code=2)
    assert "between 50 and 100" in err
    _, err = mcpgw(capsys, "convert", source, "--rounding", "up", code=2)
    assert "source and tflite" in err
