"""Upstream MCP servers over Streamable HTTP: the portable client core with httpx for the I/O."""

import asyncio

from mcp_gw.errors import GatewayError, NoAnswer, Unavailable
from mcp_gw.protocol import client as core
from mcp_gw.route.held import Call, Held

from .. import __version__
from . import headers
from .calls import parse
from .carrier import CONNECT_S, Carrier, Estranged
from .listening import Refused, listen

_RETRY_S = (1.0, 2.0, 4.0, 8.0, 15.0)
# What a board's client may be able to answer; a legacy server is told once, before any is known.
_CAPABILITIES = '{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}'
# Calls that wait for the answer to a question of a legacy server, and how long each waits.
_MAX_HELD = 64
_ANSWER_MS = 300_000
_HEADER_MISMATCH = -32020


class _Conversation:
    """What one opening of the server agreed on. A new one is made when the server has forgotten
    it.
    """

    def __init__(self):
        self.client = core.Client("mcpgw bridge", __version__, capabilities=_CAPABILITIES)
        self.client.MAX_PENDING = 1000
        self.session = None


class _Call(Call):
    """A call of the board; sent: whether the server may have taken it in."""

    sent = False


class HTTPUpstream(Carrier):
    """One upstream server.

    url: of its MCP endpoint; fields: dict of further header fields; verify: an ssl.SSLContext,
    or True for httpx's own; timeout_s: for one request; on_state: function(upstream), called
    when `up` changed.
    """

    MAX_PAGES = 200
    MAX_TOOLS = 4096
    MAX_LIST_BYTES = 16 << 20

    def __init__(self, name, url, log, fields=None, verify=True, timeout_s=60.0):
        super().__init__(name, url, log, Held(_MAX_HELD, _ANSWER_MS), fields, verify)
        self.timeout_s = timeout_s
        self.on_state = None
        self.catalog = {}  # tool's name -> descriptor (dict), as last listed
        self._conversation = None
        self._opening = asyncio.Lock()
        self._lost = asyncio.Event()
        self._why = None  # the reason given when it was last found down

    # -- what Upstream asks for

    def meta(self, extra=b"", can=b"{}"):
        return (self._conversation or _Conversation()).client.meta(extra, can)

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        timeout_s = self.timeout_s if timeout_ms is None else timeout_ms / 1000
        params = b"".join(params_parts)
        return await self.send(method, params, None, timeout_s, on_progress, can=can)

    def abandon(self, state):
        self._held.drop(state)

    async def connect(self):
        await self._open()

    async def close(self):
        self._held.close()
        await asyncio.sleep(0)  # the word that they are given up is on its way
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

    async def list(self, kind="tools"):
        """All it has of a kind (see LISTS): list of descriptors (JSON text, bytes). That of the
        tools refreshes the catalog.
        """
        found = []
        count, whole = await self.listed(kind, found.append)
        if not whole:
            self._log.info(f"upstream {self.name}: its list of {kind} was cut after {count}")
        if kind != "tools":
            return [raw for raw in found if isinstance(parse(raw), dict)]
        named = [(tool, raw) for raw in found if _is_tool(tool := parse(raw))]
        self.catalog = {tool["name"]: tool for tool, _ in named}
        return [raw for _, raw in named]

    async def call(self, tool, params, extra, timeout_s=None, on_progress=None, can=b"{}"):
        """tools/call. params: JSON text without _meta; extra: members for _meta. Else as
        send().
        """
        fields = self._fields(tool, params)
        while True:
            ok, raw = await self.send(
                "tools/call", params, extra, timeout_s, on_progress, tool, fields, can
            )
            if ok or parse(raw).get("code") != _HEADER_MISMATCH:
                return ok, raw
            # Arguments that belong into headers too: known from the descriptor, which is old.
            await self.list()
            before, fields = fields, self._fields(tool, params)
            if fields == before:
                return ok, raw

    async def send(
        self,
        method,
        params,
        extra,
        timeout_s=None,
        on_progress=None,
        name=None,
        fields=None,
        can=b"{}",
    ):
        """Send one request; returns (ok, raw) and raises as Upstream.request does.

        params: JSON text of an object; extra: members (JSON text without braces) for the _meta
        that is put into params, or None: params has its _meta; on_progress: function(raw params
        of a notification); name, fields: for the Mcp-Name header, and further header fields; can:
        what the server may ask the client, see Upstream.meta.
        """
        if self._why is not None:
            raise Unavailable(f"upstream {self.name} is not reachable: {self._why}")
        call, gone = self._held.find(params)
        if gone and not (await self._open()).client.modern:
            return False, gone
        if call is None:
            call = _Call(self._held, on_progress, can)
            call.start(self._send(call, method, params, extra, name, fields))
        else:
            call.on_progress, call.can = on_progress, can
        timeout_s = timeout_s or self.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._held.outcome(call)
        except TimeoutError:
            text = f"upstream {self.name} gave no answer within {timeout_s:g} s"
            raise (NoAnswer(text) if call.sent else Unavailable(text)) from None
        except Refused:
            raise
        except Unavailable as e:
            self._set(False, str(e))
            raise

    async def _send(self, call, method, params, extra, name, fields):
        for last in (False, True):
            conversation = await self._open()
            call.sent = True
            try:
                outcome = await self.exchange(
                    conversation, method, params, extra, call, name, fields
                )
            except Estranged as e:
                outcome = e.outcome if last else None
                if last and outcome is None:
                    raise
            if outcome is not None:
                return outcome
            # The server has forgotten the session, or was replaced by one that speaks another
            # revision, so it has not executed anything.
            call.sent = False
            if self._conversation is conversation:
                self._conversation = None
                self._lost.set()
        raise Unavailable(f"upstream {self.name} forgets every session at once")

    # -- opening

    async def _open(self):
        async with self._opening:
            if self._conversation is None:
                conversation = _Conversation()
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await self._handshake(conversation)
                except GatewayError as e:
                    self._set(False, str(e))
                    raise Unavailable(str(e)) from e
                except TimeoutError:
                    text = f"no answer within {CONNECT_S:g} s"
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

    def _fields(self, tool, params):
        schema = self.catalog.get(tool, {}).get("inputSchema")
        return headers.of_arguments(schema, parse(params).get("arguments"))


def _is_tool(descriptor):
    return isinstance(descriptor, dict) and isinstance(descriptor.get("name"), str)
