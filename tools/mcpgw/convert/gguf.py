"""GGUF files of the Llama architecture. Q8_0 and Q4_0 keep their integers; F32, F16 and every
other type that the `gguf` package can turn into floats become floats."""

from pathlib import Path

import gguf
import numpy as np

from .. import UserError
from .llama import GROUP, LIMITS, Blocks, LlamaSpec
from .llama2c import angles

_LAYER = {
    "attn_norm": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "w1": "ffn_gate",
    "w2": "ffn_down",
    "w3": "ffn_up",
}
_TYPES = gguf.GGMLQuantizationType


def read(path):
    """The model in a GGUF file, a LlamaSpec. Raises UserError."""
    path = Path(path)
    try:
        reader = gguf.GGUFReader(path)
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}") from None
    except Exception as e:
        # The package checks little; what a damaged file makes it raise is of any kind.
        raise UserError(f"{path}: no GGUF file, or a damaged one: {e}") from None
    return _Reader(path, reader).spec()


class _Reader:
    def __init__(self, path, reader):
        self.path = path
        self.fields = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.used = set()

    def value(self, key, default=None):
        """Of a field; UserError where it is missing and has no default."""
        field = self.fields.get(key)
        if field is not None:
            return field.contents()
        if default is None:
            raise UserError(f"{self.path}: {key} is missing")
        return default

    def number(self, key, default=None):
        """One of the architecture's own."""
        value = self.value(f"llama.{key}", default)
        if isinstance(value, list):
            raise UserError(f"{self.path}: llama.{key} differs from layer to layer")
        return value

    def spec(self):
        architecture = self.value("general.architecture")
        if architecture != "llama":
            raise UserError(
                f"{self.path}: architecture {architecture}; only llama can be converted"
            )
        dim, heads = self.number("embedding_length"), self.number("attention.head_count")
        size = self.number("attention.key_length", dim // heads)
        layers = self.number("block_count")
        if self.number("expert_count", 0):
            raise UserError(f"{self.path}: mixtures of experts cannot be converted")
        if self.number("attention.value_length", size) != size:
            raise UserError(f"{self.path}: keys and values of different lengths")
        tensors = {
            "embedding": self.tensor("token_embd"),
            "norm": self.tensor("output_norm"),
            **{
                to: [self.tensor(f"blk.{i}.{name}") for i in range(layers)]
                for to, name in _LAYER.items()
            },
        }
        if "output.weight" in self.tensors:
            tensors["classifier"] = self.tensor("output")
        positions = min(self.number("context_length"), LIMITS["positions"])
        rope = self.rope(positions, size)
        for name in self.tensors.keys() - self.used:
            raise UserError(f"{self.path}: what to do with the tensor {name} is not known")
        return LlamaSpec(
            self.value("general.name", self.path.stem),
            dim=dim,
            hidden=self.number("feed_forward_length"),
            layers=layers,
            heads=heads,
            kv_heads=self.number("attention.head_count_kv", heads),
            head_size=size,
            vocab=tensors["embedding"].shape[0],
            positions=positions,
            eps=self.number("attention.layer_norm_rms_epsilon"),
            rope=rope,
            tensors=tensors,
            bos=self.token("bos"),
            eos=self.token("eos"),
            meta={"source": "gguf"},
        )

    def token(self, name):
        id = self.value(f"tokenizer.ggml.{name}_token_id", -1)
        return id if id >= 0 else None

    def rope(self, positions, size):
        if self.number("rope.dimension_count", size) != size:
            raise UserError(f"{self.path}: rotations of a part of each head cannot be converted")
        table = angles(positions, size, self.number("rope.freq_base", 10000.0))
        scaling = self.number("rope.scaling.type", "none")
        if scaling == "linear":
            table /= self.number("rope.scaling.factor")
        elif scaling != "none":
            raise UserError(f"{self.path}: rotations scaled by {scaling} cannot be converted")
        if "rope_freqs.weight" in self.tensors:
            table /= self.tensor("rope_freqs")
        return table

    def tensor(self, name):
        name += ".weight"
        tensor = self.tensors.get(name)
        if tensor is None:
            raise UserError(f"{self.path}: the tensor {name} is missing")
        self.used.add(name)
        kind, data = tensor.tensor_type, tensor.data
        if kind == _TYPES.Q8_0:
            return _q8_0(data)
        if kind == _TYPES.Q4_0:
            return _q4_0(data)
        try:
            return gguf.dequantize(data, kind).astype(np.float32)
        except NotImplementedError:
            raise UserError(
                f"{self.path}: {name} is of type {kind.name}, which cannot be read; "
                "F32, F16, Q8_0 and Q4_0 can"
            ) from None


def _q8_0(data):
    """Blocks of 2 bytes of scale, 32 int8."""
    rows = len(data)
    blocks = data.reshape(rows, -1, 2 + GROUP)
    scale = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[:, :, 0].astype(np.float32)
    q = np.ascontiguousarray(blocks[:, :, 2:]).view(np.int8).reshape(rows, -1)
    return Blocks(q, scale, 8)


def _q4_0(data):
    """Blocks of 2 bytes of scale, 16 bytes: weight j the low half of byte j, j + 16 the high."""
    rows = len(data)
    blocks = data.reshape(rows, -1, 2 + GROUP // 2)
    scale = np.ascontiguousarray(blocks[:, :, :2]).view("<f2")[:, :, 0].astype(np.float32)
    packed = blocks[:, :, 2:]
    q = np.concatenate([packed & 15, packed >> 4], 2).astype(np.int8) - 8
    return Blocks(q.reshape(rows, -1), scale, 4)
