"""A board at the other end of the serial link, as an upstream of the paired gateway."""

import asyncio
import re

from mcp_gw.errors import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NoAnswer,
    Unavailable,
)
from mcp_gw.protocol import client as core
from mcp_gw.protocol.jsontext import member, one_line
from mcp_gw.route.upstream import Upstream, unasked_type

from .. import __version__
from ..bridge.board import Listener
from ..bridge.calls import error_object
from .board_face import BoardFace

# The opening takes no longer; a board that is busy is asked again with the next hello.
_OPEN_S = 10.0
# Requests under way on one board; it has a limit of its own, which is lower on a small one.
_MAX_PENDING = 64
# What waits for a board that does not read, in bytes; more is not sent.
_MAX_UNSENT = 1 << 18
_KINDS = ("tools", "prompts", "resources")
# Bytes that are nowhere valid in JSON; on a board's console some of them are commands.
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x0c\x0e-\x1f]")


class LinkBoard(BoardFace, Upstream, Listener):
    """One board behind the serial link: the client's side of MCP over a bridge.board.Board.

    log: a bridge.log.Log; on_state: function(board), called when `up` has changed; served:
    function() -> names (container of str) of the tools that this gateway shows to the board;
    timeout_s: of a request; offers: what of it clients are shown.

    board: the Board, to be set before it runs; relay: what answers the board's own requests (a
    bridge.relay.Relay), or None.
    """

    def __init__(self, name, log, on_state, served=tuple, timeout_s=30.0, offers=_KINDS):
        Upstream.__init__(self, name)
        self.offers = offers
        self.timeout_ms = int(timeout_s * 1000)
        self.served = served
        self._log = log
        self._on_state = on_state
        self.board = self.relay = None
        self.why = "it was not there yet"
        self.client = core.Client("mcpgw pi", __version__)
        self.client.MAX_PENDING = _MAX_PENDING
        self._pending = {}  # id -> _Pending
        self._tokens = {}  # progress token -> function(raw)
        self._opening = None  # task
        self._opened = None  # future

    @property
    def modern(self):
        return self.client.modern

    @modern.setter
    def modern(self, value):
        """The conversation knows."""

    @property
    def hello(self):
        """What the board said of itself last (dict)."""
        return self.board.hello

    @property
    def capabilities(self):
        return self.client.capabilities

    # What a Board tells.

    def board_up(self, hello, restarted):
        if self.relay is not None:
            self.relay.board_up(restarted)
        self._open_again()

    def board_same(self):
        if not self.up and (self._opening is None or self._opening.done()):
            self._open_again()

    def board_down(self, why):
        if self._opening is not None:
            self._opening.cancel()
        self.why = why
        was, self.up = self.up, False
        for id in list(self._pending):
            self._end(id, NoAnswer(f"{self.name}: {why}; the request may have been executed"))
        self.client.reset()
        self._tokens.clear()
        if was:
            self._on_state(self)

    def board_message(self, line):
        client = self.client
        event = client.receive(line, 0, len(line))
        if event in (core.ANSWER, core.FAILURE):
            self._answered(event == core.ANSWER, client.id, line[client.lo : client.hi])
        elif event == core.SEND:
            self._send(client.out)
        elif event in (core.READY, core.REFUSED):
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(None if event == core.READY else client.why)
        elif event == core.PROGRESS:
            take = self._tokens.get(client.progress_token(line))
            if take is not None:
                take(line[client.lo : client.hi])
        elif event == core.CHANGED:
            if self.on_change is not None and client.method in _KINDS:
                self.on_change(client.method)
        elif event == core.REPLY:
            self._send(client.out)
        elif event == core.ASKED:
            # Only a board that speaks no 2026-07-28 asks so, and nobody told it that it may.
            error = error_object(METHOD_NOT_FOUND, "not supported by this client")
            self._send(client.reply(client.asked, False, error))
        elif event == core.INVALID:
            self._log.info(f"{self.name}: dropped a line that is not MCP: {client.why}")

    def board_upstream(self, name, message):
        if self.relay is None:
            raise ValueError("nobody answers here")
        self.relay.message(name, message)

    # The conversation.

    def _open_again(self):
        if self._opening is not None:
            self._opening.cancel()
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self):
        client = self.client
        self._opened = asyncio.get_running_loop().create_future()
        self._send(client.open()[1])
        try:
            async with asyncio.timeout(_OPEN_S):
                why = await self._opened
        except TimeoutError:
            why = f"it did not answer {client.version and 'server/discover' or 'initialize'}"
        finally:
            client.forget(client.out_id)
        if why:
            self.why = why
            self._log.info(f"{self.name}: {why}")
            return
        if client.out is not None:
            self._send(client.out)
        self._listen()
        self.up = True
        self._on_state(self)

    def _listen(self):
        """Ask to be told when its lists change; a legacy board does so unasked."""
        client = self.client
        kinds = [kind for kind in _KINDS if _tells(client.capabilities.get(kind))]
        if client.modern and kinds:
            rows = ",".join(f'"{kind}ListChanged":true' for kind in kinds)
            params = [b'{"_meta":', client.meta(), f',"notifications":{{{rows}}}}}'.encode()]
            self._send(client.request("subscriptions/listen", params)[1])

    def _send(self, parts):
        self.board.send_message(one_line(b"".join(parts)))

    # What an Upstream is asked for.

    def meta(self, extra=b"", can=b"{}"):
        return self.client.meta(extra, can)

    def begin(self, method, params_parts, timeout_ms, done, on_progress=None):
        """Send a request now; done(ok, raw, error) is called once, later, as LinkUpstream.begin()
        has it. Returns an id for give_up(). Raises Unavailable."""
        if not self.up:
            raise Unavailable(self.absence())
        if self.board.unsent > _MAX_UNSENT:
            raise Unavailable(f"{self.name} does not read what it is sent")
        params = self.to_board(method, b"".join(params_parts))
        id, parts = self.client.request(method, [params])
        line = one_line(b"".join(parts))
        why = None
        if len(line) > self.board.rx:
            why = f"the request has {len(line)} bytes; {self.name} takes {self.board.rx}"
        elif _CONTROLS.search(line):
            why = "the request is not valid JSON"
        if why:
            self.client.forget(id)
            done(False, error_object(INVALID_REQUEST, why), None)
            return None
        timeout_ms = min(timeout_ms, self.timeout_ms)
        timer = asyncio.get_running_loop().call_later(timeout_ms / 1000, self._late, id)
        token = _token_of(params) if on_progress is not None else None
        if token is not None:
            self._tokens[token] = on_progress
        self._pending[id] = method, done, token, timer
        self.board.send_message(line)
        return id

    def give_up(self, id):
        """Nobody waits for the answer any more: the board is told."""
        if self._forget(id) is not None:
            self._send(self.client.cancelled(id))

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        answer = asyncio.get_running_loop().create_future()

        def done(ok, raw, error):
            if not answer.done():
                answer.set_result((ok, raw, error))

        id = self.begin(method, params_parts, timeout_ms or self.timeout_ms, done, on_progress)
        try:
            ok, raw, error = await answer
        except asyncio.CancelledError:
            self.give_up(id)
            raise
        if error is not None:
            raise error
        return ok, raw

    async def connect(self):
        if not self.up:
            raise Unavailable(self.absence())

    async def close(self):
        self.board_down("the gateway is closing")

    # Answers.

    def _answered(self, ok, id, raw):
        row = self._forget(id)
        if row is None:
            return  # given up, or the end of a stream
        method, done = row[:2]
        if ok:
            why = self.client.modern and unasked_type(raw)
            if why:
                ok, raw = False, error_object(INTERNAL_ERROR, f"{self.name}: {why}")
        done(ok, self.from_board(method, ok, raw), None)

    def _late(self, id):
        if id in self._pending:
            self._send(self.client.cancelled(id))
            self._end(id, NoAnswer(f"{self.name} did not answer in time"))

    def _end(self, id, error):
        row = self._forget(id)
        if row is not None:
            row[1](False, None, error)

    def _forget(self, id):
        row = self._pending.pop(id, None)
        if row is not None:
            self.client.forget(id)
            self._tokens.pop(row[2], None)
            row[3].cancel()
        return row

    @property
    def pending(self):
        """Requests under way."""
        return len(self._pending)


def _token_of(params):
    """The progress token in a request's params, as JSON text, or None."""
    if b'"progressToken"' not in params:
        return None
    meta = member(params, b"_meta")
    return member(meta, b"progressToken") if meta and meta[:1] == b"{" else None


def _tells(capability):
    return isinstance(capability, dict) and capability.get("listChanged") is True
