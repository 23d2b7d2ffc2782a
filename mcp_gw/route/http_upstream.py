"""An upstream server over Streamable HTTP: unix build, boards with a network, CPython."""

import asyncio
import json
import sys

from ..compat import const
from ..errors import (
    INTERNAL_ERROR,
    UNSUPPORTED_VERSION,
    ConfigError,
    GatewayError,
    NoAnswer,
    Unavailable,
)
from ..protocol import http
from ..protocol.client import (
    ANSWER,
    CHANGED,
    FAILURE,
    INVALID,
    PROGRESS,
    READY,
    REFUSED,
    REPLY,
    SEND,
    Client,
)
from ..protocol.streamable import marks_of, request_fields
from .http_pool import Exchange, Pool
from .stream import HAS_NETWORK, Stream, certificates, client_context, describe
from .upstream import Upstream, error_of

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

_HEADER_MISMATCH = const(-32020)
_MAX_BODY = 262144 if sys.platform in ("linux", "darwin", "win32") else 32768


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
    client: (name, version) this gateway gives as its own.

    Requests use a pool of kept connections, made when needed, each carrying one request at a time,
    so that a slow call does not hold up the next one. A TLS connection costs a board about 24 KB;
    with connections=1 a server's question in the middle of a call is answered only after the call.

    Resolving a host name blocks a board (MicroPython's getaddrinfo does): prefer addresses there,
    or names that a resolver nearby answers at once.

    An answer of status 429 or 503 counts as Unavailable, 502 and 504 as NoAnswer; other errors of
    HTTP, an answer longer than max_body and one that is no JSON-RPC message come back as JSON-RPC
    error objects.
    """

    MAX_SESSION_ID = 256  # characters
    MAX_REPLIES = 4  # to a server's questions, under way at once; further questions get no reply
    REPLY_MS = 5000  # time for delivering a reply, or for ending a session

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
            self._head = http.head("POST", url, fields)
            self._delete_head = http.head("DELETE", url, fields)
            context = _context(ca, verify) if url.tls else None
        except (ValueError, OSError) as e:
            raise ConfigError("upstream %s: %s" % (name, describe(e)))
        except ImportError:
            raise ConfigError("upstream %s: this firmware has no TLS" % name)
        self._pool = Pool(url, context, connections, connect_ms, max_body)
        self._client = Client(client[0], client[1])
        self._opening = asyncio.Lock()
        self._openings = 0
        self._session = None  # Mcp-Session-Id (str) of a legacy server
        self._replies = []  # tasks
        self._marks = {}  # tool -> its arguments that are repeated in headers

    # The contract of Upstream.

    @property
    def modern(self):
        return self._client.modern

    def meta(self, extra=b""):
        return self._client.meta(extra)

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None):
        call = _Call(self, on_progress)
        return await self._bounded(self._request(call, method, params_parts), timeout_ms, call)

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
        call = _Call(self, None)
        await self._bounded(self._open(call, self._openings), None, call)

    async def close(self):
        """Ends a legacy server's session (best effort) and closes the connections."""
        if self._session is not None:
            data = http.request(self._delete_head, self._fields(None, ()), ())
            self._session = None
            try:
                await asyncio.wait_for(self._pool.run(Exchange(data)), self.REPLY_MS / 1000)
            except (GatewayError, asyncio.TimeoutError):
                pass  # the server will forget the session by itself
        for task in self._replies:
            task.cancel()
        self._client.reset()
        self.up = False
        self._pool.close()

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
                result = False, _error("%s: no memory for its answer" % self.name)
        except Unavailable:
            self.up = False
            raise
        self.up = True
        return result

    async def _request(self, call, method, params_parts):
        client = self._client
        for attempt in range(2):
            opening = self._openings
            if not client.ready:
                await self._open(call, opening)
                opening = self._openings
            modern = client.modern
            call.event = call.why = None
            call.id, parts = client.request(method, params_parts)
            try:
                fields = self._fields(method, params_parts)
                data = http.request(self._head, fields, parts)
                call.exchange = Exchange(data, method in _REPEATABLE, call.take)
                parts = data = None
                too_large = await self._run(call)
            finally:
                client.forget(call.id)
            if too_large:
                return False, _error("%s: %s" % (self.name, too_large))
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

    async def _run(self, call):
        """Returns None, or why the answer is too large (str)."""
        exchange = call.exchange
        try:
            await self._pool.run(exchange)
        except http.TooLarge as e:
            return str(e)
        if exchange.kind == b"application/json" and exchange.body:
            call.take(exchange.body, 0, len(exchange.body))
            exchange.body = b""
        return None

    def _estranged(self, call):
        """Whether the server has lost the session or changed its revision: restarted, replaced."""
        status = call.exchange.status
        if status == 404 and self._session is not None:
            return True
        if call.event == FAILURE and call.exact:
            return self._client.modern and error_of(call.raw)[0] == UNSUPPORTED_VERSION
        return status in (400, 404, 405)

    def _mismatched(self, call):
        return call.event == FAILURE and error_of(call.raw)[0] == _HEADER_MISMATCH

    def _outcome(self, call):
        exchange = call.exchange
        status = exchange.status
        if status in (429, 503):
            raise Unavailable("%s answered with HTTP status %d" % (self.name, status))
        if call.event == ANSWER and 200 <= status < 300:
            return self._client.settle(True, call.raw)
        if call.event == FAILURE:
            return False, call.raw
        if status in (502, 504):
            raise NoAnswer("%s answered with HTTP status %d" % (self.name, status))
        if not 200 <= status < 300:
            return False, _error(self._status_text(exchange))
        if exchange.streamed:
            if call.why is None:
                raise NoAnswer("%s ended its event stream without an answer" % self.name)
            return False, _error("%s: %s" % (self.name, call.why))
        return False, _error(
            "%s: %s" % (self.name, call.why or "an answer without a JSON-RPC message")
        )

    def _status_text(self, exchange):
        text = "%s answered with HTTP status %d" % (self.name, exchange.status)
        location = exchange.headers.get(b"location")
        if location:
            text += ", redirecting to " + _printable(location)
        elif exchange.kind == b"text/plain" and exchange.body:
            text += ": " + _printable(exchange.body)
        return text

    # Opening.

    async def _open(self, call, opening):
        """Open the conversation unless somebody else did since opening number `opening`."""
        async with self._opening:
            if self._openings != opening and self._client.ready:
                return
            client = self._client
            self._session = None
            client.open()
            try:
                while not await self._open_step(call):
                    pass
            except NoAnswer as e:
                raise Unavailable(str(e))
            finally:
                client.forget(client.out_id)
            self._openings += 1
            if client.out:
                # Told to the server for form's sake; whether it took it shows with the next
                # request.
                data = http.request(self._head, self._fields(None, ()), client.out)
                await self._pool.run(Exchange(data))

    async def _open_step(self, call):
        client = self._client
        step = _Call(self, None)
        step.id = client.out_id
        discover = client.version is not None
        fields = self._fields("server/discover" if discover else None, ())
        step.exchange = Exchange(http.request(self._head, fields, client.out), True, step.take)
        why = await self._run(step)
        if why:
            raise Unavailable("%s: opening: %s" % (self.name, why))
        exchange = step.exchange
        status = exchange.status
        if status in (401, 403, 429, 502, 503, 504):
            raise Unavailable("opening: " + self._status_text(exchange))
        event = step.event
        if event is None:
            event = client.rejected(step.why or self._status_text(exchange))
        if event == REFUSED:
            raise Unavailable("%s: %s" % (self.name, client.why))
        if event == READY and client.modern is False:
            self._keep_session(exchange)
        return event == READY

    def _keep_session(self, exchange):
        session = exchange.headers.get(b"mcp-session-id")
        if session is None:
            return
        if len(session) > self.MAX_SESSION_ID or not all(0x21 <= c <= 0x7E for c in session):
            self._client.reset()
            raise Unavailable("%s: a session id that cannot be used" % self.name)
        self._session = session.decode()

    def _fields(self, method, params_parts):
        return request_fields(self._client, self._session, method, params_parts, self._marks)

    # Replies to the server's own requests.

    def _reply(self, parts):
        self._replies = [t for t in self._replies if not t.done()]
        if len(self._replies) < self.MAX_REPLIES:
            data = http.request(self._head, self._fields(None, ()), parts)
            self._replies.append(asyncio.create_task(self._deliver(data)))

    async def _deliver(self, data):
        try:
            await asyncio.wait_for(self._pool.run(Exchange(data)), self.REPLY_MS / 1000)
        except (GatewayError, asyncio.TimeoutError):
            pass  # the server asks again, or gives up


class _Call:
    """Waits for the answer to one message: finds it among what comes back."""

    def __init__(self, upstream, on_progress):
        self._upstream = upstream
        self._on_progress = on_progress
        self.exchange = None
        self.id = None
        self.event = None  # of the message waited for
        self.raw = b""
        self.exact = False
        self.why = None  # what was wrong with a message before it

    def take(self, buf, start, end):
        """One message; True when it is the one waited for."""
        client = self._upstream._client
        event = client.receive(buf, start, end, self.id)
        if event in (ANSWER, FAILURE, SEND, READY, REFUSED):
            self.event = event
            self.exact = client.exact
            if event == ANSWER or event == FAILURE:
                self.raw = bytes(memoryview(buf)[client.lo : client.hi])
            return True
        if event == PROGRESS:
            if self._on_progress is not None:
                self._on_progress(bytes(memoryview(buf)[client.lo : client.hi]))
        elif event == REPLY:
            self._upstream._reply(client.out)
        elif event == CHANGED:
            if self._upstream.on_change is not None:
                self._upstream.on_change(client.method)
        elif event == INVALID:
            self.why = client.why
        return False


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


def _error(message):
    """The JSON text of an error object of our own."""
    return json.dumps({"code": INTERNAL_ERROR, "message": message}).encode()


def _printable(data):
    return "".join(chr(c) if 32 <= c < 127 else "?" for c in data[:200])
