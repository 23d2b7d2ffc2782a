"""A small random transformer with a vocabulary, for tests of texts."""

import asyncio
import struct

import llama_models
from mcpgw import native_llama
from mcpgw.convert import llama
from mcpgw.tokenizer import mgt, readers

from mcp_gw.infer import language

# Beside control tokens and bytes.
WORDS = ("a", "b", " ", "ab", "ba", " a", " b", "aba", "é")
# What test_llama_device.py runs on boards, too.
PROMPTS = [
    ("ab ba", {"max_tokens": 9}),
    ("", {"max_tokens": 5}),
    ("ab ab", {"max_tokens": 20, "temperature": 0.75, "seed": 3}),
    ("ab ab", {"max_tokens": 20, "temperature": 1.5, "top_p": 0.5, "seed": -1}),
    ("ab ab é", {"max_tokens": 100, "temperature": 1.0, "seed": 12}),
]


def tokenizer_file():
    """A llama2.c tokenizer.bin."""
    rows = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % b for b in range(256))]
    rows += [word.encode() for word in WORDS]
    out = struct.pack("<I", max(map(len, rows)))
    for id, row in enumerate(rows):
        out += struct.pack("<fI", float(-id), len(row)) + row
    return out


def both(seed, quant="row"):
    """(model, vocabulary) as files."""
    vocabulary = mgt.pack(readers.llama2c(tokenizer_file()))
    spec = llama_models.spec("narrow", seed, 2.0, vocab=259 + len(WORDS))
    # Words rather than bytes, and an end now and then.
    spec.tensors["classifier"][3:259] *= 0.1
    spec.tensors["classifier"][1:3] *= 0.3
    return llama.lower(spec, quant), vocabulary


def load(model, vocabulary, **options):
    """A Language over the C core of this machine."""
    language.core = native_llama
    return language.Language(model, vocabulary, **options)


def on_this_machine(model, vocabulary):
    """What the script TEXTS of test_llama_device.py prints."""
    found = load(model, vocabulary, positions=40)
    lines = []
    for prompt, options in PROMPTS:
        text = found.generate(prompt, **options)
        pieces = [piece.encode() for piece in text]
        lines.append(f"{pieces} {text.reason} {text.tokens} {text.prompt_tokens}")
    pieces = []

    async def two():
        return await asyncio.gather(
            found.acomplete("ab", pieces.append, max_tokens=4),
            found.acomplete("ba", max_tokens=4),
        )

    lines.append(f"{asyncio.run(two())} {pieces}")
    return "\n".join(lines) + "\n"
