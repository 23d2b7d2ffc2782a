"""Readers of transformers, and what they refuse."""

import struct

import gguf as gguf_package
import llama_models
import llama_numpy
import numpy as np
import pytest
from mcpgw import UserError
from mcpgw.convert import gguf, llama, llama2c, mgm
from mcpgw.native_llama import Llama, llama_state


def same_weights(found, wanted):
    for name, tensor in wanted.tensors.items():
        each = found.tensors[name]
        pairs = zip(each, tensor, strict=True) if tensor.ndim > 2 else [(each, tensor)]
        for a, b in pairs:
            assert np.array_equal(llama._floats(np.asarray(a)), b), name


@pytest.mark.parametrize("shape", ("small", "narrow"))
def test_llama2c(tmp_path, shape, seed):
    """Both kinds of file: with a classifier of its own and without."""
    model = llama_models.spec(shape, seed)
    path = llama_models.llama2c_file(tmp_path / "model.bin", model)
    found = llama2c.read(path)
    same_weights(found, model)
    assert ("classifier" in found.tensors) == (shape == "narrow")
    assert llama.lower(found, "row")[-1000:] == llama.lower(model, "row")[-1000:]
    assert mgm.read(llama.lower(found, "row")).metadata["source"] == "llama2.c"


def test_no_llama2c_checkpoints(tmp_path, seed):
    path = llama_models.llama2c_file(tmp_path / "m.bin", llama_models.spec("small", seed))
    whole = path.read_bytes()
    for data, told in (
        (b"", "0 bytes"),
        (whole[:-4], "its header asks for"),
        (whole + b"more", "its header asks for"),
        (b"GGUF" + whole[4:], "dim is"),
        (struct.pack("<7i", 32, 88, 2, 4, 3, 70, 40) + whole[28:], "4 heads, 3 of keys"),
        (struct.pack("<7i", 32, 88, 2, 0, 2, 70, 40) + whole[28:], "heads is 0"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=told):
            llama2c.read(path)


@pytest.mark.parametrize("kind", ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_1"))
def test_gguf(tmp_path, kind, seed):
    """The weights are those that the `gguf` package itself reads; Q8_0 and Q4_0 keep their
    integers, and their scales as far as 15 bits for the largest reach."""
    model = llama_models.spec("grouped", seed)
    path = llama_models.gguf_file(tmp_path / "model.gguf", model, kind)
    found = gguf.read(path)
    assert (found.bos, found.eos, found.heads, found.kv_heads) == (1, 2, 4, 2)
    np.testing.assert_allclose(found.rope, model.rope)
    theirs = {tensor.name: tensor for tensor in gguf_package.GGUFReader(path).tensors}
    wanted = theirs["blk.1.ffn_down.weight"]
    wanted = gguf_package.dequantize(wanted.data, wanted.tensor_type)
    assert np.array_equal(llama._floats(found.tensors["w2"][1]), wanted)
    file = llama.lower(found)
    q, scale, e = llama_numpy.File(file).blocks[1]["w2"]
    values = (q * scale[:, :, None]).reshape(len(q), -1)[:, : wanted.shape[1]] * 2.0**e
    blocks = kind in ("Q8_0", "Q4_0")
    close = np.abs(wanted).max() * (2**-14 if blocks else 0.01)
    assert np.abs(values - wanted).max() < close
    assert (q.shape[1] > 1) == blocks
    if blocks:
        assert np.array_equal(found.tensors["w2"][1].q, q.reshape(len(q), -1))
    run = Llama(file, bytearray(llama_state(file, 4)[1]))
    oracle = llama_numpy.Integer(file)
    run.feed(5)
    while run.step():
        pass
    assert run.best() == int(oracle.step(5)[0].argmax())


def test_quantisation_is_ggmls(seed):
    """From floats, as the `gguf` package does it."""
    w = llama_models.spec("wide", seed).tensors["w1"][0][:, :96]
    for quantise, kind in ((llama.quantise_q8_0, "Q8_0"), (llama.quantise_q4_0, "Q4_0")):
        kind = gguf_package.GGMLQuantizationType[kind]
        theirs = gguf_package.dequantize(gguf_package.quantize(w, kind), kind)
        assert np.array_equal(quantise(w).floats(), theirs)


def test_rotations_of_gguf(tmp_path, seed):
    def change(w):
        w.add_rope_scaling_type(gguf_package.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(4.0)
        w.add_tensor("rope_freqs.weight", np.array([1, 1, 2, 8, 1, 1, 1, 1], np.float32))

    model = llama_models.spec("grouped", seed)
    found = gguf.read(llama_models.gguf_file(tmp_path / "m.gguf", model, "F16", change))
    np.testing.assert_allclose(found.rope[:, 3], model.rope[:, 3] / 32)
    np.testing.assert_allclose(found.rope[:, 0], model.rope[:, 0] / 4)


def test_refused_gguf(tmp_path, seed):
    model = llama_models.spec("grouped", seed)
    bias = np.zeros(64, np.float32)
    for change, told in (
        (lambda w: w.add_tensor("blk.0.attn_q.bias", bias), "tensor blk.0.attn_q.bias is not"),
        (lambda w: w.add_rope_dimension_count(8), "a part of each head"),
        (lambda w: w.add_rope_scaling_type(gguf_package.RopeScalingType.YARN), "scaled by yarn"),
        (lambda w: w.add_expert_count(4), "experts"),
    ):
        path = llama_models.gguf_file(tmp_path / "m.gguf", model, "F32", change)
        with pytest.raises(UserError, match=told):
            gguf.read(path)
    model.tensors["w1"] = model.tensors["w1"][:, :, :32]
    path = llama_models.gguf_file(tmp_path / "m.gguf", model, "F32")
    with pytest.raises(UserError, match=r"w1 has the shape \(96, 32\), not \(96, 64\)"):
        llama.lower(gguf.read(path))
    whole = path.read_bytes()
    for data in (b"", b"GGUF", whole[:300], b"lmgg" + whole[4:]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="no GGUF file"):
            gguf.read(path)
    with pytest.raises(UserError, match="No such file"):
        gguf.read(tmp_path / "none.gguf")


def test_limits_are_the_cores(seed):
    """What lower() lets through the core takes, and neither goes one further."""
    model = llama_models.spec("small", seed)
    file = llama.lower(model, "row")
    body = struct.unpack_from("<I", file, 24)[0]
    names = ("dim", "hidden", "layers", "heads", None, "head_size", "vocab", "positions")
    for i, name in enumerate(names):
        if name is None:
            continue
        most = llama.LIMITS[name]
        # One too much is wrong there; with the most, something else that follows from it is.
        for value, same in ((most + 1, True), (most, False)):
            changed = bytearray(file)
            struct.pack_into("<I", changed, body + 4 * i, value)
            with pytest.raises(ValueError) as error:
                Llama(bytes(changed), bytearray(1 << 16))
            place = f"out of bounds at offset {body + 4 * i}"
            assert str(error.value).endswith(place) == same, (name, value, str(error.value))
        setattr(model, name, most + 1)
        with pytest.raises(UserError, match=f"{name} is {most + 1}"):
            model.check()
        setattr(model, name, getattr(llama_models.spec("small", seed), name))


def test_a_shorter_context(seed):
    model = llama_models.spec("small", seed)
    file = llama.lower(model, "q8_0", positions=10)
    assert Llama(file, bytearray(1 << 16)).info() == (70, 10, 10, 1, 2)
    with pytest.raises(UserError, match="no such quantisation: q9"):
        llama.lower(model, "q9")
