"""The Cortex-M4F firmware in QEMU: its float and DSP instructions, and counting instructions."""

import targets
from mcpgw.sim import CortexM4FSim

FLOATS_AND_DSP = """
import sys, array
print(sys.implementation._machine, sys.implementation._mpy >> 10 & 15)

@micropython.asm_thumb
def fused(r0):  # (x + y) * y of two floats in memory, put behind them
    vldr(s0, [r0, 0])
    vldr(s1, [r0, 4])
    vadd(s0, s0, s1)
    vmul(s0, s0, s1)
    vstr(s0, [r0, 8])

floats = array.array('f', (1.5, 2.25, 0))
fused(floats)
print(floats[2])

@micropython.asm_thumb
def smlad(r0, r1, r2):
    data(2, 0xfb20, 0x2001)  # smlad r0, r0, r1, r2

# halves 3 and -2 by 5 and 7, plus 1000
print(smlad(3 | (-2 & 0xffff) << 16, 5 | 7 << 16, 1000))
print(2 ** 0.5)
"""

COUNT = """
from board_cost import instructions

@micropython.asm_thumb
def loop(r0):
    label(AGAIN)
    sub(r0, r0, 1)
    bne(AGAIN)

def python():
    for i in range(1000):
        pass

few = instructions(loop, 10)
for n in (10, 510, 1000010):
    print(n, instructions(loop, n) - few, instructions(python))
"""


def test_floats_and_dsp_instructions_work(cortex_m4f):
    machine, *results = cortex_m4f.run(FLOATS_AND_DSP).splitlines()
    assert machine == "mps2-an386 with Cortex-M4F 7"  # 7: native code for armv7emsp
    assert [float(text) for text in results[:2]] == [8.4375, 1001.0]
    assert results[2].startswith("1.41421")


def test_instructions_are_counted_and_alike_in_every_run(tmp_path):
    runs = []
    for _ in range(2):
        with CortexM4FSim(targets.firmware("cortex-m4f"), icount=6) as sim:
            lines = targets.run(sim, COUNT).splitlines()
        runs.append([tuple(map(int, line.split())) for line in lines])
    for (n, loop, python), (_, loop2, python2) in zip(*runs, strict=True):
        # Two instructions a turn; calling it may differ by what the heap looks like.
        assert abs(loop - 2 * (n - 10)) <= 50, runs
        # A tick of the clock is 0.6 instructions: rounding, twice.
        assert abs(loop - loop2) <= 3 and abs(python - python2) <= 3, runs
        assert python > 10_000
