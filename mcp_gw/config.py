"""Settings of a gateway: names, defaults, checks. Sizes are in bytes."""

import sys

from .compat import HAS_STDERR, MICROPYTHON
from .errors import ConfigError

_SMALL = sys.platform not in ("linux", "darwin", "win32", "webassembly")


def limits():
    """Dict of name -> (default, smallest, largest); made anew, since keeping it costs RAM."""
    return {
        # Longest message or frame accepted, without its LF. One buffer of this size per port.
        "max_message": (8192 if _SMALL else 262144, 512, 0xFFFFFF),
        # Deepest nesting of JSON accepted; the outer object is depth 1.
        "max_depth": (32, 4, 128),
        # Calls under way at once of one client (one port).
        "max_calls": (8 if _SMALL else 64, 1, 1024),
        # Tools listed from upstreams: how many, and their descriptors' total size.
        "max_upstream_tools": (64 if _SMALL else 1024, 0, 65535),
        "max_upstream_bytes": (16384 if _SMALL else 1048576, 0, 0xFFFFFF),
        # Items in one page of a list, and subscriptions of one client.
        "page_size": (64 if _SMALL else 512, 1, 65535),
        # How long a tool waits for a legacy client that it asked something, and how long a client
        # of 2026-07-28 may take to bring its answers.
        "ask_timeout_ms": (300000, 100, 3600000),
        "ask_ttl_s": (600, 1, 86400),
        # Calls kept as tasks, and for how many seconds, counted from their beginning.
        "max_tasks": (8 if _SMALL else 256, 1, 65535),
        "task_ttl_s": (600 if _SMALL else 3600, 1, 31536000),
        # How long a forwarded call may take.
        "call_timeout_ms": (60000, 100, 3600000),
        # How long tools/list waits for upstreams that are being asked for their tools.
        "list_wait_ms": (2000, 0, 60000),
        # A queued call expires after this many seconds unless its upstream says otherwise.
        "queue_expiry_s": (86400, 1, 31536000),
        # An outcome can be read for this many seconds.
        "outcome_ttl_s": (86400, 1, 31536000),
        # HTTP: connections at once; what comes beyond takes the place of an idle one, or gets a
        # 503.
        "http_connections": (4 if _SMALL else 64, 1, 4096),
        # Head of a request, all its lines together; the same again is kept of what comes behind a
        # request that is being answered.
        "http_head": (4096 if _SMALL else 16384, 512, 65536),
        # A connection without a request is closed after this many seconds, and a request must be
        # complete within so many; the same holds for what is sent to a client that does not read.
        "http_idle_s": (30 if _SMALL else 75, 1, 86400),
        "http_request_s": (10, 1, 3600),
        # What may wait to be sent on one event stream; a client further behind is cut off.
        "http_backlog": (8192 if _SMALL else 1048576, 512, 0xFFFFFF),
        # A sign of life is sent on a stream that was silent for this many seconds.
        "http_quiet_s": (15, 1, 3600),
        # Sessions of legacy clients, after how many silent seconds one may be forgotten, and the
        # bytes of events that each can ask for again.
        "http_sessions": (4 if _SMALL else 256, 1, 65535),
        "http_session_s": (1800, 1, 604800),
        "http_replay_bytes": (2048 if _SMALL else 65536, 0, 0xFFFFFF),
        # Arenas of the models that gw.model() declares, together.
        "model_ram": (131072 if _SMALL else 268435456, 256, 0x3FFFFFFF),
        # Collect garbage while idle once this many messages were handled since the last time.
        "idle_gc_lines": (32 if _SMALL else 512, 1, 65535),
    }


def settings(given):
    """Merge `given` over the defaults; returns a dict with every name of limits().

    Raises ConfigError naming the setting that is unknown, not a whole number or out of range.
    """
    known = limits()
    out = {name: row[0] for name, row in known.items()}
    for name, value in given.items():
        if name not in known:
            raise ConfigError(
                "unknown setting %s; known are: %s" % (name, ", ".join(sorted(known)))
            )
        _, low, high = known[name]
        if type(value) is not int:
            raise ConfigError("%s must be a whole number, not %r" % (name, value))
        if not low <= value <= high:
            raise ConfigError("%s must be from %d to %d, not %d" % (name, low, high, value))
        out[name] = value
    return out


def configured(gateway, name, given):
    """(name, settings) of a gateway: what its app gave, completed by the board's configuration and
    the defaults. given: settings, and maybe edge, the path of a configuration ("": none).
    """
    path = given.pop("edge", None)
    if path is None:
        path = _edge_file()
    if path:
        from .edge import Edge

        edge = Edge(gateway, path)
        name = name or edge.name
        given = edge.settings(given)
    return name or "mcpgw", settings(given)


def _edge_file():
    """Path of this board's configuration, None where there is none."""
    import os

    if HAS_STDERR:
        return os.getenv("MCPGW_CONFIG") if MICROPYTHON else None
    path = "/mcp-edge.json"
    try:
        os.stat(path)
    except OSError:
        return None
    return path
