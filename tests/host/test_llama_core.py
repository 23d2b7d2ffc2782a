"""The transformer's C core against numpy: the same integers, and floats as near as floats are."""

import ctypes
from array import array

import llama_models
import llama_numpy
import numpy as np
import pytest
import soak
from mcpgw import native
from mcpgw.convert import llama, llama2c, mgm
from mcpgw.native_llama import Llama, llama_state

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high."
)


def run_of(file, positions=1 << 20):
    return Llama(file, bytearray(llama_state(file, positions)[1]))


def step(run, token, logits=True):
    run.feed(token, logits)
    while run.step():
        pass


def logits_of(run):
    """(int64 logits, their scale)."""
    out = array("i", bytes(4 * run.info()[0]))
    scale = run.logits(out)
    return np.array(out, np.int64), scale


def compare(file, ids, positions=1 << 20, every=1):
    """Every `every`th token's logits are the oracle's, to the bit."""
    run, oracle = run_of(file, positions), llama_numpy.Integer(file)
    for i, id in enumerate(ids):
        step(run, id)
        wanted, scale = oracle.step(id)
        if i % every == 0 or i == len(ids) - 1:
            found, found_scale = logits_of(run)
            assert found.tolist() == wanted.tolist(), i
            assert found_scale == scale, i


@pytest.mark.parametrize("quant", llama_models.QUANTS)
@pytest.mark.parametrize("shape", llama_models.SHAPES)
def test_integers_are_the_oracles(shape, quant, seed):
    # Weights of all sizes: activations that nearly vanish, and such that saturate.
    for i, scale in enumerate((1.0, 0.01, 30.0)):
        model = llama_models.spec(shape, seed + i, scale)
        file = llama.lower(model, quant)
        compare(file, llama_models.tokens(seed + i, soak.count(24, 40)))


@pytest.mark.parametrize("quant", llama_models.QUANTS)
def test_long_context(quant, seed):
    """More than 512 positions: weights of the values lose a bit or two."""
    file = llama.lower(llama_models.spec("long", seed), quant)
    compare(file, llama_models.tokens(seed, soak.count(560, 1500)), every=40)


def test_zeros(seed):
    """Nothing to scale by: every product is 0, and no division is by it."""
    model = llama_models.spec("small", seed)
    for name in ("embedding", "wk", "wv", "w1"):
        model.tensors[name] = np.zeros_like(model.tensors[name])
        for quant in llama_models.QUANTS:
            compare(llama.lower(model, quant), [1, 5, 9])


def test_state_grows_with_positions(seed):
    file = llama.lower(llama_models.spec("small", seed), "row")
    assert llama_state(file, 99)[0] == 40
    assert llama_state(file, 40)[1] == mgm.read(file).arena
    sizes = [llama_state(file, n)[1] for n in range(1, 41)]
    for n, size in enumerate(sizes, 1):
        assert Llama(file, bytearray(size)).info()[1] == n
        if n > 1:
            assert Llama(file, bytearray(size - 8)).info()[1] == n - 1
    with pytest.raises(ValueError, match="at least"):
        Llama(file, bytearray(sizes[0] - 8))
    # Few positions give what many give, and the last of them is the last.
    compare(file, llama_models.tokens(seed, 7), positions=7)
    run = run_of(file, 2)
    step(run, 1)
    step(run, 2)
    with pytest.raises(ValueError, match="no room"):
        run.feed(3)


@pytest.mark.parametrize("quant", (*llama_models.QUANTS, "float"))
def test_rewound_and_unwanted_logits(quant, seed):
    """Going back and going on gives what a run without gives; so do tokens whose logits nobody
    wanted, and none are to be had for those."""
    file = llama.lower(llama_models.spec("small", seed), quant)
    ids = llama_models.tokens(seed, 12)
    plain, other = run_of(file), run_of(file)
    for id in ids:
        step(plain, id)
    for id in (*ids[:5], 3, 4, 5):
        step(other, id, logits=False)
    with pytest.raises(ValueError, match="no logits"):
        other.best()
    other.rewind(5)
    other.feed(7)
    other.step()
    other.rewind(5)
    assert other.step() is False
    for id in ids[5:]:
        step(other, id, logits=id == ids[-1])
    assert logits_of(plain)[0].tolist() == logits_of(other)[0].tolist()
    assert other.pos() == 12


@pytest.mark.parametrize("shape", llama_models.SHAPES)
def test_floats(shape, seed):
    file = llama.lower(llama_models.spec(shape, seed), "float")
    run, oracle = run_of(file), llama_numpy.Float(file)
    for id in llama_models.tokens(seed, 30):
        step(run, id)
        wanted = oracle.step(id)
        found, (m, e) = logits_of(run)
        assert np.abs(found * (m * 2.0**e) - wanted).max() < 2e-3 * max(1, np.abs(wanted).max())


def test_tables():
    core = native.library()
    for name, table in (("exp2", llama_numpy.EXP2), ("sigmoid", llama_numpy.SIGMOID)):
        in_c = (ctypes.c_uint16 * len(table)).in_dll(core, f"qnn_llama_{name}")
        assert list(in_c) == table.tolist()


def test_sampling_is_what_the_format_says(seed):
    """Against Python's own big integers."""
    file = llama.lower(llama_models.spec("small", seed, 3.0), "row")
    run = run_of(file)
    seen = set()
    for i, (temperature, top_p) in enumerate(
        (t, p)
        for t in (1, 6554, 65536, 200000, 1 << 23)
        for p in (0, 1, 32768, 60000, 65535, 65536)
    ):
        step(run, i % 70)
        logits, scale = logits_of(run)
        random = (seed + 977 * i) & 0xFFFFFFFF
        run.seed(random)
        token = run.sample(temperature, top_p)
        assert token == llama_numpy.sample(logits, scale, temperature, top_p, random)[0]
        seen.add(token)
        with pytest.raises(ValueError, match="no logits"):
            run.sample(temperature, top_p)
    assert len(seen) > 5


def test_samples_follow_the_distribution(seed):
    file = llama.lower(llama_models.spec("small", seed), "row")
    run = run_of(file)
    step(run, 1)
    logits, (m, e) = logits_of(run)
    z = logits * (m * 2.0**e) / 0.8
    wanted = np.exp(z - z.max())
    wanted /= wanted.sum()
    run.seed(seed)
    counts = np.zeros(70)
    n = soak.count(3000, 30000)
    for _ in range(n):
        run.rewind(0)
        step(run, 1)
        counts[run.sample(round(0.8 * 65536), 65536)] += 1
    spread = np.sqrt(n * wanted * (1 - wanted)) + 1
    assert (np.abs(counts - n * wanted) < 5 * spread).all()


# --- the model of shared data --------------------------------------------------------------------


@pytest.fixture(scope="module")
def stories(data_dir):
    return llama2c.read(data_dir / "stories260K" / "stories260K.bin")


@pytest.fixture(scope="module")
def pieces(data_dir):
    """Bytes of each token."""
    data = (data_dir / "stories260K" / "tok512.bin").read_bytes()
    at, out = 4, []
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        out.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return out


def greedy(run, count):
    id, out = 1, []
    for _ in range(count):
        step(run, id)
        id = run.best()
        out.append(id)
    return out


def test_published_text(stories, pieces):
    """The float path's 200 tokens are float64's in numpy, and begin with the published text."""
    file = llama.lower(stories, "float")
    found = greedy(run_of(file), 200)
    text = b"".join(pieces[id] for id in found).replace(b"<0x0A>", b"\n").decode().strip()
    assert text.startswith(STORY)
    oracle, id, wanted = llama_numpy.Float(file, np.float64), 1, []
    for _ in range(200):
        id = int(oracle.step(id).argmax())
        wanted.append(id)
    assert found == wanted


@pytest.mark.parametrize("quant", llama_models.QUANTS)
def test_story_is_the_oracles(stories, quant):
    file = llama.lower(stories, quant)
    ids = [1, *greedy(run_of(file), soak.count(150, 511))]
    compare(file, ids, every=5)


def log_probability(z, token):
    z = z - z.max()
    return z[token] - np.log(np.exp(z).sum())


def drawn(file, count, seed):
    """Texts of `count` tokens, at most 256 each, that the float model draws at temperature 0.9."""
    run = run_of(file)
    run.seed(seed)
    texts = []
    while sum(map(len, texts)) < count:
        run.rewind(0)
        ids = [1]
        for _ in range(255):
            step(run, ids[-1])
            ids.append(run.sample(round(0.9 * 65536), 65536))
        texts.append(ids)
    return texts


def mean_log_probability(file, texts):
    run, total, count = run_of(file), 0.0, 0
    for ids in texts:
        run.rewind(0)
        for id, following in zip(ids, ids[1:], strict=False):
            step(run, id)
            logits, (m, e) = logits_of(run)
            total += log_probability(logits * (m * 2.0**e), following)
            count += 1
    return total / count


def test_perplexity(stories):
    """Within 1 % of float's, on the greedy story and on text that the float model draws."""
    floats = llama.lower(stories, "float")
    story = [1, *greedy(run_of(floats), 400)]
    texts = [story, *drawn(floats, soak.count(2500, 40000), seed=1)]
    wanted = mean_log_probability(floats, texts)
    for quant in ("row", "q8_0"):
        quantised = llama.lower(stories, quant)
        ratio = np.exp(wanted - mean_log_probability(quantised, texts))
        print(f"perplexity of {quant}: {ratio:.4f} times float's")
        assert 0.99 < ratio < 1.01
