"""Int8 models: cycles, instructions and times per MAC, beside what others have published or do in
the same run. A row of 'published' is derived from MLPerf Tiny's logs."""

import ctypes
import time

import numpy as np
import targets
from figures import Row, below
from mcpgw import romfs
from mcpgw.convert import pack, tflite
from mcpgw.convert.build import build
from mcpgw.convert.run import GraphModel
from mcpgw.sim import CortexM4FSim, PicoSim
from romfs import flash_with

MODELS = {"ad": "ad01_int8", "kws": "kws_ref_model"}
DATA = targets.ROOT.parent / "shared" / "data" / "mlperf-tiny"
CLOCK_MHZ = 125
RUNS = 5
# Cycles a MAC: most that the RP2040 may take, and published for a Cortex-M0+.
RP2040 = {"ad": (4.0, 11.3), "kws": (5.0, 16.4)}
# Instructions a MAC on a Cortex-M4; published cycles with microTVM and CMSIS-NN, Bosch, ST.
CORTEX_M4 = {"ad": (None, "3.9, 2.6, 2.2"), "kws": (1.7, "4.5, 2.8, 2.0")}
X86_TIMES = 8

LOAD = """
import _qnn
from array import array
def load(name):
    model = memoryview(open('/rom/' + name + '.mgm', 'rb'))
    return _qnn.Graph(model, bytearray(_qnn.info(model)[2]))
"""
ON_PICO = """
from time import ticks_us, ticks_diff
def run(name):
    graph = load(name)
    inputs = memoryview(open('/rom/' + name + '.in', 'rb'))
    n = len(graph.input())
    for k in range(len(inputs) // n):
        graph.input()[:] = array('b', inputs[k * n:(k + 1) * n])
        begin = ticks_us()
        graph.run()
        print(ticks_diff(ticks_us(), begin))
"""
ON_M4 = """
from board_cost import instructions
def run(name):
    graph = load(name)
    inputs = memoryview(open('/rom/' + name + '.in', 'rb'))
    n = len(graph.input())
    for k in range(len(inputs) // n):
        graph.input()[:] = array('b', inputs[k * n:(k + 1) * n])
        print(instructions(graph.run))
"""


def rows(folder):
    """All rows; none where the models are not there."""
    if not DATA.is_dir():
        yield Row("int8 models", f"not measured: there is no {DATA}")
        return
    originals = {name: (DATA / f"{file}.tflite").read_bytes() for name, file in MODELS.items()}
    for xip_cache in (False, True):
        yield from on_the_pico(folder, originals, xip_cache)
    yield from on_the_cortex_m4(folder, originals)
    for name, original in originals.items():
        yield on_x86(name, original)


def files_for(originals, target):
    """({file name: bytes}, {name: MACs}): models and random inputs."""
    files, macs = {}, {}
    rng = np.random.default_rng(1)
    for name, original in originals.items():
        file = build(tflite.read(original, name), pack.packer(target))
        model = GraphModel(file)
        macs[name] = model.macs
        files[f"{name}.mgm"] = file
        files[f"{name}.in"] = rng.bytes(RUNS * model.inputs[0].size)
    return files, macs


def on_the_pico(folder, originals, xip_cache):
    files, macs = files_for(originals, "rp2040")
    flash = flash_with(folder / f"flash-{xip_cache}.img", files)
    options = {"flash": flash, "speed": 0, "xip_cache": xip_cache}
    with PicoSim(targets.firmware("pico"), **options) as sim:
        for name in originals:
            out = targets.run(sim, f"{LOAD}{ON_PICO}run({name!r})", timeout=300)
            us = float(np.mean([int(text) for text in out.split()]))
            cycles = us * CLOCK_MHZ / macs[name]
            most, published = RP2040[name]
            shown = f"{cycles:.2f} cycles/MAC, {us / 1000:.1f} ms; published {published}"
            if xip_cache:
                yield Row(f"{name} int8, RP2040 with a model of its flash cache", shown)
            else:
                what = f"{name} int8, RP2040, mean of {RUNS} runs"
                yield below(what, cycles, most, shown, "cycles/MAC")


def on_the_cortex_m4(folder, originals):
    files, macs = files_for(originals, "cortex-m4")
    rom = folder / "rom.img"
    rom.write_bytes(romfs.build(files))
    with CortexM4FSim(targets.firmware("cortex-m4f"), rom=rom, icount=6) as sim:
        for name in originals:
            out = targets.run(sim, f"{LOAD}{ON_M4}run({name!r})", timeout=300)
            count = float(np.mean([int(text) for text in out.split()]))
            most, published = CORTEX_M4[name]
            shown = f"{count / macs[name]:.2f} instructions/MAC; published cycles {published}"
            what = f"{name} int8, Cortex-M4F, instructions"
            if most is None:
                yield Row(what, shown)
            else:
                yield below(what, count / macs[name], most, shown, "instructions/MAC")


def on_x86(name, original):
    """One thread, the three in turn, the best of several rounds."""
    try:
        from tflite_runtime.interpreter import Interpreter, OpResolverType
    except ImportError:
        return Row(f"{name} int8, this machine", "not measured: tflite-runtime is not installed")
    model = GraphModel(build(tflite.read(original), pack.packer("host")))
    model.run(*(np.zeros(x.shape, x.dtype) for x in model.inputs))
    run = ctypes.byref(model._run)

    def ours():
        model._lib.qnn_begin(run)
        while model._lib.qnn_step(run, 1 << 30):
            pass

    programs = [ours]
    for resolver in (OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN):
        made = Interpreter(
            model_content=original, num_threads=1, experimental_op_resolver_type=resolver
        )
        made.allocate_tensors()
        programs.append(made.invoke)
    times = max(1, 20_000_000 // model.macs)
    rounds = np.array([round_of(programs, times) for _ in range(9)])
    mine, reference, optimised = (float(column.min()) for column in rounds.T)
    shown = f"{mine * 1e6:.0f} us, {model.macs / mine / 1e9:.1f} GMAC/s: "
    shown += f"{reference / mine:.1f} times TFLite's reference kernels ({reference * 1e6:.0f} us),"
    shown += f" {optimised / mine:.1f} times its optimised ones ({optimised * 1e6:.0f} us)"
    what = f"{name} int8, this machine, one thread"
    return Row(what, shown, f"> {X86_TIMES} times", reference / mine > X86_TIMES)


def round_of(programs, times):
    """Seconds of a run of each."""
    out = []
    for program in programs:
        begin = time.perf_counter()
        for _ in range(times):
            program()
        out.append((time.perf_counter() - begin) / times)
    return out
