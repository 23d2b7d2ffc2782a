# Runs before anything else.  MicroPython's own _boot.py formats the whole storage region when
# mounting fails; here that would take the queue with it.
import board_flash

board_flash.mount()
del board_flash
