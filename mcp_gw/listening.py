"""Who is told of changes: sessions of legacy clients, and streams of subscriptions/listen."""

from .errors import INVALID_PARAMS, INVALID_REQUEST, MISSING_CAPABILITY, ProtocolError
from .protocol.jsonvalue import checked, dumps
from .protocol.results import LEVELS, notification

_TASKS = "io.modelcontextprotocol/tasks"
_KINDS = {
    "toolsListChanged": "tools",
    "promptsListChanged": "prompts",
    "resourcesListChanged": "resources",
}


class Listen:
    """One stream: the request that opened it; the kinds of list, URIs and tasks it hears of."""

    def __init__(self, request, kinds, uris, tasks):
        self.request = request
        self.kinds = kinds
        self.uris = uris
        self.tasks = tasks
        self._meta = b'{"_meta":{"io.modelcontextprotocol/subscriptionId":' + request.id + b"}"

    def send(self, method, params):
        """params: members as JSON text (bytes), or b""."""
        data = self._meta + (b"," + params if params else b"") + b"}"
        _tell(self.request.port.send, notification(method, data))


class Listening:
    """gateway: the Gateway this is a part of."""

    MOST = 256  # URIs or ids of tasks in one filter

    def __init__(self, gateway):
        self._gateway = gateway

    def begin(self, request, port, buf):
        """Open the stream that a subscriptions/listen request asks for."""
        server = self._gateway.server
        asked = server.params(buf, server.spans).get("notifications")
        if not isinstance(asked, dict):
            raise ProtocolError(INVALID_PARAMS, "params.notifications must be an object")
        granted = {}
        kinds = []
        for key, kind in _KINDS.items():
            if asked.get(key) is True:
                granted[key] = True
                kinds.append(kind)
        uris = self._strings(asked, "resourceSubscriptions")
        if uris:
            granted["resourceSubscriptions"] = uris
        tasks = self._strings(asked, "taskIds")
        if tasks:
            tasks = self._known_tasks(request, tasks)
            granted["taskIds"] = tasks
        session = request.session
        request.begin(self._gateway.config["max_calls"], port)
        listen = Listen(request, kinds, uris, tasks)
        if session.listens is None:
            session.listens = {}
        session.listens[request.id] = listen
        request.on_cancel = lambda: self._end(session, request.id)
        self._gateway.join(session)
        listen.send(
            "notifications/subscriptions/acknowledged", b'"notifications":' + dumps(granted)
        )

    def _strings(self, asked, key):
        rows = asked.get(key)
        if rows is None:
            return ()
        if not isinstance(rows, list) or any(not isinstance(row, str) for row in rows):
            raise ProtocolError(INVALID_PARAMS, key + " must be a list of strings")
        if len(rows) > self.MOST:
            raise ProtocolError(INVALID_REQUEST, "more than %d in %s" % (self.MOST, key))
        return rows

    def _known_tasks(self, request, ids):
        from .asking import extensions_of

        if _TASKS not in extensions_of(request):
            raise ProtocolError(
                MISSING_CAPABILITY,
                "missing required client capability",
                {"requiredCapabilities": {"extensions": {_TASKS: {}}}},
            )
        gateway = self._gateway
        tasks = gateway.dispatch.tasks
        if tasks is None and gateway.upstreams and gateway.upstreams.forwarder.outbox is not None:
            tasks = gateway.tasks()
        return [id for id in ids if tasks and tasks.find(id, request.session)]

    def _end(self, session, id):
        if session.listens:
            session.listens.pop(id, None)

    def close(self, session):
        """The gateway stops serving: end a client's streams as the specification has it."""
        for id, listen in list((session.listens or {}).items()):
            del session.listens[id]
            if listen.request.end():
                server = self._gateway.server
                meta = b'"io.modelcontextprotocol/subscriptionId":' + id
                _tell(listen.request.port.answer, server.result(listen.request, [], meta=meta))


def _tell(send, parts):
    try:
        send(parts)
    except OSError:
        pass  # the others are told all the same; its own port will find out


def tell_changed(sessions, kind):
    """A list has changed; kind: tools, prompts or resources."""
    method = "notifications/%s/list_changed" % kind
    for session in list(sessions):
        if session.initialized and session.out:
            _tell(session.out, notification(method))
        if session.listens:
            for listen in list(session.listens.values()):
                if kind in listen.kinds:
                    listen.send(method, b"")


def tell_updated(sessions, uri):
    """The resource at `uri` has changed."""
    params = b'"uri":' + dumps(uri)
    method = "notifications/resources/updated"
    for session in list(sessions):
        if session.subscribed and uri in session.subscribed and session.out:
            _tell(session.out, notification(method, b"{" + params + b"}"))
        if session.listens:
            for listen in list(session.listens.values()):
                if uri in listen.uris:
                    listen.send(method, params)


def tell_message(sessions, level, data, logger):
    """A log message that belongs to no request, to the clients with a handshake that want its
    level (those without one are told through what they listen to). level: one of results.LEVELS;
    data: anything with a JSON form."""
    severity = LEVELS.index(level)
    params = checked({"level": level, "logger": logger, "data": data})
    if params is None:
        raise ValueError("log data without a JSON form")
    for session in list(sessions):
        least = LEVELS.index("info") if session.log_level is None else session.log_level
        if session.initialized and session.out and severity >= least:
            _tell(session.out, notification("notifications/message", params))
