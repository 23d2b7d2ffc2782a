"""The arithmetic that processors without wide products use gives what the reference's does."""

import shutil
import subprocess

import pytest
import soak
from targets import ROOT


def test_products_of_parts(tmp_path, seed):
    cc = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if cc is None:
        pytest.skip("no C compiler")
    program = tmp_path / "math_harness"
    subprocess.run(
        [cc, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'c_modules/qnn'}"]
        + ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
        + [ROOT / "tests/native/math_harness.c", "-o", program],
        check=True,
    )
    count = soak.count(5_000_000, 200_000_000)
    done = subprocess.run([program, str(seed), str(count)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{25 * 25 + count} products\n"
