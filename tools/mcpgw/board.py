"""The boards this project knows: what they are, how they are flashed, where their firmware is.

Each has a folder in boards/ with board.json and profile.json. A checkout has that folder beside
tools/; an installed package carries the two files of every board with it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from . import UserError

_PREFIX = "MCPGW_"
# How a microcontroller is flashed: over its UF2 drive, or by esptool.
_METHODS = {"rp2040": "uf2", "esp32s3": "esp"}


@dataclass(frozen=True)
class Board:
    """One board. method: "uf2", "esp" or None (not flashed by this tool).

    name: what the user types; flash_bytes, firmware_bytes: size of the flash and of the region at
    its start that firmware may use, 0 when unknown; image: firmware as `make` builds it, relative
    to the root of a checkout; target: what to tell make, None when it cannot build that image;
    emulated: there is no such board to flash.
    """

    name: str
    product: str
    mcu: str
    method: str | None
    image: str
    flash_bytes: int = 0
    firmware_bytes: int = 0
    target: str | None = None
    emulated: bool = False


# Flashed with an image that the user built or downloaded, on any board with this chip.
_GENERIC = (
    Board("esp32s3", "any ESP32-S3 board", "esp32s3", "esp", "build/esp32s3/firmware.bin"),
)


def tree_root():
    """Path of the checkout these tools run from, None when they are installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "boards").is_dir() and (root / "mcp_gw").is_dir() else None


def profiles():
    """Paths of all boards' profile.json."""
    folder = Path(__file__).with_name("boards")
    if not folder.is_dir():
        root = tree_root()
        folder = root / "boards" if root else folder
    return sorted(folder.glob("*/profile.json"))


def boards():
    """{name: Board}, sorted by name."""
    found = {b.name: b for b in _GENERIC}
    for profile in profiles():
        board = _read(profile)
        found[board.name] = board
    return dict(sorted(found.items()))


def find_board(name):
    """Board by the name a user typed: "pico" or "MCPGW_PICO". Raises UserError."""
    known = boards()
    board = known.get(_short(name))
    if board is None:
        raise UserError(f"no board {name!r}; there are {', '.join(known)}", exit_code=2)
    return board


def find_image(board, given=None):
    """Path of the image to flash: given, or what `make` built. Raises UserError."""
    if given is not None:
        path = Path(given)
        if not path.is_file():
            raise UserError(f"{path} does not exist")
        return path
    for root in filter(None, (tree_root(), Path.cwd())):
        path = root / board.image
        if path.is_file():
            return path
    make = f"build it (make {board.target})" if tree_root() and board.target else "get one"
    raise UserError(
        f"no image at {board.image}: {make}, or name one: mcpgw flash {board.name} IMAGE"
    )


def _read(profile):
    about = json.loads(profile.read_text())
    name = _short(profile.parent.name)
    flash = about.get("flash") or {}
    mcu = about.get("mcu", "")
    method = _METHODS.get(mcu)
    return Board(
        name,
        about.get("name", profile.parent.name),
        mcu,
        method,
        f"build/{name}/firmware.{'uf2' if method == 'uf2' else 'bin' if method else 'elf'}",
        flash.get("bytes", 0),
        flash.get("regions", {}).get("firmware", {}).get("bytes", 0),
        "qemu" if "qemu" in about else name,
        "qemu" in about,
    )


def _short(name):
    return name.upper().removeprefix(_PREFIX).replace("_", "-").lower()
