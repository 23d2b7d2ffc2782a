"""Put files on a board so that a power cut leaves every file whole: the old one or the new one.

Changed files go to numbered files in /.mcpgw first and are hashed there, on the board; then each
is renamed over the old one (littlefs does that in one step), main.py last. /.mcpgw/files.json
lists what was put there, so that a later deployment knows its own files and `remove()` finds them.
"""

import json
from dataclasses import dataclass, field

from . import UserError, __version__

FOLDER = "/.mcpgw"
MANIFEST = FOLDER + "/files.json"
_VERSION = 1
# Room for the list itself, and for what littlefs needs to rename: a folder takes two blocks.
_SPARE_BLOCKS = 4
# Paths in one question to the board, which compiles it as one line.
_AT_ONCE = 16

# Runs on the board. h: SHA-256 of a file in hex, "" for a folder, None for nothing. d: make the
# folders above a path. p: remove the empty folders above it. rm: remove a file, and those folders.
# clear: remove all files of a folder but one. listed: the list of what was deployed.
_ON_BOARD = """
import os, json, hashlib
from binascii import hexlify
def h(path):
    try:
        if os.stat(path)[0] & 0x4000: return ''
    except OSError: return None
    s = hashlib.sha256(); b = bytearray(512); m = memoryview(b)
    with open(path, 'rb') as f:
        while True:
            n = f.readinto(b)
            if not n: return hexlify(s.digest()).decode()
            s.update(m[:n])
def d(path):
    at = path.find('/', 1)
    while at > 0:
        try: os.mkdir(path[:at])
        except OSError: pass
        at = path.find('/', at + 1)
def p(path):
    while path.rfind('/') > 0:
        path = path[:path.rfind('/')]
        try: os.rmdir(path)
        except OSError: return
def rm(path):
    try: os.remove(path)
    except OSError: pass
    p(path)
def clear(folder, keep):
    try: names = os.listdir(folder)
    except OSError: return
    for n in names:
        if folder + '/' + n != keep: os.remove(folder + '/' + n)
def listed(path):
    try:
        with open(path) as f: return json.load(f)
    except (OSError, ValueError): return {}
"""


class InstallError(UserError):
    """Nothing was changed on the board, or the text says what."""


@dataclass
class Plan:
    """What a deployment would do. Lists of paths on the board.

    foreign: files that would be replaced and that no deployment put there; stale: files of the
    last deployment that are not part of this one; settled: there is nothing to do, and the list
    on the board says so; free, needed: bytes.
    """

    changed: list = field(default_factory=list)
    unchanged: list = field(default_factory=list)
    added: list = field(default_factory=list)
    foreign: list = field(default_factory=list)
    stale: list = field(default_factory=list)
    settled: bool = False
    free: int = 0
    needed: int = 0


class Installer:
    """Deployments on one board, over an open Remote."""

    def __init__(self, remote):
        self._remote = remote
        remote.exec(_ON_BOARD)
        listed = remote.ask(f"listed({MANIFEST!r})")
        if listed and listed.get("v") != _VERSION:
            raise InstallError(
                f"{MANIFEST} on the board is of another version of this tool ({listed.get('v')}); "
                "update mcpgw, or remove that file"
            )
        # {path: [SHA-256 in hex, ...]}: two while a deployment is between the old and the new.
        self.listed = listed.get("files", {})

    def hashes(self, paths):
        """{path: SHA-256 in hex, "" for a folder, None when there is nothing}."""
        found = {}
        for at in range(0, len(paths), _AT_ONCE):
            some = list(paths[at : at + _AT_ONCE])
            found.update(zip(some, self._remote.ask(f"[h(n) for n in {some!r}]"), strict=True))
        return found

    def plan(self, files):
        """Plan for a list of AppFile. Raises InstallError when they cannot be put there."""
        self._clear_staged()  # what a cut left there takes room
        here = self.hashes([f.path for f in files])
        plan = Plan()
        block, _, _, free = self._remote.ask("os.statvfs('/')")[:4]
        plan.free = free * block
        folders = set()
        for file in files:
            found = here[file.path]
            if found == "":
                raise InstallError(f"{file.path} is a folder on the board, and a file here")
            if found == file.digest:
                plan.unchanged.append(file.path)
                continue
            plan.changed.append(file.path)
            if found is None:
                self._refuse_hidden(file.path)
                plan.added.append(file.path)
                folders.add(file.path.rsplit("/", 1)[0])
            elif found not in self.listed.get(file.path, ()):
                plan.foreign.append(file.path)
            plan.needed += -(-len(file.data) // block) * block
        if plan.changed:
            plan.needed += (_SPARE_BLOCKS + 2 * len(folders - {""})) * block
        wanted = {f.path for f in files}
        plan.stale = [path for path in self.listed if path not in wanted]
        plan.settled = self.listed == {f.path: [f.digest] for f in files} and not plan.changed
        if plan.needed > plan.free:
            raise InstallError(
                f"not enough room on the board: {plan.needed} bytes needed, {plan.free} free "
                "(old and new files lie side by side until all have arrived)"
            )
        return plan

    def install(self, files, plan, progress=lambda path, n: None):
        """Carry out a plan; plan.stale keeps what was removed. Raises InstallError.

        progress: function(path, bytes just written).
        """
        changed = [f for f in files if f.path in set(plan.changed)]
        self._remote.exec(f"d({FOLDER + '/'!r})")
        for n, file in enumerate(changed):
            staged = f"{FOLDER}/{n}"
            self._remote.write_file(staged, file.data, lambda k, p=file.path: progress(p, k))
            if self.hashes([staged])[staged] != file.digest:
                self._clear_staged()
                raise InstallError(
                    f"{file.path} did not arrive as it was sent; nothing on the board was changed"
                )
        # Until the last rename is done, both the old and the new are ours.
        now = {f.path: [f.digest] for f in files}
        both = {
            path: now.get(path, []) + self.listed.get(path, []) for path in {**self.listed, **now}
        }
        self._write_list(both)
        moves = [[f"{FOLDER}/{n}", f.path] for n, f in enumerate(changed)]
        for staged, path in moves:
            self._remote.exec(f"d({path!r})\nos.rename({staged!r}, {path!r})")
        plan.stale = [path for path in plan.stale if self._remove_if_ours(path)]
        self._write_list(now)
        self._remote.exec("if hasattr(os, 'sync'): os.sync()")

    def remove(self):
        """Remove what deployments put there. Returns (removed, kept) lists of paths.

        kept: files that were changed on the board since.
        """
        removed, kept = [], []
        for path in sorted(self.listed, reverse=True):
            (removed if self._remove_if_ours(path) else kept).append(path)
        self._clear_staged()
        self._remote.exec(f"rm({MANIFEST!r})")
        return removed, kept

    def _refuse_hidden(self, path):
        """Raise InstallError when a new .mpy would not be loaded because of an older .py."""
        source = path[:-4] + ".py"
        if path.endswith(".mpy") and source not in self.listed and self.hashes([source])[source]:
            raise InstallError(
                f"{source} on the board would be loaded instead of {path}: remove it"
            )

    def _remove_if_ours(self, path):
        """Whether the file is gone: removed by us, or not there in the first place."""
        found = self.hashes([path])[path]
        if found is not None and found not in self.listed[path]:
            return False
        self._remote.exec(f"rm({path!r})")
        return True

    def _clear_staged(self):
        self._remote.exec(f"clear({FOLDER!r}, {MANIFEST!r})")

    def _write_list(self, files):
        text = json.dumps({"v": _VERSION, "by": f"mcpgw {__version__}", "files": files})
        staged = FOLDER + "/list"
        self._remote.write_file(staged, text.encode())
        self._remote.exec(f"os.rename({staged!r}, {MANIFEST!r})")
        self.listed = dict(files)
