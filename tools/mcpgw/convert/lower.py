"""
From a graph in TFLite's terms to operators of the format, with the reference's exact parameters.
"""

from mcpgw import UserError
from mcpgw.convert import lower_dense, lower_elementwise, lower_shape
from mcpgw.convert.program import LOAD, Op, Program, Value

_LOWER = {**lower_dense.OPS, **lower_elementwise.OPS, **lower_shape.OPS}
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
        made = Value(tensor.name, tensor.shape, tensor.dtype, scale, zero_point, storage)
        self._values[id(tensor)] = made
        return made

    def temporary(self, like, name):
        """A value of the same shape and type that no tensor stands for."""
        return Value(name, like.dims, like.dtype, like.scale, like.zero_point)

    def add(self, op):
        """The next operator."""
        self.ops.append(op)


def lower(graph):
    """
    Program of a Graph.

    Raises Unsupported, which names the operator.
    """
    state = Lowering(graph)
    inputs = [state.new(t) for t in graph.inputs]
    for node in graph.nodes:
        function = _LOWER.get(node.op)
        if function is None:
            known = ", ".join(SUPPORTED)
            raise Unsupported(f"operator {node.op} ({node.where}) is not one of {known}")
        try:
            function(state, node)
        except ValueError as e:
            raise Unsupported(f"{node.where}: {e}") from None
    outputs = [state.value(t) for t in graph.outputs]
    return Program(graph.name, inputs, outputs, state.ops, dict(graph.meta))
