"""The C scanner under AddressSanitizer and UBSan, its twin and CPython's json: all agree."""

import random
import shutil
import struct
import subprocess
import sys
from array import array
from collections import Counter
from pathlib import Path

import pytest
import soak

from mcp_gw.protocol import scan as twin

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "native"))
import mutate  # noqa: E402
import oracle  # noqa: E402

COUNT = soak.count(200_000, 2_000_000)
BATCH = 20_000
RECORD = struct.Struct("=27i")


@pytest.fixture(scope="module")
def harness():
    # gcc brings its sanitizers along; clang's are a package of their own.
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "scan_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "mcpscan"
    subprocess.run(
        [cc, "-std=c99", "-g", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        + [
            core / "mcpscan_core.c",
            core / "mcpscan_token.c",
            ROOT / "tests" / "native" / "scan_harness.c",
        ],
        check=True,
    )
    return out


def run_c(harness, cases):
    """[(result, spans)] of the C core for [(text, max_depth, start)]."""
    stream = bytearray()
    for text, max_depth, start in cases:
        stream += struct.pack("=3I", start, start + len(text), max_depth) + text
    done = subprocess.run([harness], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    answers = [(r[0], r[1:]) for r in RECORD.iter_unpack(done.stdout)]
    assert len(answers) == len(cases)
    return answers


def run_twin(text, max_depth, start):
    spans = array("i", bytes(4 * 26))
    result = twin.scan(bytes(start) + text, start, start + len(text), spans, max_depth)
    return result, tuple(spans)


def compare(harness, cases, outcomes):
    """Ask all three about every case; what C said is counted in outcomes."""
    for case, answer in zip(cases, run_c(harness, cases), strict=True):
        text, max_depth, start = case
        assert answer == run_twin(*case), f"C and twin differ: {case}"
        wrong = oracle.check(text, max_depth, start, *answer)
        assert wrong is None, f"{wrong}: {case} -> {answer}"
        outcomes[answer[0]] += 1


@pytest.mark.timeout(soak.count(900, 3600))
def test_mutated_messages(harness, seed):
    r = random.Random(seed)
    outcomes = Counter()
    for _ in range(COUNT // BATCH):
        cases = [
            (mutate.mutated(r), r.choice((1, 2, 3, 4, 8, 16, 128)), r.choice((0, 8, 24)))
            for _ in range(BATCH)
        ]
        compare(harness, cases, outcomes)
    print(dict(sorted(outcomes.items())))
    # The mutator must reach every outcome, and leave enough messages whole.
    assert set(outcomes) == {*range(-7, 0), 1, 2, 3, 4}
    assert min(outcomes.values()) > COUNT // 2000
    assert sum(n for code, n in outcomes.items() if code > 0) > COUNT // 8


def test_every_prefix_and_every_byte(harness):
    """All prefixes of a rich message, and every byte of it replaced by a choice of bytes."""
    text = (
        b'{"jsonrpc":"2.0","id":"\\u0061-7","method":"tools/call","params":{"_meta":{"progressToken":'
        b'-1.5e+3,"mcp-gw\\/key":"k\xc3\xa9"},"name":"\xf0\x9f\x98\x80","arguments":[true,null]}}'
    )
    cases = [(text[:i], 8, 0) for i in range(len(text) + 1)]
    for i in range(len(text)):
        for c in range(256) if soak.SOAK else mutate.BYTES:
            cases.append((text[:i] + bytes([c]) + text[i + 1 :], 8, 0))
    outcomes = Counter()
    compare(harness, cases, outcomes)
    assert outcomes[1] > 0


def test_error_offset_is_the_first_impossible_byte(harness, seed):
    """What lies before a syntax error begins a valid text; with the byte there it does not."""
    r = random.Random(seed)
    cases = [(mutate.mutated(r), 128, 0) for _ in range(5000)]
    cut, broken = [], []
    for case, (result, spans) in zip(cases, run_c(harness, cases), strict=True):
        if result == oracle.SYNTAX and spans[25] < len(case[0]):
            cut.append((case[0][: spans[25]], 128, 0))
            broken.append((case[0][: spans[25] + 1], 128, 0))
    assert len(cut) > 500
    for (text, _, _), (result, spans) in zip(cut, run_c(harness, cut), strict=True):
        # Either it only ends too early, or it is whole and what followed was one byte too many.
        assert result != oracle.UTF8
        assert result != oracle.SYNTAX or spans[25] == len(text), text
    for (text, _, _), (result, spans) in zip(broken, run_c(harness, broken), strict=True):
        assert (result, spans[25]) == (oracle.SYNTAX, len(text) - 1), text


def test_long_and_deep(harness):
    """Linear time and no recursion: a megabyte of each thing that could pile up."""
    n = 1_000_000
    texts = [
        b"[" * n,
        b"[" * (n // 2) + b"]" * (n // 2),
        b'{"a":' * (n // 5),
        b'{"jsonrpc":"2.0","method":"x","params":' + b"[" * n + b"]" * n + b',"id":7}',
        b'{"jsonrpc":"2.0","id":' + b"1" * n + b',"method":"x"}',
        b'{"jsonrpc":"2.0","id":1,"method":"' + b"\\u0061" * (n // 6) + b'"}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{' + b'"' + b"a" * n + b'":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"' + b"\\u0061" * (n // 6) + b'":1}}',
        b'{"jsonrpc":"2.0","id":1,"method":"x","params":{' + b'"a":1,' * (n // 6) + b'"b":1}}',
        b" " * n,
        b'"' + b"\xe2\x82\xac" * (n // 3) + b'"',
    ]
    cases = [(text, 128, 8) for text in texts]
    answers = run_c(harness, cases)
    for case, answer in zip(cases, answers, strict=True):
        assert answer == run_twin(*case), case[0][:60]
    assert [a[0] for a in answers] == [-3, -3, -3, -3, 1, 1, 1, 1, 1, -1, -6]
    # The id is found behind the part that is nested too deeply.
    spans = answers[3][1]
    assert texts[3][spans[2] - 8 : spans[3] - 8] == b"7"
