"""The C core of the tokenizer under AddressSanitizer and UBSan: mutated vocabularies, hostile
texts, and how its work grows with a text."""

import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import soak
import vocabularies
from mcpgw.tokenizer import huggingface, mgt, readers
from mcpgw.tokenizer.vocabulary import WHOLE

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "native"))
import texts  # noqa: E402

COUNT = soak.count(20_000, 500_000)
BATCH = 2_000
SIZE = soak.count(2_000, 50_000)
OK, REFUSED = 0, -1
SPECIAL, MORE, START = 1, 2, 4
CORE = ("core", "merge", "open", "split", "unicode", "vocab")


@pytest.fixture(scope="module")
def harness():
    # gcc brings its sanitizers along; clang's are a package of their own.
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "bpe_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "bpe"
    subprocess.run(
        [cc, "-std=c99", "-g", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DBPE_COUNT_STEPS"]
        + [core / f"bpe_{name}.c" for name in CORE]
        + [ROOT / "tests" / "native" / "bpe_harness.c"],
        check=True,
    )
    return out


def run(harness, records):
    """[(status, offset or bytes used, steps, tokens)] for [(vocabulary or b"" for the last one,
    text, how, more words of working memory, room)]."""
    stream = bytearray()
    for file, text, how, words, room in records:
        stream += struct.pack("=5I", len(file), len(text), how, words, room) + file + text
    done = subprocess.run([harness], input=stream, capture_output=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    answers, at = [], 0
    while at < len(done.stdout):
        status, place, count, steps = struct.unpack_from("=iIIQ", done.stdout, at)
        at += 20
        answers.append((status, place, steps, struct.unpack_from(f"={count}I", done.stdout, at)))
        at += 4 * count
    assert len(answers) == len(records)
    return answers


def small_vocabularies():
    whole = vocabularies.characters()
    whole.style = WHOLE
    files = [mgt.pack(v) for v in (vocabularies.characters(), whole)]
    for size, style in ((300, "gpt2"), (340, "cl100k"), (300, "o200k")):
        text, data = vocabularies.trained(size, style)
        files.append(data)
    v = huggingface.from_json(text.encode())
    v.wholes = [(b" whole piece", 5000), (b"xyzzy", 5001)]
    return [*files, mgt.pack(v)]


def mutated(r, data):
    """A file with a few fields, bytes or references changed, most often with a good checksum."""
    data = bytearray(data)
    for _ in range(r.choice((1, 1, 1, 2, 3))):
        form = r.randrange(8)
        if form < 3:
            at = r.randrange(16, 128)  # the header
        elif form == 3:
            at = r.randrange(len(data))
        else:
            section = 64 + 8 * r.randrange(8)
            place, size = struct.unpack_from("<II", data, section)
            at = min(place + r.randrange(max(1, size)), len(data) - 1)
        change = r.randrange(6)
        if change == 0:
            data[at] = r.randrange(256)
        elif change == 1:
            data[at] ^= 1 << r.randrange(8)
        elif change == 2:
            data[at] = r.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif change == 3:
            data[at] = (data[at] + r.choice((-1, 1))) & 255
        elif change == 4:
            other = r.randrange(len(data))
            size = r.choice((1, 2, 3, 4, 8))
            data[at : at + size] = data[other : other + size]
        elif r.random() < 0.3:
            del data[len(data) - r.randrange(1, len(data)) :]
            if len(data) < 128:
                return bytes(data)
            data[8:12] = len(data).to_bytes(4, "little")
        else:
            data[at : at + 4] = struct.pack(
                "<I", r.choice((0, 1, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF))
            )
    return mgt.sealed(bytes(data)) if len(data) >= 16 and r.random() < 0.97 else bytes(data)


def sample(r):
    text = texts.mixed(r, r.randint(1, 60)).encode()
    if r.random() < 0.3:
        text = (
            r.choice((b"<s>", b"<s", b"<|end|>", b"aaaa", " éa".encode(), b"xyzzy"))
            * r.randint(1, 40)
            + text
        )
    return texts.spoiled(r, text)


@pytest.mark.timeout(soak.count(900, 7200))
def test_mutated_vocabularies_and_texts(harness, seed):
    """A file is refused, or good for any text: nothing is read or written outside, and tokens
    stand for the text. Every kind of fault is found."""
    r = random.Random(seed)
    files = small_vocabularies()
    refused = accepted = 0
    for _ in range(COUNT // BATCH):
        records = []
        for _ in range(BATCH):
            file = r.choice(files)
            if r.random() < 0.8:
                file = mutated(r, file)
            how = r.choice((START, START | SPECIAL, SPECIAL | MORE, START | SPECIAL | MORE, 0))
            records.append(
                (file, sample(r), how, r.choice((0, 1, 16, 1000)), r.choice((0, 1, 100)))
            )
        for (_, text, how, _, _), (status, used, _, ids) in zip(
            records, run(harness, records), strict=True
        ):
            assert status in (OK, REFUSED)
            refused += status == REFUSED
            accepted += status == OK
            if status == OK and not how & MORE:
                assert used == len(text)
                assert ids or not text
    print(f"{refused} refused, {accepted} accepted")
    assert refused > COUNT // 3
    assert accepted > COUNT // 5


def test_every_byte_of_a_file_counts(harness):
    """Whichever byte is changed, the checksum notices; with the checksum put right, the file is
    refused, or it still is a vocabulary: tokens stand for the text."""
    data = mgt.pack(vocabularies.characters())
    text = " aé aéa 漢😀 <s><s>x\xff".encode("latin-1", "replace")
    wrong = [
        (data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :], text, START, 0, 9)
        for i in range(len(data))
    ]
    assert {status for status, *_ in run(harness, wrong)} == {REFUSED}
    for flip in (1, 0x80, 0xFF):
        records = [
            (
                mgt.sealed(file[:i] + bytes([file[i] ^ flip]) + file[i + 1 :]),
                text,
                START | SPECIAL,
                0,
                9,
            )
            for i, file in enumerate([data] * len(data))
            if not 12 <= i < 16
        ]
        answers = run(harness, records)
        assert sum(status == REFUSED for status, *_ in answers) > len(records) // 2
    cut = [(data[:i], b"x", START, 0, 9) for i in range(1, len(data))]
    assert {status for status, *_ in run(harness, cut)} == {REFUSED}


def test_work_grows_as_the_text_does(harness):
    """Four times the text takes at most about four times the steps, whatever it is."""
    sizes = (soak.count(3_000, 250_000), soak.count(12_000, 1_000_000))
    files = [
        vocabularies.packed("cl100k_base"),
        vocabularies.trained(700, "gpt2")[1],
        mgt.pack(vocabularies.characters()),
    ]
    for file in files:
        records, first = [], file
        for size in sizes:
            for text in [
                *texts.runs(size),
                texts.natural()[:size],
                b"x\xff" + b" a" * (size // 2),
            ]:
                records.append((first, text, START, 1, len(text)))
                first = b""
        answers = run(harness, records)
        half = len(records) // 2
        for record, less, more in zip(records, answers[:half], answers[half:], strict=False):
            assert less[0] == more[0] == OK
            grown = len(records[half + records.index(record)][1]) / max(1, len(record[1]))
            assert more[2] < 1.3 * grown * less[2] + 10_000, (record[1][:20], less[2], more[2])


def test_tokens_do_not_depend_on_working_memory(harness, seed):
    """With too little the core asks for more; with much, pieces are covered that else are read
    through."""
    r = random.Random(seed)
    for file in (vocabularies.packed("gpt2"), vocabularies.trained(700, "cl100k")[1]):
        for text in [
            *texts.runs(SIZE),
            texts.natural()[:SIZE].replace(b" ", b"").replace(b"\n", b""),
        ]:
            text = texts.spoiled(r, text)
            little, much = run(
                harness, [(file, text, START, 0, 1), (b"", text, START, 100_000, 2 * SIZE)]
            )
            assert little[3] == much[3]


def test_llama2c_vocabulary_is_accepted(harness, data_dir):
    data = mgt.pack(readers.llama2c((data_dir / "stories260K" / "tok512.bin").read_bytes()))
    ((status, used, _, ids),) = run(harness, [(data, b"Once upon a time", START, 0, 1)])
    assert (status, used, ids) == (OK, 16, (403, 407, 261, 378))
