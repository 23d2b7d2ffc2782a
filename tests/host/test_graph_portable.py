"""The portable kernels, which this machine would leave to faster ones of its own."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import soak
from graph_nets import NETS
from graph_oracle import agree
from mcpgw import native
from mcpgw.convert import pack, run
from test_graph_layouts import DENSE, made
from tflite_maker import Maker

MODELS = soak.count(8, 300)


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    """The core without kernels for this processor, in place of the usual one."""
    out = tmp_path_factory.mktemp("portable") / "core.so"
    sources = [f for f in native.sources() if f.parent.name == "qnn" and "llama" not in f.stem]
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-strict-aliasing", "-fPIC"]
    flags += ["-shared", "-DQNN_PORTABLE"]
    subprocess.run([shutil.which("cc"), *flags, "-o", out, *sources], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "library", lambda: ctypes.CDLL(str(out)))
        run._library.cache_clear()
        yield
    run._library.cache_clear()


@pytest.mark.parametrize("name", DENSE)
def test_operator(portable, name, seed):
    rng = np.random.default_rng([seed, list(DENSE).index(name)])
    for i in range(MODELS):
        budget = int(rng.choice((1, 5000, 1 << 30)))
        layout = pack.packer(("portable", "rp2040")[i % 2])
        agree(made(name, rng), rng, 2, 7, budget, layout)


def test_net(portable, seed):
    maker = Maker(seed)
    agree(maker.finish(*NETS["resnet8"](maker)), np.random.default_rng(seed), 1, 7)
