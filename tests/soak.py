"""Test sizes: quick ones for every run, large ones for `make soak` (MCPGW_SOAK=1).

Runs on CPython and on MicroPython.
"""

import os

SOAK = os.getenv("MCPGW_SOAK") == "1"
SEEDS = []  # (name, seed) of every seed given out, for the report at the end


def count(quick, soak):
    """The number of repetitions: `quick`, or `soak` in a soak run."""
    return soak if SOAK else quick


def seed(name):
    """A seed for the test `name`, printed: MCPGW_SEED if set, else always the same in a quick run
    and a new one in a soak run."""
    value = 20261120
    if os.getenv("MCPGW_SEED"):
        value = int(os.getenv("MCPGW_SEED"))
    elif SOAK:
        value = int.from_bytes(os.urandom(4), "little")
    SEEDS.append((name, value))
    print("seed of", name, "is", value)
    return value
