"""How long the lists of a server hold (ttlMs of 2026-07-28), where nobody hears of changes."""

from ..compat import const, ticks_add, ticks_diff, ticks_ms
from .cache import hints

_KINDS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resources",
}
_LEAST_MS = const(1000)  # however short they are said to hold
_MOST_MS = const(86400000)  # ticks tell no more than six days apart


class Ages:
    """tick() is called more often than once in six days."""

    def __init__(self):
        self._due = {}  # kind of list -> when it is to be asked for again, in ticks

    def note(self, method, raw):
        """A result (JSON text, bytes) has come."""
        kind = _KINDS.get(method)
        if kind is None:
            return
        self._due.pop(kind, None)
        ttl = hints(raw)[0]
        if ttl > 0:
            ttl = min(max(ttl, _LEAST_MS), _MOST_MS)
            self._due[kind] = ticks_add(ticks_ms(), ttl)

    def tick(self, now, tell):
        """tell: None, or function(kind) for each list whose time is over."""
        for kind, due in list(self._due.items()):
            if ticks_diff(now, due) >= 0:
                del self._due[kind]
                if tell:
                    tell(kind)
