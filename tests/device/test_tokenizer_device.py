"""The tokenizer on every target, as part of the firmware and as a native module."""

import json
import sys
from pathlib import Path

import pytest
import targets
import vocabularies
from mcpgw.tokenizer.core import START, Core

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))
import texts  # noqa: E402

ARCH = {"unix": "x64", "cortex-m3": "armv7m", "pico": "armv6m"}

WORK = """
import gc, json, sys
gc.collect()
vocabulary = VOCABULARY
text = TEXT
MODULE
ids = core.encode(v, text, 4)
print(json.dumps([list(ids), core.count(v, text, 4), core.info(v)[0]]))
for bad in (vocabulary[:200], b"MGT1" + vocabulary[4:100] + b"\\xff" + vocabulary[101:]):
    try:
        core.open(bad)
        print("accepted")
    except ValueError as error:
        print(error.args[0])
print(core.token(v, 300), core.special(v, 0), core.token(v, 100000))
"""


@pytest.fixture(scope="module")
def sample():
    data = vocabularies.trained(700, "cl100k")[1]
    text = texts.random_texts(7, 1, 400)[0] + " Once upon a time, there was a board. " * 4
    return data, text.encode() + b"\xff."


def check(out, sample):
    data, text = sample
    core = Core(data)
    result, *refused, rest = out.splitlines()
    wanted = core.encode(text).tolist()
    assert json.loads(result) == [wanted, len(wanted), 700]
    assert refused == ["file cut short", "checksum wrong"]
    assert rest == f"{core.token(300)!r} True None"


def script(sample, module):
    data, text = sample
    return (
        WORK.replace("VOCABULARY", repr(data))
        .replace("TEXT", repr(text))
        .replace("MODULE", module)
    )


def test_in_the_firmware(target, sample):
    check(target.run(script(sample, "import _bpe as core\nv = core.open(vocabulary)")), sample)


def test_parts_and_decoding(target, sample):
    data, text = sample
    core = Core(data)
    code = f"""
from mcp_gw import Tokenizer
t = Tokenizer({data!r})
text = {text!r}
e = t.encoder()
ids = []
for at in range(0, len(text), 50):
    ids += list(e.feed(text[at:at + 50]))
ids += list(e.finish())
print(ids)
print(t.decode_bytes(ids) == text)
d = t.decoder()
print("".join([d.feed(id) for id in ids]) + d.finish() == t.decode(ids))
"""
    ids, same, whole = target.run(code).splitlines()
    assert json.loads(ids) == core.part(text, START)[0].tolist()
    assert (same, whole) == ("True", "True")


def test_as_a_native_module(target, sample):
    """Under another name than the firmware's own, which must not help it."""
    file = targets.BUILD / "natmod" / ARCH[target.name] / "bpe.mpy"
    if not file.exists():
        pytest.fail(f"{file} is not built: make natmod")
    mpy = file.read_bytes()
    folder = "natmod_test"
    target.run(f"import os\ntry:\n    os.mkdir({folder!r})\nexcept OSError:\n    pass\n")
    for at in range(0, len(mpy), 4000):
        mode = "wb" if at == 0 else "ab"
        part = mpy[at : at + 4000]
        target.run(f"with open('{folder}/bpe.mpy', {mode!r}) as f:\n    f.write({part!r})\n")
    module = f"sys.path.insert(0, {folder!r})\nimport bpe as core\n"
    module += "assert core.__file__.endswith('.mpy')\nv = core.open(vocabulary)"
    try:
        check(target.run(script(sample, module)), sample)
    finally:
        target.run(f"import os\nos.remove('{folder}/bpe.mpy')\nos.rmdir({folder!r})")
