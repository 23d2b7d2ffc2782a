"""What a conversion tells: operators, work, memory, and what that will take on each board."""

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


@dataclass(frozen=True)
class Board:
    """
    A board's clock and what it takes; see docs/models.md for how that was measured.

    Args:
        mhz: its clock.
        macs: cycles for a MAC of each operator; "other": of what an element of the rest takes.
        once: cycles that beginning an operator takes.
        compare: cycles for one comparison of a tree.
        difference: cycles for one difference squared of a nearest neighbour.
        token: cycles for a MAC of a language model.
    """

    mhz: int
    macs: dict
    once: int
    compare: float
    difference: float
    token: float


# The one place of these figures. Measured on the emulated boards; XIP misses not counted.
BOARDS = {
    "rp2040": Board(
        125,
        {
            FULLY_CONNECTED: 3.7,
            CONV_2D: 3.9,
            DEPTHWISE_CONV_2D: 6.5,
            AVERAGE_POOL_2D: 12,
            MAX_POOL_2D: 12,
            SOFTMAX: 250,
            "other": 30,
        },
        1500,
        20,
        11,
        5.5,
    ),
    "cortex-m4": Board(
        100,
        {
            FULLY_CONNECTED: 1.4,
            CONV_2D: 1.5,
            DEPTHWISE_CONV_2D: 3,
            AVERAGE_POOL_2D: 8,
            MAX_POOL_2D: 8,
            SOFTMAX: 120,
            "other": 20,
        },
        1000,
        14,
        5,
        3,
    ),
}


def cycles(board, converted):
    """Expected cycles of one answer (of one token for a language model)."""
    file = mgm.read(converted.file)
    if file.kind == mgm.TREES:
        return round(file.macs * board.compare) + board.once
    if file.kind == mgm.NEIGHBOURS:
        return round(file.macs * board.difference) + board.once
    if file.kind == mgm.LLAMA:
        return round(file.macs * board.token)
    total = 0
    for op in converted.model.ops:
        work = op.macs or op.y.count
        total += board.once + work * board.macs.get(op.code, board.macs["other"])
    return round(total)


def lines(converted, out):
    """The report, a list of lines."""
    file = mgm.read(converted.file)
    result = [f"{out}: {file.metadata['name']}, {mgm.KINDS[file.kind]} from {converted.kind}"]
    result += list(_PARTS[file.kind](converted, file))
    result.append(
        f"  flash {len(converted.file):,} bytes ({len(file.data):,} of weights and tables, used "
        f"in place), RAM {file.arena:,} bytes"
    )
    unit = "token" if file.kind == mgm.LLAMA else "answer"
    for name, board in BOARDS.items():
        n = cycles(board, converted)
        result.append(f"  {name} at {board.mhz} MHz: about {_time(n, board.mhz)} for each {unit}")
    return result


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
        yield f"  quantised to int8 by the ranges of {count:,} samples"
        if count < 50:
            yield "  note: few samples; some hundred of what the board will see serve better"


class _NOTHING:
    size = 0


def _trees(converted, file):
    model = converted.model
    ranked = sum(len(f.keys) for f in model.features)
    yield (
        f"  {len(model.trees):,} trees, {len(model.nodes):,} nodes, {len(model.leaves):,} leaves "
        f"of {model.leaf_width * model.leaf_len} bytes, {ranked:,} thresholds kept as floats"
    )
    sizes = f"{model.n_features} features, {model.n_outputs} scores"
    yield f"  {sizes}, at most {file.macs:,} comparisons"


def _neighbours(converted, file):
    model = converted.model
    yield (
        f"  {model.n_vectors:,} vectors of {model.n_features} int{8 * model.width}, the nearest "
        f"{model.k} answer, step {model.step:.6g}"
    )
    yield f"  {file.macs:,} differences squared"


def _llama(converted, file):
    spec = converted.source
    yield (
        f"  {spec.layers} layers of {spec.dim}, {spec.heads} heads ({spec.kv_heads} of keys), "
        f"hidden {spec.hidden}, {spec.vocab:,} tokens, {file.metadata['quantisation']}"
    )
    yield f"  {file.macs:,} MACs for each token, attention left out"


_PARTS = {
    mgm.GRAPH: _graph,
    mgm.TREES: _trees,
    mgm.NEIGHBOURS: _neighbours,
    mgm.LLAMA: _llama,
}
