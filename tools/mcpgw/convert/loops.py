"""Nested loops over arrays, as the format's operators have them: four at most."""

from math import prod


def dense_strides(shape):
    """Strides in elements of a row-major array."""
    return [prod(shape[i + 1 :]) for i in range(len(shape))]


def broadcast_strides(shape, to):
    """Strides of an array of `shape` seen as one of shape `to`: 0 along what is repeated."""
    shape = (1,) * (len(to) - len(shape)) + tuple(shape)
    if any(a not in (1, b) for a, b in zip(shape, to, strict=True)):
        raise ValueError(f"shape {shape} does not broadcast to {to}")
    return [0 if a == 1 else s for a, s in zip(shape, dense_strides(shape), strict=True)]


def merge(sizes, strides):
    """
    (sizes, [strides of each array]) with as few loops as go through the same places in the same
    order.

    ValueError where more than four are left.
    """
    loops = [(n, [s[i] for s in strides]) for i, n in enumerate(sizes) if n != 1]
    out = []
    for n, step in loops:
        if out and all(a == b * n for a, b in zip(out[-1][1], step, strict=True)):
            out[-1] = (out[-1][0] * n, step)
        else:
            out.append((n, step))
    if len(out) > 4:
        raise ValueError("more than four dimensions that cannot be merged")
    return [n for n, _ in out], [[step[k] for _, step in out] for k in range(len(strides))]


def pad_to(count, values, fill):
    """`values` with `fill` before them, `count` in all."""
    return [fill] * (count - len(values)) + list(values)
