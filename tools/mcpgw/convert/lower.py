"""
From a graph in TFLite's terms to operators of the format, with the reference's exact parameters.
"""

import math
import struct
from contextlib import contextmanager

from mcpgw import UserError
from mcpgw.convert import lower_dense, lower_elementwise, lower_pieces, lower_shape
from mcpgw.convert.mgm import MAX_ARENA
from mcpgw.convert.program import LOAD, MAX_RANK, Op, Program, Value

_LOWER = {**lower_dense.OPS, **lower_elementwise.OPS, **lower_shape.OPS, **lower_pieces.OPS}
SUPPORTED = tuple(sorted(_LOWER))


class Unsupported(UserError):
    """A model, or this operator of it, cannot be converted; the text says why and what to do."""


class Lowering:
    """State of one lowering: which value each tensor has become."""

    def __init__(self, graph):
        self.graph = graph
        self.ops = []
        self._values = {}
        # Padding that a convolution takes over: tensor id -> the PAD node.
        self.padded = {}

    def value(self, tensor):
        """The value of a tensor; a constant is loaded into the arena where it is first needed."""
        if id(tensor) not in self._values:
            made = self.new(tensor)
            if tensor.is_constant:
                self.ops.append(Op(LOAD, made, made, [tensor.data.tobytes()]))
        return self._values[id(tensor)]

    def new(self, tensor, storage=None):
        """A value for a tensor that has none yet; `storage` makes it a view of another's."""
        scale, zero_point = 0.0, 0
        if tensor.scale is not None and tensor.scale.size == 1:
            scale, zero_point = tensor.quantisation
        low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(tensor.dtype, (-(2**31), 2**31))
        if not low <= zero_point <= high or not 0 <= scale < math.inf:
            raise ValueError(f"{tensor.name}: scale {scale} or zero point {zero_point}")
        if len(tensor.shape) > MAX_RANK:
            raise ValueError(f"{tensor.name}: more than {MAX_RANK} dimensions")
        if tensor.nbytes > MAX_ARENA:
            raise ValueError(f"{tensor.name}: {tensor.nbytes} bytes are too many")
        made = Value(tensor.name, tensor.shape, tensor.dtype, scale, zero_point, storage)
        self._values[id(tensor)] = made
        return made

    def temporary(self, like, name):
        """A value of the same shape and type that no tensor stands for."""
        return Value(name, like.dims, like.dtype, like.scale, like.zero_point)

    def add(self, op):
        """The next operator."""
        self.ops.append(op)


def _needed(graph):
    """The nodes that outputs depend on; what computes shapes, which are known, is left out."""
    wanted = {id(t) for t in graph.outputs}
    nodes = []
    for node in reversed(graph.nodes):
        if any(id(t) in wanted for t in node.outputs):
            nodes.append(node)
            wanted.update(id(t) for t in node.inputs if t is not None)
    return nodes[::-1]


def lower(graph):
    """
    Program of a Graph.

    Raises Unsupported, which names the operator.
    """
    state = Lowering(graph)
    with _naming("inputs"):
        inputs = [state.new(t) for t in graph.inputs]
    for node in _needed(graph):
        function = _LOWER.get(node.op)
        if function is None:
            known = ", ".join(SUPPORTED)
            raise Unsupported(f"operator {node.op} ({node.where}) is not one of {known}")
        with _naming(node.where):
            function(state, node)
    with _naming("outputs"):
        outputs = [state.value(t) for t in graph.outputs]
    return Program(graph.name, inputs, outputs, state.ops, dict(graph.meta))


@contextmanager
def _naming(where):
    """Makes errors say where in the model they are."""
    try:
        yield
    except ValueError as e:
        raise Unsupported(f"{where}: {e}") from None
    except (ArithmeticError, LookupError, AttributeError, TypeError, struct.error) as e:
        # Shapes and parameters that no converter writes; a damaged model has them.
        raise Unsupported(f"{where}: makes no sense ({type(e).__name__}: {e})") from e
