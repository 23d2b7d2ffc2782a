"""Models of one operator each, random in shape, scales and weights, equal TFLite's reference."""

import numpy as np
import pytest
import soak
from graph_cases import CASES
from graph_oracle import agree
from tflite_maker import Maker

MODELS = soak.count(40, 1000)


@pytest.mark.parametrize("name", CASES)
def test_operator(name, seed):
    rng = np.random.default_rng([seed, list(CASES).index(name)])
    compared = 0
    for _ in range(MODELS):
        maker = Maker(int(rng.integers(1 << 60)))
        inputs, outputs = CASES[name](maker, rng)
        # A small budget cuts the operator into its smallest pieces.
        budget = int(rng.choice((1, 5000, 1 << 30)))
        compared += agree(maker.finish(inputs, outputs), rng, 5, 7, budget)
    assert compared > MODELS * 12
