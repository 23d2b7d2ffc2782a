"""MCP in a web application made with Microdot (https://microdot.readthedocs.io), beside its own
routes:

    app = Microdot()
    mount(gateway, app, token="...")
    app.run(port=5000)

Requests come in through Microdot, so its limits hold: Request.max_content_length, no chunked
bodies, a connection for each request, no preflight for scripts of other origins (microdot.cors).
"""

import asyncio

from microdot import Response

from .auth import WELL_KNOWN, guard_from
from .compat import spawn, ticks_diff, ticks_ms
from .errors import ConfigError
from .http_app import http_app
from .protocol.http_server import REASONS
from .protocol.jsontext import joined
from .replies import refusal

_JSON = b"Content-Type: application/json\r\n"
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def mount(
    gateway, app, path="/mcp", insecure=False, hosts=(), origins=(), endpoints=False, **more
):
    """Add the MCP endpoint of a Gateway to `app`, a Microdot application, under `path`.

    Without a token (or another option of auth.guard_from()) clients on this machine are served and
    no others, unless insecure=True. hosts, origins: as for gw.run("http"); endpoints: add /health
    and the other plain ones, too. The gateway is served from the first request on, if it is not
    already: give what this returns to gateway.serve() or run() to have it begin earlier, or to
    serve "stdio" beside. Raises ConfigError.
    """
    guard = guard_from(more, gateway.clock.unix, gateway.log, path)
    if more:
        raise ConfigError("option %s of mount is not known" % sorted(more)[0])
    paths = []
    if guard is None and not insecure:
        guard = _ThisMachine()
        loopback = True
    else:
        loopback = False
        if guard is not None:
            paths = [WELL_KNOWN, WELL_KNOWN + "/<path:resource>"]
    if endpoints:
        from .endpoints import Endpoints

        endpoints = Endpoints(gateway)
        paths.extend(endpoints.paths)
    mounted = Mount(gateway, http_app(gateway, path, loopback, hosts, origins, guard, endpoints))
    app.route(path, methods=["GET", "POST", "DELETE"])(mounted.handle)
    for one in paths:
        app.route(one, methods=["GET", "POST"])(mounted.handle)
    return mounted


class Mount:
    """Carries requests from Microdot to a gateway. To the gateway it is a transport as HttpServer
    is one."""

    def __init__(self, gateway, app):
        self.app = app
        self._gateway = gateway
        config = gateway.config
        self._body = config["max_message"]
        self._backlog = config["http_backlog"]
        self._request_ms = config["http_request_s"] * 1000
        self._quiet_ms = config["http_quiet_s"] * 1000
        self._talks = []
        self._open = False

    async def handle(self, request, resource=None):
        """Microdot's handler of all our routes. resource: a part of the path, which tells us
        nothing new."""
        if not self._open:
            self._gateway.open(self)
            if not self._gateway.serving:
                spawn(self._gateway.serve())
        head = _Head(request)
        talk = _Talk(self, head, request)
        self._talks.append(talk)
        try:
            app = self.app
            app.head(talk, head)
            body = b""
            if not talk.discard:
                if request.content_length > self._body:
                    talk.answer(413, b"", ())
                else:
                    body = await _body(request)
            if talk.status is None:
                app.request(talk, head, body, 0, len(body))
            while talk.status is None:
                await talk.news()
        except BaseException:
            self.over(talk)
            raise
        if talk.streaming:
            return _response(talk.status, talk.fields, talk)
        self.over(talk)
        return _response(talk.status, talk.fields, talk.body)

    def over(self, talk):
        """A request was answered, or its client is gone."""
        if talk in self._talks:
            self._talks.remove(talk)
            if talk.ended:
                talk.exchange = None
            talk.end()
            self.app.gone(talk)

    # What a transport of a gateway is asked for.

    def listen(self):
        """The gateway begins to serve."""
        self._open = True
        self.app.now = ticks_ms()

    def tick(self, now):
        """Now and then, with ticks in ms."""
        self.app.tick(now)
        for talk in self._talks[:]:
            passed = ticks_diff(now, talk.since)
            if talk.left() or (talk.waiting and passed > self._request_ms):
                self.over(talk)
            elif not talk.waiting and passed > self._quiet_ms:
                talk.since = now
                self.app.quiet(talk)

    def close(self):
        """The gateway stops."""
        self._open = False
        self.app.sessions.close()
        for talk in self._talks[:]:
            self.over(talk)
        self.app.tick(self.app.now)

    @property
    def backlog(self):
        """Bytes of a stream that may wait for a client to read them."""
        return self._backlog


class _ThisMachine:
    """A guard that lets in who is here already."""

    def check(self, method, path, headers, peer):
        if peer in _LOOPBACK:
            return None
        return refusal(403, "from other machines a token is needed")


class _Head:
    """A request's head, as protocol/http_server.py has it."""

    keep_alive = expects = old = False
    plan = None

    def __init__(self, request):
        self.method = request.method
        self.path = request.path
        self.query = request.query_string or ""
        self.headers = {name.lower().encode(): v.encode() for name, v in request.headers.items()}


class _Talk:
    """One request, in the place of a Connection, and the body of its response if that is a stream.

    status: of the answer, None before; fields: its header lines, bytes; body: bytes.
    """

    def __init__(self, mount, head, request):
        self._mount = mount
        self.head = head
        address = request.client_addr
        self.peer = address[0] if isinstance(address, tuple) else ""
        self._reader = request.sock and request.sock[0]
        self.requests = self
        self.discard = False  # nobody wants to see the body of the request
        self.exchange = self.session = self.status = None
        self.streaming = self.ended = False
        self.fields = self.body = b""
        self._queue = []
        self.waiting = 0  # bytes in it
        self.since = mount.app.now
        self._event = asyncio.Event()

    async def news(self):
        """Wait until something happens."""
        await self._event.wait()
        self._event.clear()

    def left(self):
        """Whether the client is known to be gone; some ports tell only when something is sent."""
        return hasattr(self._reader, "at_eof") and self._reader.at_eof()

    # What the application calls.

    def answer(self, status, fields, parts):
        self.status = status
        self.fields = fields
        self.body = bytes(joined(parts))
        self.end()

    def answer_json(self, parts):
        self.answer(200, _JSON, parts)

    def answer_nothing(self):
        self.answer(202, b"", ())

    def begin(self, fields):
        self.status = 200
        self.fields = fields
        self.streaming = True
        self._event.set()

    def chunk(self, parts):
        if self.ended:
            return False
        data = bytes(joined(parts))
        self.waiting += len(data)
        if self.waiting > self._mount.backlog:  # it does not read
            self._mount.over(self)
            return False
        self._queue.append(data)
        self._event.set()
        return True

    def finish(self):
        self.end()

    def fail(self):
        if self.streaming:
            self._mount.over(self)
        elif self.status is None:
            self.answer(500, b"", ())

    def end(self):
        self.ended = True
        self._event.set()

    # What Microdot calls.

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self._queue:
            if self.ended:
                raise StopAsyncIteration
            await self.news()
        data = self._queue.pop(0)
        self.waiting -= len(data)
        self.since = self._mount.app.now
        return data

    async def aclose(self):
        self._mount.over(self)


async def _body(request):
    """All of the body, which Microdot leaves in the stream if it is long."""
    body = request.body
    if len(body) < request.content_length:
        body = await request.stream.readexactly(request.content_length)
    return body


def _response(status, fields, body):
    """fields: header lines (bytes), or (name, value) pairs."""
    if isinstance(fields, bytes):
        fields = [line.split(": ", 1) for line in fields.decode().split("\r\n")[:-1]]
    return Response(body, status, dict(fields), REASONS.get(status))
