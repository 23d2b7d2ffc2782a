"""Find the drive that a board in its UF2 boot loader shows to the computer."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

INFO = "INFO_UF2.TXT"
RP2040_ID = "RPI-RP2"
_LABELS = Path("/dev/disk/by-label")
_MOUNTS = Path("/proc/mounts")


@dataclass(frozen=True)
class Drive:
    """A mounted UF2 drive. board_id, model: as its INFO_UF2.TXT says."""

    path: Path
    board_id: str
    model: str

    @property
    def there(self):
        """Whether it still shows its files; a board that restarts takes the drive away."""
        return _read_info(self.path) is not None


def find_drives():
    """List of Drive, of every board in its boot loader."""
    found = (drive_at(path) for path in _mount_points())
    return [drive for drive in found if drive]


def drive_at(path):
    """The Drive mounted at path, None when there is none."""
    info = _read_info(path)
    return (
        None
        if info is None
        else Drive(Path(path), info.get("Board-ID", ""), info.get("Model", ""))
    )


def wait_for_drive(seconds, find=find_drives):
    """The first Drive to appear within so many seconds, None when none does."""
    end = time.monotonic() + seconds
    while True:
        drives = find()
        if drives:
            return drives[0]
        if unmounted():
            mount()
        if time.monotonic() >= end:
            return None
        time.sleep(0.25)


def unmounted():
    """Linux: the block device of an RP2040 in its boot loader that nobody has mounted, or None."""
    device = _LABELS / RP2040_ID
    with contextlib.suppress(OSError):
        if device.exists() and not find_drives():
            return device
    return None


def mount():
    """Ask the desktop's disk service to mount the drive, as its file manager would."""
    tool = shutil.which("udisksctl")
    if tool:
        command = [tool, "mount", "--no-user-interaction", "-b", str(_LABELS / RP2040_ID)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=20)


def _mount_points():
    if sys.platform == "darwin":
        return sorted(Path("/Volumes").glob("*"))
    if os.name == "nt":
        return [Path(f"{letter}:\\") for letter in "DEFGHIJKLMNOPQRSTUVWXYZAB"]
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return []
    fields = (line.split(" ") for line in lines)
    return [Path(_unescape(f[1])) for f in fields if len(f) > 2 and f[2] in ("vfat", "msdos")]


def _unescape(text):
    """/proc/mounts writes a space as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def _read_info(path):
    """INFO_UF2.TXT as a dict, None when there is no such file."""
    try:
        text = (Path(path) / INFO).read_text("ascii", "replace")
    except OSError:
        return None
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
