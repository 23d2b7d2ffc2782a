"""Damaged files of trees and neighbours through the C cores under AddressSanitizer and UBSan."""

import random
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import soak
from classic_models import CLASSIFIERS, REGRESSORS, fitted, samples
from mcpgw.convert.sklearn import from_estimator

ROOT = Path(__file__).resolve().parents[2]
COUNT = soak.count(5_000, 100_000)
BATCH = 1_000
RECORD = struct.Struct("=iII")
SAMPLES = 4
INTERESTING = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000)


@pytest.fixture(scope="module")
def harness():
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "classic_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "qnn"
    names = ("qnn_file", "qnn_features", "qnn_trees", "qnn_neighbours")
    subprocess.run(
        [cc, "-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        + [core / f"{name}.c" for name in names]
        + [ROOT / "tests" / "native" / "classic_harness.c"],
        check=True,
    )
    return out


def run(harness, files, seed):
    """[(error code, offset, checksum of answers)]."""
    stream = bytearray()
    for file in files:
        stream += struct.pack("=3I", len(file), SAMPLES, seed) + file
    done = subprocess.run([harness], input=stream, capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return list(RECORD.iter_unpack(done.stdout))


@pytest.fixture(scope="module")
def files():
    """One small file of each layout: votes, signs, values; ranked and other features."""
    x, y = samples("iris")
    models = [
        from_estimator(fitted(CLASSIFIERS[kind], x[::2], y[::2]))
        for kind in ("tree", "forest", "small-forest", "boosting", "isolation")
    ]
    models += [
        from_estimator(fitted(CLASSIFIERS[kind], x[::6], y[::6]), width=width)
        for kind in ("neighbours", "weighted-neighbours", "k-means")
        for width in (1, 2)
    ]
    models += [
        from_estimator(fitted(REGRESSORS[kind], x[::6, :3], x[::6, 3]))
        for kind in ("tree", "neighbours", "weighted-neighbours")
    ]
    return [model.pack() for model in models]


def mutated(r, file):
    """A file with a few bytes or words changed, most often where structure is, or cut short."""
    file = bytearray(file)
    data_at = struct.unpack_from("<I", file, 32)[0]
    body_at = struct.unpack_from("<I", file, 24)[0]
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        where = r.randrange(10)
        if where == 0:
            at = r.randrange(96)
        elif where < 6:
            at = r.randrange(body_at, data_at)
        else:
            at = r.randrange(data_at, len(file))
        size = r.choice((1, 2, 4))
        at = min(at - at % size, len(file) - size)
        old = int.from_bytes(file[at : at + size], "little")
        new = r.choice(
            (
                old ^ 1 << r.randrange(8 * size),
                old + r.choice((-4, -1, 1, 4)),
                r.choice(INTERESTING),
                r.getrandbits(8 * size),
            )
        )
        file[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
    if r.random() < 0.05:
        del file[r.randrange(len(file)) :]
    return bytes(file)


@pytest.mark.timeout(soak.count(900, 3600))
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
    assert codes[0] > COUNT // 10
    assert sum(codes.values()) - codes[0] > COUNT // 10
    assert len(codes) > 9


def test_whole_files_are_accepted_wherever_they_end(harness, files):
    """What follows a model is no part of it; every shorter file is refused."""
    whole = run(harness, files, 7)
    assert [code for code, _, _ in whole] == [0] * len(files)
    # Different inputs, different answers: the checksum is of something.
    assert [s for _, _, s in run(harness, files, 8)] != [s for _, _, s in whole]
    assert run(harness, [file + b"signature" for file in files], 7) == whole
    file = files[0]
    cut = run(harness, [file[:n] for n in range(len(file))], 7)
    assert all(code != 0 for code, _, _ in cut)


def with_copies(file, table, size, place, count):
    """The file with many more trees or features, all like one that it has."""
    body_at = struct.unpack_from("<I", file, 24)[0]
    data_at, data_len = struct.unpack_from("<2I", file, 32)
    record_at = struct.unpack_from("<I", file, body_at + table)[0]
    records = [file[record_at + size * i :][:size] for i in range(8)]
    copies = max(records, key=lambda record: int.from_bytes(record[2:4], "little"))
    file = bytearray(file + bytes(-len(file) % 4))
    struct.pack_into("<I", file, body_at + table, len(file))
    struct.pack_into("<H", file, body_at + place, count)
    file += copies * count
    struct.pack_into("<I", file, 8, len(file))
    struct.pack_into("<I", file, 36, len(file) - data_at)
    return bytes(file)


def test_work_is_bounded_by_the_size_of_a_file(harness, files):
    """Neither trees nor features may all be the same nodes or keys."""
    forest = next(file for file in files if _counts(file)[2] > 8)
    trees = with_copies(forest, 12, 16, 4, 60000)
    keys = with_copies(forest, 8, 24, 0, 30000)
    for file in (trees, keys):
        code, at, _ = run(harness, [file], 1)[0]
        assert code == 14
        assert at > len(forest) // 2


def _counts(file):
    """Features, scores and trees."""
    return struct.unpack_from("<3H", file, struct.unpack_from("<I", file, 24)[0])
