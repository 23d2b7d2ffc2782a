"""What became of calls that carry an idempotency key: on disk, so that it outlives the bridge.

A row is written, and synced, before a call is sent, and again before its outcome is answered.
While its process lives it renews a short lease on the row; a row without outcome whose lease has
run out belongs to a process that died (or gave up waiting) after the call may have been executed.
"""

import sqlite3
import threading
import time
import uuid

LEASE_S = 6.0
RENEW_S = 2.0
KEEP_S = 30 * 86400
KEEP_ROWS = 10_000
# What a row counts beside its key and its answer, bytes.
_ROW = 200

NEW, DONE, BUSY, LOST = "new", "done", "busy", "lost"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    upstream TEXT NOT NULL,
    key TEXT NOT NULL,
    tool TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('started', 'done')),
    owner TEXT NOT NULL,      -- process that sent the call
    lease REAL NOT NULL,      -- unix time until which that process has promised to be alive
    ok INTEGER,               -- 1: answer is a result, 0: answer is a JSON-RPC error
    answer BLOB,              -- JSON text
    changed REAL NOT NULL,    -- unix time
    board TEXT NOT NULL DEFAULT '*',  -- who sent it first; '*': not known, of versions before
    PRIMARY KEY (upstream, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS calls_changed ON calls (changed);
"""
_BYTES = f"{_ROW} + LENGTH(key) + COALESCE(LENGTH(answer), 0)"
_MINE = "upstream=? AND key=? AND owner=? AND state='started'"
_OLD = (
    "changed < ? AND changed < (SELECT changed FROM calls ORDER BY changed DESC LIMIT 1 OFFSET ?)"
)
# Old rows of a board beyond so many bytes of its newest.
_OVER = (
    "changed < ? AND board=? AND (upstream, key) IN (SELECT upstream, key FROM (SELECT upstream,"
    f" key, SUM({_BYTES}) OVER (ORDER BY changed DESC, key) AS newer FROM calls WHERE board=?)"
    " WHERE newer > ?)"
)


class KeyMisused(Exception):
    """A key came back with another tool than it was first used for."""


class ShareFull(Exception):
    """So much is kept for one board that no new key of it is taken."""


class KeyStore:
    """Rows of calls in SQLite. Methods block for a disk sync and may be called from any thread.

    path: database file, made if absent; share: None, or bytes that are kept for one board, where
    no other process uses this file. Raises sqlite3.Error when it cannot be used.
    """

    def __init__(self, path, clock=time.time, share=None):
        self._clock = clock
        self._share = share
        self._kept = {}  # board -> bytes, where there are shares
        self._lock = threading.RLock()
        self.owner = uuid.uuid4().hex
        self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._complete()
        if share is not None:
            rows = self._db.execute(f"SELECT board, SUM({_BYTES}) FROM calls GROUP BY board")
            self._kept = dict(rows.fetchall())
        self.prune()

    def _complete(self):
        """Give a file of an earlier version what it lacks."""
        self._db.execute("BEGIN IMMEDIATE")  # another process may be about to do the same
        columns = [row[1] for row in self._db.execute("PRAGMA table_info(calls)")]
        if "board" not in columns:
            self._db.execute("ALTER TABLE calls ADD COLUMN board TEXT NOT NULL DEFAULT '*'")
        self._db.execute("COMMIT")

    def close(self):
        with self._lock:
            self._db.close()

    def together(self, calls):
        """Run methods of this store in one transaction, which costs one disk sync for all.

        calls: list of (method, args). Returns a list of (True, value) or (False, KeyMisused or
        ShareFull). Raises sqlite3.Error when nothing was written.
        """
        with self._lock:
            before = self._kept.copy()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                found = []
                for method, args in calls:
                    try:
                        found.append((True, method(*args)))
                    except (KeyMisused, ShareFull) as e:
                        found.append((False, e))
                self._db.execute("COMMIT")
            except BaseException:
                self._kept = before
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            return found

    def prune(self):
        """Forget what has not changed for 30 days. The newest rows stay all the same: a clock that
        jumps must not make known keys new ones. Of a board whose share is used up those of half a
        share stay, or it would never get room again."""
        with self._lock:
            since = self._clock() - KEEP_S
            self._delete(_OLD, (since, KEEP_ROWS - 1))
            for board, size in list(self._kept.items()):
                if size >= self._share:
                    self._delete(_OVER, (since, board, board, self._share // 2))

    def _delete(self, which, values):
        gone = ()
        if self._share is not None:
            query = f"SELECT board, SUM({_BYTES}) FROM calls WHERE {which} GROUP BY board"
            gone = self._db.execute(query, values).fetchall()
        self._db.execute(f"DELETE FROM calls WHERE {which}", values)
        for board, size in gone:
            self._count(board, -size)

    def alone(self):
        """No other process uses this store: what others began and did not end, they never will."""
        self.together([(self._end_leases, ())])

    def _end_leases(self):
        self._db.execute(
            "UPDATE calls SET lease=0 WHERE state='started' AND owner<>?", (self.owner,)
        )

    def begin(self, upstream, key, tool, board=""):
        """Claim a key for a board, or learn what became of it.

        Returns (state, ok, answer): NEW: the caller has it and shall send the call; DONE with the
        recorded answer; BUSY: another living process has sent it; LOST: it was sent and nobody
        can tell what became of it. Raises KeyMisused, ShareFull.
        """
        now = self._clock()
        with self._lock:
            if self._share is not None and self._kept.get(board, 0) >= self._share:
                self._refuse_new(upstream, key, board)
            claimed = self._db.execute(
                "INSERT INTO calls VALUES (?, ?, ?, 'started', ?, ?, NULL, NULL, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (upstream, key, tool, self.owner, now + LEASE_S, now, board),
            ).rowcount
            if claimed:
                self._count(board, _ROW + len(key))
                return NEW, None, None
            row = self._db.execute(
                "SELECT tool, state, lease, ok, answer FROM calls WHERE upstream=? AND key=?",
                (upstream, key),
            ).fetchone()
        if row is None:
            return BUSY, None, None  # removed by another process just now; ask again
        if row[0] != tool:
            raise KeyMisused(f"key {key} was used for the tool {row[0]!r}, not {tool!r}")
        if row[1] == "done":
            return DONE, bool(row[3]), bytes(row[4])
        # A lease from the future says that the clock was set back: it cannot be trusted.
        return (BUSY if now < row[2] <= now + LEASE_S else LOST), None, None

    def _refuse_new(self, upstream, key, board):
        query = "SELECT 1 FROM calls WHERE upstream=? AND key=?"
        if self._db.execute(query, (upstream, key)).fetchone() is None:
            raise ShareFull(
                f"{self._share >> 20} MB of outcomes are kept for {board or 'who has no token'},"
                f" the most for one: new calls with a key are refused until old ones go, which"
                f" are kept for {KEEP_S // 86400} days"
            )

    def _count(self, board, size):
        if self._share is not None:
            self._kept[board] = self._kept.get(board, 0) + size

    def _board_of(self, upstream, key):
        """The board whose call this process has begun, None where it has begun none."""
        row = (
            self._share is not None
            and self._db.execute(
                f"SELECT board FROM calls WHERE {_MINE}", (upstream, key, self.owner)
            ).fetchone()
        )
        return row[0] if row else None

    def outcome(self, upstream, key, tool):
        """The recorded (ok, answer) of a key, None if there is none. Raises KeyMisused."""
        with self._lock:
            row = self._db.execute(
                "SELECT tool, ok, answer FROM calls WHERE upstream=? AND key=? AND state='done'",
                (upstream, key),
            ).fetchone()
        if row is None:
            return None
        if row[0] != tool:
            raise KeyMisused(f"key {key} was used for the tool {row[0]!r}, not {tool!r}")
        return bool(row[1]), bytes(row[2])

    def take_over(self, upstream, key):
        """Claim a LOST key again. False: somebody else was faster."""
        now = self._clock()
        with self._lock:
            return bool(
                self._db.execute(
                    "UPDATE calls SET owner=?, lease=?, changed=? WHERE upstream=? AND key=?"
                    " AND state='started' AND (lease<=? OR lease>?)",
                    (self.owner, now + LEASE_S, now, upstream, key, now, now + LEASE_S),
                ).rowcount
            )

    def renew(self, upstream, key):
        """Say that this process is still alive and waits for the answer."""
        self._update("lease=?", (self._clock() + LEASE_S,), upstream, key)

    def lose(self, upstream, key):
        """The call was sent and will get no answer."""
        self._update("lease=0", (), upstream, key)

    def forget(self, upstream, key):
        """The call was certainly not sent."""
        with self._lock:
            board = self._board_of(upstream, key)
            self._db.execute(f"DELETE FROM calls WHERE {_MINE}", (upstream, key, self.owner))
            if board is not None:
                self._count(board, -_ROW - len(key))

    def finish(self, upstream, key, ok, answer):
        """Record the outcome; durable when this returns."""
        with self._lock:
            board = self._board_of(upstream, key)
            self._update(
                "state='done', ok=?, answer=?, changed=?",
                (int(ok), answer, self._clock()),
                upstream,
                key,
            )
            if board is not None:
                self._count(board, len(answer))

    def _update(self, what, values, upstream, key):
        with self._lock:
            self._db.execute(
                f"UPDATE calls SET {what} WHERE {_MINE}",
                (*values, upstream, key, self.owner),
            )
