"""Calls that go to an upstream: sent, waited for, queued where they may wait, delivered later."""

from ..compat import const, ticks_add, ticks_diff
from ..errors import (
    INVALID_PARAMS,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    NoAnswer,
    Unavailable,
)
from ..protocol.framing import new_spans, scan
from ..protocol.jsontext import joined, one_line
from ..protocol.jsonvalue import dumps
from ..protocol.results import error
from ..transports.link import random_hex
from .passage import Passage, spliced
from .upstream import error_of

_DELIVERY_MS = const(500)  # between looks at the queue
_REST_S = const(60)  # at most, of an upstream that cannot be reached
_WRAP = b'{"jsonrpc":"2.0","method":"","params":'
TEMPLATE = (
    b'{"uriTemplate":"queue://{id}","name":"queue","description":"State and outcome of a call that'
    b' waits","mimeType":"application/json"}'
)
# Descriptors of the queue's own tools (queue_tools.py).
TOOLS = (
    b'{"name":"queue_status","description":"Which calls wait for their upstream and how the queue'
    b' is; with id, state and outcome of one","inputSchema":{"type":"object","properties":{"id":'
    b'{"type":"string"}}},"annotations":{"readOnlyHint":true}}',
    b'{"name":"queue_sync","description":"Deliver the calls that wait now rather than when they'
    b' are due","inputSchema":{"type":"object"},"annotations":{"idempotentHint":true}}',
    b'{"name":"queue_cancel","description":"Cancel a call that waits","inputSchema":{"type":'
    b'"object","properties":{"id":{"type":"string"}},"required":["id"]}}',
)
_NAMES = (b"queue_status", b"queue_sync", b"queue_cancel")


class Forwarder:
    """Forwards calls for one gateway.

    server: the Server (its spans are those of the message in hand); router: a Router;
    config: the gateway's settings; log: function(text); work: function(coroutine) that runs it and
    returns its task; seal: function() -> (Seal, now in seconds).
    """

    def __init__(self, server, router, config, log, work, seal):
        self.server = server
        self._router = router
        self.counters = server.counters
        self.seal = seal
        self.timeout_ms = config["call_timeout_ms"]
        self.ask_timeout_ms = config["ask_timeout_ms"]
        self._ttl_s = config["outcome_ttl_s"]
        self.most = config["max_calls"]
        self.log = log
        self.work = work
        self._spans = new_spans()
        self._count = 0
        self.mix(b"")
        self._delivering = None  # the queue's items that are on their way
        self._looked = 0
        self._rests = {}  # upstream's name -> (uptime until which it is left alone, failures)
        self.outbox = None
        self.rx = config["max_message"]
        self.queued = None  # function() -> the Queued
        self.passage = Passage

    def begin(self):
        """The gateway begins to serve: what was on its way when it ended last time is not any
        more."""
        items, self._delivering = self._delivering, None
        for item in items or ():
            self.outbox.retry(item, self._looked)

    def mix(self, entropy):
        """Keys begin with a prefix that no other board and no other start of this one has."""
        self._prefix = random_hex(16, entropy)

    def new_key(self):
        self._count += 1
        return "%s-%08x" % (self._prefix, self._count)

    def call(self, request, port, buf):
        """Carry out the CALL just received, whose arguments are still spans of `buf`."""
        route = self._router.find(request.name)
        if route is None and self.own(request.name):
            from .queue_tools import call

            call(self, request, port, buf)
            return
        if route is None:
            self.refuse(request, port, INVALID_PARAMS, "unknown tool " + request.name)
            return
        request.begin(self.most, port)
        upstream, name = route.upstream, route.name
        passage = self.passage(self, request, port, upstream, "tools/call", name, route.waits)
        passage.begin(buf, self.server.spans)

    def forward(self, request, port, buf, method, upstream, name=None, spans=None):
        """Pass on the request just received, whose params are still spans of `buf`. name: raw JSON
        of params.name for the upstream, None to leave it; spans: None: those of the Server."""
        request.begin(self.most, port)
        spans = spans or self.server.spans
        self.passage(self, request, port, upstream, method, name).begin(buf, spans)

    def refuse(self, request, port, code, told):
        self.counters.error(code)
        port.answer(error(request.id, code, told))

    def status(self, uri):
        """JSON text (str) of what is known of queue://ID, or None."""
        if self.outbox is None or not uri.startswith("queue://"):
            return None
        status = self.outbox.status(uri[8:].encode())
        return status.decode() if status is not None else None

    @property
    def busy(self):
        """Whether something of the queue is on its way."""
        return self._delivering is not None

    def own(self, name):
        """Whether a tool of this name is the queue's own."""
        return self.outbox is not None and name.encode() in _NAMES

    def hurry(self, now):
        """Deliver what waits in the queue with the next tick, due or not. now: ticks in ms."""
        self.outbox.hurry(now)
        self._rests = {}
        self.look(now)

    def look(self, now):
        """Look at the queue with the next tick."""
        self._looked = ticks_add(now, -_DELIVERY_MS)

    def tick(self, now):
        """Deliver from the queue. now: ticks in ms."""
        if self.outbox is None or self._delivering or ticks_diff(now, self._looked) < _DELIVERY_MS:
            return
        self._looked = now
        item = self.outbox.next(now, self._deliverable)
        if item is None:
            return
        upstream = self._router.upstreams[item.upstream]
        items = self._delivering = [item]
        try:
            if upstream.deliver:
                from .deliver import deliver

                if deliver(self, upstream, items, now):
                    return
            message = _WRAP + item.message + b"}"
            scan(message, 0, len(message), self._spans, 128)
            extra = b'"mcp-gw/key":"' + item.key + b'"'
            parts = spliced(message, self._spans, None, upstream.meta(extra))
            self.send(upstream, "tools/call", parts, items, self._delivered)
        except Exception as e:
            self.delivered()
            for item in items:
                self.conclude(item, False, None, NoAnswer("%s: %s" % (type(e).__name__, e)))

    def send(self, upstream, method, parts, items, then):
        """Send a request for `items` of the queue; then(first item, ok, raw, error), as for
        Passage.done()."""
        self._delivering = items

        def done(ok, raw, err):
            if self._delivering is items:
                then(items[0], ok, raw, err)

        try:
            begin = getattr(upstream, "begin", None)
            if begin is None:
                self.work(self._send(upstream, method, [joined(parts)], done))
            else:
                begin(method, parts, self.timeout_ms, done)
        except Unavailable as e:
            done(False, None, e)

    async def _send(self, upstream, method, parts, done):
        try:
            ok, raw = await upstream.request(method, parts, self.timeout_ms)
        except Unavailable as e:
            done(False, None, e)
        except Exception as e:
            done(False, None, NoAnswer("%s: %s" % (type(e).__name__, e)))
        else:
            done(ok, one_line(raw), None)

    def _deliverable(self, name):
        upstream = self._router.upstreams.get(name)
        if upstream is None or upstream.tells_state:
            return upstream is not None and upstream.up
        return self._rests.get(name, (0,))[0] <= self.outbox.times.uptime

    def rest(self, name, reached):
        """Leave an upstream alone for a while that cannot be reached, however many calls wait for
        it. reached: it has answered."""
        if reached:
            self._rests.pop(name, None)
        else:
            times = self._rests.get(name, (0, 0))[1]
            pause_s = min(1 << min(times, 6), _REST_S)
            self._rests[name] = self.outbox.times.uptime + pause_s, times + 1

    def _delivered(self, item, ok, raw, err):
        self.delivered()
        self.conclude(item, ok, raw, err)

    def delivered(self):
        """What was on its way has its answer; the next one need not wait."""
        self._delivering = None
        self._looked -= _DELIVERY_MS

    def conclude(self, item, ok, raw, err):
        """Store the outcome of an item, or have it tried again."""
        failed = not ok
        self.rest(item.upstream, not isinstance(err, Unavailable))
        if failed and err is None:
            code, message = error_of(bytes(raw))
            if code == UPSTREAM_UNAVAILABLE:
                err = Unavailable(message)
            elif code == UPSTREAM_TIMEOUT:
                err = NoAnswer(message)
            else:
                raw = _told("%s (%d)" % (message, code))
        elif err is None and self._router.upstreams[item.upstream].asks(raw):
            failed = True
            raw = _told("the tool asks for more input, and nobody waits for this call any more")
        if err is not None:
            self.log("queue: %s: %s\n" % (item.key.decode(), err))
            self.outbox.retry(item, self._looked)
            return
        try:
            self.outbox.done(item, bytes(raw), self._ttl_s, failed)
        except Exception:
            self.outbox.retry(item, self._looked)
            raise


def _told(text):
    """JSON text of a tool result that says what failed."""
    return dumps({"content": [{"type": "text", "text": text}], "isError": True})
