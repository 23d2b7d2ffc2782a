"""Pairing codes: short, good for minutes and for one board, and what guessing them comes to.

A code has eight characters of thirty (39 bits). What is kept of it is a slow hash with a salt of
its own (scrypt, RFC 7914). A wrong one does nothing to the codes that are open, or any stranger
could void them; it costs time. For WRONG_S after each no other code is looked at, whoever shows
it, and an address that was wrong LOCK_AFTER times is not listened to for LOCK_S. The arithmetic is
in docs/pi-boards.md.
"""

import hashlib
import hmac
import secrets
import threading
import time

CODE_TTL_S = 600
WRONG_S = 0.1
LOCK_AFTER = 3
LOCK_S = 300
# Codes open at once; and addresses that are remembered for having been wrong.
MAX_CODES = 16
_MAX_ADDRESSES = 1024
# How long it is known what became of a code, so that it can be said.
_KEPT_S = 3600
# No character that is taken for another.
_CHARS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 8
_SCRYPT = {"n": 1 << 12, "r": 8, "p": 1, "dklen": 32}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS codes (
    number INTEGER PRIMARY KEY,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,     -- scrypt of the code
    name TEXT NOT NULL,       -- of the board that it is for; '' for any
    until REAL NOT NULL,      -- unix time
    used TEXT NOT NULL        -- identity of the board that used it; '' before
)
"""


class PairingError(Exception):
    """The code does not pair; the text says why. retry_s: None, or when to come again."""

    def __init__(self, why, retry_s=None):
        super().__init__(why)
        self.retry_s = retry_s


class Pairing:
    """The codes in a store (store.Store). sleep: function(seconds). Raises StoreError where the
    store fails."""

    def __init__(self, store, clock=time.time, sleep=time.sleep):
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._wrong = {}  # address -> (how often it was wrong, when last)
        store.write("DROP TABLE IF EXISTS pairing")  # of versions before
        store.write(_SCHEMA)

    def new(self, name="", ttl_s=CODE_TTL_S):
        """A code (str, XXXX-XXXX). name: the name that the board will have, "": the one it asks
        for."""
        now = self._clock()
        self._store.write("DELETE FROM codes WHERE until<?", now - _KEPT_S)
        self._store.write(
            "DELETE FROM codes WHERE number NOT IN"
            " (SELECT number FROM codes ORDER BY number DESC LIMIT ?)",
            MAX_CODES - 1,
        )
        code = "".join(secrets.choice(_CHARS) for _ in range(_LENGTH))
        salt = secrets.token_bytes(16)
        self._store.write(
            "INSERT INTO codes (salt, digest, name, until, used) VALUES (?, ?, ?, ?, '')",
            salt,
            _digest(code, salt),
            name,
            now + ttl_s,
        )
        return f"{code[:4]}-{code[4:]}"

    def take(self, code, identity, address):
        """Use a code up for the board `identity`; returns the name (str) that it was made for, or
        "". Takes some tens of ms, a wrong one WRONG_S longer. Raises PairingError.

        A board that showed it and may not have got its token may show it again, see confirm(). One
        that is known already takes a code that was made for its name, and no other: who has a
        code for just any board must not come in its place.
        """
        with self._lock:
            now = self._clock()
            wait = self.locked_s(address)
            if wait:
                raise PairingError("too many wrong pairing codes; wait", wait)
            number, name, why, again = self._look(_plain(code), identity, now)
            if why is None:
                known = [] if again else self._store.names_of(identity)
                if known and name not in known:
                    known = known[0]
                    raise PairingError(
                        f"a board of this id is paired already, as {known}: make a code for it,"
                        f" mcpgw pi code --name {known}, or mcpgw pi forget {known} first"
                    )
                self._store.write("UPDATE codes SET used=? WHERE number=?", identity, number)
                self._wrong.pop(address, None)
                return name
            self._failed(address, now)
            raise PairingError(why)

    def confirm(self, identity):
        """The board has its token: the code it used is good for nothing any more."""
        self._store.write("UPDATE codes SET used='-' WHERE used=?", identity)

    def locked_s(self, address):
        """For how many more seconds an address is not listened to; 0: it is."""
        count, at = self._wrong.get(address, (0, 0.0))
        if count < LOCK_AFTER:
            return 0
        left = at + LOCK_S - self._clock()
        if not 0 < left <= LOCK_S:  # over, or the clock was set
            del self._wrong[address]
            return 0
        return int(left) + 1

    def _look(self, code, identity, now):
        """(number, name, why it is not good or None, whether this board has used it before) of the
        code."""
        found = None
        for row in self._store.rows("SELECT number, salt, digest, name, until, used FROM codes"):
            # All are looked at, so that the time tells nothing.
            if hmac.compare_digest(_digest(code, row[1]), row[2]):
                found = row
        if found is None:
            why = "wrong pairing code: look at what mcpgw pi code has printed"
            return None, None, why, False
        number, _, _, name, until, used = found
        if used not in ("", identity):
            why = "this pairing code was used already: make another, mcpgw pi code"
        elif until < now:
            why = "this pairing code has expired: make another, mcpgw pi code"
        else:
            why = None
        return number, name, why, used == identity

    def _failed(self, address, now):
        if len(self._wrong) >= _MAX_ADDRESSES:
            del self._wrong[min(self._wrong, key=lambda one: self._wrong[one][1])]
        self._wrong[address] = self._wrong.get(address, (0, 0.0))[0] + 1, now
        # The lock is held: what this one costs, nobody saves by guessing from many addresses.
        self._sleep(WRONG_S)


def _plain(code):
    return code.upper().replace("-", "").replace(" ", "")[:64]


def _digest(code, salt):
    return hashlib.scrypt(code.encode(), salt=salt, **_SCRYPT)
