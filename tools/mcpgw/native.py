"""The C cores of c_modules on the host: a shared library, called through ctypes.

In a checkout the library is compiled when it is first needed and whenever a source has changed,
into build/host/cores; an installed package brings one that was compiled with it (setup.py).
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from mcpgw import UserError

_ROOT = Path(__file__).resolve().parents[2]
# setup.py takes these as well.
FLAGS = ["-std=c99", "-O3", "-fno-strict-aliasing", "-fPIC"]
LIBRARIES = ["m"]


def sources(root=_ROOT):
    """C files of the cores: all of c_modules but bindings and what needs MicroPython."""
    files = (root / "c_modules").glob("*/*.c")
    skip = ("mcpscan_console",)
    return sorted(
        f
        for f in files
        if not f.stem.endswith("_mod") and f.parent.name != "natmod" and f.stem not in skip
    )


def headers(root=_ROOT):
    """What they include."""
    return sorted((root / "c_modules").glob("*/*.h"))


def _compile(root):
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    if compiler is None:
        raise UserError(
            "no C compiler found (gcc or cc): it is needed to run models on this machine"
        )
    files = sources(root)
    digest = hashlib.sha256(" ".join([compiler, *FLAGS]).encode())
    for file in (*files, *headers(root)):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    folder = root / "build" / "host" / "cores"
    library = folder / f"cores-{digest.hexdigest()[:16]}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    includes = sorted({f"-I{f.parent}" for f in files})
    # Two processes may compile at once: each renames a file of its own into place.
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    os.close(handle)
    done = subprocess.run(
        [compiler, *FLAGS, "-shared", *includes, "-o", temporary, *map(str, files)]
        + [f"-l{name}" for name in LIBRARIES],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        os.unlink(temporary)
        raise UserError(f"the C cores do not compile:\n{done.stderr.strip()}")
    os.replace(temporary, library)
    return library


def path():
    """
    The shared library's file; compiled now if need be. Raises UserError where that cannot be done.
    """
    if (_ROOT / "c_modules" / "qnn").is_dir():
        return _compile(_ROOT)
    built = sorted(Path(__file__).parent.glob("_cores*"))
    if not built:
        raise UserError("this installation was made without a C compiler and cannot run models")
    return built[0]


@cache
def library():
    """The library as ctypes.CDLL; callers declare the functions they call."""
    return ctypes.CDLL(str(path()))


def address(buffer):
    """Address of a readable buffer's memory, for as long as the caller keeps it."""
    view = memoryview(buffer)
    if view.readonly:
        return ctypes.cast(ctypes.c_char_p(view.obj), ctypes.c_void_p).value
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


if __name__ == "__main__":
    sys.stdout.write(f"{path()}\n")
