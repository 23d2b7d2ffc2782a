"""Calls that go to an upstream: sent, waited for, queued where they may wait, delivered later."""

from ..compat import const, ticks_diff
from ..errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    QUEUE_FULL,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    GatewayError,
    NoAnswer,
    QueueFull,
    Unavailable,
)
from ..protocol.framing import META, NAME, PARAMS, new_spans, scan
from ..protocol.jsontext import joined, loads, one_line
from ..protocol.jsonvalue import dumps
from ..protocol.results import error, progress
from ..transports.link import random_hex
from .upstream import error_of

_DELIVERY_MS = const(500)  # between looks at the queue
_WRAP = b'{"jsonrpc":"2.0","method":"","params":'
TEMPLATE = (
    b'{"uriTemplate":"queue://{id}","name":"queue","description":"State and outcome of a call that'
    b' waits","mimeType":"application/json"}'
)


class Forwarder:
    """Forwards calls for one gateway.

    server: the Server (its spans are those of the message in hand); router: a Router;
    config: the gateway's settings; log: function(text); work: function(coroutine) that runs it.
    """

    def __init__(self, server, router, config, log, work):
        self._server = server
        self._router = router
        self._timeout_ms = config["call_timeout_ms"]
        self._ttl_s = config["outcome_ttl_s"]
        self._most = config["max_calls"]
        self._log = log
        self._work = work
        self._spans = new_spans()
        self._count = 0
        self.mix(b"")
        self._delivering = None  # the queue's item that is on its way
        self._looked = 0
        self.outbox = None

    def begin(self):
        """The gateway begins to serve: what was on its way when it ended last time is not any
        more."""
        item, self._delivering = self._delivering, None
        if item is not None:
            self.outbox.retry(item, self._looked)

    def mix(self, entropy):
        """Keys begin with a prefix that no other board and no other start of this one has."""
        self._prefix = random_hex(16, entropy)

    def _new_key(self):
        self._count += 1
        return "%s-%08x" % (self._prefix, self._count)

    def call(self, request, port, buf):
        """Carry out the CALL just received, whose arguments are still spans of `buf`."""
        route = self._router.find(request.name)
        if route is None:
            self._refuse(request, port, INVALID_PARAMS, "unknown tool " + request.name)
            return
        request.begin(self._most, port)
        upstream = route.upstream
        spans = self._server.spans
        extra = b""
        key = kept = None
        if route.expiry_s is not None:
            key = self._new_key()
            extra = ('"mcp-gw/key":"%s"' % key).encode()
            if self.outbox is not None:
                kept = joined(_spliced(buf, spans, route.name, b"{" + extra + b"}"))
        on_progress = None
        if request.token is not None:
            token = '"progressToken":%d' % upstream.next_token()
            extra += (b"," if extra else b"") + token.encode()

            def on_progress(raw):
                if request.stale:
                    return
                params = loads(raw, b"\\" in raw)
                row = [params.get(key) for key in ("progress", "total", "message")]
                try:
                    port.send(progress(request, *row))
                except ValueError:
                    pass  # what the upstream sent is no report

        def done(ok, raw, err):
            if not request.end():
                return
            try:
                self._answer(request, port, route, key, kept, ok, raw, err)
            except Exception as e:
                # No memory, a flash that fails: somebody waits for an answer all the same.
                told = "%s: %s" % (type(e).__name__, e)
                self._refuse(request, port, INTERNAL_ERROR, told)

        parts = _spliced(buf, spans, route.name, upstream.meta(extra))
        self._start(upstream, parts, done, on_progress)

    def _start(self, upstream, parts, done, on_progress=None):
        begin = getattr(upstream, "begin", None)
        if begin is None:
            # An asynchronous upstream takes its time, and the buffer is wanted back.
            self._work(self._ask(upstream, [joined(parts)], done, on_progress))
            return
        try:
            begin("tools/call", parts, self._timeout_ms, done, on_progress)
        except Unavailable as e:
            done(False, None, e)

    async def _ask(self, upstream, parts, done, on_progress):
        try:
            ok, raw = await upstream.request("tools/call", parts, self._timeout_ms, on_progress)
        except GatewayError as e:
            done(False, None, e)
        except Exception as e:
            # Whatever went wrong, somebody waits for an answer.
            done(False, None, NoAnswer("%s: %s" % (type(e).__name__, e)))
        else:
            done(ok, one_line(raw), None)

    def _answer(self, request, port, route, key, kept, ok, raw, err):
        if not ok and err is None:
            code, message = error_of(bytes(raw))
            if code == UPSTREAM_UNAVAILABLE:
                err = Unavailable(message)
            elif code == UPSTREAM_TIMEOUT:
                err = NoAnswer(message)
        if err is not None:
            if kept is not None:
                self._queue(request, port, route, key, kept)
                return
            code = UPSTREAM_TIMEOUT if isinstance(err, NoAnswer) else UPSTREAM_UNAVAILABLE
            self._refuse(request, port, code, str(err))
            return
        if raw[0] != 0x7B:
            told = "%s answered with something that is no JSON object" % route.upstream.name
            self._refuse(request, port, INTERNAL_ERROR, told)
            return
        parts = [b'{"jsonrpc":"2.0","id":', request.id]
        if not ok:
            self._server.counters.error(code)
            parts.extend((b',"error":', raw, b"}"))
        elif request.revision.modern and not route.upstream.modern:
            # A legacy upstream's result, for a client of the modern revision.
            head = b',"result":{' + request.revision.result_members
            at = 1
            while raw[at] in b" \t":
                at += 1
            parts.extend((head[:-1] if raw[at] == 0x7D else head, raw[at:], b"}"))
        else:
            parts.extend((b',"result":', raw, b"}"))
        port.answer(parts)

    def _refuse(self, request, port, code, told):
        self._server.counters.error(code)
        port.answer(error(request.id, code, told))

    def _queue(self, request, port, route, key, kept):
        tool = loads(route.name, b"\\" in route.name)
        try:
            self.outbox.put(key.encode(), route.upstream.name, tool, [kept], route.expiry_s)
        except QueueFull as e:
            self._refuse(request, port, QUEUE_FULL, str(e))
            return
        uri = "queue://" + key
        told = "%s is not reachable: queued as %s, read %s" % (route.upstream.name, key, uri)
        link = {"type": "resource_link", "uri": uri, "name": key, "mimeType": "application/json"}
        members = [b'"content":', dumps([{"type": "text", "text": told}, link])]
        row = dumps({"id": key, "uri": uri, "expires_s": route.expiry_s})
        port.answer(self._server.result(request, members, meta=b'"mcp-gw/queued":' + row))

    def status(self, uri):
        """JSON text (str) of what is known of queue://ID, or None."""
        if self.outbox is None or not uri.startswith("queue://"):
            return None
        status = self.outbox.status(uri[8:].encode())
        return status.decode() if status is not None else None

    def hurry(self, now):
        """Deliver what waits in the queue with the next tick, due or not. now: ticks in ms."""
        self.outbox.hurry(now)
        self._looked = now - _DELIVERY_MS

    def tick(self, now):
        """Deliver from the queue. now: ticks in ms."""
        if self.outbox is None or self._delivering or ticks_diff(now, self._looked) < _DELIVERY_MS:
            return
        self._looked = now
        item = self.outbox.next(now, self._deliverable)
        if item is None:
            return
        upstream = self._router.upstreams[item.upstream]
        self._delivering = item

        def done(ok, raw, err):
            if self._delivering is item:
                self._delivered(item, ok, raw, err)

        try:
            message = _WRAP + item.message + b"}"
            scan(message, 0, len(message), self._spans, 128)
            extra = b'"mcp-gw/key":"' + item.key + b'"'
            parts = _spliced(message, self._spans, None, upstream.meta(extra))
            self._start(upstream, parts, done)
        except Exception as e:
            done(False, None, Unavailable("%s: %s" % (type(e).__name__, e)))

    def _deliverable(self, name):
        upstream = self._router.upstreams.get(name)
        return upstream is not None and (upstream.up or not upstream.tells_state)

    def _delivered(self, item, ok, raw, err):
        self._delivering = None
        # The next one need not wait.
        self._looked -= _DELIVERY_MS
        failed = not ok
        if failed and err is None:
            code, message = error_of(bytes(raw))
            if code in (UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT):
                err = Unavailable(message)
            else:
                text = "%s (%d)" % (message, code)
                raw = dumps({"content": [{"type": "text", "text": text}], "isError": True})
        if err is not None:
            self._log("queue: %s: %s\n" % (item.key.decode(), err))
            self.outbox.retry(item, self._looked)
            return
        try:
            self.outbox.done(item, bytes(raw), self._ttl_s, failed)
        except Exception:
            self.outbox.retry(item, self._looked)
            raise


def _spliced(buf, spans, name, meta):
    """The params of the message in `buf` as parts, with another name (raw JSON; None: as it is)
    and _meta."""
    view = memoryview(buf)
    lo, hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
    cuts = [(spans[2 * META], spans[2 * META + 1], meta)]
    if name is not None:
        cuts.append((spans[2 * NAME], spans[2 * NAME + 1], name))
    parts = []
    if cuts[0][0] < 0:
        parts = [b'{"_meta":', meta, b","]
        del cuts[0]
        lo += 1
    cuts.sort()
    for start, end, new in cuts:
        parts.append(view[lo:start])
        parts.append(new)
        lo = end
    parts.append(view[lo:hi])
    return parts
