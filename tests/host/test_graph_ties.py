"""Scales that are powers of two, where both of the reference's roundings meet ties."""

import numpy as np
import pytest
from graph_oracle import Reference
from mcpgw.convert import pack, tflite
from mcpgw.convert.build import build
from mcpgw.convert.run import GraphModel
from test_array_engine import run
from tflite_maker import Maker

from mcp_gw.infer import arrays

VALUES = np.arange(-128, 128, dtype=np.int8)
OPERATORS = {
    "fully_connected": ((256, 1), lambda m, x: m.fully_connected(x, 1)),
    "conv": ((1, 16, 16, 1), lambda m, x: m.conv(x, 1, (1, 1))),
    "depthwise": ((1, 16, 16, 1), lambda m, x: m.depthwise(x, (1, 1))),
}


def model(name, scale):
    """Of one weight, which is 1, so that each input is an accumulator."""
    maker = Maker(1)
    shape, make = OPERATORS[name]
    x = maker.input(shape, scale=1.0, zero=0)
    y = make(maker, x)
    y.scale, y.zero = 1.0, 0
    for tensor in maker.tensors:
        if tensor.data is not None:
            tensor.data = np.full_like(tensor.data, tensor.dtype == "int8")
            tensor.scale = np.array([scale], np.float32)
    return maker.finish([x], [y])


@pytest.mark.parametrize("name", OPERATORS)
def test_ties(name):
    x = VALUES.reshape(OPERATORS[name][0])
    for halvings in range(1, 7):
        original = model(name, 0.5**halvings)
        (due,) = Reference(original).run(x)
        for target in ("portable", "rp2040"):
            file = build(tflite.read(original), pack.packer(target))
            (found,) = GraphModel(file).run(x)
            assert (found == due).all(), (halvings, target)
        (found,) = run(arrays, build(tflite.read(original)), [x])
        assert found == due.tobytes(), halvings
