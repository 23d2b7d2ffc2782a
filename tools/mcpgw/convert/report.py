"""What a conversion tells: operators, work, memory, and what that will take on each board."""

import struct
from collections import Counter
from dataclasses import dataclass

from mcpgw.convert import mgm
from mcpgw.convert.program import (
    AVERAGE_POOL_2D,
    CONV_2D,
    DEPTHWISE_CONV_2D,
    FULLY_CONNECTED,
    MAX_POOL_2D,
    NAMES,
    SOFTMAX,
)
from mcpgw.words import counted


@dataclass(frozen=True)
class Board:
    """
    A processor and what it takes, in cycles.

    Args:
        mhz: its clock.
        macs: for a MAC of an operator whose weights are laid out for it; "other": for an element
            of an operator without MACs.
        plain: for a MAC of an operator whose weights are not.
        once: for beginning an operator, or a whole run of trees or neighbours.
        feature: for encoding a feature of trees or neighbours.
        compare: for a comparison of a tree.
        vote: for adding a value of a leaf.
        difference: for a difference squared, of int8 and of int16.
        token: for a MAC of a language model.
    """

    mhz: int
    macs: dict
    plain: dict
    once: int
    feature: int
    compare: int
    vote: int
    difference: tuple
    token: float


_ELEMENTS = {AVERAGE_POOL_2D: 12, MAX_POOL_2D: 12, SOFTMAX: 250, "other": 30}

# The one place of these figures. rp2040: measured on the emulated board, without what the flash
# cache adds; cortex-m4: from instructions of the kernels, not from hardware.
BOARDS = {
    "rp2040": Board(
        mhz=125,
        macs={FULLY_CONNECTED: 3.6, CONV_2D: 4.2, DEPTHWISE_CONV_2D: 7, **_ELEMENTS},
        plain={FULLY_CONNECTED: 12, CONV_2D: 14, DEPTHWISE_CONV_2D: 39},
        once=1500,
        feature=180,
        compare=22,
        vote=12,
        difference=(10.4, 19.6),
        token=5.5,
    ),
    "cortex-m4": Board(
        mhz=100,
        macs={FULLY_CONNECTED: 1.9, CONV_2D: 1.6, DEPTHWISE_CONV_2D: 3, **_ELEMENTS},
        plain={},
        once=1000,
        feature=70,
        compare=14,
        vote=7,
        difference=(5, 7),
        token=3,
    ),
}


# The setting model_ram of a board; a test compares it with mcp_gw/config.py.
MODEL_RAM = 131072


def cycles(board, converted):
    """Expected cycles of one answer (of one token for a language model)."""
    file, model = mgm.read(converted.file), converted.model
    if file.kind == mgm.LLAMA:
        return round(file.macs * board.token)
    if file.kind == mgm.TREES:
        votes = len(model.trees) * model.leaf_len * board.vote
        work = model.n_features * board.feature + file.macs * board.compare + votes
        return board.once + round(work)
    if file.kind == mgm.NEIGHBOURS:
        work = model.n_features * board.feature + file.macs * board.difference[model.width - 1]
        return board.once + round(work)
    return round(sum(board.once + _work(board, op) for op in model.ops))


def _work(board, op):
    each = board.macs.get(op.code, board.macs["other"])
    if getattr(op, "layout", 0) == 0:
        each = board.plain.get(op.code, each)
    return (op.macs or op.y.count) * each


def lines(converted, out):
    """The report, a list of lines."""
    file = mgm.read(converted.file)
    result = [f"{out}: {file.metadata['name']}, {mgm.KINDS[file.kind]} from {converted.kind}"]
    result += list(_PARTS[file.kind](converted, file))
    result.append(
        f"  flash {len(converted.file):,} bytes ({len(file.data):,} of weights and tables, used "
        f"in place), RAM {file.arena:,} bytes"
    )
    result += _notes(file)
    unit = "token" if file.kind == mgm.LLAMA else "answer"
    for name, board in BOARDS.items():
        n = cycles(board, converted)
        hint = ""
        if name == "rp2040" and file.kind == mgm.GRAPH and converted.target != name:
            hint = "; --target rp2040 makes it faster"
        took = _time(n, board.mhz)
        result.append(f"  {name} at {board.mhz} MHz: about {took} for each {unit}{hint}")
    return result


def _notes(file):
    """What a user would else find out on the board."""
    is_language = file.kind == mgm.LLAMA
    if is_language:
        (positions,) = struct.unpack_from("<I", file.body, 28)
        yield f"  RAM is for {positions:,} tokens of context; positions= of gw.model() takes less"
    elif file.kind == mgm.GRAPH and not file.metadata.get("labels"):
        yield "  no labels: with --labels it brings the tool `classify`"
    if file.arena > MODEL_RAM:
        yield f"  more RAM than the {MODEL_RAM:,} bytes that boards have for models (model_ram)"


def _time(count, mhz):
    ms = count / mhz / 1000
    digits = 0 if ms >= 100 else 1 if ms >= 10 else 2
    shown = f"{ms:,.{digits}f} ms" if ms >= 0.01 else f"{ms * 1000:.1f} us"
    return (
        f"{count / 1e6:.2f} M cycles, {shown}" if count >= 10000 else f"{count:,} cycles, {shown}"
    )


def _graph(converted, file):
    counts = Counter(NAMES[op.code] for op in converted.model.ops)
    yield "  operators: " + ", ".join(f"{n} {name}" for name, n in counts.items())
    macs = sum(op.macs for op in converted.model.ops)
    weights = sum(getattr(op, "weights", _NOTHING).size for op in converted.model.ops)
    yield f"  {macs:,} MACs, {weights:,} weights"
    for what, values in (("in", converted.model.inputs), ("out", converted.model.outputs)):
        for v in values:
            kind = v.dtype
            if v.scale:
                kind += f", value = {v.scale:.6g} * (q - {v.zero_point})"
            yield f"  {what}: {v.name} {' x '.join(map(str, v.dims))}, {kind}"
    for axes in file.metadata.get("pre", {}).get("axes", []):
        if list(axes) != sorted(axes):
            yield f"  the source's axes were put into the order {tuple(axes)}: images are NHWC"
    if converted.is_calibrated:
        count = len(converted.samples[0])
        yield f"  quantised to int8 by the ranges of {counted(count, 'sample')}"
        if count < 50:
            yield "  note: few samples; some hundred of what the board will see serve better"


class _NOTHING:
    size = 0


def _trees(converted, file):
    model = converted.model
    ranked = sum(len(f.keys) for f in model.features)
    yield (
        f"  {counted(len(model.trees), 'tree')}, {counted(len(model.nodes), 'node')}, "
        f"{counted(len(model.leaves), 'leaf', 'leaves')} of {model.leaf_width * model.leaf_len} "
        f"bytes, {counted(ranked, 'threshold')} kept as floats"
    )
    sizes = f"{counted(model.n_features, 'feature')}, {counted(model.n_outputs, 'score')}"
    yield f"  {sizes}, at most {counted(file.macs, 'comparison')}"


def _neighbours(converted, file):
    model = converted.model
    yield (
        f"  {counted(model.n_vectors, 'vector')} of {model.n_features} int{8 * model.width}, "
        f"the nearest {model.k} answer, step {model.step:.6g}"
    )
    yield f"  {file.macs:,} differences squared"


def _llama(converted, file):
    spec = converted.source
    yield (
        f"  {counted(spec.layers, 'layer')} of {spec.dim}, {counted(spec.heads, 'head')} "
        f"({spec.kv_heads} of keys), "
        f"hidden {spec.hidden}, {spec.vocab:,} tokens, {file.metadata['quantisation']}"
    )
    yield f"  {file.macs:,} MACs for each token, attention left out"


_PARTS = {
    mgm.GRAPH: _graph,
    mgm.TREES: _trees,
    mgm.NEIGHBOURS: _neighbours,
    mgm.LLAMA: _llama,
}
