"""From a graph to the bytes of a .mgm file of kind 1: docs/model-graph.md."""

import struct

import numpy as np

from mcpgw.convert import graph_file, mgm
from mcpgw.convert.lower import Unsupported, lower
from mcpgw.convert.mgm import FormatError
from mcpgw.convert.plan import plan
from mcpgw.convert.program import MAX_RANK, NAMES, TYPES, Dense

_BODY = struct.Struct("<4H2I")
_TENSOR = struct.Struct("<II2BHIiI6I")


def build(graph, pack=None):
    """
    The file of a Graph.

    Args:
        graph: see graph.py; every value int8 but inputs and outputs, which may be converted.
        pack: None, or a function that changes layouts of a Program's weights in place.

    Raises lower.Unsupported.
    """
    file = assemble(compiled(graph, pack))
    try:
        graph_file.read(file)
    except FormatError as e:
        raise Unsupported(f"{graph.name}: cannot be said in the format: {e}") from e
    return file


def compiled(graph, pack=None):
    """The Program of a Graph, placed in its arena."""
    program = lower(graph)
    if pack is not None:
        pack(program)
    plan(program)
    if program.arena > mgm.MAX_ARENA:
        raise Unsupported(f"{program.name}: an arena of {program.arena} bytes is too large")
    return program


def assemble(program):
    """The file of a placed Program."""
    data = mgm.Data()
    values = program.values()
    index = {id(v): i for i, v in enumerate(values)}
    operators = [_operator(op, index, data) for op in program.ops]

    def body(base):
        out = bytearray(
            _BODY.pack(
                len(values), len(operators), len(program.inputs), len(program.outputs), 0, 0
            )
        )
        for value in values:
            out += _tensor(value)
        lists = [index[id(v)] for v in (*program.inputs, *program.outputs)]
        lists += [0] * (len(lists) % 2)
        out += struct.pack(f"<{len(lists)}H", *lists)
        for head, words in operators:
            out += struct.pack("<2BH2H", *head)
            out += struct.pack(
                f"<{len(words)}I", *(w + base if moves else w for w, moves in words)
            )
        return bytes(out)

    return mgm.write(mgm.GRAPH, _metadata(program), body, data.bytes, program.arena, program.macs)


def _tensor(value):
    dims = (*value.dims, *(1,) * (MAX_RANK - len(value.dims)))
    scale = int(np.float32(value.scale).view(np.uint32))
    head = (value.storage.offset, value.size, TYPES[value.dtype], len(value.dims), 0)
    return _TENSOR.pack(*head, scale, value.zero_point, 0, *dims)


def _operator(op, index, data):
    """((code, layout, words, x, y), [(word, whether it is an offset into the data section)])."""
    words = []
    if op.x2 is not None:
        words.append((index[id(op.x2)], False))
    for field in op.words() if isinstance(op, Dense) else op.fields:
        if isinstance(field, (bytes, np.ndarray)):
            words.append(
                (data.add(field.tobytes() if isinstance(field, np.ndarray) else field), True)
            )
        elif 0 <= int(field) < 2**32:
            words.append((int(field), False))
        else:
            raise Unsupported(f"{NAMES[op.code]} -> {op.y.name}: {field} is out of range")
    return (op.code, op.layout, 2 + len(words), index[id(op.x)], index[id(op.y)]), words


def _metadata(program):
    def described(values):
        return [
            {
                "name": v.name,
                "shape": list(v.dims),
                "dtype": v.dtype,
                **({"scale": v.scale, "zero_point": v.zero_point} if v.scale else {}),
            }
            for v in values
        ]

    return {
        "name": program.name,
        **program.meta,
        "inputs": described(program.inputs),
        "outputs": described(program.outputs),
    }
