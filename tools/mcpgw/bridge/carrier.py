"""One message to an upstream server over Streamable HTTP, and what comes back, with httpx."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx

from mcp_gw.errors import METHOD_NOT_FOUND, NoAnswer, Unavailable
from mcp_gw.protocol import client as core
from mcp_gw.protocol.http import TooLarge
from mcp_gw.protocol.sse import SSEDecoder
from mcp_gw.route.held import is_new
from mcp_gw.route.upstream import Upstream

from .. import __version__
from . import headers
from .calls import error_object
from .listening import Refused

CONNECT_S = 10.0
# The longest answer, or event of an answer, in bytes.
MAX_ANSWER = 16 << 20
# Tries without news to resume a broken event stream, and the longest pause before one.
_MAX_RESUMES = 8
_MAX_RETRY_S = 30.0
# What is said beside the calls, replies and cancellations, at once.
_MAX_ASIDE = 1000
# Statuses of a server (or a proxy before it) that did not take the request in.
_NOT_TAKEN = (301, 302, 307, 308, 401, 403, 404, 405, 406, 407, 413, 415, 421, 429, 431, 503)


class Estranged(Refused):
    """The server turned the request down as one of the other era does; outcome: its error, if it
    gave one.
    """

    def __init__(self, text, outcome):
        super().__init__(text)
        self.outcome = outcome


class Carrier(Upstream):
    """The HTTP side of an upstream. held: the Held of its calls; the rest as for HTTPUpstream."""

    def __init__(self, name, url, log, held, fields, verify):
        super().__init__(name)
        self.url = url
        self._log = log
        self._held = held
        self._tokens = 0
        self._aside = set()  # tasks that nobody waits for
        if url.startswith("http://"):
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used; quick to make
        self._http = httpx.AsyncClient(
            headers={"User-Agent": f"mcpgw/{__version__}"} | (fields or {}),
            verify=verify,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
            # Shorter than the 5 s after which common servers close an idle connection.
            limits=httpx.Limits(keepalive_expiry=3.0),
        )

    async def exchange(
        self, conversation, method, params, extra=b"", call=None, name=None, fields=None
    ):
        """One request in this conversation, without a time limit; arguments as of send().

        call: the Call that it carries out, or None. Returns (ok, raw), or None when the server
        does not know the session any more.
        """
        client = conversation.client
        token = None
        if extra is not None:
            if call and call.on_progress:
                self._tokens += 1
                token = b'"p%d"' % self._tokens
                extra = b",".join(filter(None, (extra, b'"progressToken":' + token)))
            comma = b"" if params.strip() == b"{}" else b","
            meta = client.meta(extra, call.can if call else b"{}")
            params = b'{"_meta":' + meta + comma + params.lstrip()[1:]
        try:
            id, parts = client.request(method, [params])
        except Unavailable as e:  # too many are under way
            raise Refused(f"upstream {self.name}: {e}") from e

        exact = False  # whether the answer named the request's id
        seen = []  # ids of the questions on this request's stream

        def take(buf):
            nonlocal exact
            event = client.receive(buf, 0, len(buf), id)
            if event in (core.ANSWER, core.FAILURE):
                exact = client.exact
                return event == core.ANSWER, buf[client.lo : client.hi]
            if event == core.PROGRESS:
                if token and call.on_progress and client.progress_token(buf) == token:
                    call.on_progress(buf[client.lo : client.hi])
            else:
                self.heard(conversation, event, buf, call, seen)
            return None

        try:
            outcome, status = await self._posted(conversation, parts, method, name, fields, take)
        except asyncio.CancelledError:
            if not client.modern:  # closing the stream says it in the modern revision
                self.later(conversation, client.cancelled(id))
            raise
        finally:
            client.forget(id)
        if status == 404 and outcome is None and conversation.session:
            return None
        if client.modern and not exact and status in (400, 404, 405):
            text = f"upstream {self.name} refused the request: HTTP status {status}"
            raise Estranged(text, outcome)
        if outcome is not None:
            return outcome
        if status in _NOT_TAKEN:
            raise Refused(f"upstream {self.name} refused the request: HTTP status {status}")
        raise NoAnswer(f"upstream {self.name} ended its answer early (HTTP status {status})")

    async def _posted(self, conversation, parts, method, name, fields, take):
        """(outcome or None, HTTP status) of a request."""
        events = SSEDecoder(MAX_ANSWER)
        resumable = not conversation.client.modern
        status = None
        outcome = None
        try:
            async with self._post(conversation, parts, method, name, fields) as response:
                status = response.status_code
                if status == 404 and conversation.session:
                    return None, status
                outcome = await self.read(response, take, events)
        except NoAnswer:
            if not (resumable and events.last_id):
                raise
        if outcome is None and resumable and events.last_id:
            outcome = await self._resume(conversation, take, events)
        return outcome, status

    def heard(self, conversation, event, buf, call=None, seen=None):
        """What a server says beside answers and progress. call: the Call on whose stream it is;
        seen: list of the questions on that stream, which may repeat them after a break."""
        client = conversation.client
        if event == core.REPLY:
            self.later(conversation, client.out)
        elif event == core.CHANGED and self.on_change:
            self.on_change(client.method)
        elif event == core.ASKED and (seen is None or is_new(seen, client.asked)):
            if call is None and len(self._held.calls) == 1:
                call = self._held.calls[0]  # it can only mean that one
            params = buf[client.lo : client.hi] if client.lo >= 0 else b""
            self._aside_do(self._reply(conversation, call, client.asked, client.method, params))

    async def _reply(self, conversation, call, id, method, params):
        if call is None:
            ok, raw = False, error_object(METHOD_NOT_FOUND, "not supported by this client")
        else:
            ok, raw = await call.ask(method, params)
        self.later(conversation, conversation.client.reply(id, ok, raw))

    async def _resume(self, conversation, take, events):
        """A legacy server's stream ended or broke before the answer: ask for the rest of it."""
        tries = 0
        last = events.last_id
        pause_s = 1.0
        while tries < _MAX_RESUMES:
            tries += 1
            if events.retry is not None:
                pause_s = min(_MAX_RETRY_S, events.retry / 1000)
            await asyncio.sleep(pause_s)
            fields = {"Last-Event-ID": last.decode("latin-1")}
            events = SSEDecoder(MAX_ANSWER)
            try:
                async with self.stream(conversation, "GET", fields) as response:
                    if response.status_code != 200:
                        return None
                    outcome = await self.read(response, take, events)
            except (Unavailable, NoAnswer):
                outcome = None  # the next try tells
            if outcome is not None:
                return outcome
            if events.last_id not in (b"", last):
                last = events.last_id
                tries = 0
        return None

    async def read(self, response, take, events):
        """Give the messages of an answer to take(bytes) until it returns something; returns
        that.
        """
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise NoAnswer(f"answer of more than {MAX_ANSWER} bytes")
            return take(bytes(body))
        if kind != "text/event-stream":
            return None
        events = events or SSEDecoder(MAX_ANSWER)
        try:
            async for chunk in response.aiter_bytes():
                at = 0
                while events.next(chunk, at, len(chunk)):
                    at = events.pos
                    outcome = take(bytes(events.data)) if events.event == b"message" else None
                    if outcome is not None:
                        return outcome
        except TooLarge as e:
            raise NoAnswer(f"upstream {self.name}: {e}") from e
        return None

    def _post(self, conversation, parts, method, name=None, fields=None):
        version = conversation.client.version
        own = headers.of_request(version, method, name, conversation.session)
        return self.stream(conversation, "POST", own | (fields or {}), b"".join(parts))

    @asynccontextmanager
    async def stream(self, conversation, verb, fields, body=None):
        """An HTTP exchange whose failures are Unavailable (not sent) or NoAnswer."""
        if verb != "POST":
            fields = fields | {
                "Accept": "text/event-stream",
                "MCP-Protocol-Version": conversation.client.version,
                "Mcp-Session-Id": conversation.session or "",
            }
        try:
            async with self._http.stream(verb, self.url, content=body, headers=fields) as response:
                yield response
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.ProxyError,
            httpx.LocalProtocolError,
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ) as e:
            raise Unavailable(str(e) or type(e).__name__) from e
        except (httpx.HTTPError, httpx.StreamError) as e:
            raise NoAnswer(f"upstream {self.name}: {str(e) or type(e).__name__}") from e

    def later(self, conversation, parts):
        """Post a message that has no answer, without waiting for it."""

        async def post():
            try:
                async with asyncio.timeout(CONNECT_S):
                    async with self._post(conversation, parts, "notifications/"):
                        pass
            except (Unavailable, NoAnswer, TimeoutError) as e:
                self._log.info(f"upstream {self.name}: {e}")

        self._aside_do(post())

    def _aside_do(self, work):
        if len(self._aside) >= _MAX_ASIDE:
            work.close()  # a server that asks so much has to wait
            return
        task = asyncio.ensure_future(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
