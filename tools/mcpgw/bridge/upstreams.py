"""Upstream MCP servers over Streamable HTTP: the portable client core with httpx for the I/O."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx

from mcp_gw.errors import GatewayError, NoAnswer, Unavailable
from mcp_gw.protocol import client as core
from mcp_gw.protocol.http import TooLarge
from mcp_gw.protocol.sse import SSEDecoder
from mcp_gw.route.upstream import Upstream

from .. import __version__
from . import headers
from .calls import parse
from .listening import Refused, listen

_CONNECT_S = 10.0
_RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
# The longest answer, or event of an answer, in bytes.
MAX_ANSWER = 16 << 20
_MAX_RESUMES = 20
_HEADER_MISMATCH = -32020
_CANCELLED = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}'
# Statuses of a server (or a proxy before it) that did not take the request in.
_NOT_TAKEN = (301, 302, 307, 308, 401, 403, 404, 405, 406, 407, 413, 415, 421, 429, 431, 503)


class _Estranged(Refused):
    """The server turned the request down as one of the other era does; outcome: its error, if it
    gave one.
    """

    def __init__(self, text, outcome):
        super().__init__(text)
        self.outcome = outcome


class _Conversation:
    """What one opening of the server agreed on. A new one is made when the server has forgotten
    it.
    """

    def __init__(self):
        self.client = core.Client("mcpgw bridge", __version__)
        self.client.MAX_PENDING = 1000
        self.session = None


class HTTPUpstream(Upstream):
    """One upstream server.

    url: of its MCP endpoint; fields: dict of further header fields; verify: an ssl.SSLContext,
    or True for httpx's own; timeout_s: for one request; on_state: function(upstream), called
    when `up` changed.
    """

    MAX_PAGES = 200
    MAX_TOOLS = 4096
    MAX_LIST_BYTES = 16 << 20

    def __init__(self, name, url, log, fields=None, verify=True, timeout_s=60.0):
        super().__init__(name)
        self.url = url
        self.timeout_s = timeout_s
        self.on_state = None
        self.catalog = {}  # tool's name -> descriptor (dict), as last listed
        self._log = log
        if url.startswith("http://"):
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not used; quick to make
        self._http = httpx.AsyncClient(
            headers={"User-Agent": f"mcpgw/{__version__}"} | (fields or {}),
            verify=verify,
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            # Shorter than the 5 s after which common servers close an idle connection.
            limits=httpx.Limits(keepalive_expiry=3.0),
        )
        self._conversation = None
        self._opening = asyncio.Lock()
        self._lost = asyncio.Event()
        self._why = None  # the reason given when it was last found down
        self._tokens = 0
        self._aside = set()  # tasks that nobody waits for

    # -- what Upstream asks for

    def meta(self, extra=b""):
        return (self._conversation or _Conversation()).client.meta(extra)

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None):
        timeout_s = self.timeout_s if timeout_ms is None else timeout_ms / 1000
        return await self.send(method, b"".join(params_parts), None, timeout_s, on_progress)

    async def connect(self):
        await self._open()

    async def close(self):
        for task in self._aside:
            task.cancel()
        await asyncio.gather(*self._aside, return_exceptions=True)
        conversation = self._conversation
        if conversation and conversation.session:
            try:
                async with asyncio.timeout(1), self.stream(conversation, "DELETE", {}):
                    pass
            except (Unavailable, NoAnswer, TimeoutError):
                pass  # a courtesy; the server forgets the session by itself
        await self._http.aclose()

    # -- what the bridge needs

    async def keep(self):
        """Open the conversation, and again, with back-off, whenever it was lost. Ends when
        cancelled.
        """
        tries = 0
        while True:
            self._lost.clear()
            try:
                conversation = await self._open()
            except Unavailable:
                await asyncio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
                tries += 1
                continue
            tries = 0
            hearing = asyncio.create_task(listen(self, conversation))
            try:
                await self._lost.wait()
            finally:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    def fell(self, why):
        """Note that the server cannot be reached; keep() takes it from there."""
        self._set(False, why)

    async def list(self):
        """All tools: list of descriptors (JSON text, bytes). Refreshes the catalog."""
        found = []
        count, whole = await self.tools(found.append)
        if not whole:
            self._log.info(f"upstream {self.name}: its list of tools was cut after {count}")
        named = [(tool, raw) for raw in found if _is_tool(tool := parse(raw))]
        self.catalog = {tool["name"]: tool for tool, _ in named}
        return [raw for _, raw in named]

    async def call(self, tool, params, extra, timeout_s=None, on_progress=None):
        """tools/call. params: JSON text without _meta; extra: members for _meta. Else as
        send().
        """
        fields = self._fields(tool, params)
        while True:
            ok, raw = await self.send(
                "tools/call", params, extra, timeout_s, on_progress, tool, fields
            )
            if ok or parse(raw).get("code") != _HEADER_MISMATCH:
                return ok, raw
            # Arguments that belong into headers too: known from the descriptor, which is old.
            await self.list()
            before, fields = fields, self._fields(tool, params)
            if fields == before:
                return ok, raw

    async def send(
        self, method, params, extra, timeout_s=None, on_progress=None, name=None, fields=None
    ):
        """Send one request; returns (ok, raw) and raises as Upstream.request does.

        params: JSON text of an object; extra: members (JSON text without braces) for the _meta
        that is put into params, or None: params has its _meta; on_progress: function(raw params
        of a notification); name, fields: for the Mcp-Name header, and further header fields.
        """
        if self._why is not None:
            raise Unavailable(f"upstream {self.name} is not reachable: {self._why}")
        timeout_s = timeout_s or self.timeout_s
        sent = False
        try:
            async with asyncio.timeout(timeout_s):
                for last in (False, True):
                    conversation = await self._open()
                    sent = True
                    try:
                        outcome = await self.exchange(
                            conversation, method, params, extra, on_progress, name, fields
                        )
                    except _Estranged as e:
                        outcome = e.outcome if last else None
                        if last and outcome is None:
                            raise
                    if outcome is not None:
                        return outcome
                    # The server has forgotten the session, or was replaced by one that speaks
                    # another revision, so it has not executed anything.
                    sent = False
                    if self._conversation is conversation:
                        self._conversation = None
                        self._lost.set()
                raise Unavailable(f"upstream {self.name} forgets every session at once")
        except TimeoutError:
            text = f"upstream {self.name} gave no answer within {timeout_s:g} s"
            raise (NoAnswer(text) if sent else Unavailable(text)) from None
        except Refused:
            raise
        except Unavailable as e:
            self._set(False, str(e))
            raise

    # -- opening

    async def _open(self):
        async with self._opening:
            if self._conversation is None:
                conversation = _Conversation()
                try:
                    async with asyncio.timeout(_CONNECT_S):
                        await self._handshake(conversation)
                except GatewayError as e:
                    self._set(False, str(e))
                    raise Unavailable(str(e)) from e
                except TimeoutError:
                    text = f"no answer within {_CONNECT_S:g} s"
                    self._set(False, text)
                    raise Unavailable(text) from None
                self._conversation = conversation
                self._set(True)
            return self._conversation

    async def _handshake(self, conversation):
        client = conversation.client
        id, parts = client.open()
        while True:

            def take(buf, id=id):
                event = client.receive(buf, 0, len(buf), id)
                if event == core.REPLY:
                    self.later(conversation, client.out)
                return event if event in (core.SEND, core.READY, core.REFUSED) else None

            method = "initialize" if client.version is None else "server/discover"
            async with self._post(conversation, parts, method) as response:
                event = await self.read(response, take, None)
                conversation.session = response.headers.get("mcp-session-id")
            if event is None:
                status = response.status_code
                if status >= 500 or status in (401, 403, 407, 429):
                    raise Unavailable(f"HTTP status {status}")
                event = client.rejected(f"HTTP status {status}")
            if event == core.REFUSED:
                raise Unavailable(client.why)
            if event == core.READY:
                break
            id, parts = client.out_id, client.out
        if client.out is not None:
            async with self._post(conversation, client.out, "notifications/initialized"):
                pass

    def _set(self, up, why=None):
        """Note and tell whether the server can be reached."""
        before, self.up = self.up, up
        news = up != before or why != self._why
        first, self._why = self._why is None, why
        if up:
            client = self._conversation.client
            name = client.server.get("name", "a server")
            if news:
                self._log.info(f"upstream {self.name} is reachable: {name}, MCP {client.version}")
        else:
            self._conversation = None
            self._lost.set()
            if news:
                self._log.info(f"upstream {self.name} is not reachable: {why}")
        if self.on_state and (up != before or first):
            self.on_state(self)

    # -- one exchange

    async def exchange(
        self, conversation, method, params, extra=b"", on_progress=None, name=None, fields=None
    ):
        """As send(), in this conversation and without a time limit. Returns None when the server
        does not know the session any more.
        """
        client = conversation.client
        token = None
        if extra is not None:
            if on_progress:
                self._tokens += 1
                token = b'"p%d"' % self._tokens
                extra = b",".join(filter(None, (extra, b'"progressToken":' + token)))
            comma = b"" if params.strip() == b"{}" else b","
            params = b'{"_meta":' + client.meta(extra) + comma + params.lstrip()[1:]
        try:
            id, parts = client.request(method, [params])
        except Unavailable as e:  # too many are under way
            raise Refused(f"upstream {self.name}: {e}") from e

        exact = False  # whether the answer named the request's id

        def take(buf):
            nonlocal exact
            event = client.receive(buf, 0, len(buf), id)
            if event in (core.ANSWER, core.FAILURE):
                exact = client.exact
                return client.settle(event == core.ANSWER, buf[client.lo : client.hi])
            if event == core.PROGRESS and token and client.progress_token(buf) == token:
                on_progress(buf[client.lo : client.hi])
            elif event == core.REPLY:
                self.later(conversation, client.out)
            elif event == core.CHANGED and self.on_change:
                self.on_change(client.method)
            return None

        try:
            async with self._post(conversation, parts, method, name, fields) as response:
                status = response.status_code
                if status == 404 and conversation.session:
                    return None
                events = SSEDecoder(MAX_ANSWER)
                outcome = await self.read(response, take, events)
            if outcome is None and events.last_id and not client.modern:
                outcome = await self._resume(conversation, take, events)
        except asyncio.CancelledError:
            if not client.modern:  # closing the stream says it in the modern revision
                self.later(conversation, [_CANCELLED % id])
            raise
        finally:
            client.forget(id)
        if client.modern and not exact and status in (400, 404, 405):
            text = f"upstream {self.name} refused the request: HTTP status {status}"
            raise _Estranged(text, outcome)
        if outcome is not None:
            return outcome
        if status in _NOT_TAKEN:
            raise Refused(f"upstream {self.name} refused the request: HTTP status {status}")
        raise NoAnswer(f"upstream {self.name} ended its answer early (HTTP status {status})")

    async def _resume(self, conversation, take, events):
        """A legacy server may end its stream and go on in another one."""
        for _ in range(_MAX_RESUMES):
            await asyncio.sleep(1.0 if events.retry is None else events.retry / 1000)
            fields = {"Last-Event-ID": events.last_id.decode("latin-1")}
            async with self.stream(conversation, "GET", fields) as response:
                if response.status_code != 200:
                    return None
                outcome = await self.read(response, take, events)
            if outcome is not None:
                return outcome
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
                async with asyncio.timeout(_CONNECT_S):
                    async with self._post(conversation, parts, "notifications/"):
                        pass
            except (Unavailable, NoAnswer, TimeoutError) as e:
                self._log.info(f"upstream {self.name}: {e}")

        task = asyncio.ensure_future(post())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    def _fields(self, tool, params):
        schema = self.catalog.get(tool, {}).get("inputSchema")
        return headers.of_arguments(schema, parse(params).get("arguments"))


def _is_tool(descriptor):
    return isinstance(descriptor, dict) and isinstance(descriptor.get("name"), str)
