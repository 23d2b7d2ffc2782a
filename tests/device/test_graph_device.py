"""Int8 models on the boards, in place from ROM: TFLite's outputs, in the arena and little more."""

import sys

import numpy as np
import pytest
import soak
import targets
from mcpgw import romfs
from mcpgw.convert import tflite
from mcpgw.convert.build import build
from mcpgw.convert.pack import packer
from mcpgw.sim import CortexM3Sim, PicoSim
from romfs import flash_with

sys.path.insert(0, str(targets.ROOT / "tests" / "host"))
from graph_nets import NETS  # noqa: E402
from graph_oracle import Reference, random_inputs, structured_inputs  # noqa: E402
from tflite_maker import Maker  # noqa: E402

SCRIPT = """
import gc, _qnn

def run(folder, name):
    inputs = memoryview(open(folder + name + '.in', 'rb').read())
    outputs = open(folder + name + '.out', 'rb').read()
    file = open(folder + name + '.mgm', 'rb')
    if folder != '/rom/':
        file = file.read()
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    model = memoryview(file)
    arena = _qnn.info(model)[2]
    graph = _qnn.Graph(model, bytearray(arena))
    x = graph.input()
    n = len(x)
    for i in range(n):
        x[i] = 1
    graph.begin()
    while graph.step(20000):
        pass
    graph.output()
    dtype, _, _, dims = graph.shape(0)
    taken = gc.mem_alloc() - before - arena
    gc.enable()
    wrong = 0
    out = len(bytes(graph.output()))
    for k in range(len(inputs) // n):
        part = inputs[k * n:(k + 1) * n]
        for i in range(n):
            x[i] = part[i] if dtype == 'B' or part[i] < 128 else part[i] - 256
        graph.run()
        if bytes(graph.output()) != outputs[k * out:(k + 1) * out]:
            wrong += 1
    print(name, len(inputs) // n, wrong, taken, dtype, dims)
"""


def model_files(name, file, random, structured, seed, target=None):
    """{file name: bytes} of a model, inputs for it and what TFLite's reference makes of them."""
    reference = Reference(file)
    rng = np.random.default_rng(seed)
    runs = [random_inputs(reference.inputs, rng) for _ in range(random)]
    runs += structured_inputs(reference.inputs, rng, structured)
    outputs = [reference.run(*x) for x in runs]
    return {
        f"{name}.mgm": build(tflite.read(file, name), packer(target) if target else None),
        f"{name}.in": b"".join(x.tobytes() for (x,) in runs),
        f"{name}.out": b"".join(y.tobytes() for (y,) in outputs),
    }


def mlperf(data_dir, name):
    return (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()


def made(name):
    maker = Maker(7)
    return maker.finish(*NETS[name](maker))


def check(out, models):
    """models: {name: number of runs}."""
    for line, (name, runs) in zip(out.splitlines(), models.items(), strict=True):
        print(line)
        found, count, wrong, taken, *_ = line.split()
        assert (found, int(count), int(wrong)) == (name, runs, 0), line
        assert int(taken) < 1024, line


def script(folder, models):
    return SCRIPT + "".join(f"run({folder!r}, {name!r})\n" for name in models)


def on_unix(tmp_path, files, models):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    check(targets.UnixTarget(tmp_path).run(script(f"{tmp_path}/", models)), models)


def on_the_cortex_m3(tmp_path, files, models):
    image = tmp_path / "rom.img"
    image.write_bytes(romfs.build(files))
    with CortexM3Sim(targets.firmware("cortex-m3"), rom=image) as sim:
        check(targets.run(sim, script("/rom/", models)), models)


def on_the_pico(tmp_path, files, models):
    flash = flash_with(tmp_path / "flash.img", files)
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        check(targets.run(sim, script("/rom/", models)), models)


# Weights laid out for the Pico's processor on the Pico, plain ones elsewhere.
PACKED_FOR = {"unix": None, "cortex-m3": None, "pico": "rp2040"}
RUN_ON = {"unix": on_unix, "cortex-m3": on_the_cortex_m3, "pico": on_the_pico}


@pytest.mark.parametrize("where", RUN_ON)
def test_mlperf_tiny(where, tmp_path, data_dir, seed):
    random, structured = {
        "unix": (100, 25),
        "cortex-m3": (soak.count(20, 200), 14),
        "pico": (soak.count(3, 30), soak.count(4, 14)),
    }[where]
    files = {}
    for name in ("ad01_int8", "kws_ref_model"):
        files |= model_files(
            name, mlperf(data_dir, name), random, structured, seed, PACKED_FOR[where]
        )
    models = dict.fromkeys(("ad01_int8", "kws_ref_model"), random + structured)
    RUN_ON[where](tmp_path, files, models)


@pytest.mark.parametrize("where", RUN_ON)
def test_nets(where, tmp_path, seed):
    """Residual adds, three channels, strides, paddings, dilations, gates, uint8 and float."""
    runs = {"unix": 14, "cortex-m3": 7, "pico": soak.count(2, 7)}[where]
    files = {}
    for name in ("resnet8", "inverted_residuals"):
        files |= model_files(name, made(name), 0, runs, seed, PACKED_FOR[where])
    RUN_ON[where](tmp_path, files, dict.fromkeys(("resnet8", "inverted_residuals"), runs))
