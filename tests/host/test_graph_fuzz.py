"""Damaged and hostile files of kind 1: the C engine under sanitizers, and the reader in Python."""

import hashlib
import random
import shutil
import struct
import subprocess
from collections import Counter

import numpy as np
import pytest
import soak
from graph_cases import CASES
from mcpgw.convert import graph_file, mgm, tflite
from mcpgw.convert.build import build
from mcpgw.convert.mgm import FormatError
from mcpgw.convert.pack import packer
from mcpgw.convert.run import GraphModel
from targets import ROOT
from tflite_maker import Maker

COUNT = soak.count(20_000, 300_000)
BATCH = 5_000
# Values at which sizes and offsets break.
EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 4096, 65535, 65536, 1 << 20, 1 << 24)
EDGES += ((1 << 30), (1 << 31) - 1, 1 << 31, (1 << 32) - 8, (1 << 32) - 4, (1 << 32) - 1)


@pytest.fixture(scope="module")
def harness():
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "graph_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "qnn"
    sources = sorted(
        f for f in core.glob("*.c") if not (f.stem.endswith("_mod") or "llama" in f.stem)
    )
    subprocess.run(
        [cc, "-std=c99", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        + [*sources, ROOT / "tests" / "native" / "graph_harness.c"],
        check=True,
    )
    return out


def run_c(harness, cases):
    """[(code, offset, checksum)] for [(file, budget, steps)]."""
    stream = bytearray()
    for file, budget, steps in cases:
        stream += struct.pack("=3I", len(file), budget, steps) + file
    done = subprocess.run([harness], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    answers = list(struct.iter_unpack("=iII", done.stdout))
    assert len(answers) == len(cases)
    return answers


@pytest.fixture(scope="module")
def files():
    """Small whole files of every case, with plain weights and with packed ones."""
    rng = np.random.default_rng(1)
    made = []
    for function in CASES.values():
        maker = Maker(int(rng.integers(1 << 30)))
        inputs, outputs = function(maker, rng)
        graph = maker.finish(inputs, outputs)
        for target in ("portable", "rp2040"):
            file = build(tflite.read(graph, "m"), packer(target))
            if file not in made:
                made.append(file)
    return made


def signed(file):
    """The file with the checksum it should have; the engine itself does not look at it."""
    if len(file) < 96:
        return file
    digest = hashlib.sha256(bytes(file[:48]) + bytes(file[80:])).digest()
    return bytes(file[:48]) + digest + bytes(file[80:])


def mutated(r, files):
    """A damaged file: mostly words of its body, where every value means something."""
    file = bytearray(r.choice(files))
    body, length = struct.unpack_from("<II", file, 24)
    data, data_length = struct.unpack_from("<II", file, 32)
    for _ in range(r.choice((1, 1, 1, 2, 2, 4, 12))):
        if len(file) < 96:
            break
        kind = r.random()
        if kind < 0.45:
            at = body + 4 * r.randrange(length // 4)
            _change(r, file, at, 4)
        elif kind < 0.6:
            at = body + 2 * r.randrange(length // 2)
            _change(r, file, at, 2)
        elif kind < 0.75:
            _change(r, file, body + r.randrange(length), 1)
        elif kind < 0.85:
            _change(r, file, 4 * r.randrange(24), 4)
        elif kind < 0.93 and data_length:
            _change(r, file, data + r.randrange(data_length), 1)
        elif kind < 0.97:
            # One word of the body becomes another of it.
            a, b = (body + 4 * r.randrange(length // 4) for _ in range(2))
            file[a : a + 4] = file[b : b + 4]
        else:
            del file[r.randrange(len(file)) :]
    return signed(file)


def _change(r, file, at, width):
    if at + width > len(file):
        return
    old = int.from_bytes(file[at : at + width], "little")
    new = r.choice(
        (r.choice(EDGES), old + r.randrange(-17, 18), old ^ 1 << r.randrange(8 * width))
    )
    file[at : at + width] = (new & (1 << 8 * width) - 1).to_bytes(width, "little")


def python_says(file):
    """None if the reader in Python takes it, else its error."""
    try:
        graph_file.read(file)
    except FormatError as e:
        return e
    return None


@pytest.mark.timeout(soak.count(900, 7200))
def test_damaged_files(harness, files, seed):
    """No report, no hang, and both readers accept the same files."""
    r = random.Random(seed)
    outcomes = Counter()
    done = 0
    while done < COUNT:
        cases = [
            (mutated(r, files), r.choice((1, 1000, 100_000)), 40)
            for _ in range(min(BATCH, COUNT - done))
        ]
        done += len(cases)
        for (file, _, _), (code, at, _) in zip(cases, run_c(harness, cases), strict=True):
            outcomes[code] += 1
            error = python_says(file)
            if code == 0:
                # Metadata and gaps are none of the engine's business.
                assert error is None or _is_not_the_engines(error, file), f"{error}: {file.hex()}"
            else:
                assert error is not None, f"C: {code} at {at}: {file.hex()}"
    print(dict(sorted(outcomes.items())))
    assert outcomes[0] > COUNT // 10
    # Every error but the one of memory that is not aligned.
    assert set(outcomes) >= set(range(19)) - {7}, outcomes


def _is_not_the_engines(error, file):
    meta, length, body = struct.unpack_from("<III", file, 16)
    return meta <= error.at < body or "gap" in error.text


def test_whole_files(harness, files):
    """They are accepted by both, and give the same however they are cut into steps."""
    for file in files:
        assert python_says(file) is None
    many, one = (
        run_c(harness, [(file, budget, 1 << 30) for file in files]) for budget in (1, 1 << 30)
    )
    assert many == one
    assert all(code == 0 for code, _, _ in many)
    assert len({checksum for _, _, checksum in many}) > len(files) * 3 // 4


def test_every_prefix_is_refused(harness, files):
    file = min(files, key=len)
    answers = run_c(harness, [(file[:n], 1000, 10) for n in range(len(file))])
    assert {code for code, _, _ in answers} == {4}
    for n in range(len(file)):
        with pytest.raises(FormatError):
            mgm.read(file[:n])


def test_unaligned_memory_is_refused():
    """Before a word is read from it: a Cortex-M0+ would stop with a fault."""
    import ctypes

    from mcpgw.convert.run import _Error, _File, _library

    lib = _library()
    file = build(tflite.read(_small()))
    memory = np.zeros(len(file) + 16, np.uint8)
    for shift in range(8):
        memory[shift : shift + len(file)] = np.frombuffer(file, np.uint8)
        header, error = _File(), _Error()
        address = memory.ctypes.data + shift
        code = lib.qnn_open(ctypes.byref(header), address, len(file), ctypes.byref(error))
        assert (code == 0) == (address % 4 == 0)


@pytest.mark.parametrize("code", [4, 5], ids=["average", "max"])
def test_windows_far_outside_of_the_input(code):
    """Where a stride leads beyond 2^32, no place of the input lies under the window."""
    rows, pad = 65600, 65534
    dims = ((1, 2, 1, 1), (1, rows, 1, 1))
    body = struct.pack("<4H2I", 2, 1, 1, 1, 0, 0)
    for offset, shape in zip((0, 8), dims, strict=True):
        size = int(np.prod(shape))
        body += struct.pack("<II2BHfiI6I", offset, size, 0, 4, 0, 1.0, 0, 0, *shape, 1, 1)
    body += struct.pack("<2H", 0, 1)
    # Kernel 1x1, strides 65535 and 1.
    body += struct.pack("<2B3H2B2b", code, 0, 6, 0, 1, 0, 0, -128, 127)
    body += struct.pack("<6H", 1, 1, 65535, 1, pad, 0)
    file = mgm.write(mgm.GRAPH, {"name": "far"}, body, b"", 8 + rows, 0)
    assert graph_file.read(file)
    found = GraphModel(file).run(np.full(dims[0], 7, np.int8))[0].reshape(-1)
    # 65538 * 65535 - pad is 2^32.
    assert np.flatnonzero(found == 7).tolist() == [1]


@pytest.mark.parametrize("operators", [279, 280])
def test_a_check_ends_soon(operators):
    """Operators may share their multipliers; together they have at most 2^24."""
    channels = 60000
    data = bytes(8 * channels)
    body = struct.pack("<4H2I", 2, operators, 1, 1, 0, 0)
    for offset, shape in ((0, (1, 1)), (8, (1, channels))):
        size = int(np.prod(shape))
        body += struct.pack("<II2BHfiI6I", offset, size, 0, 2, 0, 1.0, 0, 0, *shape, *[1] * 4)
    body += struct.pack("<2H", 0, 1)

    def whole(at):
        dense = struct.pack("<2B3H4I4b3I", 1, 0, 10, 0, 1, *[at] * 4, 0, 0, -128, 127, 0, 0, 0)
        return body + dense * operators

    file = mgm.write(mgm.GRAPH, {"name": "same"}, whole, data, 8 + channels, 0)
    refused = operators * channels > 1 << 24
    assert (python_says(file) is not None) == refused
    if refused:
        with pytest.raises(FormatError):
            GraphModel(file)
    else:
        GraphModel(file)


def _small():
    maker = Maker(1)
    x = maker.input((1, 4))
    return maker.finish([x], [maker.fully_connected(x, 3)])
