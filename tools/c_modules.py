#!/usr/bin/env python3
"""Gather C modules from several folders into the one folder a MicroPython build takes.

    c_modules.py DEST FOLDER...

DEST becomes a folder with a link per module (for the make ports, which look for */micropython.mk),
a micropython.cmake that includes each module's own (for the cmake ports), and a `list` naming what
is there.  A FOLDER holds modules in its subfolders, or is itself one.  Nothing is touched when
nothing changed.
"""

import shutil
import sys
from pathlib import Path

BUILD_FILES = ("micropython.mk", "micropython.cmake")


def modules(folder: Path) -> list[Path]:
    """The module folders in (or at) folder."""
    if not folder.is_dir():
        sys.exit(f"c_modules: {folder} is not a folder")
    # A folder with no more than a micropython.cmake is the usual aggregate over its subfolders.
    if (folder / BUILD_FILES[0]).is_file():
        return [folder]
    inner = [d for d in sorted(folder.iterdir()) if any((d / f).is_file() for f in BUILD_FILES)]
    return inner


def main(dest: Path, folders: list[Path]) -> None:
    found: dict[str, Path] = {}
    for folder in folders:
        for module in modules(folder):
            if module.name in found:
                sys.exit(f"c_modules: {module} and {found[module.name]} have the same name")
            found[module.name] = module.resolve()
    listing = "".join(f"{name} {path}\n" for name, path in found.items())
    list_file = dest / "list"
    if list_file.is_file() and list_file.read_text() == listing:
        return
    shutil.rmtree(dest, ignore_errors=True)
    dest.mkdir(parents=True)
    for name, path in found.items():
        (dest / name).symlink_to(path)
    lines = ["# Made by tools/c_modules.py"]
    for name, path in found.items():
        if (path / BUILD_FILES[1]).is_file():
            lines.append(f"include(${{CMAKE_CURRENT_LIST_DIR}}/{name}/micropython.cmake)")
    (dest / "micropython.cmake").write_text("\n".join(lines) + "\n")
    list_file.write_text(listing)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), [Path(a) for a in sys.argv[2:]])
