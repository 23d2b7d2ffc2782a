"""Converting graphs: what is refused and how, what is left out, and the container."""

import random

import numpy as np
import pytest
import soak
from graph_cases import CASES
from graph_nets import NETS
from graph_oracle import agree
from mcpgw import UserError
from mcpgw.convert import build as builder
from mcpgw.convert import graph_file, mgm, tflite
from mcpgw.convert.lower import Unsupported
from mcpgw.convert.program import NAMES
from mcpgw.convert.run import GraphModel
from tflite_maker import Maker


def small():
    maker = Maker(1)
    x = maker.input((1, 6, 6, 2))
    y = maker.conv(x, 4, (3, 3), activation="RELU")
    return maker.finish([x], [maker.fully_connected(y, 3)])


def test_every_operator_of_the_format_is_tested():
    """By the cases that are compared with the reference."""
    used = set()
    rng = np.random.default_rng(3)
    for function in CASES.values():
        for _ in range(8):
            maker = Maker(int(rng.integers(1 << 30)))
            file = builder.build(tflite.read(maker.finish(*function(maker, rng))))
            used |= {o.name for o in graph_file.read(file).operators}
    assert used == set(NAMES.values())


def test_damaged_tflite_files(seed):
    """They convert or raise UserError, nothing else."""
    rng = np.random.default_rng(1)
    files = []
    for function in CASES.values():
        maker = Maker(int(rng.integers(1 << 30)))
        files.append(maker.finish(*function(maker, rng)))
    r = random.Random(seed)
    converted = 0
    count = soak.count(4000, 200_000)
    for _ in range(count):
        file = bytearray(r.choice(files))
        for _ in range(r.choice((1, 1, 2, 5))):
            at = r.randrange(len(file))
            file[at] = r.choice((0, 1, 255, file[at] ^ 1 << r.randrange(8), r.randrange(256)))
        if r.random() < 0.05:
            del file[r.randrange(8, len(file)) :]
        try:
            GraphModel(builder.build(tflite.read(bytes(file))))
            converted += 1
        except UserError as e:
            assert "\n" not in str(e)
    assert count // 20 < converted < count * 3 // 4


def refused(maker, inputs, outputs):
    with pytest.raises(UserError) as e:
        builder.build(tflite.read(maker.finish(inputs, outputs)))
    return str(e.value)


def test_what_cannot_be_converted_is_named():
    m = Maker(1)
    x = m.input((1, 4))
    assert "operator ABS (ABS -> tensor 1) is not one of ADD, " in refused(
        m, [x], [m.unary("ABS", x)]
    )
    m = Maker(1)
    x = m.input((1, 4), "float32")
    y = m.op("LOGISTIC", [x], m.output((1, 4), dtype="float32"))
    assert "is float32, not int8: quantise the model first" in refused(m, [x], [y])
    m = Maker(1)
    x = m.input((1, 4, 4, 4))
    y = m.conv(x, 4, (3, 3))
    m.tensors[1].zero = 3
    assert "weights with a zero point" in refused(m, [x], [y])
    m = Maker(1)
    x = m.input((1, 4, 4, 4))
    y = m.conv(x, 4, (3, 3))
    m.tensors[1].shape = (4, 3, 3, 3)
    m.tensors[1].data = m.tensors[1].data[..., :3]
    assert "weights (4, 3, 3, 3) do not fit an input (1, 4, 4, 4)" in refused(m, [x], [y])


def test_not_a_tflite_file():
    for text in (b"", b"PK\3\4" + bytes(40)):
        with pytest.raises(UserError, match="not a TFLite model"):
            tflite.read(text)
    with pytest.raises(UserError, match="damaged"):
        tflite.read(small()[:200])


def test_computed_shapes_are_left_out(seed):
    """Keras' Reshape asks for the shape at run time, which is known."""
    m = Maker(1)
    x = m.input((1, 6, 4))
    shape = m.op("SHAPE", [x], m._tensor((3,), "int32"), "ShapeOptions", OutType=2)
    m.tensors.append(m.constant(np.array([0])))
    first = m.op(
        "STRIDED_SLICE",
        [shape, m.constant([0]), m.constant([1]), m.constant([1])],
        m._tensor((), "int32"),
        "StridedSliceOptions",
        ShrinkAxisMask=1,
    )
    target = m.op(
        "PACK",
        [first, m._tensor((), "int32", data=np.array(24, np.int32))],
        m._tensor((2,), "int32"),
        "PackOptions",
        ValuesCount=2,
        Axis=0,
    )
    y = m.op("RESHAPE", [x, target], m.output((1, 24), x.scale, x.zero))
    y = m.fully_connected(y, 5)
    program = builder.compiled(tflite.read(m.finish([x], [y])))
    assert [NAMES[op.code] for op in program.ops] == ["FULLY_CONNECTED"]


def test_arena_of_a_deep_net_is_little_more_than_what_lives_at_once():
    m = Maker(1)
    program = builder.compiled(tflite.read(m.finish(*NETS["mobilenet"](m))))
    floor = 0
    for i in range(len(program.ops)):
        live = {id(v.storage): v.storage for v in program.values()}
        live |= {id(op.storage): op.storage for op in program.ops if op.storage}
        floor = max(floor, sum(s.size for s in live.values() if s.first <= i <= s.last))
    assert floor <= program.arena <= floor * 1.15


def test_padding_is_taken_over_by_the_convolution(seed):
    m = Maker(5)
    x = m.input((1, 8, 8, 3))
    y = m.conv(m.pad(x, [(0, 0), (1, 2), (0, 1), (0, 0)]), 4, (3, 3), (2, 2), padding="VALID")
    file = m.finish([x], [y])
    assert [NAMES[op.code] for op in builder.compiled(tflite.read(file)).ops] == ["CONV_2D"]
    agree(file, np.random.default_rng(seed), 5, 7)


def test_container():
    file = builder.build(tflite.read(small(), "small"))
    read = mgm.read(file + b"a signature")
    assert (read.kind, read.size, read.metadata["name"]) == (mgm.GRAPH, len(file), "small")
    assert read.metadata["outputs"][0]["shape"] == [1, 3]
    # Each byte matters to the checksum or to a check before it.
    for at in range(len(file)):
        damaged = bytearray(file)
        damaged[at] ^= 0x10
        with pytest.raises(mgm.FormatError):
            mgm.read(damaged)


def test_container_refuses_bad_metadata():
    for metadata in (b"{}", b'{"name":1}', b"[]", b"{", b'{"name":"a","labels":[1]}', b"\xff"):
        whole = mgm.write(mgm.GRAPH, {"name": "x" * 40}, b"", b"", 0, 0)
        end = 20, 24
        damaged = bytearray(whole)
        damaged[end[0] : end[1]] = len(metadata).to_bytes(4, "little")
        damaged[96 : 96 + len(metadata)] = metadata
        body = 96 + len(metadata) + (-len(metadata) % 16)
        del damaged[96 + len(metadata) :]
        damaged += bytes(body - len(damaged))
        for at in (24, 32):
            damaged[at : at + 4] = body.to_bytes(4, "little")
        damaged[8:12] = body.to_bytes(4, "little")
        damaged[48:80] = mgm._digest(damaged)
        with pytest.raises(mgm.FormatError, match="metadata|labels"):
            mgm.read(damaged)
    with pytest.raises(ValueError):
        mgm.write(mgm.GRAPH, {}, b"", b"", 0, 0)


def test_too_large_to_say():
    m = Maker(1)
    x = m.input((1, 70_000))
    with pytest.raises(Unsupported, match="more than 65536 products"):
        builder.build(tflite.read(m.finish([x], [m.fully_connected(x, 1)])))
