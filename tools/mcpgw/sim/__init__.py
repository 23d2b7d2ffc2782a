"""Simulated boards that run the real firmware: an RP2040 Pico and a Cortex-M3.

from mcpgw.sim import PicoSim

with PicoSim("build/pico/firmware.uf2", adc={0: 2048}) as board:
    print(board.port)           # a pty: mpremote, a terminal or `mcpgw bridge` can open it
    board.power_cut_at(3)       # in the third flash operation from now
    print(board.wait_exit())    # 137
    board.restart()             # with what the flash held
"""

from .cortex import CortexM3Sim
from .errors import SimError
from .pico import PicoSim

__all__ = ["CortexM3Sim", "PicoSim", "SimError"]
