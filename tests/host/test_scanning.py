"""The C scanner as CPython calls it agrees with its twin."""

import random
import subprocess
import sys
from array import array

import pytest
from mcpgw import native, scanning
from pi_rig import environment
from soak import count

from mcp_gw.protocol import framing
from mcp_gw.protocol import scan as twin

sys.path.insert(0, str(native._ROOT / "tests" / "native"))
import mutate  # noqa: E402

CODE = """
from mcp_gw.protocol import client, framing, scan
from mcpgw import scanning
assert scanning.install() is None
assert scanning.install() is None
from mcp_gw import Gateway
from mcp_gw.protocol import server
for module in (framing, client, server):
    assert module.scan.__module__ == "mcpgw.scanning", module
assert scan.scan.__module__ == "mcp_gw.protocol.scan"
print(bytes(Gateway("x").process(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')).decode())
"""


@pytest.fixture(scope="module")
def scan():
    return scanning._scanner(native.library().mcpscan_run)


def test_a_gateway_uses_it():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, env=environment()
    )
    assert done.stdout == '{"jsonrpc":"2.0","id":1,"result":{}}\n', done.stderr


def test_it_agrees_with_its_twin(scan, seed):
    dice = random.Random(seed)
    ours, theirs = array("i", [0] * 26), array("i", [0] * 26)
    for i in range(count(5_000, 200_000)):
        text = mutate.mutated(dice)
        depth = dice.choice((4, 32, 128))
        start = dice.randrange(0, 3)
        data = b" " * start + text
        for buf in (data, bytearray(data), memoryview(data)):
            found = scan(buf, start, len(data), ours, depth)
            assert found == twin.scan(data, start, len(data), theirs, depth), (i, text)
            assert ours == theirs, (i, text)


@pytest.mark.parametrize(
    ("start", "end", "length", "depth"),
    [(-1, 2, 26, 4), (0, 3, 26, 4), (2, 1, 26, 4), (0, 2, 25, 4), (0, 2, 26, 0), (0, 2, 26, 129)],
)
def test_arguments_are_checked(scan, start, end, length, depth):
    with pytest.raises(ValueError):
        scan(b"{}", start, end, array("i", [0] * length), depth)
    assert scan(bytearray(), 0, 0, array("i", [0] * 26), 4) == framing.E_SYNTAX
