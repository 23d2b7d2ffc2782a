"""Flash images for the emulated Pico with files in the ROM file system, where they are at /rom."""

import json

import targets
from mcpgw import romfs

PROFILE = targets.ROOT / "boards/MCPGW_PICO/profile.json"


def flash_with(path, files):
    """Make or change the flash image at `path` so that /rom holds exactly these files, and return
    the path: PicoSim(firmware, flash=path). files: {"name" or "folder/name": bytes}.

    As after `mcpgw deploy --rom`; the rest of an image that is there already stays as it is.
    """
    flash = json.loads(PROFILE.read_text())["flash"]
    start, size = (flash["regions"]["rom"][key] for key in ("start", "bytes"))
    image = romfs.build(files)
    assert len(image) <= size, f"{len(image)} bytes for a region of {size}"
    old = path.read_bytes() if path.exists() else b""
    whole = bytearray(old.ljust(flash["bytes"], b"\xff"))
    whole[start : start + size] = image.ljust(size, b"\xff")
    path.write_bytes(whole)
    return path
