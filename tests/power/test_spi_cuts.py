"""Power cuts of a ring on an SPI NOR chip: through the driver and the chip's own state machine."""

import sys
from pathlib import Path

import soak
from ring_oracle import Oracle
from test_ring_cuts import cut_in, recorded, survive

from mcp_gw.queue.nor_fault import MODES, Rng
from mcp_gw.queue.nor_spi import SpiNor

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from spi_chip import SPI, Chip, Pin  # noqa: E402


class OnChip(SpiNor):
    """A device of so many sectors, on a chip of its own."""

    def __init__(self, sectors, image=None):
        self.chip = chip = Chip(sectors * 4096, busy=(1, 1))
        if image is not None:
            chip.array[:] = image
        super().__init__(SPI(chip), Pin(chip))

    @property
    def image(self):
        return self.chip.array


def test_cuts_of_a_ring_on_a_chip(seed):
    steps = recorded(3, seed, keep=6, largest=1500, wraps=1, kind=OnChip)
    assert {step[2] for step in steps} == {"program", "erase"}
    rng = Rng(seed)
    for number in range(soak.count(20, 2000)):
        case = rng.word() >> 1
        print("cut", number, case)
        step = steps[rng.below(len(steps))]
        dev, oracle = cut_in(step, MODES[rng.below(len(MODES))], case, OnChip)
        assert isinstance(oracle, Oracle)
        survive(dev, oracle, case, 4)
