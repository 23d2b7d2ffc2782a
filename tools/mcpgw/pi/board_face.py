"""What clients of the paired gateway see of a board, whatever carries the messages."""

import time

from mcp_gw.protocol.jsontext import loads, member
from mcp_gw.registry import MAX_NAME, joined_name

from . import uris

_FIELDS = {"resources": b"uri", "templates": b"uriTemplate"}


class BoardFace:
    """Mixed into an Upstream that is a board, before the class that carries its messages.

    served: function() -> names (container of str) of the tools that this gateway shows to boards;
    prefixes: what a board may call this gateway: tools of ours that it passes on as PREFIX_NAME
    are not listed here again.
    shown: whether its lists are shown; they are withdrawn while it is away.
    """

    is_board = True
    served = tuple
    prefixes = ("pi",)
    shown = True
    why = None
    since = None  # unix time at which `up` became what it is

    async def listed(self, kind, on_row, timeout_ms=None):
        if not self.shown:
            return 0, True
        field = _FIELDS.get(kind)

        def take(raw):
            if kind == "tools":
                if not self._is_ours(raw):
                    on_row(raw)
            elif field and (member(raw, field) or b"?")[:1] == b'"':
                on_row(uris.described(self.name, raw, field))
            elif not field:
                on_row(raw)

        return await super().listed(kind, take, timeout_ms)

    def _is_ours(self, raw):
        """Whether a tool's descriptor is that of one of ours, which the board passes on."""
        own = member(raw, b"name")
        if own is None or own[:1] != b'"':
            return False
        name = loads(own, b"\\" in own)
        for prefix in self.prefixes:
            if name.startswith(prefix + "_"):
                rest = name[len(prefix) + 1 :]
                served = self.served()
                if rest in served:
                    return True
                if len(name) == MAX_NAME:  # perhaps cut to that, with a hash
                    return any(joined_name(prefix, one, ()) == name for one in served)
        return False

    def to_board(self, method, params):
        """The params (JSON text) of a client's request as the board is to get them."""
        return uris.asked(self.name, method, params)

    def from_board(self, method, ok, raw):
        """The board's result, or its error (JSON text), as clients are to get it."""
        return uris.answered(self.name, method, raw) if ok else uris.refused(self.name, raw)

    def absence(self):
        """What to tell whoever asks for it while it is away, or not yet listed."""
        if self.up:
            return f"the board {self.name} has only just come: its tools are being listed"
        at = time.strftime("%H:%M:%S", time.localtime(self.since)) if self.since else None
        since = f" since {at}" if at else ""
        return f"the board {self.name} is not reachable{since}: {self.why}"
