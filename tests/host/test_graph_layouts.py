"""Weights laid out for a processor: the core gets TFLite's outputs from them, anywhere."""

import numpy as np
import pytest
import soak
from graph_cases import CASES
from graph_nets import NETS
from graph_oracle import agree
from mcpgw.convert import mgm, pack, tflite
from mcpgw.convert.build import build, compiled
from mcpgw.convert.program import Dense
from mcpgw.convert.run import GraphModel
from tflite_maker import Maker

MODELS = soak.count(12, 400)


def depthwise_3x3(m, r):
    """Wider than a strip of what the Pico does at a time, now and then; several images."""
    x = m.input((int(r.integers(1, 3)), *(int(n) for n in r.integers(3, 33, 2)), 4))
    stride, activation = (int(r.integers(1, 4)),) * 2, r.choice(("NONE", "RELU"))
    args = {"padding": r.choice(("SAME", "VALID")), "multiplier": int(r.integers(1, 3))}
    return [x], [m.depthwise(x, (3, 3), stride, activation=activation, **args)]


DENSE = {name: CASES[name] for name in ("conv", "conv_1x1", "conv_dilated", "fully_connected")}
DENSE["depthwise_3x3"] = depthwise_3x3


def made(name, rng):
    maker = Maker(int(rng.integers(1 << 60)))
    return maker.finish(*DENSE[name](maker, rng))


@pytest.mark.parametrize("name", DENSE)
def test_operator(name, seed):
    rng = np.random.default_rng([seed, list(DENSE).index(name)])
    layouts = set()
    for _ in range(MODELS):
        file = made(name, rng)
        agree(file, rng, 3, 7, int(rng.choice((1, 5000, 1 << 30))), pack.packer("rp2040"))
        layouts |= {op.layout for op in packed_program(file).ops if isinstance(op, Dense)}
    assert layouts - {0}


def packed_program(file):
    return compiled(tflite.read(file), pack.packer("rp2040"))


@pytest.mark.parametrize("name", NETS)
def test_nets(name, seed):
    maker = Maker(seed)
    file = maker.finish(*NETS[name](maker))
    agree(file, np.random.default_rng(seed), 2, 7, 3000, pack.packer("rp2040"))
    program = packed_program(file)
    assert any(op.layout for op in program.ops if isinstance(op, Dense))


def test_mlperf_tiny(data_dir, seed):
    for name in ("ad01_int8", "kws_ref_model"):
        file = (data_dir / "mlperf-tiny" / f"{name}.tflite").read_bytes()
        agree(file, np.random.default_rng(seed), 20, 14, 1 << 30, pack.packer("rp2040"))
        # All that takes time has a layout for the Pico.
        assert all(op.layout for op in packed_program(file).ops if isinstance(op, Dense))


def test_chunks_hold_what_16_bits_do(seed):
    rng = np.random.default_rng(seed)
    for scale in (3, 20, 127):
        sizes = rng.integers(0, scale + 1, (4, 90))
        lengths = pack.chunks(sizes)
        ends = 2 * np.cumsum(lengths)
        assert ends[-1] == 90
        assert max(lengths) <= pack.CHUNK
        for end, length in zip(ends, lengths, strict=True):
            assert sizes[:, end - 2 * length : end].sum(1).max() <= 255
            following = sizes[:, end : end + 2]
            # And not a pair fewer than they could.
            if length < pack.CHUNK and following.size:
                assert sizes[:, end - 2 * length : end + 2].sum(1).max() > 255


def nine_channels():
    maker = Maker(3)
    x = maker.input((1, 50))
    return maker.finish([x], [maker.fully_connected(x, 9)])


@pytest.mark.parametrize("case", ("pair", "sum", "shift"))
def test_what_does_not_fit_stays_plain(case):
    program = compiled(tflite.read(nine_channels()))
    (op,) = program.ops
    if case == "pair":
        op.weights = op.weights.copy()
        op.weights[5, 10:12] = -128
    elif case == "sum":
        op.bias = np.full(op.channels, -(1 << 23), "<i4")
    else:
        op.shift = np.ones_like(op.shift)
    pack.pack(program, "rp2040")
    assert (op.layout, op.packed) == (0, None)


def test_targets():
    assert {"rp2040", "cortex-m4", "host", "portable"} == set(pack.TARGETS)
    with pytest.raises(ValueError, match="no such target: z80"):
        pack.packer("z80")(None)


def test_damaged_lists_of_chunks_are_refused(seed):
    """Nothing but lists that add up lets the assembly for Cortex-M0+ run."""
    rng = np.random.default_rng(seed)
    file = nine_channels()
    good = build(tflite.read(file), pack.packer("rp2040"))
    assert GraphModel(good)
    (op,) = packed_program(file).ops
    at = good.index(op.packed)
    stride = int.from_bytes(op.packed[:4], "little")
    assert list(op.packed[4 : 4 + stride]).count(255) >= 1
    for i in range(at, at + 4 + 3 * stride):
        for value in rng.choice(256, 8, replace=False):
            bad = bytearray(good)
            bad[i] = value
            # A list's end is any number from 16 on; what comes after it does not matter.
            if adds_up(bytes(bad[at:])):
                assert GraphModel(bytes(bad))
            else:
                with pytest.raises(mgm.FormatError):
                    GraphModel(bytes(bad))


def adds_up(packed):
    stride = int.from_bytes(packed[:4], "little")
    if stride > 26 or 4 + (3 * stride + 3) // 4 * 4 + 3 * 25 * 8 > len(packed):
        return False
    lists = [packed[4 + i * stride : 4 + (i + 1) * stride] for i in range(3)]
    for one in lists:
        end = next((i for i, n in enumerate(one) if n >= 16), None)
        if end is None or sum(16 - n for n in one[:end]) != 25:
            return False
    return True
