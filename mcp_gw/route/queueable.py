"""How the calls of an upstream's tool may wait for it."""

from ..compat import const
from ..errors import ConfigError
from ..protocol.jsontext import loads, member, without_member
from ..protocol.jsonvalue import checked, dumps
from ..queue import updates

_SENT = const(2)  # a flag of put()
_POLICIES = ("all", "latest", "merge")


class Queueable:
    """name: the tool's own name; expiry_s: after how many seconds a call expires (default: as
    upstream() says); priority: 0 low, 1 normal, 2 high.

    key: which thing a call is about: the name of an argument, or a function(arguments: dict) that
    returns what tells it from others. Calls about one thing are delivered in order, one at a time;
    policy says what becomes of those that wait when another comes: "all": they wait on; "latest":
    they end as `superseded`; "merge": the newest of them that was never sent and the new one are
    made one call, with merge(old arguments, new arguments) -> arguments, or None to leave both.
    """

    def __init__(self, name, expiry_s=None, priority=1, key=None, policy="all", merge=None):
        self.name = name
        self.expiry_s = expiry_s
        self.priority = priority
        self.policy = policy
        self._key = key
        self._merge = merge
        told = "queueable %s: " % name
        if priority not in (0, 1, 2):
            raise ConfigError(told + "priority is 0 (low), 1 (normal) or 2 (high)")
        if policy not in _POLICIES:
            raise ConfigError(told + "policy is all, latest or merge")
        if policy != "all" and key is None:
            raise ConfigError(told + "policy %s needs a key" % policy)
        if (policy == "merge") != callable(merge):
            raise ConfigError(told + "merge= is the function that policy merge calls")
        if expiry_s is not None and (type(expiry_s) is not int or expiry_s < 1):
            raise ConfigError(told + "expiry_s is a whole number of seconds")

    def waits(self, outbox, upstream, message):
        """Whether a call with these params (JSON text, bytes) has to wait behind another."""
        thing = self._thing(upstream, message) if outbox.pending else None
        return thing is not None and updates.pending(outbox, thing)

    def put(self, outbox, key, upstream, message, owner, sent, log):
        """Put a call into the outbox. sent: it may have been executed already."""
        thing = self._thing(upstream, message)
        if thing is None:
            flags = _SENT if sent else 0
            rest = self.expiry_s, self.priority, owner, flags
            outbox.put(key, upstream, self.name, [message], *rest)
            return

        def merged(old):
            try:
                arguments = self._merge(_arguments(old), _arguments(message))
                text = None if arguments is None else checked(arguments)
            except Exception as e:
                log("queueable %s: merge: %s: %s\n" % (self.name, type(e).__name__, e))
                return None
            return None if text is None else _with_arguments(message, text)

        rest = self.priority, owner, sent, thing, self.policy, merged
        updates.put(outbox, key, upstream, self.name, message, self.expiry_s, *rest)

    def _thing(self, upstream, message):
        """The thing that a call is about, or None."""
        if self._key is None:
            return None
        arguments = _arguments(message)
        if callable(self._key):
            value = self._key(arguments)
        else:
            value = arguments.get(self._key)
        if value is None:
            return None
        value = dumps(value).decode()
        return updates.thing_of(upstream, self.name, value)


def _arguments(message):
    raw = member(message, b"arguments")
    found = loads(raw, b"\\" in raw) if raw else {}
    return found if isinstance(found, dict) else {}


def _with_arguments(message, text):
    rest = without_member(message, b"arguments")
    return rest[:-1] + (b"," if len(rest) > 2 else b"") + b'"arguments":' + text + b"}"
