"""The C core of the queue's ring under AddressSanitizer and UBSan, and its Python twin: over flash
that rings have written and that was damaged since, both find the same."""

import contextlib
import random
import shutil
import struct
import subprocess
from array import array
from collections import Counter
from pathlib import Path

import pytest
import soak

from mcp_gw.errors import QueueFull
from mcp_gw.queue import layout, ring_twin
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring

ROOT = Path(__file__).resolve().parents[2]
COUNT = soak.count(20_000, 1_000_000)
BATCH = 1_000
NUMBERS = 46
SIZE = 1024
PAGE = 64
NOWHERE = 0xFFFFFFFF


class Small(RamNor):
    sector_size = SIZE
    page_size = PAGE


class Flash:
    """What the twin reads through; reads that touch `failing` fail."""

    def __init__(self, image, failing):
        self.image = image
        self.failing = failing

    def read(self, addr, buf):
        if addr <= self.failing < addr + len(buf):
            raise OSError(5)
        buf[:] = self.image[addr : addr + len(buf)]


@pytest.fixture(scope="module")
def harness():
    # gcc brings its sanitizers along; clang's are a package of their own.
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    out = ROOT / "build" / "native" / "ring_harness"
    out.parent.mkdir(parents=True, exist_ok=True)
    core = ROOT / "c_modules" / "ring"
    subprocess.run(
        [cc, "-std=c99", "-g", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{core}", "-o", out]
        + ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        + [core / "ring_core.c", ROOT / "tests" / "native" / "ring_harness.c"],
        check=True,
    )
    return out


def written(r):
    """An image that a ring of three sectors has left: chains, acks, marks, compacted sectors."""
    dev = Small(3)
    ring = Ring(dev)
    ring.mount()
    handles = []
    for _ in range(r.randrange(4, 60)):
        body = r.randbytes(r.choice((3, 50, 50, 200, 900)))
        with contextlib.suppress(QueueFull):
            handles.append(ring.append(r.randrange(4), r.randbytes(r.randrange(33)), [body]))
        if handles and r.randrange(4):
            handle = handles.pop(r.randrange(len(handles)))
            ring.ack(handle) if r.randrange(8) else ring.mark(handle)
    if r.randrange(2):
        ring.idle()
    return dev.image


def damaged(r, image):
    image = bytearray(image)
    if not r.randrange(20):
        at = r.randrange(3) * SIZE
        image[at : at + 32] = bytes(32)
    for _ in range(r.choice((0, 1, 1, 3, 40))):
        at = r.randrange(len(image))
        if r.randrange(2):
            image[at] ^= 1 << r.randrange(8)
        else:
            n = r.randrange(1, 40)
            image[at : at + n] = r.choice((b"\0" * n, b"\xff" * n, r.randbytes(n)))[
                : len(image) - at
            ]
    return bytes(image)


def a_case(r, image):
    """(function, mode, kinds, mapped, failing, numbers, image)"""
    sector = r.randrange(3)
    f = [0] * NUMBERS
    base = f[2] = sector * SIZE
    f[0] = base + r.choice((32, 32, 32, r.randrange(SIZE // 4) * 4, r.randrange(SIZE)))
    f[1] = base + r.choice((SIZE, SIZE, r.randrange(SIZE)))
    f[3] = layout.seed(struct.unpack_from("<I", image, base + 12)[0])
    f[4] = r.choice((4, 4, 4, 16))
    f[5] = r.randrange(30)
    f[6] = r.randrange(1, 40)
    f[7] = r.choice((0, r.randrange(60)))
    f[23] = r.choice((0, r.randrange(30)))
    f[24] = r.randrange(1, 40)
    f[28:31] = SIZE, PAGE, 3 * SIZE
    # What surveys of other sectors have found: perhaps of this one.
    f[31:38] = (
        r.randrange(40),
        r.randrange(8),
        r.choice((sector, 0, NOWHERE)),
        *(r.randrange(4) for _ in range(4)),
    )
    f[38:46] = struct.unpack_from("=8I", image, r.randrange(3) * SIZE)
    function = r.randrange(6)
    if function == 0:
        f[0] = base
    elif function >= 3:
        return function, sector, b"", r.randrange(2), r.choice((NOWHERE, base + 9)), f, image
    elif not r.randrange(50):
        # Numbers that are not about this region, which the core refuses.
        f[r.choice((0, 1, 2, 4, 28, 29, 30))] = r.choice((0, 3, 5000, 1 << 31))
    kinds = r.choice((b"", b"\1", b"\0\2\3"))
    failing = r.choice((NOWHERE, base + r.randrange(SIZE)))
    return function, r.randrange(3), kinds, r.randrange(2), failing, f, image


def run_c(harness, cases):
    stream = bytearray()
    for function, mode, kinds, mapped, failing, f, image in cases:
        stream += struct.pack("=6I", function, mode, len(kinds), mapped, failing, len(image))
        stream += struct.pack(f"={NUMBERS}I", *f) + kinds + image
    done = subprocess.run([harness], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    out = memoryview(done.stdout)
    for function, *_ in cases:
        n = 56 if function in (1, 2) else 32
        result = struct.unpack_from("=i", out)[0]
        yield result, bytes(out[4 : 4 + n]), struct.unpack_from(f"={NUMBERS}I", out, 4 + n)
        out = out[4 + n + 4 * NUMBERS :]
    assert not out


def run_twin(function, mode, kinds, mapped, failing, f, image):
    f = array("I", f)
    buf = bytearray(56 if function in (1, 2) else 32)
    src = memoryview(image) if mapped else Flash(image, failing)
    if function == 0:
        result = ring_twin.header(src, f[0], buf)
    elif function == 1:
        result = int(ring_twin.seek(src, buf, f, mode, kinds or None))
    elif function == 2:
        result = ring_twin.scan(src, buf, f)
    else:
        look = (ring_twin.survey, ring_twin.judge, ring_twin.enter)[function - 3]
        result = look(src, buf, f, mode)
    return result, bytes(buf), tuple(f)


@pytest.mark.timeout(soak.count(900, 3600))
def test_the_core_and_its_twin_agree(harness, seed):
    r = random.Random(seed)
    outcomes = Counter()
    for _ in range(COUNT // BATCH):
        images = [written(r) for _ in range(20)]
        cases = [a_case(r, damaged(r, r.choice(images))) for _ in range(BATCH)]
        for case, answer in zip(cases, run_c(harness, cases), strict=True):
            function, (result, *_) = case[0], answer
            outcomes[function, result] += 1
            if result >= 0:
                told = run_twin(*case)
                assert answer == told, f"C and twin differ: {case[:6]}: {answer}, {told}"
    print(dict(sorted(outcomes.items())))
    # All there is to be found was found.
    wanted = {(0, what) for what in range(6)} | {(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)}
    wanted |= {(3, what) for what in range(6)} | {(4, what) for what in range(4)} | {(5, 1)}
    assert set(outcomes) >= wanted | {(1, -1), (2, -1)}
