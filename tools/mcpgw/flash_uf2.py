"""Flash an RP2040: copy a UF2 file to the drive its boot loader shows, or let picotool do it."""

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import UserError, drives, uf2
from .ports import NoBoard, choose_port, find_ports, wait_for_port

# Raspberry Pi's own id, and MicroPython's for boards that do not use it.
_VIDS = (0x2E8A, 0xF055)
_PIECE = 64 * 1024
_DRIVE_WAIT_S = 20
_GONE_WAIT_S = 30
_PORT_WAIT_S = 20
_BUSY_WAIT_S = 8
_BOOTSEL = "hold its BOOTSEL button while plugging it in"


@dataclass(frozen=True)
class Firmware:
    """A checked UF2 file."""

    path: Path
    data: bytes
    image: uf2.Image
    version: str | None
    gateway: bool

    def __str__(self):
        kind = "with mcp_gw" if self.gateway else "without mcp_gw"
        return f"{self.image.size // 1024} KB, {self.version or 'not MicroPython'}, {kind}"


def check_image(board, path):
    """Firmware from the file at path. Raises UserError when the board would not run it."""
    data = path.read_bytes()
    try:
        image = uf2.parse(data)
        if board.mcu == "rp2040":
            uf2.check_rp2040(image, board.firmware_bytes, board.flash_bytes)
    except uf2.UF2Error as e:
        raise UserError(f"{path}: {e}") from None
    return Firmware(path, data, image, uf2.version_text(image), uf2.holds_gateway(image))


def write(board, firmware, port=None, erase=False):
    """Put firmware on the board, wait until it runs, and ask it what it is. Returns 0.

    port: a serial port, the folder of a drive, or None to look for either. Raises UserError.
    """
    data = uf2.with_erase(firmware.image, board.flash_bytes) if erase else firmware.data
    before = {p.device for p in find_ports()}
    drive, device = _reach(port)
    if drive is None:
        _picotool(data)
    else:
        _check_drive(drive)
        copy(data, drive)
        print("the board has taken it and restarts")
    _check_running(firmware, device, before)
    return 0


def copy(data, drive, gone_wait_s=_GONE_WAIT_S):
    """Write a UF2 file to a drive and wait until the board has taken it. Raises UserError."""
    error = _write_with_progress(data, drive.path / "firmware.uf2")
    end = time.monotonic() + gone_wait_s
    while drive.there:
        if error:
            raise UserError(f"cannot write to {drive.path}: {error.strerror}")
        if time.monotonic() >= end:
            raise UserError(
                f"the board still shows {drive.path} after the copy, so it did not take the "
                f"image; unplug it, {_BOOTSEL}, and try again"
            )
        time.sleep(0.1)


def _write_with_progress(data, target):
    """Write data to target. Returns an OSError that came with the last piece: the board restarts
    as soon as it has the last block, often under our feet. Raises UserError for any before.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    done = 0
    with Progress(
        *columns, TransferSpeedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(f"copying to {target.parent}", total=len(data))
        try:
            with open(target, "wb", buffering=0) as out:
                while done < len(data):
                    out.write(data[done : done + _PIECE])
                    # Through to the board now: what the system still holds is no progress.
                    os.fsync(out.fileno())
                    done = min(done + _PIECE, len(data))
                    bar.update(task, completed=done)
        except OSError as e:
            if done + _PIECE < len(data):
                raise UserError(f"cannot write to {target.parent}: {e.strerror}") from None
            return e
    return None


def _reach(port):
    """(Drive, serial port it was reached over or None); the Drive is None: left to picotool."""
    if port is not None and os.path.isdir(port):
        drive = drives.drive_at(port)
        if drive is None:
            raise UserError(f"{port} is no UF2 drive: it has no {drives.INFO}")
        return drive, None
    others = drives.find_drives()
    if port is None:
        found = others or _mounted_now()
        if len(found) > 1:
            names = ", ".join(f"{d.path} ({d.model})" for d in found)
            raise UserError(f"several boards in boot loaders: {names}; choose with --port PATH")
        if found:
            return found[0], None
    try:
        device = choose_port(port, _VIDS)
    except NoBoard as e:
        if picotool():
            return None, None
        raise UserError(_nothing_found(e.looked)) from None
    _into_bootloader(device)
    paths = [d.path for d in others]
    drive = drives.wait_for_drive(
        _DRIVE_WAIT_S, lambda: [d for d in drives.find_drives() if d.path not in paths]
    )
    if drive is None and not picotool():
        raise UserError(
            f"the board restarted, but no drive with {drives.INFO} appeared within "
            f"{_DRIVE_WAIT_S} s{_unmounted()}"
        )
    return drive, device


def _mounted_now():
    """Drives after having asked the system to mount one that it shows and has not mounted."""
    if not drives.unmounted():
        return []
    drives.mount()
    return drives.find_drives()


def _nothing_found(looked):
    return (
        f"no board found: no mounted drive with {drives.INFO}{_unmounted()}, and {looked}; "
        f"{_BOOTSEL}, or plug in one that runs MicroPython"
    )


def _unmounted():
    device = drives.unmounted()
    return f" ({device} is not mounted: mount it, or install picotool)" if device else ""


def _into_bootloader(device):
    """Restart the RP2040 on a serial port into its boot loader. Raises UserError."""
    from .remote import Remote, RemoteError

    try:
        with Remote(device, fresh=False) as remote:
            board = remote.identity()
            if board["platform"] != "rp2" or "RP2040" not in board["machine"]:
                remote.restart()
                raise UserError(f"{device} is {board['machine']}, not an RP2040")
            print(
                f"{device}: {board['machine']}, {board['version'].split('; ')[-1]}; restarting it"
            )
            remote.bootloader()
    except RemoteError as e:
        raise UserError(f"{e}. If it does not run MicroPython: {_BOOTSEL}") from None


def _check_drive(drive):
    if drive.board_id != drives.RP2040_ID:
        raise UserError(
            f"{drive.path} is the drive of {drive.model or 'something'} ({drive.board_id}), "
            "not of an RP2040"
        )


def picotool():
    """Path of Raspberry Pi's picotool, None where it is not installed."""
    return shutil.which("picotool")


def _picotool(data):
    """Let picotool write, verify and start the image: it needs no mounted drive."""
    print("no drive found; using picotool")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "firmware.uf2")
        path.write_bytes(data)
        done = subprocess.run([picotool(), "load", "-v", "-x", str(path)], stderr=subprocess.PIPE)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["(no reason)"]
        raise UserError(f"no drive found, and picotool failed: {said[0]}; {_BOOTSEL}")


def _check_running(firmware, device, before):
    """See that the board came back with this firmware. Raises UserError."""
    from .remote import connect

    port = wait_for_port(device, before, _VIDS, _PORT_WAIT_S)
    if port is None:
        raise UserError(
            f"the board took the image, but no port of it appeared within {_PORT_WAIT_S} s: "
            "is it the right image for this board?"
        )
    with connect(port, _BUSY_WAIT_S) as remote:
        board = remote.identity()
        runs = board["version"].split("; ")[-1]
        if firmware.version and runs != firmware.version:
            raise UserError(
                f"the board on {port} runs {runs}, not {firmware.version}: flash it again"
            )
        if firmware.gateway:
            runs += ", mcp_gw " + remote.ask("getattr(__import__('mcp_gw'), '__version__', '?')")
        remote.restart()
    print(f"{port}: {board['machine']} runs {runs}")
