"""Damaged files of transformers through the C core under AddressSanitizer and UBSan."""

import random
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import llama_models
import pytest
import soak
from mcpgw.convert import llama

ROOT = Path(__file__).resolve().parents[2]
COUNT = soak.count(5_000, 100_000)
BATCH = 500
RECORD = struct.Struct("=iII")
POSITIONS, TOKENS = 6, 9
INTERESTING = (0, 1, 2, 3, 4, 0x40, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 1 << 31)


@pytest.fixture(scope="module")
def harness():
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "llama_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "qnn"
    names = ("", "_step", "_attend", "_cache", "_rows", "_float", "_sample", "_tables")
    subprocess.run(
        [cc, "-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        + [core / "qnn_file.c"]
        + [core / f"qnn_llama{name}.c" for name in names]
        + [ROOT / "tests" / "native" / "llama_harness.c", "-lm"],
        check=True,
    )
    return out


def run(harness, files, seed):
    """[(error code, offset, checksum of answers)]."""
    stream = bytearray()
    for file in files:
        stream += struct.pack("=4I", len(file), POSITIONS, TOKENS, seed) + file
    done = subprocess.run([harness], input=stream, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return list(RECORD.iter_unpack(done.stdout))


@pytest.fixture(scope="module")
def files():
    """One of each type of weights and of each shape that is not wide."""
    return [
        llama.lower(llama_models.spec(shape, 1), quant, positions=12)
        for shape in ("small", "narrow")
        for quant in (*llama_models.QUANTS, "float")
    ]


def mutated(r, file):
    """A file with a few bytes or words changed, most often where structure is, or cut short."""
    file = bytearray(file)
    body_at, _, data_at = struct.unpack_from("<3I", file, 24)
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        where = r.randrange(10)
        if where == 0:
            at = r.randrange(96)
        elif where < 4:
            at = r.randrange(body_at, body_at + 64)
        elif where < 7:
            at = r.randrange(body_at + 64, data_at)
        else:
            at = r.randrange(data_at, len(file))
        size = r.choice((1, 2, 4))
        at = min(at - at % size, len(file) - size)
        old = int.from_bytes(file[at : at + size], "little")
        new = r.choice(
            (
                old ^ 1 << r.randrange(8 * size),
                old + r.choice((-16, -4, -1, 1, 4, 16)),
                r.choice(INTERESTING),
                r.getrandbits(8 * size),
            )
        )
        file[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
    if r.random() < 0.3:
        # Numbers of any size instead of weights: what is computed stays within its bounds.
        at = r.randrange(data_at, len(file) - 64)
        end = min(len(file), at + r.choice((64, 400, 4000)))
        file[at:end] = r.choice((bytes([r.choice((0, 1, 127, 128, 255))]), r.randbytes(1))) * (
            end - at
        )
    if r.random() < 0.05:
        del file[r.randrange(len(file)) :]
    return bytes(file)


@pytest.mark.timeout(soak.count(900, 7200))
def test_damaged_files(harness, files, seed):
    r = random.Random(seed)
    codes = Counter()
    for _ in range(COUNT // BATCH):
        batch = [mutated(r, r.choice(files)) for _ in range(BATCH)]
        for file, (code, at, _) in zip(batch, run(harness, batch, r.getrandbits(32)), strict=True):
            codes[code] += 1
            # Where it points lies in the file, or is an offset that the file gives.
            assert code == 0 or at <= len(file) or struct.pack("<I", at) in file
    print(dict(sorted(codes.items())))
    # Enough are run, and enough are refused for reasons of every sort.
    assert codes[0] > COUNT // 5
    assert sum(codes.values()) - codes[0] > COUNT // 10
    assert len(codes) > 9


@pytest.mark.parametrize("quant", llama_models.QUANTS)
def test_extremes(harness, quant, seed):
    """The largest of everything, in rows longer than 512: no sum leaves its 32 bits."""
    r = random.Random(seed)
    file = llama.lower(llama_models.spec("wide", 1), quant, positions=12)
    body_at, length, data_at = struct.unpack_from("<3I", file, 24)
    hostile = []
    for _ in range(soak.count(30, 1000)):
        new = bytearray(file)
        fill = [r.choice((b"\x00", b"\xff", b"\xff\x7f", b"\x00\x80")) for _ in range(4)]
        quarter = (len(file) - data_at) // 8 * 2
        for i, part in enumerate(fill):
            at = data_at + i * quarter
            new[at : at + quarter] = part * (quarter // len(part))
        # Exponents are the last of an entry's four words.
        at = body_at + 64 + 12
        while at < body_at + length - 8:
            struct.pack_into("<i", new, at, r.choice((-64, -30, -16, -8, 0, 8, 64)))
            at += 16
        struct.pack_into("<2i", new, body_at + length - 8, r.randint(-64, 64), r.randint(-64, 64))
        struct.pack_into("<I", new, body_at + 32, r.choice((0, 1, 0xFFFFFFFF)))
        hostile.append(bytes(new))
    assert all(code == 0 for code, _, _ in run(harness, hostile, r.getrandbits(32)))


def test_cut_files(harness, files):
    """What follows a model is no part of it; every shorter file is refused."""
    for file in files:
        (whole,) = run(harness, [file], 1)
        assert whole[0] == 0
        assert run(harness, [file + b"more"], 1) == [whole]
        cut = [file[:n] for n in (*range(0, 120), *range(120, len(file), len(file) // 40))]
        assert all(code for code, _, _ in run(harness, cut, 1))


def test_turning_by_what_is_no_angle(harness):
    """Keys of -2^15 after their shift, sine and cosine of -2: products that add up to 2^31."""
    file = bytearray(llama.lower(llama_models.spec("small", 1), "row", positions=12))
    body_at = struct.unpack_from("<I", file, 24)[0]
    struct.pack_into("<I", file, body_at + 32, 1)
    for entry, rows in ((0, 70), (5, 16)):
        _, data, scales, _ = struct.unpack_from("<4I", file, body_at + 64 + 16 * entry)
        file[data : data + 32 * rows] = (b"\xff" if entry == 0 else b"\x00") * 32 * rows
        # 128 * 127 * 32 * 16513 / 256 is a little less than 2^25, and rounded down.
        struct.pack_into(f"<{rows}h", file, scales, *[16513] * rows)
    gains = struct.unpack_from("<I", file, body_at + 64 + 16 * 3 + 4)[0]
    struct.pack_into("<32h", file, gains, *[1000] * 32)
    turns = struct.unpack_from("<I", file, body_at + 44)[0]
    struct.pack_into("<96h", file, turns, *[-32768] * 96)
    code, _, checksum = run(harness, [bytes(file)], 3)[0]
    assert code == 0
    assert checksum != run(harness, [bytes(file)], 4)[0][2]
