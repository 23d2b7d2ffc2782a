"""The engine over arrays gives the integers of the C core and of TFLite's reference, with nothing
but what ulab has."""

import numpy as np
import pytest
import soak
import ulab_shim
from mcpgw.convert import tflite
from mcpgw.convert.build import build
from mcpgw.convert.run import GraphModel

from mcp_gw.infer import arrays as over_numpy

MODELS = ("ad01_int8", "kws_ref_model")


def outputs(engine, file, inputs):
    """What an engine (a module as mcp_gw.infer.arrays) makes of each of the inputs, int8
    arrays."""
    engine.check(file)
    graph = engine.Graph(memoryview(file), bytearray(engine.info(file)[2]))
    found = []
    for x in inputs:
        memoryview(graph.input(0)).cast("B")[:] = x.tobytes()
        graph.begin()
        while graph.step(20000):
            pass
        found.append(np.frombuffer(bytes(graph.output(0)), np.int8))
    return found


def oracle(path, inputs):
    """The same by tflite-runtime's reference kernels."""
    runtime = pytest.importorskip("tflite_runtime.interpreter")
    made = runtime.Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_REF,
    )
    made.allocate_tensors()
    given, due = made.get_input_details()[0], made.get_output_details()[0]
    found = []
    for x in inputs:
        made.set_tensor(given["index"], x.reshape(given["shape"]))
        made.invoke()
        found.append(made.get_tensor(due["index"]).ravel())
    return found


@pytest.mark.parametrize("name", MODELS)
def test_whole_models(name, data_dir, seed):
    path = data_dir / "mlperf-tiny" / f"{name}.tflite"
    file = build(tflite.read(path))
    shape = GraphModel(file).inputs[0].shape
    rng = np.random.default_rng(seed)
    inputs = [rng.integers(-128, 128, shape).astype(np.int8) for _ in range(soak.count(20, 500))]
    inputs += [np.full(shape, value, np.int8) for value in (-128, 0, 127)]
    expected = oracle(path, inputs)
    found = outputs(over_numpy, file, inputs)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))
    few = inputs[-5:]
    with ulab_shim.arrays() as over_ulab:
        found = outputs(over_ulab, file, few)
    assert all((a == b).all() for a, b in zip(found, expected[-5:], strict=True))
