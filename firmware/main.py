# What a board does after it has started: its own app if it has one, else a gateway of its own, so
# that a freshly flashed board answers MCP at once.  MicroPython prefers this frozen main.py to one
# in the file system, hence the search here.  The app runs as __main__, with these globals.
import os
import sys

# Loaded only where something is wrong with the flash, and not there on a board without its own.
_problem = getattr(sys.modules.get("board_flash"), "problem", None)
if _problem:
    print("#", _problem)  # the first moment that USB can carry it; "# " marks noise on the link


def _find():
    for folder in ("/", "/rom/"):
        for name in ("main.py", "main.mpy"):
            try:
                os.stat(folder + name)
                return folder, name
            except OSError:
                pass
    return None, None


_folder, _name = _find()
if _name == "main.py":
    execfile(_folder + _name)  # noqa: F821 (a MicroPython builtin)
elif _name:
    # A compiled app can only be imported; its folder goes first, since "main" is also this file.
    sys.path.insert(0, _folder)
    __import__("main")
else:
    from mcp_gw import Gateway

    Gateway().run()
