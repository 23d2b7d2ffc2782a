"""`--check`: a converted model against the runtime of its source, over given and random inputs."""

from dataclasses import dataclass

import numpy as np

from mcpgw import UserError
from mcpgw.convert.features import RANKED, values_of
from mcpgw.convert.forest import Forest
from mcpgw.convert.inputs import Runner
from mcpgw.words import counted


@dataclass
class Result:
    """
    What a check found.

    Args:
        count: inputs compared.
        mismatches: of them, those whose answers differ where they must not.
        lines: what to tell.
    """

    count: int
    mismatches: int
    lines: list


def check(converted, count=100, seed=1):
    """
    Compare a Converted model with its source's runtime.

    Args:
        converted: see sources.py.
        count: how many random inputs to add to its samples.
        seed: of the random inputs.

    Raises:
        UserError: the runtime is not installed, or there is none for this source.
    """
    random = np.random.default_rng(seed)
    if converted.kind == "sklearn":
        return _sklearn(converted, count, random)
    if converted.kind == "onnx":
        return _graph(converted, _onnx(converted), count, random)
    if converted.kind == "tflite":
        return _graph(converted, _tflite(converted), count, random)
    raise UserError("--check knows no runtime for language models")


def _missing(package, note=""):
    return UserError(f"--check needs {package}{note}: pip install {package}")


# ---- graphs


def _tflite(converted):
    try:
        from tflite_runtime.interpreter import Interpreter, OpResolverType
    except ModuleNotFoundError:
        # Other packages of the same interpreter round otherwise.
        raise _missing("tflite-runtime==2.14.0", " (Python 3.11 at most)") from None
    # The default kernels are not the reference, and differ from it by one here and there.
    interpreter = Interpreter(
        str(converted.path),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()

    def run(inputs):
        for info, value in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(info["index"], value.reshape(info["shape"]))
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        return [interpreter.get_tensor(info["index"]) for info in outputs]

    return run


def _onnx(converted):
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise _missing("onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(converted.path), options)
    axes = converted.source.meta.get("pre", {}).get("axes")
    names = [item.name for item in session.get_inputs()]

    def run(inputs):
        feeds = {}
        for i, (name, value) in enumerate(zip(names, inputs, strict=True)):
            if axes:
                # Back into the source's order.
                value = value.transpose(np.argsort(axes[i]))
            feeds[name] = np.ascontiguousarray(value, np.float32)
        return session.run(None, feeds)

    return run


def _random_inputs(converted, random):
    """One input of each, [1, ...]: floats of the range that the int8 graph can hold."""
    result = []
    for tensor, source in zip(converted.graph.inputs, converted.source.inputs, strict=True):
        if tensor.dtype == "float32":
            result.append(random.normal(0, 1, tensor.shape).astype(np.float32))
            continue
        limits = np.iinfo(tensor.dtype)
        q = random.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype)
        is_float = source.dtype == "float32" or converted.kind == "onnx"
        scale, zero = tensor.quantisation if is_float else (1, 0)
        result.append(((q - float(zero)) * scale).astype(np.float32) if is_float else q)
    return result


def _graph(converted, source, count, random):
    """Bit for bit for TFLite's int8; within steps of the outputs, and by classes, for the rest."""
    runner = Runner(converted.file)
    cases = [[s[i : i + 1] for s in converted.samples] for i in range(_len(converted.samples))]
    given = len(cases)
    cases += [_random_inputs(converted, random) for _ in range(count)]
    is_exact = converted.kind == "tflite" and not converted.is_calibrated
    outputs = converted.graph.outputs
    steps = [t.quantisation[0] if t.scale is not None else 1.0 for t in outputs]
    unequal = differ = outside = 0
    worst = 0.0
    for number, inputs in enumerate(cases):
        want = source([_as_source(converted, i, x) for i, x in enumerate(inputs)])
        got = _run(runner, converted, inputs)
        if is_exact:
            same = all(
                np.array_equal(a.ravel(), b.ravel()) for a, b in zip(got, want, strict=True)
            )
            unequal += not same
            continue
        real = [
            (a.astype(np.float64) - (t.quantisation[1] if t.scale is not None else 0)) * step
            for a, t, step in zip(got, outputs, steps, strict=True)
        ]
        off = max(
            np.abs(a.ravel() - _real_of(b, t).ravel()).max() / step
            for a, b, t, step in zip(real, want, outputs, steps, strict=True)
        )
        worst = max(worst, off)
        outside += off > 1.5
        if outputs[0].size > 1:
            mine, theirs = real[0].ravel(), np.asarray(want[0]).ravel()
            # Where the source itself has two best ones, either is right.
            differs = theirs[mine.argmax()] < theirs.max() - 1e-9
            differ += differs and (number < given or not converted.is_calibrated)
    total = len(cases)
    inputs = counted(count, "random input")
    told = [f"  checked {given} given and {inputs} against {_NAMES[converted.kind]}"]
    if is_exact:
        told.append(f"  {unequal} of {total} differ in any output; all are compared bit for bit")
        return Result(total, unequal, told)
    told.append(
        f"  outputs are at most {worst:.1f} steps of their scale apart; {outside} more than 1.5"
    )
    if outputs[0].size > 1:
        of = given if converted.is_calibrated else total
        told.append(f"  the largest output is another one for {differ} of {counted(of, 'input')}")
    if converted.is_calibrated:
        told.append("  the source computes in floating point: int8 cannot be the same")
        return Result(total, 0, told)
    return Result(total, differ, told)


_NAMES = {"tflite": "tflite-runtime's reference kernels", "onnx": "onnxruntime"}


def _len(samples):
    return len(samples[0]) if samples else 0


def _as_source(converted, i, x):
    """An input as the source takes it."""
    dtype = converted.source.inputs[i].dtype
    if converted.kind == "onnx" or x.dtype == dtype:
        return x
    if dtype == "float32":
        return x.astype(np.float32)
    return _quantise(x, converted.graph.inputs[i])


def _quantise(x, tensor):
    scale, zero = tensor.quantisation
    limits = np.iinfo(tensor.dtype)
    q = np.rint(x / np.float32(scale)) + zero
    return np.clip(q, limits.min, limits.max).astype(tensor.dtype)


def _run(runner, converted, inputs):
    taken = []
    for x, tensor in zip(inputs, converted.graph.inputs, strict=True):
        taken.append(x if x.dtype == tensor.dtype else _quantise(x, tensor))
    return runner.core.run(*taken)


def _real_of(values, tensor):
    """The source's output as real values: an int8 one has the scale of the graph's."""
    values = np.asarray(values)
    if values.dtype == np.float32 or tensor.scale is None:
        return values.astype(np.float64)
    scale, zero = tensor.quantisation
    if values.dtype == np.uint8:
        zero += 128
    return (values.astype(np.float64) - zero) * scale


# ---- trees and neighbours


def _sklearn(converted, count, random):
    estimator, model = converted.source, converted.model
    runner = Runner(converted.file)
    x = _random_features(model, count, random)
    given = _len(converted.samples)
    if given:
        x = np.concatenate([converted.samples[0], x])
    want = estimator.predict(x.astype(np.float64))
    inputs = counted(count, "random input")
    told = [f"  checked {given} given and {inputs} against scikit-learn"]
    if not runner.is_classifier():
        got = np.array([runner.real(row)[0] for row in x])
        want = np.asarray(want, float).reshape(got.shape)
        off = np.abs(got - want)
        bad = int((off.max(axis=1) > 1e-4 * max(1.0, np.abs(want).max())).sum())
        told.append(f"  values are at most {off.max():.3g} apart; {bad} of {len(x)} differ")
        return Result(len(x), bad, told)
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "classes_"):
        want = np.searchsorted(last.classes_, want)
    elif hasattr(last, "offset_"):
        want = (want + 1) // 2
    got = np.array([runner.raw(row) and runner.chosen for row in x])
    bad = int((got != want).sum())
    told.append(f"  the class is another one for {bad} of {len(x)}")
    return Result(len(x), bad, told)


def _random_features(model, count, random):
    """Values around what the model compares with."""
    columns = []
    for i, feature in enumerate(model.features):
        if isinstance(model, Forest):
            if feature.encoding == RANKED:
                known = values_of(feature.keys).astype(np.float64)
            else:
                mine = model.nodes["t"][(model.nodes["f"] & 0x7FFF) == i].astype(np.float64)
                known = (mine + feature.offset) * 2.0**-feature.exponent
            known = known[np.isfinite(known)]
            known = known if known.size else np.zeros(1)
            low, high = known.min(), known.max()
            spread = (high - low) or 1.0
            columns.append(random.uniform(low - spread / 4, high + spread / 4, count))
        else:
            scale = feature.multiplier * 2.0**feature.exponent
            offset = feature.offset + feature.fraction / 65536
            near = model.vectors[random.integers(0, model.n_vectors, count), i]
            spread = max(1.0, float(np.ptp(model.vectors[:, i]))) / 10
            columns.append((near + random.normal(0, spread, count) - offset) / scale)
    return np.stack(columns, axis=1).astype(np.float32)
