"""The engine over arrays gives the integers of TFLite's reference, with nothing but what ulab
has."""

from contextlib import nullcontext

import numpy as np
import pytest
import soak
import ulab_shim
from graph_cases import CASES
from graph_nets import NETS
from graph_oracle import Reference, random_inputs, structured_inputs
from mcpgw.convert import tflite
from mcpgw.convert.build import build
from mcpgw.convert.graph_file import read
from mcpgw.convert.pack import packer
from tflite_maker import Maker

from mcp_gw.infer import arrays

MODELS = soak.count(4, 200)
PLACES = {"numpy": lambda: nullcontext(arrays), "ulab": ulab_shim.arrays}


def run(engine, file, inputs, budget=20000):
    """Outputs of an engine (a module as mcp_gw.infer.arrays): a list of arrays of their bytes."""
    engine.check(file)
    graph = engine.Graph(memoryview(file), bytearray(engine.info(file)[2]))
    for i, x in enumerate(inputs):
        memoryview(graph.input(i)).cast("B")[:] = x.tobytes()
    graph.begin()
    while graph.step(budget):
        pass
    return [bytes(graph.output(i)) for i in range(graph.counts()[1])]


def agree(engine, original, rng, random, structured, target="portable"):
    """Asserts that reference and engine agree on a .tflite file, its weights laid out for a
    target; returns how many outputs were compared."""
    reference = Reference(original)
    file = build(tflite.read(original), packer(target))
    runs = [random_inputs(reference.inputs, rng) for _ in range(random)]
    runs += structured_inputs(reference.inputs, rng, structured)
    compared = 0
    for inputs in runs:
        expected = reference.run(*inputs)
        for due, found in zip(expected, run(engine, file, inputs), strict=True):
            found = np.frombuffer(found, due.dtype).reshape(due.shape)
            assert (found == due).all(), (found[found != due][:4], due[found != due][:4])
            compared += due.size
    return compared


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CASES)
def test_operator(name, place, seed):
    rng = np.random.default_rng([seed, list(CASES).index(name)])
    with PLACES[place]() as engine:
        for i in range(MODELS):
            maker = Maker(int(rng.integers(1 << 60)))
            inputs, outputs = CASES[name](maker, rng)
            target = ("portable", "rp2040")[i % 2]
            assert agree(engine, maker.finish(inputs, outputs), rng, 1, 2, target)


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model"])
def test_whole_models(name, data_dir, seed):
    original = (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()
    rng = np.random.default_rng(seed)
    agree(arrays, original, rng, soak.count(10, 500), soak.count(5, 50))
    agree(arrays, original, rng, 2, 1, "rp2040")
    with ulab_shim.arrays() as engine:
        agree(engine, original, rng, 2, 1)
        agree(engine, original, rng, 1, 1, "rp2040")


def test_a_net_with_residuals(seed):
    maker = Maker(seed)
    inputs, outputs = NETS["resnet8"](maker)
    agree(arrays, maker.finish(inputs, outputs), np.random.default_rng(seed), 1, 1)


def test_long_sums(seed):
    """More products than are exact in one float32."""
    rng = np.random.default_rng(seed)
    for place in PLACES.values():
        maker = Maker(seed)
        x = maker.input((2, 3000))
        y = maker.fully_connected(x, 5)
        with place() as engine:
            agree(engine, maker.finish([x], [y]), rng, 2, 7)


def test_what_is_not_a_model_is_refused(seed):
    """No mutated file ends in anything but a clear error, or runs; and the independent reader's
    good file is taken."""
    rng = np.random.default_rng(seed)
    maker = Maker(seed)
    inputs, outputs = CASES["conv"](maker, rng)
    file = build(tflite.read(maker.finish(inputs, outputs)))
    read(file)
    arrays.check(file)
    sections = np.frombuffer(file[16:40], "<u4")
    body = range(int(sections[2]), int(sections[2] + sections[3]))
    for i in range(soak.count(400, 20000)):
        bad = bytearray(file)
        at = int(rng.choice(body)) if i % 2 else int(rng.integers(96))
        bad[at] = int(rng.integers(256))
        try:
            arrays.check(bad)
        except ValueError as e:
            assert " at offset " in str(e)
    for cut in (0, 3, 50, 95, 96, len(file) - 1):
        with pytest.raises(ValueError, match="at offset"):
            arrays.check(file[:cut])
