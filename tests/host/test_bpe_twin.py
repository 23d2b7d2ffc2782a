"""The tokenizer's twin in Python against the C core; its character classes against tiktoken's."""

import random
import sys
from pathlib import Path

import pytest
import soak
import tiktoken
import vocabularies
from mcpgw.tokenizer import mgt, readers
from mcpgw.tokenizer.core import MORE, SPECIAL, START, Core

from mcp_gw.infer import bpe_split, bpe_twin, utf8

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "native"))
import texts  # noqa: E402

COUNT = soak.count(120, 20_000)
BYTES = {bytes([byte]): byte for byte in range(256)}


def files():
    yield from (mgt.pack(vocabularies.characters()), mgt.pack(vocabularies.words()))
    for style in ("gpt2", "cl100k", "o200k"):
        yield vocabularies.trained(700, style)[1]


def test_the_same_tokens(seed):
    r = random.Random(seed)
    for file in files():
        core, twin = Core(file), bpe_twin.open(file)
        for text in texts.random_texts(r.random(), COUNT, 80):
            data = texts.spoiled(r, text.encode())
            if r.random() < 0.3:
                data = data[:9] + r.choice((b"<|end|>", b"<s><s>x", b"<|en", b"aa")) + data[9:]
            for how in (START, START | SPECIAL, START | MORE | SPECIAL):
                ids, used, fresh = bpe_twin.part(twin, data, how)
                assert (ids.tolist(), used, fresh) == (
                    core.part(data, how)[0].tolist(),
                    *core.part(data, how)[1:],
                ), data
            assert bpe_twin.count(twin, data, START) == core.count(data)


def test_the_same_bytes_and_special_tokens():
    for file in files():
        core, twin = Core(file), bpe_twin.open(file)
        assert [bpe_twin.token(twin, id) for id in range(1000)] == [
            core.token(id) for id in range(1000)
        ]
        v = mgt.unpack(file)
        assert {id for id in range(1000) if bpe_twin.special(twin, id)} == v.specials
        assert bpe_twin.info(twin)[1:3] == (v.style, v.flags)


def test_large_vocabulary(seed):
    """References of three bytes and splits of 20 bits."""
    file = vocabularies.packed("cl100k_base")
    core, twin = Core(file), bpe_twin.open(file)
    for text in texts.random_texts(seed, COUNT // 4, 100):
        assert bpe_twin.encode(twin, text, START) == core.encode(text.encode())


def test_shipped_files_are_what_the_tools_write():
    """The format does not change without somebody noticing."""
    for name in ("characters", "words"):
        vocabulary = getattr(vocabularies, name)()
        file = (ROOT / "tests" / "unit" / f"{name}.mgt").read_bytes()
        assert mgt.pack(vocabulary) == file
        assert mgt.unpack(file) == vocabulary


CATEGORIES = {
    "L": (bpe_split.UPPER, bpe_split.LOWER, bpe_split.LETTER),
    "N": (bpe_split.NUMBER,),
    "Lu": (bpe_split.UPPER,),
    "Lt": (bpe_split.UPPER,),
    "Ll": (bpe_split.LOWER,),
    "Lm": (bpe_split.LETTER,),
    "Lo": (bpe_split.LETTER,),
    "M": (bpe_split.MARK,),
}


@pytest.fixture(scope="module")
def points():
    return [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def matches(pattern, points):
    """The code points that tiktoken's regular expressions find."""
    encoding = tiktoken.Encoding("x", pat_str=pattern, mergeable_ranks=BYTES, special_tokens={})
    text = "".join(map(chr, points))
    return set(map(ord, bytes(encoding.encode_ordinary(text)).decode()))


def test_classes_of_all_code_points(points):
    kinds = {point: bpe_split.kind_of(point) for point in points}
    for pattern, wanted in (
        (r"\s", (bpe_split.SPACE,)),
        (r"\p{L}", CATEGORIES["L"]),
        (r"\p{N}", CATEGORIES["N"]),
        (r"\p{M}", CATEGORIES["M"]),
        (r"[\p{Lu}\p{Lt}]", CATEGORIES["Lu"]),
        (r"\p{Ll}", CATEGORIES["Ll"]),
        (r"[\p{Lm}\p{Lo}]", CATEGORIES["Lo"]),
    ):
        # fmt: skip
        found = matches(pattern, points)
        assert found == {point for point, kind in kinds.items() if kind in wanted}, pattern


def test_c_has_the_same_tables():
    text = (ROOT / "c_modules" / "bpe" / "bpe_unicode.c").read_text()

    def numbers(name):
        body = text.split(f"{name}[")[1].split("{")[1].split("}")[0]
        return [int(word, 0) for word in body.replace(",", " ").split()]

    assert tuple(numbers("bpe_planes")) == bpe_split.bpe_unicode.PLANES
    assert (
        b"".join(n.to_bytes(2, "little") for n in numbers("bpe_firsts"))
        == bpe_split.bpe_unicode.FIRSTS
    )
    assert bytes(numbers("bpe_kinds")) == bpe_split.bpe_unicode.KINDS


def test_bytes_to_text_as_python_does(seed):
    r = random.Random(seed)
    for _ in range(soak.count(20_000, 1_000_000)):
        data = bytes(r.choice((0x41, 0x80, 0x90, 0xA0, 0xBF, 0xC1, 0xC3, 0xE0, 0xE2, 0xED, 0xF0,
        0xF4, 0xF5))
                     for _ in range(r.randint(0, 7)))  # fmt: skip
        assert utf8.to_text(data) == data.decode("utf-8", "replace"), data


def test_an_order_that_no_training_gives_is_refused():
    ranks = dict(BYTES) | {b"abc": 256, b"ab": 257}
    with pytest.raises(readers.VocabularyError, match="before what it is made of"):
        readers.from_ranks(ranks, "cl100k_base", {})
