# Runs before anything else.
import board_ram

board_ram.mount()
del board_ram
