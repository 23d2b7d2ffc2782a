"""What each protocol revision changes. The only place that knows."""

from ..errors import INVALID_PARAMS, RESOURCE_NOT_FOUND

LATEST_LEGACY = "2025-11-25"
LATEST_MODERN = "2026-07-28"


class Revision:
    """One revision of the protocol.

    name: as on the wire; modern: stateless, with _meta in every request; ping: whether it exists;
    resource_not_found: the code for an unknown resource;
    result_members: members (JSON text, each with a trailing comma) that every result carries;
    cache_members: likewise for results a client may keep (lists, resources/read, discover).
    """

    def __init__(self, name, modern, ping, resource_not_found, result_members, cache):
        self.name = name
        self.modern = modern
        self.ping = ping
        self.resource_not_found = resource_not_found
        self.result_members = result_members
        self.cache_members = cache


_TABLE = (
    Revision(
        LATEST_MODERN,
        True,
        False,
        INVALID_PARAMS,
        b'"resultType":"complete",',
        b'"ttlMs":0,"cacheScope":"private",',
    ),
    Revision(LATEST_LEGACY, False, True, RESOURCE_NOT_FOUND, b"", b""),
)

BY_NAME = {r.name: r for r in _TABLE}
SUPPORTED = tuple(r.name for r in _TABLE)  # newest first
