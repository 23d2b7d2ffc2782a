"""The C core of the tokenizer against tiktoken, `tokenizers` and llama2.c's algorithm."""

import json
import random
import struct
import sys
from array import array
from pathlib import Path

import pytest
import soak
import tokenizers
import vocabularies
from mcpgw.tokenizer import huggingface, mgt, readers
from mcpgw.tokenizer.core import MORE, SPECIAL, START, Core

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))
import texts  # noqa: E402

STYLES = ("gpt2", "cl100k", "o200k")
NATURAL = soak.count(200_000, 20_000_000)
MIXED = soak.count(900, 40_000)
RUN = soak.count(8_000, 1_000_000)


@pytest.fixture(scope="module")
def cores():
    return {}


@pytest.fixture(params=vocabularies.NAMES)
def both(request, cores):
    """(tiktoken's Encoding, our Core)"""
    name = request.param
    if name not in cores:
        cores[name] = Core(vocabularies.packed(name))
    return vocabularies.encoding(name), cores[name]


def first_difference(wanted, got, core):
    at = next((i for i, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), 0)
    return [[core.token(id) for id in ids[max(0, at - 3) : at + 4]] for ids in (wanted, got)]


def same(core, text, wanted, special=False):
    got = core.encode(text, special)
    if got.tolist() != wanted:
        raise AssertionError(f"{text[:200]!r}: {first_difference(wanted, got, core)}")
    assert core.count(text, special) == len(wanted)
    return b"".join(map(core.token, wanted))


def natural(size):
    """Valid text of `size` bytes: files, then mixed fragments for as long as it takes."""
    data = texts.natural()[:size].decode(errors="replace")
    return data + texts.mixed(random.Random(size), max(0, size - len(data)))


def test_text_and_source_code(both):
    encoding, core = both
    text = natural(NATURAL)
    for at in range(0, len(text), 1_000_000):
        part = text[at : at + 1_000_000]
        assert same(core, part.encode(), encoding.encode_ordinary(part)) == part.encode()


def test_mixed_fragments(both, seed):
    encoding, core = both
    for text in texts.random_texts(seed, MIXED, 200):
        same(core, text.encode(), encoding.encode_ordinary(text))


def test_invalid_bytes(both, seed):
    encoding, core = both
    r = random.Random(seed)
    for text in texts.random_texts(seed + 1, MIXED, 80):
        data = texts.spoiled(r, text.encode())
        same(core, data, encoding._encode_bytes(data))


def tiktokens(encoding, text):
    """What tiktoken makes of a text, None where its regular expressions overflow their stack."""
    try:
        return encoding.encode_ordinary(text.decode())
    except BaseException as e:  # a panic of Rust is no Exception
        if "StackOverflow" not in str(e):
            raise
        return None


def test_runs_of_one_thing(both):
    encoding, core = both
    for text in texts.runs(RUN):
        assert b"".join(map(core.token, core.encode(text))) == text
        while (wanted := tiktokens(encoding, text)) is None:
            text = text[: len(text) // 2].decode(errors="ignore").encode()
            assert text
        same(core, text, wanted)
        data = b"x \n" + text + b"\xff" + text[:100]
        same(core, data, encoding._encode_bytes(data))


def test_every_token_stands_for_its_bytes(both):
    encoding, core = both
    ranks = vocabularies.ranks(encoding.name)
    assert all(core.token(rank) == text for text, rank in ranks.items())
    for text, id in encoding._special_tokens.items():
        assert core.token(id) == text.encode()
    used = {*ranks.values(), *encoding._special_tokens.values()}
    assert all(core.token(id) is None for id in range(encoding.n_vocab + 3) if id not in used)


def test_special_tokens(both, seed):
    encoding, core = both
    r = random.Random(seed)
    names = list(encoding._special_tokens)
    for text in texts.random_texts(seed, MIXED // 3, 60):
        for _ in range(r.randint(1, 4)):
            at = r.randint(0, len(text))
            name = r.choice(names)
            text = (
                text[:at] + name[: r.choice((len(name), len(name), r.randint(1, 9)))] + text[at:]
            )
        wanted = encoding.encode(text, allowed_special="all")
        same(core, text.encode(), wanted, special=True)
        same(core, text.encode(), encoding.encode_ordinary(text))


def in_parts(core, data, how, r):
    """The tokens when text comes in parts, and the most bytes that were pending."""
    ids, pending, most = array("I"), b"", 0
    how |= START
    while data or pending:
        size = r.choice((1, 2, 3, 5, 20))
        pending, data = pending + data[:size], data[size:]
        more = MORE if data else 0
        made, used, fresh = core.part(pending, how & SPECIAL | how & START | more)
        ids += made
        pending = pending[used:]
        how = how & SPECIAL | fresh
        most = max(most, len(pending))
        if not more:
            assert not pending
    return ids.tolist(), most


def test_text_in_parts(both, seed):
    _, core = both
    r = random.Random(seed)
    for text in texts.random_texts(seed + 2, MIXED // 3, 80):
        data = texts.spoiled(r, (text + "<|endoftext|>" + text[:9]).encode())
        for how in (0, SPECIAL):
            ids, _ = in_parts(core, data, how, r)
            assert ids == core.encode(data, how).tolist(), data


def test_little_is_pending(both):
    _, core = both
    text = natural(20_000).encode()
    ids, most = in_parts(core, text, 0, random.Random(1))
    assert ids == core.encode(text).tolist()
    assert most < 300


@pytest.mark.parametrize("style", STYLES)
def test_trained_against_tokenizers(style, seed):
    text, data = vocabularies.trained(700, style)
    oracle, core = tokenizers.Tokenizer.from_str(text), Core(data)
    samples = [natural(60_000), *texts.random_texts(seed, MIXED // 3, 200)]
    for sample in samples:
        # Its regular expressions know another version of Unicode.
        sample = "".join(c for c in sample if c.isascii() or known_everywhere(c))
        same(core, sample.encode(), oracle.encode(sample).ids, special=True)
        assert core.encode(sample.encode()).tolist().count(0) == 0


def known_everywhere(character):
    import unicodedata

    return (
        unicodedata.category(character) not in ("Cn", "Mn", "Lm", "Me")
        and character < "\U00020000"
    )


def llama(data):
    """A tokenizer.json as Llama's are, of llama2.c's tokenizer.bin."""
    v = readers.llama2c(data)
    stem = "\u2581"
    rows = {id: text.decode(errors="replace").replace(" ", stem) for text, id in v.tokens()}
    rows |= {3 + byte: f"<0x{byte:02X}>" for byte in range(256)}
    pieces = {text: id for id, text in rows.items()}
    order = sorted((id for _, _, id in v.merges), key=lambda id: id)
    merges = [
        (rows[id][:at], rows[id][at:])
        for id in order
        for at in range(1, len(rows[id]))
        if rows[id][:at] in pieces and rows[id][at:] in pieces
    ]
    oracle = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=pieces, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"
        )
    )
    oracle.normalizer = tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.Prepend(stem),
            tokenizers.normalizers.Replace(" ", stem),
        ]
    )
    oracle.add_special_tokens(["<unk>", "<s>", "</s>"])
    return oracle


def llama2c_encode(data, text):
    """llama2.c's encode(), written from its description: characters or their bytes, then the pair
    with the best score, the leftmost of equals, again and again."""
    rows, at = [], 4
    while at < len(data):
        score, size = struct.unpack_from("<fI", data, at)
        rows.append((data[at + 8 : at + 8 + size], score))
        at += 8 + size
    ids = {piece: id for id, (piece, _) in enumerate(rows)}
    tokens = [ids[b" "]] if text else []
    for character in text.decode():
        piece = character.encode()
        tokens += [ids[piece]] if piece in ids else [byte + 3 for byte in piece]
    while True:
        best, where, what = -1e10, None, None
        for i in range(len(tokens) - 1):
            id = ids.get(rows[tokens[i]][0] + rows[tokens[i + 1]][0])
            if id is not None and rows[id][1] > best:
                best, where, what = rows[id][1], i, id
        if where is None:
            return tokens
        tokens[where : where + 2] = [what]


@pytest.fixture
def tok512(data_dir):
    return (data_dir / "stories260K" / "tok512.bin").read_bytes()


def test_llama2c_vocabulary(tok512, seed):
    core = Core(mgt.pack(readers.llama2c(tok512)))
    oracle = llama(tok512)
    samples = [
        "",
        " ",
        "Once upon a time, there was a little girl named Lily.\n",
        "  two  spaces ",
    ]
    samples += [
        sample.replace("\u2581", "") for sample in texts.random_texts(seed, MIXED // 2, 60)
    ]
    for sample in samples:
        wanted = llama2c_encode(tok512, sample.encode())
        decoded = same(core, sample.encode(), wanted)
        assert decoded == (b" " + sample.encode() if sample else b"")
        assert wanted == oracle.encode(sample).ids
    for sample in (natural(3000), "little " * 2000):
        same(core, sample.encode(), oracle.encode(sample).ids)


def test_llama_json_is_read_as_the_binary_is(tok512, seed):
    oracle = llama(tok512)
    file = oracle.to_str()
    core = Core(mgt.pack(huggingface.from_json(file.encode())))
    plain = Core(mgt.pack(readers.llama2c(tok512)))
    for sample in texts.random_texts(seed, MIXED // 3, 60):
        sample = sample.replace("\u2581", "")
        assert core.encode(sample.encode()) == plain.encode(sample.encode())
        spoken = f"<s>{sample}</s>{sample}"
        same(core, spoken.encode(), oracle.encode(spoken).ids, special=True)


def test_pieces_may_be_whole_tokens_that_merging_does_not_reach(seed):
    """As in Llama 3: with ignore_merges a piece that is a token is that token."""
    file = json.loads(vocabularies.trained(400)[0])
    file["model"]["vocab"]["\u0120gateway"] = 400
    file["model"]["ignore_merges"] = True
    oracle = tokenizers.Tokenizer.from_str(json.dumps(file))
    vocabulary = huggingface.from_json(json.dumps(file).encode())
    assert vocabulary.wholes == [(b" gateway", 400)]
    core = Core(mgt.pack(vocabulary))
    for sample in ("a gateway", "a gateways", " gateway gateway", "gateway"):
        same(core, sample.encode(), oracle.encode(sample).ids)
    assert 400 in core.encode(b"a gateway") and 400 not in core.encode(b"a gateways")
