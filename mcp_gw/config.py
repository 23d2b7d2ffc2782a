"""Settings of a gateway: names, defaults, checks. Sizes are in bytes."""

import sys

from .errors import ConfigError

_SMALL = sys.platform not in ("linux", "darwin", "win32", "webassembly")

# name: (default, smallest, largest)
LIMITS = {
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
    # How long a tool waits for a legacy client that it asked something, and how long a client of
    # 2026-07-28 may take to bring its answers.
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
    # Collect garbage while idle once this many messages were handled since the last time.
    "idle_gc_lines": (32 if _SMALL else 512, 1, 65535),
}


def settings(given):
    """Merge `given` over the defaults; returns a dict with every name of LIMITS.

    Raises ConfigError naming the setting that is unknown, not a whole number or out of range.
    """
    out = {name: row[0] for name, row in LIMITS.items()}
    for name, value in given.items():
        if name not in LIMITS:
            raise ConfigError(
                "unknown setting %s; known are: %s" % (name, ", ".join(sorted(LIMITS)))
            )
        _, low, high = LIMITS[name]
        if type(value) is not int:
            raise ConfigError("%s must be a whole number, not %r" % (name, value))
        if not low <= value <= high:
            raise ConfigError("%s must be from %d to %d, not %d" % (name, low, high, value))
        out[name] = value
    return out
