"""Models of one fully connected layer, written byte by byte after docs/model-format.md and
docs/model-graph.md; runs on MicroPython too, so without the converter."""

import json
import struct
from hashlib import sha256
from math import frexp


def container(kind, meta, body, data, arena, macs=0):
    """The bytes of a file. body: function(offset of the data) -> bytes, always of one length."""
    meta = json.dumps(meta).encode()
    body_at = _aligned(96 + len(meta))
    length = len(body(0))
    data_at = _aligned(body_at + length)
    out = bytearray(data_at + len(data))
    out[96 : 96 + len(meta)] = meta
    out[body_at : body_at + length] = body(data_at)
    out[data_at:] = data
    sizes = (len(out), 0, 96, len(meta), body_at, length, data_at, len(data), arena, macs)
    struct.pack_into("<4sHH10I", out, 0, b"MGM1", 1, kind, *sizes)
    digest = sha256(bytes(out[:48]))
    digest.update(bytes(out[80:]))
    out[48:80] = digest.digest()
    return bytes(out)


def _aligned(n):
    return (n + 15) // 16 * 16


def _tensor(at, size, scale, zero):
    return struct.pack("<IIBBHfiI6I", at, size, 0, 2, 0, scale, zero, 0, 1, size, 1, 1, 1, 1)


def dense(
    rows,
    bias,
    labels=(),
    scale=0.5,
    zero=3,
    weight=1 / 64,
    out_scale=0.25,
    out_zero=-7,
    name="dense",
    **meta,
):
    """A model y = W x + b, in int8. rows: W as lists of int8, one for each output; bias: int32 in
    units of scale * weight; scale, zero: of x; weight: scale of W; meta: further metadata."""
    n = len(rows[0])
    m = len(rows)
    ratio, shift = frexp(scale * weight / out_scale)
    multiplier = round(ratio * (1 << 31))
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    data = b"".join(struct.pack("%db" % n, *row) for row in rows)
    data += bytes(-len(data) % 16)
    biases = len(data)
    data += b"".join(struct.pack("<i", bias[i] - zero * sum(rows[i])) for i in range(m))
    multipliers = len(data)
    data += struct.pack("<i", multiplier)
    shifts = len(data)
    data += struct.pack("<bxxx", shift)
    out_at = (n + 7) // 8 * 8
    arena = out_at + (m + 7) // 8 * 8
    info = {
        "name": name,
        "inputs": [_end("x", n, scale, zero)],
        "outputs": [_end("y", m, out_scale, out_zero)],
    }
    if labels:
        info["labels"] = list(labels)
    info.update(meta)

    def body(at):
        places = (at, at + biases, at + multipliers, at + shifts)
        return b"".join(
            (
                struct.pack("<HHHHII", 2, 1, 1, 1, 0, 0),
                _tensor(0, n, scale, zero),
                _tensor(out_at, m, out_scale, out_zero),
                struct.pack("<HH", 0, 1),
                struct.pack("<BBHHH4I", 1, 0, 10, 0, 1, *places),
                struct.pack("<bbbbIII", zero, out_zero, -128, 127, 0, 0, 1),
            )
        )

    return container(1, info, body, data, arena, n * m)


def _end(name, size, scale, zero):
    return {
        "name": name,
        "shape": [1, size],
        "dtype": "int8",
        "scale": scale,
        "zero_point": zero,
    }
