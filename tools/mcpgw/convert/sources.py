"""Files of other frameworks, told apart and turned into .mgm files."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mcpgw import UserError
from mcpgw.convert import build, calibrate
from mcpgw.convert.floats import real
from mcpgw.convert.pack import packer
from mcpgw.words import counted

# File name endings of each kind of source.
ENDINGS = {
    "tflite": (".tflite",),
    "onnx": (".onnx",),
    "sklearn": (".joblib", ".pkl", ".pickle"),
    "gguf": (".gguf",),
    "llama2c": (".bin",),
}
# Operators that compute with numbers, unlike those that only move or convert them.
_CONVERTING = ("QUANTIZE", "DEQUANTIZE")


@dataclass
class Options:
    """What the user may say about a conversion; see command.py."""

    name: str | None = None
    target: str = "portable"
    labels: list | None = None
    calibrate: Path | None = None
    percentile: float = 100.0
    quant: str | None = None
    positions: int | None = None
    width: int | None = None
    rounding: str = "source"
    progress: object = None


@dataclass
class Converted:
    """A converted model, and what a report and a check need of it."""

    kind: str
    path: Path
    file: bytes
    # What was read: a Graph as it came, an estimator, a LlamaSpec.
    source: object
    # Kind 1: the Program; kinds 2 and 3: Forest or Nearest.
    model: object = None
    # Kind 1: the int8 Graph that was compiled.
    graph: object = None
    is_calibrated: bool = False
    target: str = "portable"
    samples: list = field(default_factory=list)


def kind_of(path):
    """Which of ENDINGS a file is; UserError if none, or if there is no such file."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    for kind, endings in ENDINGS.items():
        if path.suffix.lower() in endings:
            return kind
    with path.open("rb") as file:
        start = file.read(8)
    if start[4:8] == b"TFL3":
        return "tflite"
    if start[:4] == b"GGUF":
        return "gguf"
    if start[:4] == b"MGM1":
        raise UserError(f"{path} is a converted model already: mcpgw run runs it")
    known = " ".join(e for endings in ENDINGS.values() for e in endings)
    raise UserError(f"{path}: it is not known what this is; models end in one of {known}")


def convert(path, options):
    """
    The Converted model of a file.

    Args:
        path: the source.
        options: Options.

    Raises:
        UserError: with one line that says what is wrong and what to do.
    """
    kind = kind_of(path)
    path = Path(path)
    options.name = options.name or path.stem
    if kind in ("gguf", "llama2c"):
        return _language(kind, path, options)
    if options.quant or options.positions:
        raise UserError("--quant and --positions are for language models (.gguf, .bin)")
    if kind == "sklearn":
        return _estimator(path, options)
    return _graph(kind, path, options)


def _language(kind, path, options):
    from mcpgw.convert import llama

    if options.calibrate or options.labels:
        raise UserError("--calibrate and --labels are not for language models")
    if kind == "gguf":
        from mcpgw.convert import gguf as reader
    else:
        from mcpgw.convert import llama2c as reader
    spec = reader.read(path)
    spec.name = options.name
    file = llama.lower(spec, options.quant, options.positions)
    return Converted(kind, path, file, spec)


def _estimator(path, options):
    from mcpgw.convert import sklearn

    estimator = sklearn.load(path)
    samples = None
    if options.calibrate:
        arrays = calibrate.read_arrays(options.calibrate)
        samples = np.asarray(calibrate.chosen(arrays, ["features"], options.calibrate)[0])
        if samples.ndim != 2 or not np.issubdtype(samples.dtype, np.number):
            raise UserError(f"{options.calibrate}: samples of features are rows of numbers")
    model = sklearn.from_estimator(estimator, options.name, options.labels, options.width, samples)
    kept = [] if samples is None else [samples.astype(np.float32)]
    return Converted("sklearn", path, model.pack(), estimator, model, samples=kept)


def _graph(kind, path, options):
    if options.width:
        raise UserError("--width is for nearest neighbours")
    if kind == "onnx":
        from mcpgw.convert import onnx as reader
    else:
        from mcpgw.convert import tflite as reader
    try:
        source = graph = reader.read(path, options.name)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    fold_constants(graph)
    samples = []
    is_float = needs_calibration(graph)
    if options.calibrate:
        samples = calibrate.load_samples(options.calibrate, graph)
    if is_float and not samples:
        sizes = ", ".join(f"{t.name} {list(t.shape[1:])}" for t in graph.inputs)
        raise UserError(
            f"{path} computes in floating point: give sample data with --calibrate "
            f"(.npy, .npz or .csv; some hundred samples of {sizes})"
        )
    if is_float:
        graph = calibrate.quantise(graph, samples, options.percentile, options.progress)
    if options.labels:
        check_labels(graph, options.labels)
        graph.meta["labels"] = options.labels
    if options.rounding == "tflite":
        for node in graph.nodes:
            node.attrs.pop("rounding", None)
    program = build.compiled(graph, packer(options.target))
    file = build.assemble(program)
    return Converted(kind, path, file, source, program, graph, is_float, options.target, samples)


def fold_constants(graph):
    """Take out what makes floats of constants: float16 or int8 weights of a float model."""
    for node in list(graph.nodes):
        x, y = node.inputs[0], node.outputs[0]
        if node.op == "DEQUANTIZE" and x.is_constant:
            y.data = real(x).reshape(y.shape)
            graph.nodes.remove(node)


def needs_calibration(graph):
    """Whether a graph computes in float32; models of int8 may take and give floats."""
    return any(
        node.op not in _CONVERTING
        and any(t is not None and t.dtype == "float32" for t in (*node.inputs, *node.outputs))
        for node in graph.nodes
    )


def check_labels(graph, labels):
    """UserError unless the first output has as many values as there are labels."""
    size = graph.outputs[0].size
    if size != len(labels):
        raise UserError(
            f"{counted(len(labels), 'label')} for an output of {counted(size, 'value')}"
        )


def parse_labels(text):
    """Labels: comma-separated, or the lines of a file."""
    path = Path(text)
    is_file = "," not in text and path.is_file()
    if path.suffix and "," not in text and not is_file:
        raise UserError(f"--labels: there is no file {text}")
    try:
        parts = path.read_text("utf-8-sig").splitlines() if is_file else text.split(",")
    except UnicodeDecodeError:
        raise UserError(f"--labels {text}: it is no text in UTF-8") from None
    labels = [part.strip() for part in parts]
    if is_file:
        labels = [label for label in labels if label]
    if not labels or not all(labels):
        raise UserError(f"--labels {text}: names with commas between them, or a file of lines")
    return labels
