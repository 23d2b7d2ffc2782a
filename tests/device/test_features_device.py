"""On boards the spectrum's loops are machine code; the numbers are those of plain Python."""

import random

from mcp_gw.infer.features import LogMel, Spectrum

SCRIPT = """
from mcp_gw.infer.features import LogMel, Spectrum, _compiled
for n, row in ROWS:
    s = Spectrum(n)
    print(s.of(row), s.exponent)
print(LogMel(64, 8000, 10).of(ROWS[0][1]))
print(type(_compiled()["stage"]) is type(lambda: 0))
"""


def test_the_same_numbers(target, seed):
    rng = random.Random(seed)
    rows = []
    for n in (64, 8, 128):
        top = 1 << rng.randrange(2, 20)
        rows.append((n, [rng.randrange(-top, top) for _ in range(n)]))
    *lines, plain = target.run(f"ROWS = {rows}\n" + SCRIPT).splitlines()
    expected = []
    for n, row in rows:
        spectrum = Spectrum(n)
        expected.append(f"{spectrum.of(row)} {spectrum.exponent}")
    expected.append(str(LogMel(64, 8000, 10).of(rows[0][1])))
    assert lines == expected
    # A 64-bit build goes without.
    assert plain == ("True" if target.name == "unix" else "False")
