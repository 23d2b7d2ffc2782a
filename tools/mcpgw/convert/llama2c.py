"""Checkpoints of llama2.c: float .bin files of the old layout (seven int32, float32 tensors)."""

import struct
from pathlib import Path

import numpy as np

from .. import UserError
from .llama import LIMITS, LlamaSpec

_HEADER = struct.Struct("<7i")
# What that program has built in.
_EPS = 1e-5
_THETA = 10000.0
_BOS, _EOS = 1, 2


def read(path):
    """The model in a checkpoint, a LlamaSpec. Raises UserError."""
    path = Path(path)
    data = path.read_bytes()
    if len(data) < _HEADER.size:
        raise UserError(f"{path}: {len(data)} bytes are no llama2.c checkpoint")
    dim, hidden, layers, heads, kv_heads, vocab, positions = _HEADER.unpack_from(data)
    # A negative vocabulary says that the classifier has weights of its own.
    shared, vocab = vocab > 0, abs(vocab)
    sizes = {"dim": dim, "hidden": hidden, "layers": layers, "heads": heads, "vocab": vocab}
    sizes["positions"] = positions
    for what, size in sizes.items():
        if not 1 <= size <= LIMITS[what]:
            raise UserError(f"{path}: no llama2.c checkpoint, or one too large: {what} is {size}")
    if not 1 <= kv_heads <= heads or heads % kv_heads or dim % heads or dim // heads % 2:
        raise UserError(
            f"{path}: no llama2.c checkpoint: {heads} heads, {kv_heads} of keys, dim {dim}"
        )
    size = dim // heads
    kv = kv_heads * size
    shapes = {
        "embedding": (vocab, dim),
        "attn_norm": (layers, dim),
        "wq": (layers, dim, dim),
        "wk": (layers, kv, dim),
        "wv": (layers, kv, dim),
        "wo": (layers, dim, dim),
        "ffn_norm": (layers, dim),
        "w1": (layers, hidden, dim),
        "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim),
        "norm": (dim,),
        "rotations": (2, positions, size // 2),  # recomputed by every reader, this one as well
    }
    if not shared:
        shapes["classifier"] = (vocab, dim)
    wanted = _HEADER.size + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if len(data) != wanted:
        raise UserError(f"{path}: {len(data)} bytes, its header asks for {wanted}")
    tensors, at = {}, _HEADER.size
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, "<f4", count, at).reshape(shape)
        at += 4 * count
    del tensors["rotations"]
    return LlamaSpec(
        path.stem,
        **sizes,
        kv_heads=kv_heads,
        head_size=size,
        eps=_EPS,
        rope=angles(positions, size, _THETA),
        tensors=tensors,
        bos=_BOS,
        eos=_EOS,
        meta={"source": "llama2.c"},
    )


def angles(positions, size, theta):
    """(positions, size / 2) angles of the usual rotations."""
    frequencies = 1.0 / theta ** (np.arange(0, size, 2) / size)
    return np.arange(positions)[:, None] * frequencies[None, :]
