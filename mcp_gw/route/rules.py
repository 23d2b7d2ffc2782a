"""Options of routing: names, defaults, checks, and which of them hold for one tool or upstream.

What each means is in docs/routing.md."""

import sys

from ..errors import ConfigError

_SMALL = sys.platform not in ("linux", "darwin", "win32", "webassembly")
STRATEGIES = ("order", "complexity", "resources", "history", "hybrid")


def _tool_options():
    """Dict of name -> (default, smallest, largest) of the numbers that may be given per tool."""
    return {
        "cost": (0, 0, 1e9),
        "local_cost": (10, 1e-9, 1e9),
        "local_tokens": (64, 1, 1 << 30),
        "local_bytes": (1024, 1, 1 << 30),
        "min_heap": (32768, 0, 1 << 30),
        "min_battery": (0.2, 0, 1),
        "max_temperature_c": (70, 1, 1000),
        "local_calls": (1, 1, 65535),
        "max_waiting": (16, 1, 65535),
        "latency_ms": (1000, 1, 3600000),
        "history_s": (600, 1, 86400),
        "retries": (2, 0, 16),
        "retry_ms": (250, 1, 60000),
        "retry_max_ms": (4000, 1, 600000),
        "try_ms": (20000, 100, 3600000),
    }


def _upstream_options():
    return {
        "max_requests": (4 if _SMALL else 32, 1, 65535),
        "max_bytes": (16384 if _SMALL else 1048576, 1, 1 << 30),
        "breaker_failures": (3, 1, 1000),
        "breaker_ms": (5000, 1, 3600000),
        "breaker_max_ms": (60000, 1, 86400000),
        "health_ms": (30000, 0, 86400000),
    }


def defaults():
    """Dict of all options that are not given."""
    out = {"strategy": "order", "weights": {}, "prefer": "local", "only": None, "repeat": None}
    out.update({"elsewhere": None, "model": None, "profile": None, "tools": {}, "upstreams": {}})
    out["cache_bytes"] = 0 if _SMALL else 65536
    for table in (_tool_options(), _upstream_options()):
        for name, row in table.items():
            out[name] = row[0]
    return out


def checked(options):
    """A copy of a dict of options. Raises ConfigError that names the one that is unknown or
    wrong."""
    numbers = _tool_options()
    numbers.update(_upstream_options())
    numbers["cache_bytes"] = (0, 0, 1 << 30)
    return _checked(options, "routing", numbers, ("strategy", "weights", "prefer"), True)


def _checked(options, where, numbers, words, top=False):
    if not isinstance(options, dict):
        raise ConfigError("%s: a table of options, not %r" % (where, options))
    out = {}
    for name, value in options.items():
        if name in numbers:
            _, low, high = numbers[name]
            if type(value) not in (int, float) or not low <= value <= high:
                told = where, name, low, high, value
                raise ConfigError("%s: %s is a number from %s to %s, not %r" % told)
        elif name in words:
            _word(where, name, value)
        elif top and name == "profile":
            if value is not None and not callable(value):
                raise ConfigError("%s: profile is a function" % where)
        elif top and name in ("tools", "upstreams"):
            value = _tables(where, name, value)
        else:
            known = (
                list(numbers) + list(words) + (["profile", "tools", "upstreams"] if top else [])
            )
            told = where, name, ", ".join(sorted(known))
            raise ConfigError("%s: unknown option %s; known are: %s" % told)
        out[name] = value
    return out


def _tables(where, name, value):
    if not isinstance(value, dict):
        raise ConfigError("%s: %s is a table of names" % (where, name))
    if name == "tools":
        known = _tool_options(), ("strategy", "weights", "prefer", "elsewhere", "only") + _MORE
    else:
        known = _upstream_options(), ()
    return {
        key: _checked(row, "%s.%s.%s" % (where, name, key), *known) for key, row in value.items()
    }


_MORE = ("repeat", "model")


def _word(where, name, value):
    """Check an option that is no number."""
    if name == "strategy":
        wanted = None if value in STRATEGIES else "one of " + ", ".join(STRATEGIES)
    elif name == "prefer":
        wanted = None if value in ("local", "elsewhere") else "local or elsewhere"
    elif name == "repeat":
        wanted = None if type(value) is bool else "true or false"
    elif name == "weights":
        wanted = None if _weights(value) else "a table: complexity, resources, history to numbers"
    else:
        wanted = None if isinstance(value, str) and value else "a name"
    if wanted:
        raise ConfigError("%s: %s is %s, not %r" % (where, name, wanted, value))


def _weights(value):
    return (
        isinstance(value, dict)
        and all(name in STRATEGIES[1:4] for name in value)
        and all(type(n) in (int, float) and 0 <= n <= 1e6 for n in value.values())
        and (sum(value.values()) > 0 or len(value) < 3)
    )


def merged(over, under):
    """Both dicts of options; where both say something, `over` does. Tables are merged."""
    out = dict(under)
    for name, value in over.items():
        if name in ("tools", "upstreams"):
            value = dict(value)
            for key, row in out.get(name, {}).items():
                value[key] = dict(row, **value.get(key, {}))
        out[name] = value
    return out
