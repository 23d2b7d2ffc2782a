"""ONNX models into graphs: float ones, and quantised ones of either form (QDQ, QLinear operators).

Quantisation becomes a property of tensors: QuantizeLinear gives its scale and zero point to the
tensor it reads, DequantizeLinear is that tensor again. uint8 becomes int8, which is the same with
a zero point less by 128. Images become NHWC here; docs/models.md says what that means for inputs,
and how onnxruntime rounds otherwise.
"""

from pathlib import Path

import numpy as np

from mcpgw import UserError
from mcpgw.convert import onnx_ops, onnx_qlinear
from mcpgw.convert.graph import Graph, Node, Tensor
from mcpgw.convert.onnx_values import Constant, Value

# What numpy and onnx raise for data that do not fit their shapes, and for attributes of no sense.
_UNFIT = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError, MemoryError)
_UNFIT += (NotImplementedError,)
_MOVING = ("RESHAPE", "TRANSPOSE", "SLICE", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D")
_HINT = "see docs/models.md for what is supported"


def read(source, name=None):
    """
    Graph of an .onnx file.

    Args:
        source: path, or the file's bytes.
        name: of the model; default: the file's.

    Returns:
        A Graph of int8 where the model is quantised, else of float32, for calibrate.quantise().

    Raises:
        UserError: not an ONNX model, an operator that is not supported, or one that is quantised
            in part.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError("the package onnx is missing: pip install 'mcpgw[convert]'") from None
    if not isinstance(source, bytes):
        name = name or Path(source).stem
        source = Path(source).read_bytes()
    try:
        model = onnx.load_model_from_string(source)
    except Exception as error:
        # protobuf's own, whichever implementation of it is installed.
        raise UserError(f"not an ONNX model: {' '.join(str(error).split())}") from None
    if not model.ir_version or not model.graph.node:
        raise UserError("not an ONNX model, or one without operators")
    try:
        return Reader(onnx, model, name or "model").graph()
    except _UNFIT as error:
        raise UserError(f"the ONNX model is damaged: {' '.join(str(error).split())}") from None


class Reader:
    """One model being read. Operators (onnx_ops.py, onnx_qlinear.py) add nodes through it."""

    def __init__(self, onnx, model, name):
        self.onnx = onnx
        self.model = model
        self.name = name
        self.nodes = []
        self.values = {"": None}
        self.uses = {}
        self.is_quantised = False
        self.takes_floats = True
        versions = {item.domain: item.version for item in model.opset_import}
        self.opset = versions.get("", 13)
        for node in model.graph.node:
            for x in node.input:
                self.uses[x] = self.uses.get(x, 0) + 1
        for output in model.graph.output:
            # An output may not be changed by what follows it.
            self.uses[output.name] = self.uses.get(output.name, 0) + 2

    def graph(self):
        """The whole model as a Graph."""
        for item in self.model.graph.initializer:
            self.values[item.name] = Constant(self.onnx.numpy_helper.to_array(item))
        inputs = [
            self._input(item) for item in self.model.graph.input if item.name not in self.values
        ]
        if not inputs:
            raise UserError(f"{self.name} has no inputs")
        for number, node in enumerate(self.model.graph.node):
            self._node(node, number)
        outputs = [self._output(item.name) for item in self.model.graph.output]
        if self.is_quantised:
            self._spread()
            self._check_quantised()
        meta = {"source": "onnx"}
        if self.takes_floats:
            meta["pre"] = {"values": "real"}
        orders = [value.order or range(len(value.shape)) for value in inputs]
        if any(value.order for value in inputs):
            # The source's axes in the order in which the model has them.
            meta.setdefault("pre", {})["axes"] = [list(order) for order in orders]
        tensors = [value.tensor for value in inputs]
        return Graph(self.name, tensors, outputs, self.nodes, meta)

    def _input(self, item):
        kind = item.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        if shape and shape[0] < 1:
            shape[0] = 1  # the batch
        if not shape or any(n < 1 for n in shape):
            raise UserError(
                f"input {item.name} has no fixed shape: give its dimensions other than the batch "
                "a number when exporting the model"
            )
        if shape[0] != 1:
            raise UserError(f"input {item.name} has a batch of {shape[0]}: export it with 1")
        types = self.onnx.TensorProto
        dtypes = {types.FLOAT: "float32", types.INT8: "int8", types.UINT8: "int8"}
        if kind.elem_type not in dtypes:
            raise UserError(f"input {item.name} is neither float32 nor int8 nor uint8")
        self.takes_floats = kind.elem_type == types.FLOAT
        order = (0, 2, 3, 1) if len(shape) == 4 and self._is_image(item.name) else None
        value = self.tensor(item.name, shape, order)
        self.values[item.name] = value
        return value

    def _is_image(self, name, depth=8):
        """Whether an input goes into a convolution or pooling, perhaps through other operators."""
        for node in self.model.graph.node if depth else ():
            if name in node.input:
                if "Conv" in node.op_type or "Pool" in node.op_type:
                    return node.input[0] == name
                through = ("QuantizeLinear", "DequantizeLinear", "Pad", "Identity", "Relu", "Clip")
                through += ("Add", "Mul", "Sub", "BatchNormalization")
                if node.op_type in through and self._is_image(node.output[0], depth - 1):
                    return True
        return False

    def tensor(self, name, shape, order=None):
        """
        A new activation.

        Args:
            name: for messages.
            shape: in the source's order of axes.
            order: None, or which of the source's axes each axis of the tensor is.
        """
        shape = tuple(int(n) for n in shape)
        stored = shape if order is None else tuple(shape[i] for i in order)
        return Value(Tensor(name, stored, "float32"), shape, order)

    def add(self, op, inputs, output, attrs=None):
        """A node; inputs and output are Values or Tensors. Returns the output."""

        def tensor(x):
            return x.tensor if isinstance(x, Value) else x

        node = Node(op, [tensor(x) for x in inputs], [tensor(output)], attrs or {})
        self.nodes.append(node)
        if isinstance(output, Value):
            output.node = node
        return output

    def _node(self, node, number):
        where = f"{node.op_type} {node.name or number}"
        missing = [x for x in node.input if x not in self.values]
        if missing:
            raise UserError(f"{where} reads {missing[0]}, which nothing makes")
        inputs = [self.values[x] for x in node.input]
        attrs = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        try:
            outputs = self._convert(node, inputs, attrs)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except _UNFIT as error:
            raise UserError(
                f"{where} is used in a way that is not supported ({error}); {_HINT}"
            ) from None
        for name, value in zip(node.output, outputs, strict=False):
            self.values[name] = value

    def _convert(self, node, inputs, attrs):
        known = [x for x in inputs if x is not None]
        if node.op_type == "Shape":
            return [Constant(np.array(inputs[0].shape, np.int64))]
        if all(isinstance(x, Constant) and x.scale is None for x in known) and (
            node.op_type != "DequantizeLinear"
        ):
            return self._folded(node, known)
        function = onnx_qlinear.OPS.get(node.op_type) or onnx_ops.OPS.get(node.op_type)
        if function is None:
            names = ", ".join(sorted((*onnx_ops.OPS, *onnx_qlinear.OPS)))
            raise UserError(f"this operator is not one of {names}")
        result = function(Call(self, node, inputs, attrs))
        return result if isinstance(result, list) else [result]

    def _folded(self, node, known):
        """An operator whose inputs are all constants."""
        from onnx.reference import ReferenceEvaluator

        names = [x for x in node.input if x]
        helper = self.onnx.helper
        values = [helper.make_tensor_value_info(x, 0, None) for x in names]
        results = [helper.make_tensor_value_info(x, 0, None) for x in node.output]
        graph = helper.make_graph([node], "folded", values, results)
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        feeds = {x: constant.data for x, constant in zip(names, known, strict=True)}
        return [Constant(np.asarray(y)) for y in ReferenceEvaluator(model).run(None, feeds)]

    def _output(self, name):
        value = self.values.get(name)
        if not isinstance(value, Value):
            raise UserError(f"output {name} does not depend on an input")
        if value.node is not None and value.node.op == "QUANTIZE":
            # What a Softmax gives is not rounded a second time, to the source's scale.
            before = value.node.inputs[0]
            if any(n.op == "SOFTMAX" and n.outputs[0] is before for n in self.nodes):
                self.nodes.remove(value.node)
                value = Value(before, value.shape, value.order, value.flat)
        value = value.plain(self)
        value.tensor.name = name
        return value.tensor

    def _spread(self):
        """Give what only moves values the scale of its other side, where one side has none."""
        for nodes in (self.nodes, self.nodes[::-1]):
            for node in nodes:
                if node.op in _MOVING:
                    x, y = node.inputs[0], node.outputs[0]
                    for one, other in ((x, y), (y, x)):
                        if one.scale is None and other.scale is not None:
                            one.dtype, one.scale = other.dtype, other.scale
                            one.zero_point = other.zero_point

    def _check_quantised(self):
        for node in self.nodes:
            for tensor in (*node.inputs, *node.outputs):
                if tensor is not None and tensor.dtype == "float32":
                    raise UserError(
                        f"{self.name} is quantised in part: {tensor.name} ({node.op}) is not. "
                        "Quantise all of it, or convert the float model with --calibrate"
                    )


class Call:
    """One operator of the source, with what its conversion needs."""

    def __init__(self, reader, node, inputs, attrs):
        self.reader = reader
        self.op = node.op_type
        self.name = node.output[0]
        self.output_names = list(node.output)
        self.input_names = list(node.input)
        self.inputs = inputs
        self.attrs = attrs

    def __getitem__(self, i):
        """Input i, or None."""
        return self.inputs[i] if i < len(self.inputs) else None

    def constant(self, i, what):
        """The values of input i, which must be known; None where it is left out."""
        x = self[i]
        if x is None:
            return None
        if not isinstance(x, Constant):
            raise UserError(f"{what} is computed by the model; only a constant is supported")
        return x.real

    def is_only_use(self, i):
        """Whether nothing else reads input i."""
        return self.reader.uses[self.input_names[i]] == 1

    def output(self, shape, order=None):
        """A new activation for the operator's first output."""
        return self.reader.tensor(self.name, shape, order)

    def add(self, op, inputs, output, attrs=None):
        """A node; see Reader.add()."""
        return self.reader.add(op, inputs, output, attrs)
