"""TFLite's reference kernels beside the C core: the same file, the same inputs, equal outputs."""

import numpy as np
import pytest
from mcpgw.convert import tflite
from mcpgw.convert.build import build
from mcpgw.convert.run import GraphModel


class Reference:
    """A .tflite file (bytes) in tflite-runtime with its reference kernels, which round twice."""

    def __init__(self, file):
        runtime = pytest.importorskip("tflite_runtime.interpreter")
        self._made = runtime.Interpreter(
            model_content=file,
            experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_REF,
        )
        self._made.allocate_tensors()
        self.inputs = self._made.get_input_details()

    def run(self, *inputs):
        """Outputs for arrays in the shapes of self.inputs."""
        for details, x in zip(self.inputs, inputs, strict=True):
            self._made.set_tensor(details["index"], x)
        self._made.invoke()
        return [self._made.get_tensor(d["index"]) for d in self._made.get_output_details()]


def random_inputs(details, rng):
    """Inputs for one run."""
    out = []
    for d in details:
        if d["dtype"] == np.float32:
            out.append((rng.standard_normal(d["shape"]) * 10 ** rng.uniform(-2, 3)).astype("f4"))
        else:
            info = np.iinfo(d["dtype"])
            out.append(rng.integers(info.min, info.max + 1, d["shape"]).astype(d["dtype"]))
    return out


def structured_inputs(details, rng, count):
    """Inputs with a form: constants, ramps, single points, halves, stripes, small noise."""
    runs = []
    for i in range(count):
        run = []
        for d in details:
            low, high = (-100, 100) if d["dtype"] == np.float32 else _limits(d["dtype"])
            n = int(np.prod(d["shape"]))
            kind = i % 7
            if kind == 0:
                x = np.full(n, (low, high, 0, low + 1, high - 1)[i // 7 % 5])
            elif kind == 1:
                x = np.linspace(low, high, n) if i % 2 else np.linspace(high, low, n)
            elif kind == 2:
                x = np.full(n, (low + high) // 2)
                x[rng.integers(n)] = high
            elif kind == 3:
                x = np.where(np.arange(n) < n // 2, low, high)
            elif kind == 4:
                x = np.where(np.arange(n) // (1 + i // 7) % 2, low, high)
            elif kind == 5:
                x = rng.integers(-2, 3, n) + (low + high) // 2
            else:
                x = np.where(rng.random(n) < 0.05, high, low)
            run.append(np.clip(x, low, high).astype(d["dtype"]).reshape(d["shape"]))
        runs.append(run)
    return runs


def _limits(dtype):
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def agree(file, rng, random, structured, budget=1 << 30, pack=None):
    """Asserts that reference and core agree; returns how many outputs were compared."""
    reference = Reference(file)
    model = GraphModel(build(tflite.read(file), pack), budget)
    runs = [random_inputs(reference.inputs, rng) for _ in range(random)]
    runs += structured_inputs(reference.inputs, rng, structured)
    compared = 0
    for inputs in runs:
        expected, found = reference.run(*inputs), model.run(*inputs)
        for a, b in zip(expected, found, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            wrong = np.argwhere(a != b)
            assert not len(wrong), (
                f"{len(wrong)} of {a.size}, first {wrong[0]}: {a[a != b][:4]}, {b[a != b][:4]}"
            )
            compared += a.size
    return compared
