"""_qnn as a native module, `make natmod`: TFLite's outputs, on each kind of processor that is
emulated here. The firmware's own _qnn is not used."""

import os

import numpy as np
import pytest
import targets
from mcpgw import romfs
from mcpgw.sim import CortexM3Sim, CortexM4FSim, PicoSim
from romfs import flash_with
from test_graph_packed import SCRIPT, check, files_of, made_net

# What kind of module, and of weights, a board takes.
KINDS = {
    "unix": ("x64", "host"),
    "cortex-m3": ("armv7m", "portable"),
    "cortex-m4f": ("armv7emsp", "cortex-m4"),
    "pico": ("armv6m", "rp2040"),
}
SIMS = {"cortex-m3": CortexM3Sim, "cortex-m4f": CortexM4FSim}


def module(arch):
    path = targets.BUILD / "natmod" / arch / "qnn.mpy"
    if not path.exists():
        reason = f"{path} is not built: make natmod"
        if os.environ.get("MCPGW_ALLOW_MISSING"):
            pytest.skip(reason)
        pytest.fail(reason)
    return path.read_bytes()


def run(board, tmp_path, files, script):
    if board == "unix":
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        script = script.replace("/rom/", f"{tmp_path}/")
        script = script.replace("open(", "fopen(")
        script = f"def fopen(name, mode):\n    return open(name, mode).read()\n{script}"
        return targets.UnixTarget(tmp_path).run(f"import sys\nsys.path[:] = ['']\n{script}")
    if board == "pico":
        flash = flash_with(tmp_path / "flash.img", files)
        with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
            return targets.run(sim, script)
    image = tmp_path / "rom.img"
    image.write_bytes(romfs.build(files))
    with SIMS[board](targets.firmware(board), rom=image) as sim:
        return targets.run(sim, script)


@pytest.mark.parametrize("board", KINDS)
def test_models(board, tmp_path, data_dir, seed):
    arch, target = KINDS[board]
    rng = np.random.default_rng(seed)
    files = {"qnn.mpy": module(arch)}
    for name in ("ad01_int8", "kws_ref_model"):
        original = (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()
        files |= files_of(name, original, target, rng, 1, 1)
    files |= files_of("resnet8", made_net("resnet8", seed), target, rng, 0, 1)
    names = [name[:-4] for name in files if name.endswith(".mgm")]
    script = SCRIPT.replace(
        "import _qnn", "import sys\nsys.path.append('/rom')\nimport qnn as _qnn"
    )
    calls = "".join(f"run({name!r}, 100000)\n" for name in names)
    check(run(board, tmp_path, files, script + calls), names)
