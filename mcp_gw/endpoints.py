"""The plain HTTP endpoints beside MCP, for people, probes and programs that speak no MCP.

    GET  /health               how the gateway is
    GET  /metrics              figures, as Prometheus reads them
    GET  /v1/queue/status      which calls wait for their upstream; ?id=ID: one of them
    POST /v1/queue/sync        deliver them now
    POST /v1/queue/cancel      ?id=ID: cancel one that waits
    POST /v1/mcp/completions   {"tool": NAME, "arguments": {...}}: call a tool

Answers are JSON but for /metrics; an error is {"error": {"message": TEXT}}, with the JSON-RPC code
as "code" where there is one.
"""

import gc

from .compat import ticks_ms
from .errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    QUEUE_FULL,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    ToolError,
)
from .protocol.framing import E_ENVELOPE, ERROR, RESULT, new_spans, scan
from .protocol.jsontext import joined, loads, members
from .protocol.revisions import BY_NAME, LATEST_LEGACY
from .protocol.session import Session
from .replies import FIELDS, json_answer
from .route.queue_tools import cancel, figures

_STATUS = {
    INVALID_PARAMS: 400,
    INTERNAL_ERROR: 500,
    UPSTREAM_UNAVAILABLE: 503,
    UPSTREAM_TIMEOUT: 504,
    QUEUE_FULL: 503,
}


class Endpoints:
    """gateway: the Gateway; figures: None or a function that returns what the HTTP server counts,
    (name, kind, help, value) rows as metrics.text() takes them."""

    principal = None  # on whose behalf a tool is called

    def __init__(self, gateway, figures=None):
        self._gateway = gateway
        self._figures = figures
        self._calls = []  # that had no answer at once
        self._paths = {
            "/health": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
            "/v1/queue/status": ("GET", self._queue_status),
            "/v1/queue/sync": ("POST", self._queue_sync),
            "/v1/queue/cancel": ("POST", self._queue_cancel),
            "/v1/mcp/completions": ("POST", self._completions),
        }

    @property
    def paths(self):
        """Of all endpoints, list of str."""
        return list(self._paths)

    def handle(self, method, path, query, headers, body, respond):
        """Answer a request through respond(status, fields, parts), now or later. Returns whether
        there is such a path. transports/tcp.py says what the parameters are."""
        row = self._paths.get(path)
        if row is None:
            return False
        wanted, answer = row
        if method != wanted:
            _fail(respond, 405, "%s is for %s" % (path, wanted), ("Allow", wanted))
        else:
            answer(query, headers, body, respond)
        return True

    def _health(self, query, headers, body, respond):
        gateway = self._gateway
        row = {
            "status": "ok",
            "name": gateway.name,
            "version": gateway.version,
            "uptime_s": gateway.clock.uptime_s,
        }
        hub = gateway.upstreams
        if hub:
            upstreams = hub.router.upstreams.values()
            row["upstreams"] = {u.name: "up" if u.up else "down" for u in upstreams}
            if hub.forwarder.outbox is not None:
                row["queue"] = {"pending": hub.forwarder.outbox.pending}
        if hasattr(gc, "mem_free"):
            row["heap_free"] = gc.mem_free()
        _respond(respond, 200, row)

    def _metrics(self, query, headers, body, respond):
        from .metrics import CONTENT_TYPE, rows, text

        found = rows(self._gateway)
        if self._figures:
            found.extend(self._figures())
        fields = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store")]
        respond(200, fields, [text(found)])

    # The queue.

    def _queue(self, respond):
        """The Forwarder that has a queue, or None when the answer is that there is none."""
        hub = self._gateway.upstreams
        if hub and hub.forwarder.outbox is not None:
            return hub.forwarder
        _fail(respond, 404, "this gateway has no queue")
        return None

    def _queue_status(self, query, headers, body, respond):
        forwarder = self._queue(respond)
        if forwarder is None:
            return
        outbox = forwarder.outbox
        id = _id(query)
        if id is None:
            _respond(respond, 200, figures(outbox))
            return
        known = outbox.status(id.encode())
        if known is None:
            _fail(respond, 404, "nothing is known of this id")
        else:
            respond(200, FIELDS, [known])

    def _queue_cancel(self, query, headers, body, respond):
        forwarder = self._queue(respond)
        if forwarder is None:
            return
        id = _id(query)
        if id is None:
            _fail(respond, 400, "which one? ?id=ID")
            return
        outbox = forwarder.outbox
        try:
            cancel(outbox, id)
        except ToolError as e:
            _fail(respond, 404 if outbox.status(id.encode()) is None else 409, str(e))
            return
        respond(200, FIELDS, [outbox.status(id.encode()) or b"{}"])

    def _queue_sync(self, query, headers, body, respond):
        forwarder = self._queue(respond)
        if forwarder is not None:
            forwarder.hurry(ticks_ms())
            _respond(respond, 202, {"pending": forwarder.outbox.pending})

    # Tools.

    def _completions(self, query, headers, body, respond):
        kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if kind != b"application/json":
            # What a web page may send unasked to a gateway it cannot read from is something else.
            _fail(respond, 415, "Content-Type must be application/json")
            return
        gateway = self._gateway
        try:
            tool, arguments = _call(body, gateway.config["max_depth"])
        except ToolError as e:
            _fail(respond, 400, str(e))
            return
        name = loads(tool, b"\\" in tool)
        hub = gateway.upstreams
        known = gateway.registry.tools.get(name)
        if hub and not known:
            known = hub.router.find(name) or hub.forwarder.own(name)
        if not known:
            _fail(respond, 404, "unknown tool " + name)
            return
        head = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":'
        message = b"".join((head, tool, b',"arguments":', arguments, b"}}"))
        # A call goes on when its client has gone: those must not pile up without end.
        self._calls = [call for call in self._calls if not call.answered]
        if len(self._calls) >= gateway.config["http_connections"]:
            _fail(respond, 503, "too many calls are under way")
            return
        call = _Call(respond)
        call.session.principal = self.principal
        gateway.dispatch.take(call, message, 0, len(message))
        if not call.answered:
            self._calls.append(call)


class _Call:
    """A port for one message: its answer becomes that of the HTTP request."""

    settling = False

    def __init__(self, respond):
        self.session = Session(BY_NAME[LATEST_LEGACY])
        self.link = self
        self.answered = False
        self._respond = respond

    def answer(self, parts, status=200):
        self.answered = True
        data = bytes(joined(parts))
        spans = new_spans()
        scan(data, 0, len(data), spans, 128)
        if spans[2 * RESULT] >= 0:
            self._respond(200, FIELDS, [data[spans[2 * RESULT] : spans[2 * RESULT + 1]]])
            return
        error = data[spans[2 * ERROR] : spans[2 * ERROR + 1]]
        row = loads(error, b"\\" in error)
        _respond(self._respond, _STATUS.get(row["code"], 400), {"error": row})

    def send(self, parts):
        """Progress has no place in such an answer."""

    def close_stream(self):
        """There is none."""


def _call(body, max_depth):
    """(tool, arguments) of a body, JSON text both. Raises ToolError."""
    kind = scan(body, 0, len(body), new_spans(), max_depth)
    if kind < 0 and kind != E_ENVELOPE:
        raise ToolError("the body must be a JSON object, nested no deeper than %d" % max_depth)
    found = {b"arguments": b"{}"}
    for key, _, lo, hi in members(body):
        if key not in (b"tool", b"arguments"):
            raise ToolError('the body has members "tool" and "arguments" only')
        found[key] = body[lo:hi]
    tool = found.get(b"tool", b"")
    if tool[:1] != b'"':
        raise ToolError('"tool" must be the name of a tool')
    if found[b"arguments"][:1] != b"{":
        raise ToolError('"arguments" must be an object')
    return tool, found[b"arguments"]


def _id(query):
    """The id that a query names (str), or None."""
    for pair in query.split("&"):
        name, _, id = pair.partition("=")
        if name == "id":
            return id
    return None


def _fail(respond, status, message, *fields):
    _respond(respond, status, {"error": {"message": message}}, *fields)


def _respond(respond, status, row, *fields):
    status, fields, body = json_answer(status, row, *fields)
    respond(status, fields, [body])
