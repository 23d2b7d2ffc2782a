"""Simulated boards that run the real firmware: an RP2040 Pico, a Cortex-M3 and a
Cortex-M4F.

from mcpgw.sim import PicoSim

with PicoSim("build/pico/firmware.uf2", adc={0: 2048}) as board:
    print(board.port)           # a pty: mpremote, a terminal or `mcpgw bridge` can open it
    board.power_cut_at(3)       # in the third flash operation from now
    print(board.wait_exit())    # 137
    board.restart()             # with what the flash held
"""

from .cortex import CortexM3Sim, CortexM4FSim
from .errors import SimError
from .pico import PicoSim

__all__ = ["CortexM3Sim", "CortexM4FSim", "PicoSim", "SimError"]
