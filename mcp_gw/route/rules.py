"""Options of routing: names, defaults, checks, and which of them hold for one tool or upstream.

What each means is in docs/routing.md."""

import sys

from ..errors import ConfigError

_SMALL = sys.platform not in ("linux", "darwin", "win32", "webassembly")
STRATEGIES = ("order", "complexity", "resources", "history", "hybrid")

# name; where it may be given: for the whole (w), a tool (t), an upstream (u); default; smallest
# and largest of a number, or what else it may be: a tuple of words, a type, a name
_OPTIONS = (
    ("strategy", "wt", "order", STRATEGIES),
    ("weights", "wt", None, dict),
    ("prefer", "wt", "local", ("local", "elsewhere")),
    ("only", "t", None, str),
    ("elsewhere", "t", None, str),
    ("model", "t", None, str),
    ("repeat", "t", None, bool),
    ("tools", "w", None, dict),
    ("upstreams", "w", None, dict),
    ("profile", "w", None, None),
    ("cost", "wt", 0, 0, 1e9),
    ("local_cost", "wt", 10, 1e-9, 1e9),
    ("local_tokens", "wt", 64, 1, 1 << 29),
    ("local_bytes", "wt", 1024, 1, 1 << 29),
    ("min_heap", "wt", 32768, 0, 1 << 29),
    ("min_battery", "wt", 0.2, 0, 1),
    ("max_temperature_c", "wt", 70, 1, 1000),
    ("local_calls", "wt", 1, 1, 65535),
    ("max_waiting", "wt", 16, 1, 65535),
    ("latency_ms", "wt", 1000, 1, 3600000),
    ("history_s", "w", 600, 1, 86400),
    ("retries", "wt", 2, 0, 16),
    ("retry_ms", "wt", 250, 1, 60000),
    ("retry_max_ms", "wt", 4000, 1, 600000),
    ("try_ms", "wt", 20000, 100, 3600000),
    ("max_requests", "wu", 4 if _SMALL else 32, 1, 65535),
    ("max_bytes", "wu", 16384 if _SMALL else 1048576, 1, 1 << 29),
    ("breaker_failures", "wu", 3, 1, 1000),
    ("breaker_ms", "wu", 5000, 1, 3600000),
    ("breaker_max_ms", "wu", 60000, 1, 86400000),
    ("health_ms", "wu", 30000, 0, 86400000),
    ("cache_bytes", "w", 0 if _SMALL else 65536, 0, 1 << 29),
)


def defaults():
    """Dict of all options that are not given."""
    return {row[0]: {} if row[3] is dict else row[2] for row in _OPTIONS}


def checked(options, where="routing", level="w"):
    """A copy of a dict of options. Raises ConfigError that names the one that is unknown or
    wrong."""
    if not isinstance(options, dict):
        raise ConfigError("%s: a table of options, not %r" % (where, options))
    known = {row[0]: row for row in _OPTIONS if level in row[1]}
    out = {}
    for name, value in options.items():
        row = known.get(name)
        if row is None:
            told = where, name, ", ".join(sorted(known))
            raise ConfigError("%s: unknown option %s; known are: %s" % told)
        wanted = _wanted(row, value)
        if wanted:
            raise ConfigError("%s: %s is %s, not %r" % (where, name, wanted, value))
        if name in ("tools", "upstreams"):
            value = {
                key: checked(more, "%s.%s.%s" % (where, name, key), name[0])
                for key, more in value.items()
            }
        out[name] = value
    return out


def _wanted(row, value):
    """What an option should be, if it is not."""
    kind = row[3]
    if len(row) > 4:
        if type(value) not in (int, float) or not kind <= value <= row[4]:
            return "a number from %s to %s" % (kind, row[4])
    elif kind is None:
        if value is not None and not callable(value):
            return "a function"
    elif type(kind) is tuple:
        if value not in kind:
            return "one of " + ", ".join(kind)
    elif type(value) is not kind or value == "":
        return {dict: "a table", str: "a name", bool: "true or false"}[kind]
    elif row[0] == "weights":
        good = [
            name in STRATEGIES[1:4] and type(n) in (int, float) and n >= 0
            for name, n in value.items()
        ]
        if not all(good) or (len(good) == 3 and not sum(value.values())):
            return "a table: complexity, resources, history to numbers from 0, one of them above"
    return None


def merged(over, under):
    """Both dicts of options; where both say something, `over` does. Tables are merged."""
    if not over:
        return under
    out = dict(under)
    for name, value in over.items():
        if name in ("tools", "upstreams"):
            value = dict(value)
            for key, row in out.get(name, {}).items():
                value[key] = dict(row, **value.get(key, {}))
        out[name] = value
    return out
