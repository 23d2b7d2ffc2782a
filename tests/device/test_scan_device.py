"""The C scanner and console functions on the real firmware: what they say and pass there."""

import random
import sys
from array import array
from pathlib import Path

import targets
from waiting import PATIENCE_S

from mcp_gw.protocol import scan as twin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))
import mutate  # noqa: E402

SCAN = """
import _mcpscan
from array import array
from binascii import unhexlify
spans = array("i", [0] * 26)
buf = bytearray(2000)
for i, (text, depth) in enumerate(CASES):
    text = unhexlify(text)
    # At every alignment.
    at = i % 4
    buf[at : at + len(text)] = text
    print(_mcpscan.scan(buf, at, at + len(text), spans, depth), *spans)
"""


def expected(text, max_depth, at):
    spans = array("i", bytes(4 * 26))
    result = twin.scan(bytes(at) + text, at, at + len(text), spans, max_depth)
    return [result, *spans]


def test_scanner_agrees_with_the_hosts_twin(target, seed):
    r = random.Random(seed)
    for _ in range(4):
        cases = []
        while len(cases) < 40:
            text = mutate.mutated(r)
            if len(text) < 600:
                cases.append((text, r.choice((1, 2, 3, 8, 128))))
        literal = [(text.hex(), max_depth) for text, max_depth in cases]
        out = target.run(f"CASES = {literal!r}\n{SCAN}")
        got = [[int(n) for n in line.split()] for line in out.splitlines()]
        assert len(got) == len(cases)
        for i, (text, max_depth) in enumerate(cases):
            assert got[i] == expected(text, max_depth, i % 4), (text, max_depth)


ECHO = """
import _mcpscan, micropython
micropython.kbd_intr(-1)
buf = bytearray(3000)
left = SIZE
print("ready")
while left:
    n = _mcpscan.read(buf, 7, 7 + min(left, 2990))
    if _mcpscan.write(buf, 7, 7 + n) != n:
        raise OSError
    left -= n
"""


def test_console_passes_every_byte(board):
    """More than every buffer on the way holds, written without waiting for the echo."""
    data = bytes(range(256)) * 40
    with board.sim.open(timeout=0.2) as port:
        repl = targets.RawREPL(port, PATIENCE_S)
        repl.enter()
        repl.paste(ECHO.replace("SIZE", str(len(data))).encode())
        repl.until(b"ready\r\n")
        got = b""
        for at in range(0, len(data), 1024):
            port.write(data[at : at + 1024])
            got += repl.take(port.in_waiting)
        got += repl.take(len(data) - len(got))
        assert got == data
        assert repl.until(b"\x04") == b""
        assert repl.until(b"\x04") == b""
        port.write(b"\r\x02")
