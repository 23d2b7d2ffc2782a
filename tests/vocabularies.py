"""Vocabularies that tests use: those of tiktoken, whose ranks come with an npm package, and small
ones trained here."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path

import nodejs
import pytest
import tiktoken
from mcpgw import UserError
from mcpgw.tokenizer import huggingface, mgt, readers, training
from mcpgw.tokenizer.vocabulary import CL100K, PREFIX, PREFIX_EACH, SPACES, TRAILING, Vocabulary
from tiktoken_ext import openai_public

ROOT = Path(__file__).parents[1]
NAMES = ("gpt2", "cl100k_base", "o200k_base")
END = "<|end|>"


@cache
def ranks(name):
    """{bytes: rank}; skips the test where the package is not installed."""
    try:
        file = nodejs.modules() / "tiktoken" / "encoders" / f"{name}.json"
    except UserError as error:
        pytest.skip(str(error))
    found = {}
    for line in json.loads(file.read_text())["bpe_ranks"].splitlines():
        _, first, *tokens = line.split(" ")
        for rank, token in enumerate(tokens, int(first)):
            found[base64.b64decode(token)] = rank
    return found


@cache
def encoding(name):
    """tiktoken's own Encoding, made of the ranks without its download."""

    def take(*_, **__):
        return ranks(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_public, "load_tiktoken_bpe", take)
        patch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", take)
        return tiktoken.Encoding(**getattr(openai_public, name)())


@cache
def packed(name):
    """The .mgt file of tiktoken's `name` (bytes). It takes a while to make and is kept in
    build/."""
    digest = hashlib.sha256(repr(sorted(ranks(name).items())[:1000]).encode())
    for file in sorted((ROOT / "tools" / "mcpgw" / "tokenizer").glob("*.py")):
        digest.update(file.read_bytes())
    kept = ROOT / "build" / "tokenizers" / f"{name}-{digest.hexdigest()[:16]}.mgt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        whole = kept.with_suffix(f".{hashlib.sha256(str(kept).encode()).hexdigest()[:8]}.tmp")
        whole.write_bytes(mgt.pack(readers.from_ranks(ranks(name), name)))
        whole.replace(kept)
    return kept.read_bytes()


@cache
def trained(size=4096, style="gpt2"):
    """(tokenizer.json as str, .mgt file) of a vocabulary trained on the documentation and
    licences."""
    files = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "LICENSE"]
    texts = [file.read_text() for file in files]
    text = training.train(texts, size, style, [END])
    return text, mgt.pack(huggingface.from_json(text.encode()))


def characters():
    """A vocabulary with characters, byte fallback and a space before texts."""
    chars = [("é", 256), ("漢", 257), ("😀", 258)]
    merges = [
        (b" ", b"a", 300),
        ("é".encode(), b"a", 301),
        (b" a", "éa".encode(), 302),
        (b"a", b"a", 303),
    ]
    return Vocabulary(
        style=SPACES,
        flags=PREFIX | PREFIX_EACH,
        byte_ids=list(range(256)),
        chars=[(text.encode(), id) for text, id in chars],
        others=[(b"<s>", 400), (b"<s><s>x", 401), (b"unreachable", 402)],
        specials={400, 401},
        merges=merges,
        bos=400,
    )


def words():
    """A vocabulary split as cl100k_base is. It and characters() are in tests/unit, as files."""
    made = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), (" ", "w"), ("o", "r")]
    made += [(" w", "or"), ("l", "d"), (" wor", "ld"), ("0", "0"), ("00", "0"), ("\n", "\n")]
    made += [(" ", " "), ("  ", "  "), ("    ", "  "), ("\xc3", "\xa9")]
    return Vocabulary(
        style=CL100K,
        digits=3,
        flags=TRAILING,
        byte_ids=[*range(1, 256), 0],
        others=[(b"<|end|>", 900), (b"<|end|><|end|>", 901)],
        specials={900, 901},
        merges=[
            (a.encode("latin-1"), b.encode("latin-1"), 256 + at) for at, (a, b) in enumerate(made)
        ],
        eos=900,
    )
