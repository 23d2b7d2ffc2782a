"""Every file of tests/unit again, under the unix build and under its sanitized twin."""

import ast
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
import targets

UNIT = Path(__file__).parents[1] / "unit"
RUNNER = UNIT / "mpy_runner.py"
BUILDS = ["unix", "unix-asan"]


def run(build, file, timeout=800):
    environment = {
        **os.environ,
        "MICROPYPATH": f"{targets.ROOT}:.frozen",
        "ASAN_OPTIONS": "detect_leaks=0",  # MicroPython's heap is one block
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return subprocess.run(
        [targets.firmware(build), str(RUNNER), str(file)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
    )


def undefined(text):
    """UBSan's reports about our own C. MicroPython's files, compiled by a path relative to its
    ports, pass null pointers with length 0 to memcpy and the like; that is theirs."""
    reports = re.findall(r"^(.*): runtime error: .*", text, re.MULTILINE)
    return [place for place in reports if not place.startswith("../../")]


def names(file):
    """The test functions of a file, read without running it."""
    body = ast.parse(file.read_text()).body
    return {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("file", sorted(UNIT.glob("test_*.py")), ids=lambda file: file.stem)
def test_file(file, build):
    done = run(build, file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not undefined(done.stderr), done.stderr
    passed = {line[5:] for line in done.stdout.splitlines() if line.startswith("PASS ")}
    assert passed == names(file)


@pytest.mark.parametrize("build", BUILDS)
def test_the_build_has_the_c_scanner(build, tmp_path):
    file = tmp_path / "test_scanner.py"
    file.write_text(
        textwrap.dedent(
            """
            import _mcpscan
            from mcp_gw.protocol import framing

            def test_c_is_used():
                assert framing.scan is _mcpscan.scan

            def test_package_is_the_trees():
                assert framing.__file__.startswith("ROOT"), framing.__file__
            """.replace("ROOT", str(targets.ROOT))
        )
    )
    done = run(build, file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_failures_are_failures(tmp_path):
    file = tmp_path / "test_broken.py"
    file.write_text("def test_good():\n    pass\n\ndef test_bad():\n    assert 1 == 2\n")
    done = run("unix", file)
    assert done.returncode == 1
    assert "PASS test_good" in done.stdout
    assert "FAIL test_bad" in done.stdout
    assert "AssertionError" in done.stdout
    empty = tmp_path / "test_empty.py"
    empty.write_text("")
    assert run("unix", empty).returncode == 1
