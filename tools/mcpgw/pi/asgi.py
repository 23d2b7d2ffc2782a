"""A gateway as an ASGI application: Streamable HTTP of both eras, behind a server for ASGI.

What the requests mean is the business of mcp_gw/protocol/streamable_server.py, the same that
serves boards; here they come in and go out.
"""

import asyncio
from functools import lru_cache

from mcp_gw.compat import spawn, ticks_diff, ticks_ms
from mcp_gw.http_app import http_app
from mcp_gw.protocol.http_exchange import JSON
from mcp_gw.protocol.jsonvalue import dumps

_JSON_HEADERS = [(b"content-type", b"application/json")]
_KEPT_HEADS = 512
# What makes no difference to how a request is treated.
_VARIES = (b"content-length", b"user-agent", b"accept-encoding", b"traceparent")


class Application:
    """The ASGI application; to its Gateway it is a transport as mcp_gw's own HttpServer is one.

    loopback, hosts, origins, guard, endpoints: as mcp_gw/http_app.py has them.
    """

    def __init__(self, gateway, path="/mcp", loopback=True, hosts=(), origins=(), guard=None,
                 endpoints=True):  # fmt: skip
        self.app = http_app(gateway, path, loopback, hosts, origins, guard, endpoints)
        self._gateway = gateway
        config = gateway.config
        self._most = config["http_connections"]
        self._max_body = config["max_message"]
        self._backlog = config["http_backlog"]
        self._quiet_ms = config["http_quiet_s"] * 1000
        self._talks = set()
        self._open = self._ending = False
        self._heads = {}  # what a head said -> _Head, whose plan is kept
        self.requests = self.refused = 0  # so far

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await _other(scope, receive, send)
            return
        if not (self._open or self._ending):
            self._gateway.open(self)
            if not self._gateway.serving:
                spawn(self._gateway.serve())
        talk = _Talk(self, self._head(scope))
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                talk.length = int(value[:20])
        self.requests += 1
        self._talks.add(talk)
        try:
            await self._serve(talk, receive, send)
        except BaseException:
            talk.lost = True
            raise
        finally:
            self.over(talk)

    async def _serve(self, talk, receive, send):
        app = self.app
        if len(self._talks) > self._most or self._ending:
            self.refused += 1
            talk.refuse(503, "too many requests are under way", b"Retry-After: 2\r\n")
        elif talk.head.plan is None:
            app.head(talk, talk.head)
        body = b""
        if talk.status is None and not talk.discard:
            body = await self._body(talk, receive)
            if body is None:
                return
        if talk.status is None:
            app.request(talk, talk.head, body, 0, len(body))
        if not talk.ended:
            watching = asyncio.ensure_future(self._watch(talk, receive))
            try:
                while talk.status is None:
                    await talk.news()
                if talk.streaming:
                    await talk.stream(send)
                    return
            finally:
                watching.cancel()
        elif talk.streaming:
            await talk.stream(send)
            return
        if talk.status:
            await talk.send_whole(send)

    async def _body(self, talk, receive):
        """All of the body (bytes), None when the client is gone before its end."""
        if talk.length > self._max_body:
            talk.refuse(413, "body longer than %d bytes" % self._max_body)
            return b""
        message = await receive()
        body = message.get("body", b"")
        size = len(body)
        pieces = None
        while message.get("more_body"):
            pieces = pieces or [body]
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._max_body:
                break
        if message["type"] == "http.disconnect":
            return None
        if size > self._max_body:
            talk.refuse(413, "body longer than %d bytes" % self._max_body)
            return b""
        return b"".join(pieces) if pieces else body

    async def _watch(self, talk, receive):
        while (await receive())["type"] != "http.disconnect":
            pass
        if not talk.ended:
            talk.lost = True
            talk.status = talk.status or 0
            self.over(talk)

    def over(self, talk):
        """A request was answered, or its client is gone."""
        if talk in self._talks:
            self._talks.remove(talk)
            if not talk.lost:
                talk.exchange = None  # it was answered
            talk.end()
            self.app.gone(talk)

    def _head(self, scope):
        """The _Head of a request; one whose header fields were seen before is used again, with
        what was found out about it."""
        headers = scope["headers"]
        client = scope.get("client")
        peer = client[0] if client else ""
        path = scope.get("raw_path") or scope["path"].encode()
        query = scope["query_string"]
        rows = tuple([row for row in headers if row[0] not in _VARIES])
        key = scope["method"], path, query, peer, rows
        head = self._heads.get(key)
        if head is None or head.plan is None or head.plan.refused is not None or head.stale():
            if len(self._heads) >= _KEPT_HEADS:
                self._heads.clear()
            head = self._heads[key] = _Head(scope["method"], path, query, rows, peer)
        return head

    # What a transport of a gateway is asked for.

    def listen(self):
        """The gateway begins to serve."""
        self._open = True
        self.app.now = ticks_ms()

    def tick(self, now):
        """Now and then, with ticks in ms."""
        self.app.tick(now)
        for talk in list(self._talks):
            if ticks_diff(now, talk.since) > self._quiet_ms:
                talk.since = now
                if talk.status is None or (talk.streaming and not talk.waiting):
                    self.app.quiet(talk)

    def close(self):
        """The gateway stops."""
        self._open = False
        self.app.sessions.close()
        for talk in list(self._talks):
            talk.lost = not talk.ended
            self.over(talk)
        self.app.tick(self.app.now)

    def end_streams(self, holds):
        """End the event streams that may go on no more. holds: function(headers) -> bool, of a
        request that was let in."""
        for talk in list(self._talks):
            if talk.streaming and not talk.ended and not holds(talk.head.headers):
                talk.lost = True
                self.over(talk)

    async def drain(self, timeout_s):
        """Give answers that are due a moment to come; then end what goes on, streams above all."""
        end = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < end:
            if all(talk.status is not None for talk in self._talks):
                break
            await asyncio.sleep(0.05)
        self._ending = True
        self.close()

    @property
    def pending(self):
        """Requests without an answer yet."""
        return len(self._talks)

    @property
    def backlog(self):
        """Bytes of a stream that may wait for a client to read them."""
        return self._backlog


class _Head:
    """A request's head, as protocol/http_server.py has it, with peer: the client's address."""

    keep_alive = expects = old = False

    def __init__(self, method, path, query, rows, peer):
        self.method = method
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.peer = peer
        self.plan = None
        headers = self.headers = {}
        for name, value in rows:
            value = value.strip(b" \t")  # httptools leaves what is behind it
            headers[name] = headers[name] + b", " + value if name in headers else value

    def stale(self):
        """Whether its session has ended."""
        one = self.plan.http_session
        return one is not None and not one.alive


class _Talk:
    """One request, in the place of mcp_gw's Connection.

    status: of the answer, None before, 0: there will be none; fields: its header lines, bytes;
    ended: nothing more will be said; lost: the client is gone.
    """

    def __init__(self, mount, head):
        self._mount = mount
        self.head = head
        self.peer = head.peer
        self.requests = self
        self.discard = False  # nobody wants to see the body of the request
        self.exchange = self.session = self.status = None
        self.streaming = self.ended = self.lost = False
        self.fields = b""
        self.parts = ()
        self._queue = []
        self.waiting = 0  # bytes in it
        self.since = mount.app.now
        self.length = 0  # of its body, as far as the head tells
        self._waiter = None

    async def news(self):
        """Wait until something happens."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _happened(self):
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the application calls.

    def answer(self, status, fields, parts):
        self.status = status
        self.fields = fields
        self.parts = parts
        self._keep()
        self.end()

    def answer_json(self, parts):
        self.status = 200
        self.fields = None
        self.parts = parts
        self._keep()
        self.end()

    def _keep(self):
        # Parts may be views of what is used again.
        self.parts = b"".join(self.parts)

    def answer_nothing(self):
        self.answer(202, b"", ())

    def refuse(self, status, text, fields=b""):
        row = {"jsonrpc": "2.0", "error": {"code": -32600, "message": text}}
        self.answer(status, JSON + fields, (dumps(row),))

    def begin(self, fields):
        self.status = 200
        self.fields = fields
        self.streaming = True
        self._happened()

    def chunk(self, parts):
        if self.ended:
            return False
        data = b"".join(parts)
        self.waiting += len(data)
        if self.waiting > self._mount.backlog:  # it does not read
            self.lost = True
            self._mount.over(self)
            return False
        self._queue.append(data)
        self._happened()
        return True

    def finish(self):
        self.end()

    def fail(self):
        if self.streaming:
            self.lost = True
            self._mount.over(self)
        elif self.status is None:
            self.answer(500, b"", ())

    def end(self):
        self.ended = True
        if self.status is None:
            self.status = 0
        self._happened()

    # What goes out.

    async def send_whole(self, send):
        body = self.parts
        fields = _JSON_HEADERS if self.fields is None else _pairs(self.fields)
        if self.status != 204:
            fields = [*fields, (b"content-length", b"%d" % len(body))]
        if self.head.method == "HEAD":
            body = b""
        await send({"type": "http.response.start", "status": self.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def stream(self, send):
        fields = _pairs(self.fields)
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        queue = self._queue
        while True:
            if queue:
                data = b"".join(queue)
                queue.clear()
                self.waiting -= len(data)
                self.since = self._mount.app.now
                if self.ended and not self.lost:
                    await send({"type": "http.response.body", "body": data})
                    return
                await send({"type": "http.response.body", "body": data, "more_body": True})
            elif self.ended:
                await send({"type": "http.response.body", "body": b""})
                return
            else:
                await self.news()


@lru_cache(128)
def _pairs(fields):
    """Header lines (bytes) as pairs."""
    rows = [line.partition(b": ") for line in fields.split(b"\r\n")[:-1]]
    return [(name.lower(), value) for name, _, value in rows]


async def _other(scope, receive, send):
    """What is not HTTP: a server's start and end; web sockets there are none."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            kind = message["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
