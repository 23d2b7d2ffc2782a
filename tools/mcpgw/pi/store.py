"""What the paired gateway must not forget, in SQLite: tokens and boards.

The keyed calls (a table of bridge/keys.py) and pairing codes (pairing.py) are in the same file.
Everything that is written is durable when the method returns: write-ahead log, synchronous FULL. A
second service on the same file is kept out by a lock; `mcpgw pi token` and its like may write
beside the service.
"""

import contextlib
import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from pathlib import Path

from .. import UserError

VERSION = 1
BOARD, CLIENT = "board", "client"
_LENT = "lent:"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tokens (
    name TEXT PRIMARY KEY,    -- who has it
    kind TEXT NOT NULL CHECK (kind IN ('board', 'client')),
    digest BLOB NOT NULL,     -- SHA-256 of the token, which is known nowhere else
    created REAL NOT NULL     -- unix time
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS boards (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,   -- what the board says it is, or its USB serial number
    about TEXT NOT NULL,      -- JSON object
    changed REAL NOT NULL
) WITHOUT ROWID;
"""


class StoreError(UserError):
    """The store cannot be used; the text says why and what to do."""


def explained(path, error):
    """A StoreError for what SQLite or the system said of the store at `path`."""
    text = " ".join(str(error).split())
    low = text.lower()
    if "malformed" in low or "not a database" in low or "corrupt" in low:
        what = f"{path} is damaged ({text}): move it away; boards and clients then need new tokens"
    elif "locked" in low or "busy" in low:
        what = f"{path} is locked by another program; try again when it has ended"
    elif "full" in low or "disk i/o" in low or "no space" in low:
        what = f"{path} cannot be written, the disk may be full ({text})"
    elif "readonly" in low or "permission" in low or "unable to open" in low:
        what = f"{path} cannot be opened for writing ({text}): check who owns it and its folder"
    else:
        what = f"{path}: {text}"
    return StoreError(what)


class Store:
    """path: of the database, made if absent, with its folder. check: read all of it first to see
    whether it is damaged. Raises StoreError; so do the methods."""

    def __init__(self, path, check=True, clock=time.time):
        self.path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(
                self.path, timeout=5, isolation_level=None, check_same_thread=False
            )
            self._open(check)
            _give_to_owner(self.path)
        except (sqlite3.Error, OSError) as e:
            raise explained(self.path, e) from e

    def _open(self, check):
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if check:
            (said,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise sqlite3.DatabaseError("malformed: " + said)
        self._db.executescript(_SCHEMA)
        self._db.execute("INSERT OR IGNORE INTO about VALUES ('version', ?)", (str(VERSION),))
        (version,) = self._db.execute("SELECT value FROM about WHERE name='version'").fetchone()
        if version != str(VERSION):
            raise StoreError(f"{self.path} was written by another version ({version}) of mcpgw")

    def close(self):
        with self._lock:
            self._db.close()

    def changed(self):
        """Whether this Store or another process has written since this was asked last."""
        (outside,) = self.rows("PRAGMA data_version")[0]
        seen, self._seen = self._seen, (outside, self._db.total_changes)
        return seen != self._seen

    @property
    def identity(self):
        """Who this gateway is (str), made when it is first asked for."""
        self.write("INSERT OR IGNORE INTO about VALUES ('id', ?)", secrets.token_hex(8))
        return self.rows("SELECT value FROM about WHERE name='id'")[0][0]

    # Tokens.

    def add_token(self, name, kind, replace=False):
        """A new token (str) for `name`, which nobody can ask for again. Raises StoreError when it
        has one and may not get another."""
        token = "mgw_" + secrets.token_urlsafe(32)
        verb = "INSERT OR REPLACE" if replace else "INSERT OR IGNORE"
        row = name, kind, digest(token), self._clock()
        if not self.write(f"{verb} INTO tokens VALUES (?, ?, ?, ?)", *row):
            raise StoreError(f"{name} has a token already: --replace it, or choose another name")
        return token

    def remove_token(self, name):
        """Returns whether there was one."""
        return bool(self.write("DELETE FROM tokens WHERE name=?", name))

    def tokens(self):
        """[(name, kind, digest, created)]"""
        return self.rows("SELECT name, kind, digest, created FROM tokens ORDER BY name")

    def clients(self):
        """Names (a set) of the clients that have a token."""
        return {row[0] for row in self.tokens() if row[1] == CLIENT}

    # Boards.

    def boards(self):
        """[(name, identity, about: dict, changed)] of boards that were here before."""
        rows = self.rows("SELECT name, identity, about, changed FROM boards ORDER BY name")
        return [(name, identity, json.loads(about), at) for name, identity, about, at in rows]

    def names_of(self, identity):
        """The names (list of str) under which a board is known."""
        rows = self.rows("SELECT name FROM boards WHERE identity=? ORDER BY name", identity)
        return [name for (name,) in rows]

    def put_board(self, name, identity, about):
        """Remember a board. about: dict."""
        row = name, identity, json.dumps(about), self._clock()
        self.write("INSERT OR REPLACE INTO boards VALUES (?, ?, ?, ?)", *row)

    def note_board(self, name, identity, about):
        """Write down how a board is that is remembered. False if it was forgotten meanwhile."""
        row = identity, json.dumps(about), self._clock(), name
        found = self.write("UPDATE boards SET identity=?, about=?, changed=? WHERE name=?", *row)
        return found > 0

    def remove_board(self, name):
        """Forget a board and its token. Returns whether it was known."""
        known = self.write("DELETE FROM boards WHERE name=?", name)
        known += self.write("DELETE FROM tokens WHERE name=? AND kind='board'", name)
        return known > 0

    # Ports that a service leaves to others for a while.

    def lend(self, device, until):
        """device: of a serial port, as os.path.realpath() has it; until: unix time, 0: no more."""
        self.write("DELETE FROM about WHERE name=?", _LENT + device)
        if until:
            self.write("INSERT INTO about VALUES (?, ?)", _LENT + device, str(int(until)))

    def lent(self):
        """Set of the devices that are lent now."""
        rows = self.rows("SELECT name, value FROM about WHERE name LIKE ?", _LENT + "%")
        now = self._clock()
        return {name[len(_LENT) :] for name, until in rows if now < int(until)}

    # SQLite.

    def rows(self, query, *values):
        """What a query gives, a list of tuples."""
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as e:
            raise explained(self.path, e) from e

    def write(self, query, *values):
        """Number of rows written; durable when it returns."""
        try:
            with self._lock:
                return self._db.execute(query, values).rowcount
        except sqlite3.Error as e:
            raise explained(self.path, e) from e


def _give_to_owner(path):
    """Files that root makes in a service's folder are to be the service's."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = path.parent.stat()
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        with contextlib.suppress(FileNotFoundError):
            # The service may have put a link there.
            os.chown(path.with_name(name), owner.st_uid, owner.st_gid, follow_symlinks=False)


def digest(token):
    """What is kept of a token: its entropy makes salt and slowness needless."""
    return hashlib.sha256(token.encode()).digest()


class ServiceLock:
    """Keeps a second service away from the same store, as long as this process lives. Raises
    StoreError."""

    def __init__(self, path):
        self._file = None
        self.path = Path(path).with_suffix(".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+", encoding="ascii")  # noqa: SIM115 (kept open)
            _lock(self._file)
        except (OSError, ValueError) as e:  # a path with NUL
            if self._file is None:
                raise explained(self.path, e) from e
            self._file.seek(0)
            who = self._file.read(20).strip() or "?"
            self._file.close()
            raise StoreError(
                f"another mcpgw pi (process {who}) uses {path}; stop it, or give this one another"
                " `state` folder"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def close(self):
        self._file.close()


def _lock(file):
    if os.name == "nt":
        import msvcrt

        file.seek(100)  # what is locked cannot be read there
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
