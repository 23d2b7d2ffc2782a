"""An upstream server over Streamable HTTP: unix build, boards with a network, CPython."""

import asyncio

from ..compat import HAS_STDERR, const, sleep_ms
from ..errors import (
    UNSUPPORTED_VERSION,
    ConfigError,
    GatewayError,
    NoAnswer,
    Unavailable,
)
from ..protocol import http
from ..protocol.client import ANSWER, FAILURE, Client
from ..protocol.jsontext import joined
from ..protocol.streamable import marks_of, request_fields
from .held import Held
from .http_ages import Ages
from .http_call import HTTPCall
from .http_open import error_text, open_conversation, status_text
from .http_pool import Exchange, Pool
from .stream import HAS_NETWORK, Stream, certificates, client_context, describe
from .upstream import Upstream, error_of, unasked_type

# Methods that change nothing: sent again when a kept connection turns out to be dead.
_REPEATABLE = (
    "server/discover",
    "initialize",
    "ping",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)

# Headers that options may not set.
_OURS = ("host", "content-length", "transfer-encoding", "connection", "accept", "content-type")

_SMALL = not HAS_STDERR
# What clients of this gateway may be able to answer. A legacy server is told once, so all of it;
# a question to a client that cannot is refused.
_CAPABILITIES = '{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}'

_HEADER_MISMATCH = const(-32020)
_MAX_BODY = 32768 if _SMALL else 262144


class HttpUpstream(Upstream):
    """Streamable HTTP client for servers of both eras.

    name: prefix of its tools. url: http or https. headers: dict of further request headers (str),
    e.g. Authorization.
    ca: certificates to trust for https: bytes (PEM or DER) or the path of such a file; on CPython
    None means the system's, boards have no store of their own. verify=False takes any certificate:
    for experiments only.
    timeout_ms: of one request, connecting and opening included; connect_ms: of a TCP connection
    alone.
    max_body: longest JSON answer, or longest event of an event stream, in bytes. connections: size
    of the pool.
    client: (name, version) this gateway gives as its own. listen: keep a stream open on which the
    server tells that its lists have changed (default: not on microcontrollers). held: how many
    calls to a legacy server may wait at once for the answer to a question of the server;
    answer_ms: how long each waits.

    Requests use a pool of kept connections, made when needed, each carrying one request at a time,
    so that a slow call does not hold up the next one; what is said beside them (replies,
    cancellations) has a connection of its own. A TLS connection costs a board about 24 KB.

    Resolving a host name blocks a board (MicroPython's getaddrinfo does): prefer addresses there,
    or names that a resolver nearby answers at once.

    An answer of status 429 or 503 counts as Unavailable, 502 and 504 as NoAnswer; other errors of
    HTTP, an answer longer than max_body and one that is no JSON-RPC message come back as JSON-RPC
    error objects.
    """

    MAX_SESSION_ID = 256  # characters
    offers = ("tools", "prompts", "resources")
    clock = None  # a Clock that learns the time from the answers' Date
    MAX_ASIDE = 16  # messages beside the calls (replies, cancellations) under way at once, and as
    # many more as calls may wait for answers
    REPLY_MS = 5000  # time for delivering a reply, or for ending a session
    MAX_RESUMES = 8  # tries without news, of one broken event stream
    MAX_RETRY_MS = 30000  # longest pause before resuming, whatever the server asks for

    def __init__(
        self,
        name,
        url,
        headers=None,
        ca=None,
        verify=True,
        timeout_ms=30000,
        connect_ms=5000,
        max_body=_MAX_BODY,
        connections=2,
        client=("mcp_gw", "0"),
        listen=not _SMALL,
        held=4 if _SMALL else 64,
        answer_ms=300000,
    ):
        Upstream.__init__(self, name)
        if not HAS_NETWORK:
            raise ConfigError("upstream %s: this board has no network; leave url= out" % name)
        self.timeout_ms = timeout_ms
        fields = [
            ("Accept", "application/json, text/event-stream"),
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/json"),
        ]
        for header in headers or ():
            if header.lower() in _OURS:
                raise ConfigError("upstream %s: header %s is set by the gateway" % (name, header))
            fields.append((header, headers[header]))
        try:
            url = http.parse_url(url)
            self.post_head = http.head("POST", url, fields)
            self._delete_head = http.head("DELETE", url, fields)
            self._get_head = http.head("GET", url, fields)
            context = _context(ca, verify) if url.tls else None
        except (ValueError, OSError) as e:
            raise ConfigError("upstream %s: %s" % (name, describe(e)))
        except ImportError:
            raise ConfigError("upstream %s: this firmware has no TLS" % name)
        self._held = Held(held, answer_ms)
        spare = lambda: self._held.count  # noqa: E731
        self.pool = Pool(url, context, connections, connect_ms, max_body, spare)
        self.place = url, context, 1, connect_ms, max_body
        self._aside = Pool(*self.place)
        self.client = Client(client[0], client[1], capabilities=_CAPABILITIES)
        self._opening = asyncio.Lock()
        self._openings = 0
        self.session = None  # Mcp-Session-Id (str) of a legacy server
        self._tasks = []  # beside the calls
        self._listens = listen
        self._listener = None  # task
        self._ages = Ages()
        self._marks = {}  # tool -> its arguments that are repeated in headers

    # The contract of Upstream.

    @property
    def deliver(self):
        more = (self.capabilities or {}).get("experimental")
        return more.get("mcp-gw/deliver") if isinstance(more, dict) else None

    @property
    def modern(self):
        return self.client.modern

    @property
    def capabilities(self):
        """What the server says it can do (dict); empty while it is not known."""
        return self.client.capabilities

    def meta(self, extra=b"", can=b"{}"):
        return self.client.meta(extra, can)

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        if can != b"{}" and self.modern is None:
            await self.connect()
        if can == b"{}" or self.modern:
            call = HTTPCall(self, on_progress)
            work = self._request(call, method, params_parts)
            result = await self._bounded(work, timeout_ms, call)
            if result[0] and self.modern:
                self._ages.note(method, result[1])
            return result
        # A legacy server may ask in the middle of it.
        params = bytes(joined(params_parts))
        call, gone = self._held.find(params)
        if gone:
            return False, gone
        if call is None:
            call = HTTPCall(self, on_progress, self._held, can)
            call.start(self._request(call, method, [params]))
        else:
            call.on_progress, call.can = on_progress, can
        return await self._bounded(self._held.outcome(call), timeout_ms, call)

    def abandon(self, state):
        self._held.drop(state)

    def tick(self, now):
        listens = self._listener is not None and not self._listener.done()
        self._ages.tick(now, None if listens else self.on_change)

    async def tools(self, on_tool, timeout_ms=None):
        marks = {}

        def look(raw):
            row = marks_of(raw)
            if row:
                marks[row[0]] = row[1]
            on_tool(raw)

        result = await super().tools(look, timeout_ms)
        self._marks = marks
        return result

    async def connect(self):
        call = HTTPCall(self, None)
        await self._bounded(self._open(call, self._openings), None, call)

    async def close(self):
        """Ends a legacy server's session (best effort) and closes the connections."""
        self._stop_listening()
        self._held.close()
        if self.session is not None:
            data = http.request(self._delete_head, self.fields(None, ()), ())
            self.session = None
            try:
                await asyncio.wait_for(self._aside.run(Exchange(data)), self.REPLY_MS / 1000)
            except (GatewayError, asyncio.TimeoutError):
                pass  # the server will forget the session by itself
        for task in self._tasks:
            task.cancel()
        self.client.reset()
        self.up = False
        self.pool.close()
        self._aside.close()

    async def _bounded(self, work, timeout_ms, call):
        timeout_ms = timeout_ms or self.timeout_ms
        try:
            try:
                result = await asyncio.wait_for(work, timeout_ms / 1000)
            except asyncio.TimeoutError:
                if call.exchange is not None and call.exchange.sent:
                    raise NoAnswer("%s did not answer within %d ms" % (self.name, timeout_ms))
                raise Unavailable("%s could not be asked within %d ms" % (self.name, timeout_ms))
            except MemoryError:
                if call.exchange is None or not call.exchange.sent:
                    raise Unavailable("no memory for asking %s" % self.name)
                result = False, error_text("%s: no memory for its answer" % self.name)
        except Unavailable:
            self.up = False
            raise
        self.up = True
        return result

    async def _request(self, call, method, params_parts):
        client = self.client
        for attempt in range(2):
            opening = self._openings
            if not client.ready:
                await self._open(call, opening)
                opening = self._openings
            modern = client.modern
            call.event = call.why = None
            call.id, parts = client.request(method, params_parts)
            try:
                fields = self.fields(method, params_parts)
                data = http.request(self.post_head, fields, parts)
                call.exchange = Exchange(data, method in _REPEATABLE, call.take)
                parts = data = None
                too_large = await self.run(call)
            except asyncio.CancelledError:
                # In 2026-07-28 the closed connection says it.
                if not modern and call.exchange.sent:
                    self.tell(client.cancelled(call.id))
                raise
            finally:
                client.forget(call.id)
            if too_large:
                return False, error_text("%s: %s" % (self.name, too_large))
            if attempt == 0 and self._estranged(call):
                call.exchange = (
                    None  # turned down before it was looked at: not sent, as far as callers care
                )
                await self._open(call, opening)
                if client.modern and not modern:
                    raise Unavailable("%s has changed its protocol revision" % self.name)
                continue
            if attempt == 0 and method == "tools/call" and self._mismatched(call):
                # Turned down for lack of headers that the tool's descriptor asks for: it has
                # changed.
                call.exchange = None
                await self.tools(_nothing)
                continue
            return self._outcome(call)

    async def run(self, call):
        """Returns None, or why the answer is too large (str)."""
        exchange = call.exchange
        try:
            try:
                await self.pool.run(exchange)
            except NoAnswer:
                if not exchange.last_id or self.client.modern is not False:
                    raise
            if exchange.last_id and call.event is None and self.client.modern is False:
                await self._resume(call, exchange)
        except http.TooLarge as e:
            return str(e)
        if self.clock is not None and not self.clock.system:
            from .http_date import hear

            hear(self.clock, exchange.headers)
        if exchange.kind == b"application/json" and exchange.body:
            call.take(exchange.body, 0, len(exchange.body))
            exchange.body = b""
        return None

    async def _resume(self, call, last):
        """The server ended its event stream, or it broke, and the answer has yet to come: ask for
        the rest."""
        tries = 0
        while tries < self.MAX_RESUMES:
            tries += 1
            pause = 1000 if last.retry is None else last.retry
            await sleep_ms(min(pause, self.MAX_RETRY_MS))
            exchange = self.resumed(last, call.take)
            try:
                await self.pool.run(exchange)
            except http.TooLarge:
                raise
            except GatewayError:
                pass  # the next try tells
            if call.event is not None or exchange.status not in (0, 200):
                return
            if exchange.last_id and exchange.last_id != last.last_id:
                last = exchange
                tries = 0

    def resumed(self, last, take):
        """The Exchange that goes on with the event stream of the Exchange `last` (None: opens the
        one on which the server says what belongs to no call)."""
        fields = self.fields(None, ())
        if last is not None and last.last_id:
            fields.append(http.field("Last-Event-ID", last.last_id.decode()))
        return Exchange(http.request(self._get_head, fields, ()), False, take)

    def _estranged(self, call):
        """Whether the server has lost the session or changed its revision: restarted, replaced."""
        status = call.exchange.status
        if status == 404 and self.session is not None:
            return True
        if call.event == FAILURE and call.exact:
            return self.client.modern and error_of(call.raw)[0] == UNSUPPORTED_VERSION
        return status in (400, 404, 405)

    def _mismatched(self, call):
        return call.event == FAILURE and error_of(call.raw)[0] == _HEADER_MISMATCH

    def _outcome(self, call):
        exchange = call.exchange
        status = exchange.status
        if status in (429, 503):
            raise Unavailable("%s answered with HTTP status %d" % (self.name, status))
        if call.event == ANSWER and 200 <= status < 300:
            why = self.client.modern and unasked_type(call.raw)
            return (False, error_text("%s: %s" % (self.name, why))) if why else (True, call.raw)
        if call.event == FAILURE:
            return False, call.raw
        if status in (502, 504):
            raise NoAnswer("%s answered with HTTP status %d" % (self.name, status))
        if not 200 <= status < 300:
            return False, error_text(status_text(self.name, exchange))
        if exchange.streamed:
            if call.why is None:
                raise NoAnswer("%s ended its event stream without an answer" % self.name)
            return False, error_text("%s: %s" % (self.name, call.why))
        return False, error_text(
            "%s: %s" % (self.name, call.why or "an answer without a JSON-RPC message")
        )

    # Opening.

    async def _open(self, call, opening):
        """Open the conversation unless somebody else did since opening number `opening`."""
        async with self._opening:
            if self._openings != opening and self.client.ready:
                return
            self._stop_listening()
            self.session = await open_conversation(self)
            self._openings += 1
            if self._listens and self.client.ready:
                from .http_listen import listen

                self._listener = asyncio.create_task(listen(self))

    def _stop_listening(self):
        task, self._listener = self._listener, None
        if task is not None:
            task.cancel()

    def fields(self, method, params_parts):
        """Header lines of a POST, see request_fields()."""
        return request_fields(self.client, self.session, method, params_parts, self._marks)

    # What is said beside the calls.

    def asked_aside(self, id, method, params):
        """A legacy server asks on no call's stream: it can only mean the one call there is."""
        calls = self._held.calls
        call = calls[0] if len(calls) == 1 else HTTPCall(self, None)
        self.beside(call.answer(id, method, params))

    def tell(self, parts):
        """Post a message that has no answer, without waiting for it."""
        self.beside(self._deliver(parts))

    def beside(self, work):
        """Run a coroutine beside the calls; too many of them are not run."""
        self._tasks = [task for task in self._tasks if not task.done()]
        if len(self._tasks) < self.MAX_ASIDE + self._held.most:
            self._tasks.append(asyncio.create_task(work))
        else:
            work.close()

    async def _deliver(self, parts):
        data = http.request(self.post_head, self.fields(None, ()), parts)
        try:
            await asyncio.wait_for(self._aside.run(Exchange(data)), self.REPLY_MS / 1000)
        except (GatewayError, asyncio.TimeoutError):
            pass  # the server asks again, or gives up


def _nothing(raw):
    pass


def _context(ca, verify):
    if isinstance(ca, str):
        with open(ca, "rb") as f:
            ca = f.read()
    if ca is not None:
        ca = certificates(ca)
    elif verify and Stream.NEEDS_CA:
        raise ValueError("https needs ca=: there are no certificates to trust here")
    return client_context(ca, verify)
