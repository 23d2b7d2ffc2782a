"""The numbers that the C core of the queue's ring, its Python twin and the files that use them
share: const() works within a file only, so they stand in each."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUEUE = ROOT / "mcp_gw" / "queue"
USERS = ("log.py", "reader.py", "reclaim.py", "ring.py", "sectors.py")


def numbers(name):
    """{name: value} of a file's private constants."""
    found = re.findall(r"^(_[A-Z_]+) = const\((\d+)\)", (QUEUE / name).read_text(), re.M)
    return {name: int(value) for name, value in found}


def test_the_twin_has_the_cores():
    header = (ROOT / "c_modules" / "ring" / "ring_core.h").read_text()
    shared = re.search(r"enum \{([^}]*)RING_NUMBERS", header)[1]
    twins = numbers("ring_twin.py")
    names = re.findall(r"^ +RING_(\w+),", shared, re.M)
    assert len(names) > 30
    assert [twins.get("_" + name) for name in names] == list(range(len(names)))


@pytest.mark.parametrize("name", USERS)
def test_the_users_have_the_twins(name):
    twins = numbers("ring_twin.py")
    shared = {name: value for name, value in numbers(name).items() if name in twins}
    assert shared
    assert shared == {name: twins[name] for name in shared}
