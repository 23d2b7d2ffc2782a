"""Calls of servers' and boards' tools as tasks (2025-11-25): the gateway keeps the task, and calls
the tool as ever. Servers need not know tasks; what they say of their own is not passed on."""

from mcp_gw.protocol.framing import ESCAPES, PARAMS, scan
from mcp_gw.protocol.jsontext import loads, member, without_member
from mcp_gw.protocol.revisions import TASKS
from mcp_gw.protocol.server import DEFER

_HEAD = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'
_OFFER = b'{"execution":{"taskSupport":"optional"},'


class _Anything:
    """Every forwarded tool, as far as Tasks wants to know."""

    task = "optional"


class AsTasks:
    """gateway: the PiGateway, whose tasks these are."""

    def __init__(self, gateway):
        self._gateway = gateway
        self._tasks = gateway.tasks()
        self._rows = {}  # descriptor -> the same with our word on tasks

    def take(self, request, buf, spans):
        """The CALL just received, as a DEFER where the client asked for a task."""
        if not request.revision.features & TASKS:
            return request
        lo, hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
        if buf.find(b'"task"', lo, hi) < 0 and not spans[ESCAPES] & (1 << PARAMS):
            return request
        params = bytes(memoryview(buf)[lo:hi])
        asked = member(params, b"task")
        if asked is None or request.name in self._gateway.registry.tools:
            return request
        message = _HEAD + without_member(params, b"task") + b"}"
        request.kind = DEFER
        request.start_task = lambda request, port: self._start(request, port, message, asked)
        return request

    def _start(self, request, port, message, asked):
        gateway = self._gateway
        begun = self._tasks.begin(request, port, _Anything, {"task": loads(asked, b"\\" in asked)})
        scan(message, 0, len(message), gateway.server.spans, gateway.config["max_depth"])
        to = request.task if begun else port
        gateway.hub.forwarder.call(request, to, message)

    def listed(self, rows):
        """Rows of a list of tools as clients that know tasks get them."""
        for number, raw in rows:
            row = self._rows.get(raw)
            if row is None:
                if len(self._rows) >= 4096:
                    self._rows.clear()
                rest = without_member(raw, b"execution")
                row = self._rows[raw] = _OFFER + rest[1:]
            yield number, row
