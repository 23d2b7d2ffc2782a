"""Flash an ESP32-S3 with esptool: the chip is checked before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from . import UserError, espimage
from .ports import UART_BRIDGES, choose_port, find_ports, wait_for_port

_ESPRESSIF = 0x303A
# Espressif's own USB, and the UART chips that its development boards carry.
_VIDS = (_ESPRESSIF, *UART_BRIDGES)
# The loader's start-up speed; native USB takes any number for the later one.
_BAUD = 115200
_FAST_BAUD = 460800
_PORT_WAIT_S = 15
_BUSY_WAIT_S = 8
_BUTTONS = "hold its BOOT button, press RESET, let BOOT go, and try again"


@dataclass(frozen=True)
class Firmware:
    """A checked merged image."""

    path: Path
    data: bytes
    image: espimage.Merged

    def __str__(self):
        version = f", MicroPython {self.image.version}" if self.image.version else ""
        return f"{self.image.size // 1024} KB for {self.image.chip}{version}"


def check_image(board, path):
    """Firmware from the file at path. Raises UserError when the board would not run it."""
    data = path.read_bytes()
    try:
        return Firmware(path, data, espimage.check_merged(data, board.mcu))
    except espimage.ImageError as e:
        raise UserError(f"{path}: {e}") from None


def write(board, firmware, port=None, erase=False):
    """Write firmware at offset 0, verified by esptool, and restart the board. Returns 0.

    Raises UserError: no port, another chip, too little flash, lost connection.
    """
    import serial
    from esptool.util import FatalError

    device = choose_port(port, _VIDS)
    before = {p.device for p in find_ports()}
    try:
        program(device, board.mcu, firmware, erase)
    except FatalError as e:
        raise UserError(f"{device}: {_first_line(e)}; {_BUTTONS}") from None
    except (OSError, serial.SerialException) as e:
        from .remote import why_not_open

        raise UserError(why_not_open(device, e)) from None
    _check_running(device, before)
    return 0


def program(device, chip, firmware, erase):
    """Connect to the loader on a serial port, check the chip and its flash, write and restart."""
    from esptool.cmds import (
        attach_flash,
        detect_chip,
        detect_flash_size,
        reset_chip,
        run_stub,
        write_flash,
    )
    from esptool.targets import CHIP_DEFS

    with detect_chip(device, _BAUD) as esp:
        found, wanted = esp.CHIP_NAME, CHIP_DEFS[chip].CHIP_NAME
        if found != wanted:
            reset_chip(esp, "hard-reset")
            raise UserError(f"{device} is an {found}, not an {wanted}: nothing was written")
        esp = run_stub(esp)
        esp.change_baud(_FAST_BAUD)
        attach_flash(esp)
        _check_size(detect_flash_size(esp), firmware.image.flash_end)
        write_flash(esp, [(0, firmware.data)], erase_all=erase)
        reset_chip(esp, "hard-reset")


def _check_size(detected, needed):
    """detected: esptool's name of a size ("8MB"), None when it cannot tell; needed: bytes."""
    from esptool.util import flash_size_bytes

    if detected and flash_size_bytes(detected) < needed:
        raise UserError(
            f"the board has {detected} of flash and the image is laid out for "
            f"{needed / 2**20:.3g} MB: take the image for this board; nothing was written"
        )


def _check_running(device, before):
    """See that MicroPython came up. Raises UserError."""
    from .remote import RemoteError, connect

    port = wait_for_port(device, before, _VIDS, _PORT_WAIT_S) or device
    try:
        with connect(port, _BUSY_WAIT_S) as remote:
            board = remote.identity()
            remote.restart()
    except RemoteError as e:
        raise UserError(f"written and verified, but {e}") from None
    print(f"{port}: {board['machine']} runs {board['version'].split('; ')[-1]}")


def _first_line(error):
    return str(error).strip().splitlines()[0].rstrip(".")
