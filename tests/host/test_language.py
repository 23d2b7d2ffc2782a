"""Language over the C core of this machine: what a text begins, stops and ends with."""

import asyncio

import language_models
import pytest
from mcpgw import native_llama
from mcpgw.tokenizer import mgt, readers

from mcp_gw.infer import language as module
from mcp_gw.infer.language import Language
from mcp_gw.infer.model import ModelError
from mcp_gw.infer.store import Store
from mcp_gw.infer.tokenizer import Tokenizer


@pytest.fixture
def files(seed):
    return language_models.both(seed)


@pytest.fixture
def language(files):
    return language_models.load(*files, positions=40)


@pytest.fixture
def drawn(language):
    """Options with which the text after "ab" and after "ba" does not end by itself before long."""
    for seed in range(1000):
        options = {"temperature": 1.2, "seed": seed}
        if all(len(plain(language, prompt, 24, **options)[0]) == 24 for prompt in ("ab", "ba")):
            return options
    raise AssertionError("this model ends every text at once")


def plain(language, prompt, count, **options):
    """(token ids, text) by the core alone."""
    core = native_llama.Llama(language._buf, bytearray(language.arena_bytes))
    tokenizer, ids = language.tokenizer, []
    core.seed(options.get("seed", 0) & 0xFFFFFFFF)
    for id in (1, *tokenizer.encode(prompt)):
        core.feed(id)
        while core.step():
            pass
    while len(ids) < count and core.pos() < language.positions:
        if temperature := options.get("temperature"):
            id = core.sample(round(temperature * 65536), round(options.get("top_p", 1) * 65536))
        else:
            id = core.best()
        if id in (1, 2):
            break
        ids.append(id)
        core.feed(id)
        while core.step():
            pass
    decoder = tokenizer.decoder(not prompt)
    return ids, "".join(decoder.feed(id) for id in ids) + decoder.finish()


@pytest.mark.parametrize(
    "options",
    ({}, {"temperature": 1.2, "seed": 4}, {"temperature": 0.7, "top_p": 0.6, "seed": 99}),
)
@pytest.mark.parametrize("prompt", ("", "ab", "ab é ba"))
def test_text_is_the_cores(language, prompt, options):
    ids, wanted = plain(language, prompt, 20, **options)
    text = language.generate(prompt, max_tokens=20, **options)
    assert "".join(text) == wanted
    assert text.tokens == len(ids)
    assert text.reason == ("length" if len(ids) == 20 else "end")
    assert not language.busy


def test_the_cache_is_used_again(language, monkeypatch):
    """A prompt that begins like the text before is not read again, and gives the same text."""
    fed = []
    feed = native_llama.Llama.feed
    monkeypatch.setattr(
        native_llama.Llama, "feed", lambda m, id, *more: fed.append(id) or feed(m, id, *more)
    )
    first = "".join(language.generate("ab ba ab", max_tokens=5))
    assert fed[:-4] == [1, *language.tokenizer.encode("ab ba ab")]
    fed.clear()
    assert "".join(language.generate("ab ba ab", max_tokens=5)) == first
    assert len(fed) == 1 + 4
    # One that was left half-way, and another prompt.
    next(iter(language.generate("ba", max_tokens=5)))
    text = language.generate("ab ba ab", max_tokens=5)
    assert "".join(text) == first


def test_stop_strings(language, drawn):
    whole = "".join(language.generate("ab", max_tokens=24, **drawn))
    assert len(whole) > 10
    for at in range(1, len(whole) - 1):
        for length in (1, 2, 3, 5):
            stop = whole[at : at + length]
            text = language.generate("ab", max_tokens=24, stop=("never there", stop), **drawn)
            assert "".join(text) == whole[: whole.find(stop)]
            assert text.reason == "stop"
    # What only looked like one comes out in the end.
    stop = whole[-2:] + "\0"
    text = language.generate("ab", max_tokens=24, stop=stop, **drawn)
    assert "".join(text) == whole
    assert text.reason == "length"


def test_ends(language, drawn, monkeypatch):
    text = language.generate("ab", max_tokens=1, **drawn)
    assert len(list(text)) <= 1
    assert (text.reason, text.tokens) == ("length", 1)
    # No position is left: prompt and text fill the cache.
    text = language.generate("ab ab", max_tokens=1000, temperature=0.1, seed=1)
    for _ in text:
        pass
    if text.reason == "length":
        assert text.prompt_tokens + text.tokens == 40
    with pytest.raises(ModelError, match=r"the prompt takes \d+ tokens of 40"):
        language.generate("é" * 50)
    now = iter(range(0, 100000, 300))
    monkeypatch.setattr(module, "ticks_ms", lambda: next(now))
    text = language.generate("ab", max_ms=2000, **drawn)
    list(text)
    assert text.reason == "time"
    text = language.generate("ab ba ab ba", max_ms=1)
    assert list(text) == []
    assert (text.reason, text.tokens) == ("time", 0)


def test_one_text_at_a_time(language, drawn):
    first = language.generate("ab", **drawn)
    next(first)
    assert language.busy
    second = language.generate("ba", **drawn)
    assert (first.reason, list(first)) == ("closed", [])
    assert next(second)
    with pytest.raises(ModelError, match="it is running"):
        language.unload()
    second.close()
    language.close()
    with pytest.raises(ModelError, match="it was closed"):
        language.generate("ab")


def test_others_run_meanwhile(language, monkeypatch):
    """Every step counts as a slice here; two texts at once wait for each other."""
    monkeypatch.setattr(module, "_SLICE_MS", 0)
    turns = 0

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main():
        beside = asyncio.create_task(other())
        texts = await asyncio.gather(
            language.acomplete("ab", max_tokens=5), language.acomplete("ba", max_tokens=6)
        )
        beside.cancel()
        return texts

    texts = asyncio.run(main())
    for (text, reason), prompt, count in zip(texts, ("ab", "ba"), (5, 6), strict=True):
        assert text == plain(language, prompt, count)[1]
        assert reason in ("length", "end")
    assert turns > 3 * 11
    assert language.runs == 2


def test_a_cancelled_text_leaves_the_language_free(language, drawn):
    async def main():
        task = asyncio.create_task(language.acomplete("ab", max_tokens=30, **drawn))
        while not language.busy:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await language.acomplete("ab", max_tokens=3)

    assert asyncio.run(main())[0] == plain(language, "ab", 3)[1]


def test_what_is_refused(files, language):
    for wrong in (
        {"max_tokens": 0},
        {"max_ms": 0},
        {"temperature": -0.1},
        {"temperature": 256},
        {"temperature": float("nan")},
        {"top_p": 1.1},
    ):
        with pytest.raises(ValueError, match="out of range"):
            language.generate("ab", **wrong)
        assert not language.busy
    with pytest.raises(ValueError, match="empty stop"):
        language.generate("ab", stop=("a", ""))
    model, vocabulary = files
    larger = language_models.tokenizer_file() + b"\0\0\0\0\3\0\0\0xyz"
    with pytest.raises(ModelError, match="a vocabulary of 269 tokens for a model of 268"):
        Language(model, mgt.pack(readers.llama2c(larger)))
    with pytest.raises(ModelError, match="not a model"):
        Language(vocabulary, vocabulary)
    with pytest.raises(ValueError):
        Language(model, model)


def test_files_and_stores(files, tmp_path):
    model, vocabulary = files
    (tmp_path / "m.mgm").write_bytes(model)
    (tmp_path / "v.mgt").write_bytes(vocabulary)
    tokenizer = Tokenizer(str(tmp_path / "v.mgt"))
    language_models.load(model, vocabulary)
    store = Store(30000)
    two = [
        Language(str(tmp_path / "m.mgm"), tokenizer, positions=30, name=name, store=store)
        for name in ("a", "b")
    ]
    for one in two:
        assert (one.meta["name"], one.kind, one.size) == ("narrow", 4, len(model))
        assert one.arena_bytes == native_llama.llama_state(model, 30)[1]
        store.add(one.name, one)
    store.cap = two[0].arena_bytes + 100
    texts = ["".join(one.generate("ab", max_tokens=4)) for one in (*two, two[0])]
    assert len(set(texts)) == 1
    assert store.evicted == 2
    at = model.index(b'{"name"')
    damaged = model[:at] + b"[" + model[at + 1 :]
    with pytest.raises(ModelError, match="story: its metadata is no JSON object with a name"):
        _ = Language(damaged, tokenizer, name="story").meta
    with pytest.raises(ModelError, match="missing.mgm cannot be read"):
        Language(str(tmp_path / "missing.mgm"), tokenizer)
    with pytest.raises(ModelError, match="^story: .*missing.mgt cannot be read"):
        Language(str(tmp_path / "m.mgm"), str(tmp_path / "missing.mgt"), name="story")
