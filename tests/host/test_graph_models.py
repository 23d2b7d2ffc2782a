"""Whole models: equal to TFLite's reference in every output."""

import numpy as np
import pytest
import soak
from graph_nets import NETS
from graph_oracle import agree
from tflite_maker import Maker


@pytest.mark.parametrize("name", ["ad01_int8", "kws_ref_model"])
def test_mlperf_tiny(name, data_dir, seed):
    """500 random and 50 structured inputs."""
    file = (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()
    assert agree(file, np.random.default_rng(seed), 500, 50) >= 550 * 12


@pytest.mark.parametrize("name", NETS)
def test_nets(name, seed):
    rng = np.random.default_rng(seed)
    for _ in range(soak.count(2, 30)):
        maker = Maker(int(rng.integers(1 << 60)))
        inputs, outputs = NETS[name](maker)
        budget = int(rng.choice((3000, 1 << 30)))
        agree(maker.finish(inputs, outputs), rng, soak.count(4, 20), 7, budget)
