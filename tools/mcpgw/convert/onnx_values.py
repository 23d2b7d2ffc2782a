"""What the names of an ONNX model stand for while it is read: constants and activations."""

from dataclasses import dataclass

import numpy as np

from mcpgw import UserError
from mcpgw.convert.graph import Node, Tensor


@dataclass(eq=False)
class Constant:
    """Values that are known; with a scale they are quantised: real = scale * (data - zero)."""

    data: np.ndarray
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    axis: int | None = None

    @property
    def shape(self):
        """Its dimensions."""
        return self.data.shape

    @property
    def real(self):
        """The real values."""
        if self.scale is None:
            return self.data
        scale, zero = (_along(v, self.axis, self.data.ndim) for v in (self.scale, self.zero))
        return (self.data.astype(np.float64) - zero) * scale

    def signed(self):
        """(int8 or int32 data, int zero points): what was uint8 is less by 128."""
        data, zero = self.data, np.asarray(self.zero, np.int64)
        if data.dtype == np.uint8:
            return (data.astype(np.int16) - 128).astype(np.int8), zero - 128
        return data, zero


def _along(values, axis, rank):
    values = np.asarray(values)
    if values.size == 1:
        return values.reshape(())
    shape = [1] * rank
    shape[axis or 0] = -1
    return values.reshape(shape)


@dataclass(eq=False)
class Value:
    """
    An activation.

    Args:
        tensor: what it is in the graph.
        shape: its dimensions in the source's order.
        order: None, or which of the source's axes each axis of the tensor is.
        flat: None, or dimensions (channels, height, width) of an image that the source has laid
            out as one row of channels, and the tensor as one of positions.
        node: what makes it, where that is known.
    """

    tensor: Tensor
    shape: tuple
    order: tuple | None = None
    flat: tuple | None = None
    node: Node | None = None

    @property
    def is_quantised(self):
        """Whether it has a scale."""
        return self.tensor.scale is not None

    def like(self, name, shape=None):
        """A tensor of this one's quantisation and another name, perhaps another shape."""
        t = self.tensor
        zero = t.zero_point
        return Tensor(name, t.shape if shape is None else shape, t.dtype, t.scale, zero)

    def plain(self, reader):
        """The value with its axes in the source's order."""
        if self.flat is not None:
            channels, *size = self.flat
            image = self.like(f"{self.tensor.name}/image", (1, *size, channels))
            reader.add("RESHAPE", [self], image)
            turned = self.like(f"{self.tensor.name}/channels", (1, channels, *size))
            rank = len(size) + 1
            perm = (0, rank, *range(1, rank))
            reader.add("TRANSPOSE", [image], turned, {"perm": perm})
            result = Value(self.like(f"{self.tensor.name}/row", self.tensor.shape), self.shape)
            return reader.add("RESHAPE", [turned], result)
        if self.order is None:
            return self
        result = Value(self.like(f"{self.tensor.name}/plain", self.shape), self.shape)
        perm = tuple(self.order.index(i) for i in range(len(self.shape)))
        if _moves_nothing(self.tensor.shape, perm):
            return reader.add("RESHAPE", [self], result)
        return reader.add("TRANSPOSE", [self], result, {"perm": perm})

    def ordered(self, reader, order):
        """The value with its axes in this order."""
        if self.order == order and self.flat is None:
            return self
        x = self.plain(reader)
        if order is None:
            return x
        shape = tuple(x.shape[i] for i in order)
        result = Value(x.like(f"{x.tensor.name}/ordered", shape), x.shape, order)
        if _moves_nothing(x.shape, order):
            return reader.add("RESHAPE", [x], result)
        return reader.add("TRANSPOSE", [x], result, {"perm": tuple(order)})

    def annotate(self, reader, scale, zero, name):
        """The value quantised: this one, unless it has another scale already."""
        t = self.tensor
        if t.scale is None:
            t.dtype, t.scale, t.zero_point = "int8", np.array([scale], np.float64), int(zero)
            reader.is_quantised = True
            return self
        if t.quantisation == (float(scale), int(zero)):
            return self
        result = Value(
            Tensor(name, t.shape, "int8", scale, int(zero)), self.shape, self.order, self.flat
        )
        return reader.add("QUANTIZE", [self], result, {"rounding": "once"})


def _moves_nothing(shape, perm):
    """Whether a transposition leaves the order of the elements in memory as it is."""
    axes = [i for i in perm if shape[i] != 1]
    return axes == sorted(axes)


def scale_of(scale, zero, what):
    """(scale, zero point as of int8) of an activation, from its two constants."""
    if not isinstance(scale, Constant) or not (zero is None or isinstance(zero, Constant)):
        raise UserError(
            f"the scale of {what} is computed by the model (dynamic quantisation): "
            "quantise it statically"
        )
    if scale.data.size != 1:
        raise UserError(f"{what} has several scales; only weights may")
    kind = np.uint8 if zero is None else zero.data.dtype
    if kind not in (np.uint8, np.int8):
        raise UserError(f"{what} is quantised to {np.dtype(kind)}; int8 and uint8 are supported")
    point = 0 if zero is None else int(zero.data.reshape(-1)[0])
    return float(scale.data.reshape(-1)[0]), point - (128 if kind == np.uint8 else 0)
