"""Who may use the paired gateway over HTTP: the guard hook of mcp_gw/transports/tcp.py."""

from mcp_gw.replies import json_answer, refusal

from .config import LOOPBACK
from .store import BOARD, digest

_MAX_TOKEN = 512  # bytes
_PEERS = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_HEALTH = "/health"


class Board(str):
    """The principal of a board; that of a client is a plain str, and None is who needs none."""


class Guard:
    """Knows who shows which token; those of the store, read again when it has changed.

    store: a Store; insecure: everybody may do everything; trust_loopback: programs on this machine
    need no token; log: function(text).
    """

    def __init__(self, store, insecure, trust_loopback, log):
        self._store = store
        self._insecure = insecure
        self._trust_loopback = trust_loopback
        self._log = log
        self._known = {}
        self.refused = 0
        self.load()

    def load(self):
        """Read the tokens. Raises StoreError."""
        self._store.changed()
        self._known = {
            row[2]: Board(row[0]) if row[1] == BOARD else row[0] for row in self._store.tokens()
        }

    def tick(self):
        """Once a second."""
        if self._store.changed():
            self.load()

    def whose(self, token):
        """The principal that has a token (str), or None."""
        return self._known.get(digest(token))

    def named(self, headers):
        """The principal whose token a request shows that was let in, None if it shows none."""
        token = headers.get(b"authorization", b"").partition(b" ")[2].strip()
        return self.whose(token.decode("latin-1"))

    def holds(self, headers):
        """Whether a request that was let in would still be, as far as its token goes."""
        return b"authorization" not in headers or self.named(headers) is not None

    def check(self, method, path, headers, peer):
        """As transports/tcp.py has it."""
        said = headers.get(b"authorization")
        if said is None:
            if self._insecure or self._is_local(headers, peer):
                return None
            if path == _HEALTH:  # for probes: that it is there, and no more
                return json_answer(200, {"status": "ok"})
            return self._refused("a token is needed (`mcpgw pi token add` makes one)", "")
        scheme, _, token = said.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token or len(token) > _MAX_TOKEN:
            return self._refused("malformed Authorization header", 'error="invalid_request"', 400)
        found = self.whose(token.decode("latin-1"))
        if found is None:
            return self._refused("the token is not known", 'error="invalid_token"')
        return found

    def _is_local(self, headers, peer):
        """Whether it is a program on this machine that asks, and no web page of a stranger that
        makes a browser here ask: its name would stand in Host and Origin."""
        if not self._trust_loopback or peer not in _PEERS:
            return False
        host = _host(headers.get(b"host", b"").decode("latin-1"))
        origin = headers.get(b"origin")
        if origin is not None:
            origin = _host(origin.decode("latin-1").partition("://")[2])
        return host in LOOPBACK and (origin is None or origin in LOOPBACK)

    def _refused(self, text, error, status=401):
        self.refused += 1
        challenge = "Bearer " + error if error else "Bearer"
        return refusal(status, text, ("WWW-Authenticate", challenge))


def _host(authority):
    if authority[:1] == "[":
        return authority[1:].partition("]")[0].lower()
    return authority.partition(":")[0].lower()
