"""Kernels for a processor give what TFLite's reference does, over random shapes: assembly for
Cortex-M0+ on the emulated Pico, DSP instructions on the Cortex-M4F in QEMU."""

import sys

import numpy as np
import pytest
import soak
import targets
from mcpgw import romfs
from mcpgw.convert import pack, tflite
from mcpgw.convert.build import build, compiled
from mcpgw.convert.program import Dense
from mcpgw.sim import CortexM4FSim, PicoSim
from romfs import flash_with

sys.path.insert(0, str(targets.ROOT / "tests" / "host"))
from graph_nets import NETS  # noqa: E402
from graph_oracle import Reference, random_inputs, structured_inputs  # noqa: E402
from test_graph_layouts import DENSE  # noqa: E402
from tflite_maker import Maker  # noqa: E402

SCRIPT = """
import _qnn
from array import array

def run(name, budget):
    inputs = memoryview(open('/rom/' + name + '.in', 'rb'))
    outputs = memoryview(open('/rom/' + name + '.out', 'rb'))
    model = memoryview(open('/rom/' + name + '.mgm', 'rb'))
    graph = _qnn.Graph(model, bytearray(_qnn.info(model)[2]))
    n = len(graph.input())
    out = len(graph.output())
    wrong = 0
    for k in range(len(inputs) // n):
        graph.input()[:] = array('b', inputs[k * n:(k + 1) * n])
        graph.begin()
        while graph.step(budget):
            pass
        if bytes(graph.output()) != bytes(outputs[k * out:(k + 1) * out]):
            wrong += 1
    print(name, len(inputs) // n, wrong)
"""


def on_the_pico(tmp_path, files, script):
    flash = flash_with(tmp_path / "flash.img", files)
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        return targets.run(sim, script)


def on_the_cortex_m4f(tmp_path, files, script):
    image = tmp_path / "rom.img"
    image.write_bytes(romfs.build(files))
    with CortexM4FSim(targets.firmware("cortex-m4f"), rom=image) as sim:
        return targets.run(sim, script)


RUN_ON = {"rp2040": on_the_pico, "cortex-m4": on_the_cortex_m4f}


def files_of(name, original, target, rng, random, structured):
    """{file name: bytes} of a model for a target, inputs, and the reference's outputs."""
    reference = Reference(original)
    runs = [random_inputs(reference.inputs, rng) for _ in range(random)]
    runs += structured_inputs(reference.inputs, rng, structured)
    return {
        f"{name}.mgm": build(tflite.read(original, name), pack.packer(target)),
        f"{name}.in": b"".join(x.tobytes() for (x,) in runs),
        f"{name}.out": b"".join(reference.run(*x)[0].tobytes() for x in runs),
    }


def made_net(name, seed):
    """The bytes of one of NETS."""
    maker = Maker(seed)
    return maker.finish(*NETS[name](maker))


def check(out, models):
    lines = [line.split() for line in out.splitlines()]
    assert [name for name, _, _ in lines] == list(models)
    assert all(int(runs) > 0 for _, runs, _ in lines)
    wrong = [line for line in lines if int(line[2])]
    assert not wrong, wrong


@pytest.mark.parametrize("target", RUN_ON)
def test_operators(target, tmp_path, seed):
    for turn in range(soak.count(1, 12)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        layouts = operators(target, folder, np.random.default_rng([seed, turn]))
        if target == "rp2040":
            assert layouts >= {pack.ROWS, pack.FOURS, pack.CHANNELS}


def operators(target, folder, rng):
    """Some models of each kind; returns the layouts that they had."""
    files, calls, layouts = {}, [], set()
    for kind, make in DENSE.items():
        for i in range(6):
            maker = Maker(int(rng.integers(1 << 60)))
            original = maker.finish(*make(maker, rng))
            name = f"{kind}_{i}"
            files |= files_of(name, original, target, rng, 1, 2)
            # Pieces of all sizes, whole operators among them.
            calls.append((name, int(rng.choice((1, 3000, 40000, 1 << 29)))))
            program = compiled(tflite.read(original), pack.packer(target))
            layouts |= {op.layout for op in program.ops if isinstance(op, Dense)}
    out = RUN_ON[target](folder, files, SCRIPT + "".join(f"run{call}\n" for call in calls))
    check(out, [name for name, _ in calls])
    return layouts


@pytest.mark.parametrize("target", RUN_ON)
def test_models(target, tmp_path, data_dir, seed):
    rng = np.random.default_rng(seed)
    runs = (soak.count(1, 20), soak.count(2, 14)) if target == "rp2040" else (5, 14)
    files = {}
    for name in ("ad01_int8", "kws_ref_model"):
        original = (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()
        files |= files_of(name, original, target, rng, *runs)
    files |= files_of("resnet8", made_net("resnet8", seed), target, rng, 0, runs[0])
    names = [name[:-4] for name in files if name.endswith(".mgm")]
    calls = "".join(f"run({name!r}, 100000)\n" for name in names)
    check(RUN_ON[target](tmp_path, files, SCRIPT + calls), names)
