"""What each protocol revision changes. The only place that knows.

_FEATURES is the table: which revisions have what. docs/protocol.md is generated from it.
"""

from ..compat import const
from ..errors import INVALID_PARAMS, RESOURCE_NOT_FOUND

# Oldest first. The last is "modern": stateless, with _meta in every request.
_NAMES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")

# Bits of Revision.features, in the order of _FEATURES.
HANDSHAKE = const(1 << 0)
BATCHES = const(1 << 1)
AUDIO = const(1 << 2)
COMPLETIONS = const(1 << 3)
STRUCTURED = const(1 << 4)
LINKS = const(1 << 5)
ELICITATION = const(1 << 6)
URL_ELICITATION = const(1 << 7)
TASKS = const(1 << 8)
STATELESS = const(1 << 9)
LISTEN = const(1 << 10)
INPUT_REQUIRED = const(1 << 11)
TASKS_EXTENSION = const(1 << 12)
ANY_STRUCTURE = const(1 << 13)

# Index of the first and of the last revision that has it, and what it is (for the documentation).
_FEATURES = (
    (0, 3, "initialize, ping, resources/subscribe, logging/setLevel, requests to the client"),
    (1, 1, "JSON-RPC batches"),
    (1, 4, "audio content"),
    (1, 4, "the completions capability (completion/complete itself is older)"),
    (2, 4, "structured results: outputSchema and structuredContent"),
    (2, 4, "resource links in results"),
    (2, 4, "elicitation: questions to the user by form"),
    (3, 4, "elicitation by URL"),
    (3, 3, "tasks, experimental form: tasks/get, result, list, cancel"),
    (4, 4, "server/discover, no handshake, cache hints"),
    (4, 4, "subscriptions/listen"),
    (4, 4, "questions to the client as InputRequiredResult"),
    (4, 4, "the Tasks extension: tasks/get, update, cancel, notifications/tasks"),
    (4, 4, "structuredContent of any type"),
)


class Revision:
    """One revision of the protocol.

    name: as on the wire; features: bits, see above; modern: stateless, _meta in every request;
    resource_not_found: the code for an unknown resource;
    result_members: members (JSON text, each with a trailing comma) that every result carries;
    cache_members: likewise for results a client may keep (lists, resources/read, discover).
    """

    def __init__(self, index):
        self.name = _NAMES[index]
        self.features = 0
        for bit, row in enumerate(_FEATURES):
            if row[0] <= index <= row[1]:
                self.features |= 1 << bit
        self.modern = self.features & STATELESS != 0
        self.resource_not_found = INVALID_PARAMS if self.modern else RESOURCE_NOT_FOUND
        self.result_members = b'"resultType":"complete",' if self.modern else b""
        self.cache_members = b'"ttlMs":0,"cacheScope":"private",' if self.modern else b""


LATEST_MODERN = _NAMES[-1]
LATEST_LEGACY = _NAMES[-2]
BY_NAME = {name: Revision(i) for i, name in enumerate(_NAMES)}
SUPPORTED = tuple(reversed(_NAMES))  # newest first
LEGACY = tuple(name for name in SUPPORTED if not BY_NAME[name].modern)
MODERN = tuple(name for name in SUPPORTED if BY_NAME[name].modern)
