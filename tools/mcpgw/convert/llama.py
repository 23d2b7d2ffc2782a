"""Llama-architecture transformers: what a reader (llama2c.py, gguf.py) makes of a file, and its
lowering to a .mgm of kind 4. docs/model-llama.md has the format byte by byte."""

import struct
from dataclasses import dataclass, field

import numpy as np

from .. import UserError
from . import mgm

QUANTS = ("float", "row", "q8_0", "q4_0")

# Types of tensors in the file.
F32, INT8_ROW, INT8_GROUP, INT4_GROUP, INT16 = range(5)
GROUP = 32
NO_TOKEN = 0xFFFFFFFF

# What c_modules/qnn/qnn_llama.c takes; a test holds the two together.
LIMITS = {
    "dim": 8192,
    "hidden": 16384,
    "layers": 256,
    "heads": 256,
    "head_size": 256,
    "vocab": 1 << 18,
    "positions": 32768,
}
_LAYER = ("attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1", "w2", "w3")


@dataclass
class Blocks:
    """A matrix that its source keeps in groups of 32 along a row, each with a scale.

    q: int8 (rows, columns); scale: float (rows, columns / 32); bits: 8 (-128..127) or 4 (-8..7).
    """

    q: np.ndarray
    scale: np.ndarray
    bits: int

    @property
    def shape(self):
        return self.q.shape

    def floats(self):
        return self.q.astype(np.float32) * np.repeat(self.scale, GROUP, 1).astype(np.float32)


@dataclass
class LlamaSpec:
    """
    A model as its reader found it.

    Args:
        name: for the metadata.
        heads, kv_heads: head h reads keys and values of head h // (heads / kv_heads).
        positions: longest context, rows of the table of rotations.
        rope: float (positions, head_size / 2): angle of each pair (2i, 2i + 1) of a head.
        tensors: float32 arrays or Blocks, (outputs, inputs): "embedding" (vocab, dim),
            "classifier" or nothing where it shares the embedding, "norm"; lists by layer:
            "attn_norm", "wq", "wk", "wv", "wo", "ffn_norm", "w1" (gate), "w2" (down), "w3" (up).
        bos, eos: token ids or None.
    """

    name: str
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocab: int
    positions: int
    eps: float
    rope: np.ndarray
    tensors: dict
    bos: int | None = None
    eos: int | None = None
    meta: dict = field(default_factory=dict)

    def check(self):
        """Raise UserError unless everything has the shape that it says and that the core takes."""
        for what, most in LIMITS.items():
            if not 1 <= getattr(self, what) <= most:
                raise UserError(
                    f"{self.name}: {what} is {getattr(self, what)}, 1 to {most} is possible"
                )
        if self.head_size % 4 or self.heads % self.kv_heads or self.dim % 4:
            raise UserError(
                f"{self.name}: dim {self.dim} and head size {self.head_size} have to be multiples "
                f"of 4, and {self.heads} heads of the {self.kv_heads} heads of keys and values"
            )
        if self.heads * self.head_size > LIMITS["hidden"]:
            raise UserError(f"{self.name}: heads times head size is more than {LIMITS['hidden']}")
        for name, shape in self.shapes().items():
            found = self.tensors.get(name)
            if name == "classifier" and found is None:
                continue
            each = found if name in _LAYER else [found]
            if name in _LAYER and len(each) != self.layers:
                raise UserError(f"{self.name}: {len(each)} times {name} for {self.layers} layers")
            for tensor in each:
                if tensor is None or tuple(tensor.shape) != shape:
                    was = None if tensor is None else tuple(tensor.shape)
                    raise UserError(f"{self.name}: {name} has the shape {was}, not {shape}")
        if self.rope.shape != (self.positions, self.head_size // 2):
            raise UserError(f"{self.name}: the table of rotations has the shape {self.rope.shape}")

    def shapes(self):
        """Of every tensor, by its name."""
        q, kv = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "embedding": (self.vocab, self.dim),
            "classifier": (self.vocab, self.dim),
            "norm": (self.dim,),
            "attn_norm": (self.dim,),
            "wq": (q, self.dim),
            "wk": (kv, self.dim),
            "wv": (kv, self.dim),
            "wo": (self.dim, q),
            "ffn_norm": (self.dim,),
            "w1": (self.hidden, self.dim),
            "w2": (self.dim, self.hidden),
            "w3": (self.hidden, self.dim),
        }


def quantise_q8_0(w):
    """float (rows, columns) to Blocks as ggml does it: scale = max / 127 as float16."""
    groups = _grouped(w)
    scale = np.abs(groups).max(2) / np.float32(127)
    inverse = np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0)[..., None]
    q = _round_away(groups * inverse).astype(np.int8)
    return Blocks(q.reshape(len(w), -1), scale.astype(np.float16).astype(np.float32), 8)


def quantise_q4_0(w):
    """float (rows, columns) to Blocks as ggml does it: what is largest in magnitude becomes -8."""
    groups = _grouped(w)
    at = np.abs(groups).argmax(2)[..., None]
    scale = np.take_along_axis(groups, at, 2)[..., 0] / np.float32(-8)
    inverse = np.where(scale != 0, 1 / np.where(scale != 0, scale, 1), 0)[..., None]
    q = np.minimum(15, np.floor(groups * inverse + np.float32(8.5))).astype(np.int8) - 8
    return Blocks(q.reshape(len(w), -1), scale.astype(np.float16).astype(np.float32), 4)


def _grouped(w):
    """float32 (rows, groups, 32), the last group filled with zeros."""
    rows, columns = w.shape
    padded = np.zeros((rows, -(-columns // GROUP) * GROUP), np.float32)
    padded[:, :columns] = w
    return padded.reshape(rows, -1, GROUP)


def _round_away(x):
    return np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))


def _exponent(largest):
    """e such that 2^14 <= largest / 2^e < 2^15."""
    return int(np.frexp(largest)[1]) - 15 if largest > 0 else 0


def _int16(values):
    """(int16 array, exponent) of floats: the largest takes 15 bits."""
    values = np.asarray(values, np.float64)
    e = _exponent(float(np.abs(values).max(initial=0)))
    return np.clip(np.round(values / 2.0**e), -32767, 32767).astype("<i2"), e


def _floats(w):
    return w.floats() if isinstance(w, Blocks) else np.asarray(w, np.float32)


class _Data(mgm.Data):
    """The data section under construction. What puts a tensor there returns (type, offset of its
    data in the section, that of its scales or None, exponent)."""

    def vector(self, v):
        """A norm's gains."""
        q, e = _int16(v)
        return INT16, self.add(q.tobytes()), None, e

    def floats(self, w):
        return F32, self.add(_floats(w).astype("<f4").tobytes()), None, 0

    def matrix(self, w, quant):
        if quant is None:
            quant = {8: "q8_0", 4: "q4_0"}[w.bits] if isinstance(w, Blocks) else "row"
        if quant == "row":
            return self._rows(_floats(w))
        bits = 8 if quant == "q8_0" else 4
        if not (isinstance(w, Blocks) and w.bits == bits):
            w = (quantise_q8_0 if bits == 8 else quantise_q4_0)(_floats(w))
        return self._groups(w)

    def _rows(self, w):
        rows, columns = w.shape
        scales, e = _int16(np.abs(w).max(1).astype(np.float64) / 127)
        # Weights are divided by the scale as the file has it, not by the one that was wanted.
        kept = np.maximum(scales, 1)[:, None] * 2.0**e
        padded = np.zeros((rows, -(-columns // 16) * 16), np.int16)
        padded[:, :columns] = np.clip(np.round(w.astype(np.float64) / kept), -127, 127)
        at = self.add((padded + 128).astype(np.uint8).tobytes())
        return INT8_ROW, at, self.add(scales.tobytes()), e

    def _groups(self, w):
        scales, e = _int16(w.scale)
        q = w.q.astype(np.int16)
        data = (q + 128).astype(np.uint8) if w.bits == 8 else _nibbles(q)
        kind = INT8_GROUP if w.bits == 8 else INT4_GROUP
        return kind, self.add(data.tobytes()), self.add(scales.tobytes()), e


def _nibbles(q):
    """Eight weights of -8..7 to four bytes: w0 w1, w4 w5, w2 w3, w6 w7, the first the low half."""
    u = (q + 8).astype(np.uint8).reshape(len(q), -1, 8)
    low, high = u[:, :, [0, 4, 2, 6]], u[:, :, [1, 5, 3, 7]]
    return (low | high << 4).reshape(len(q), -1)


def _reach(w, gains):
    """No output of a matrix over normalised inputs is larger: Cauchy and Schwarz."""
    weighted = _floats(w)[:, : len(gains)].astype(np.float64) * np.asarray(gains, np.float64)
    return float(np.sqrt((weighted**2).sum(1).max() * len(gains)))


def lower(spec, quant=None, positions=None):
    """
    The .mgm file of a model.

    Args:
        spec: LlamaSpec.
        quant: "float"; "row": int8, one scale for each row; "q8_0": int8, one for each 32 weights;
            "q4_0": 4 bits, one for each 32 (embedding and classifier stay q8_0); None: what the
            source has, "row" where it has floats.
        positions: a longest context below the model's own.

    Returns bytes. Raises UserError.
    """
    if quant not in (None, *QUANTS):
        raise UserError(f"no such quantisation: {quant}; there are {', '.join(QUANTS)}")
    spec.check()
    positions = min(positions or spec.positions, spec.positions)
    is_float = quant == "float"
    file = _Data()
    vector = file.floats if is_float else file.vector

    def matrix(w, q=quant):
        return file.floats(w) if is_float else file.matrix(w, q)

    t = spec.tensors
    outer = {"q4_0": "q8_0"}.get(quant, quant)
    embedding = matrix(t["embedding"], outer)
    classifier = t.get("classifier")
    entries = [embedding, embedding if classifier is None else matrix(classifier, outer)]
    entries.append(vector(t["norm"]))
    for i in range(spec.layers):
        for name in _LAYER:
            put = vector if name.endswith("norm") else matrix
            entries.append(put(t[name][i]))
        reach = [_reach(t[name][i], t["attn_norm"][i]) / 127 for name in ("wk", "wv")]
        entries.append((None, _exponent(reach[0]), None, _exponent(reach[1])))
    angles = np.asarray(spec.rope[:positions], np.float64)
    turns = np.stack([np.cos(angles), np.sin(angles)], 2)
    rope = turns.astype("<f4") if is_float else np.round(turns * 16384).astype("<i2")
    rope_at = file.add(rope.tobytes())

    def body(data_at):
        return _parameters(spec, positions, is_float, data_at + rope_at) + b"".join(
            struct.pack("<IIIi", kind, data_at + at, 0 if scales is None else data_at + scales, e)
            if kind is not None
            else struct.pack("<2i", at, e)
            for kind, at, scales, e in entries
        )

    meta = {
        "name": spec.name,
        "outputs": [{"name": "logits", "shape": [spec.vocab]}],
        "quantisation": quant or "source",
        **spec.meta,
    }
    state = state_bytes(spec, positions, is_float)
    return mgm.write(mgm.LLAMA, meta, body, bytes(file.bytes), state, macs(spec))


def _parameters(spec, positions, is_float, rope_at):
    sizes = (spec.dim, spec.hidden, spec.layers, spec.heads, spec.kv_heads, spec.head_size)
    eps = struct.pack("<f", spec.eps) if is_float else struct.pack("<I", round(spec.eps * 2.0**32))
    ids = (NO_TOKEN if id is None else id for id in (spec.bos, spec.eos))
    to_log2 = 1 / np.log(2) / np.sqrt(spec.head_size)
    m, e = np.frexp(to_log2)
    end = struct.pack(
        "<4IIiI", *ids, rope_at, int(is_float), min(round(m * 65536), 65535), int(e) - 16, 0
    )
    return struct.pack("<8I", *sizes, spec.vocab, positions) + eps + end


def state_bytes(spec, positions, is_float):
    """Bytes of RAM that a run over so many positions takes."""
    kv, q = spec.kv_heads * spec.head_size, spec.heads * spec.head_size
    wide = -(-max(spec.dim, spec.hidden, q) // 32) * 32
    base = 4 * (spec.dim + 2 * wide + 2 * kv + spec.vocab)
    if is_float:
        base += 4 * wide
        each = 8 * kv
    else:
        base += 4 * spec.layers * kv + 3 * wide + wide // 8
        each = 2 * kv + 4 * spec.kv_heads
    return -(-(base + (each * spec.layers + 4) * positions) // 8) * 8


def macs(spec):
    """Multiplications for one token, attention left out."""
    shapes = spec.shapes()
    each = sum(shapes[name][0] * shapes[name][1] for name in _LAYER if name.startswith("w"))
    return spec.layers * each + spec.vocab * spec.dim
