"""The Gateway of mcp_gw with what the paired gateway adds to it."""

import time

from mcp_gw.gateway import Gateway

from .as_tasks import AsTasks
from .guard import Board

# Room for many boards, unless the configuration says otherwise.
_SETTINGS = {
    "max_message": 1 << 20,
    "max_calls": 1024,
    "max_upstream_tools": 65535,
    "max_upstream_bytes": 0xFFFFFF,
    "http_connections": 1024,
    "http_sessions": 1024,
    "max_tasks": 1024,
}
_QUIET_S = 600.0  # before the log says the same line again
DELIVER = "mcp-gw/deliver"


class PiGateway(Gateway):
    """config: a config.Config; version: of this program; lines: a bridge.log.Log.

    sampling: None, or what answers for the client's model where a server or a board asks for it,
    as Upstream.sampling.
    """

    sampling = None

    def __init__(self, config, version, lines):
        super().__init__(
            config.name,
            version,
            config.instructions,
            config.title,
            **{**_SETTINGS, **config.settings},
        )
        self._words = lines
        self._said = {}  # line of the log -> when it was said last
        self.batch = config.batch
        # Some capability must be known before the first server or board is.
        self._hub()
        self.as_tasks = AsTasks(self)

    @property
    def hub(self):
        """The Hub of the upstreams: servers and boards."""
        return self.upstreams

    def log(self, text):
        lines = text.splitlines()
        for line in lines:
            if line and (len(lines) > 1 or self._is_news(line)):
                self._words.info(line)

    def _is_news(self, line):
        """Whether a line was not said a short while ago: what is tried again and again would say
        so again and again."""
        now = time.monotonic()
        if now - self._said.get(line, -_QUIET_S) < _QUIET_S:
            return False
        if len(self._said) > 256:
            self._said.clear()
        self._said[line] = now
        return True

    def _capabilities(self, revision):
        out = super()._capabilities(revision)
        if self.batch > 1:
            out["experimental"] = {DELIVER: {"calls": self.batch, "deflate": True}}
        return out


def is_board(upstream):
    """Whether an upstream is a board, rather than a server behind the gateway."""
    return getattr(upstream, "is_board", False)


def hidden_from(principal):
    """Which upstreams are not shown to somebody: function(upstream) -> bool, or None. A board sees
    servers and no boards: its own tools, come back to it, would call each other for ever."""
    return is_board if isinstance(principal, Board) else None
