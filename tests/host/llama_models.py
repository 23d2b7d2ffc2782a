"""Small random transformers, and files of other programs with them."""

import struct

import gguf
import numpy as np
from mcpgw.convert.llama import LlamaSpec
from mcpgw.convert.llama2c import angles

QUANTS = ("row", "q8_0", "q4_0")
# Odd sizes: groups that are not full, rows longer than 512, one or several heads to each of keys
# and values, heads as wide as the model or not, a classifier of its own or not.
SHAPES = {
    "small": {"dim": 32, "hidden": 88, "layers": 2, "heads": 4, "kv_heads": 2, "size": 8},
    "narrow": {"dim": 20, "hidden": 36, "layers": 1, "heads": 5, "kv_heads": 1, "size": 4},
    "wide": {"dim": 96, "hidden": 1100, "layers": 1, "heads": 3, "kv_heads": 3, "size": 32},
    "long": {"dim": 32, "hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "size": 24},
}
# Its rows are whole groups, as ggml wants them.
GROUPED = {"dim": 64, "hidden": 96, "layers": 2, "heads": 4, "kv_heads": 2, "size": 16}
POSITIONS = {"long": 1500}
OWN_CLASSIFIER = ("narrow", "long")


def spec(shape, seed, scale=1.0, vocab=70):
    """A LlamaSpec of random weights; scale, of them all, makes activations large or small."""
    sizes = dict(GROUPED if shape == "grouped" else SHAPES[shape])
    r = np.random.default_rng(seed)
    size = sizes.pop("size")
    positions = POSITIONS.get(shape, 40)

    def weights(*shape):
        w = r.normal(0, scale * shape[-1] ** -0.5, shape)
        # Rows and columns of different size, as trained models have them.
        w *= np.exp(r.normal(0, 0.7, (*shape[:-1], 1))) * np.exp(r.normal(0, 0.4, shape[-1]))
        return w.astype(np.float32)

    def gains(*shape):
        return np.exp(r.normal(0, 0.5, shape)).astype(np.float32)

    dim, hidden, layers = sizes["dim"], sizes["hidden"], sizes["layers"]
    q, kv = sizes["heads"] * size, sizes["kv_heads"] * size
    tensors = {
        "embedding": weights(vocab, dim) * 3,
        "attn_norm": gains(layers, dim),
        "wq": weights(layers, q, dim),
        "wk": weights(layers, kv, dim),
        "wv": weights(layers, kv, dim),
        "wo": weights(layers, dim, q),
        "ffn_norm": gains(layers, dim),
        "w1": weights(layers, hidden, dim),
        "w2": weights(layers, dim, hidden),
        "w3": weights(layers, hidden, dim),
        "norm": gains(dim),
    }
    if shape in OWN_CLASSIFIER:
        tensors["classifier"] = weights(vocab, dim)
    rope = angles(positions, size, 10000.0)
    more = {"head_size": size, "vocab": vocab, "positions": positions}
    return LlamaSpec(shape, **sizes, **more, eps=1e-5, rope=rope, tensors=tensors, bos=1, eos=2)


def tokens(seed, count, vocab=70):
    return np.random.default_rng(seed).integers(0, vocab, count).tolist()


def llama2c_file(path, model):
    """Write the model as a llama2.c checkpoint."""
    t = model.tensors
    own = "classifier" in t
    vocab = -model.vocab if own else model.vocab
    sizes = (model.dim, model.hidden, model.layers, model.heads, model.kv_heads)
    order = (
        "embedding",
        "attn_norm",
        "wq",
        "wk",
        "wv",
        "wo",
        "ffn_norm",
        "w1",
        "w2",
        "w3",
        "norm",
    )
    data = struct.pack("<7i", *sizes, vocab, model.positions)
    data += b"".join(np.asarray(t[name], "<f4").tobytes() for name in order)
    data += np.cos(model.rope).astype("<f4").tobytes() + np.sin(model.rope).astype("<f4").tobytes()
    if own:
        data += t["classifier"].tobytes()
    path.write_bytes(data)
    return path


_NAMES = {
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


def gguf_file(path, model, kind, change=None):
    """Write the model as GGUF with matrices of a type, "F32" or another that `gguf` can make.
    change: called with the writer before it writes."""
    kind = gguf.GGMLQuantizationType[kind]
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(model.name)
    w.add_context_length(model.positions)
    w.add_embedding_length(model.dim)
    w.add_block_count(model.layers)
    w.add_feed_forward_length(model.hidden)
    w.add_head_count(model.heads)
    w.add_head_count_kv(model.kv_heads)
    w.add_key_length(model.head_size)
    w.add_value_length(model.head_size)
    w.add_layer_norm_rms_eps(model.eps)
    w.add_rope_freq_base(10000.0)
    w.add_bos_token_id(model.bos)
    w.add_eos_token_id(model.eos)

    def put(name, array):
        if array.ndim == 1:
            w.add_tensor(name + ".weight", array)
        else:
            w.add_tensor(name + ".weight", gguf.quantize(array, kind), raw_dtype=kind)

    t = model.tensors
    put("token_embd", t["embedding"])
    put("output_norm", t["norm"])
    if "classifier" in t:
        put("output", t["classifier"])
    for i in range(model.layers):
        for name, theirs in _NAMES.items():
            put(f"blk.{i}.{theirs}", t[name][i])
    if change:
        change(w)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path
