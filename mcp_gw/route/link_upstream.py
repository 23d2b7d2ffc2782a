"""An upstream server behind the bridge at the other end of the serial link."""

import asyncio
import json

from ..compat import const, sleep_ms, ticks_add, ticks_diff, ticks_ms
from ..errors import INVALID_REQUEST, NoAnswer, Unavailable
from ..protocol.framing import (
    ERROR,
    ERROR_RESPONSE,
    ID,
    NOTIFICATION,
    PARAMS,
    RESPONSE,
    RESULT,
    new_spans,
    scan,
)
from ..protocol.jsontext import member
from ..protocol.jsonvalue import dumps
from ..protocol.revisions import LATEST_MODERN
from ..transports.link import random_hex
from .upstream import Upstream

_MAX_DEPTH = 64
_MAX_ASKED = const(16)
_ASKS = b'{"resultType":"input_required"'


class LinkUpstream(Upstream):
    """Speaks revision 2026-07-28 on channel `u` of a link: no handshake, _meta in every request.

    info: JSON bytes, name and version of this gateway. `link` is the Link whose bridge offers the
    upstream.
    """

    modern = True
    tells_state = True

    def __init__(self, name, info):
        super().__init__(name)
        self.link = None
        self._meta = (
            b'{"io.modelcontextprotocol/protocolVersion":"%s","io.modelcontextprotocol/clientInfo":'
        ).replace(b"%s", LATEST_MODERN.encode()) + info
        self._meta += b',"io.modelcontextprotocol/clientCapabilities":'
        self._asked = []  # (requestState, id of the request), of those that may be abandoned
        self._head = name.encode() + b' {"jsonrpc":"2.0","id":'
        # Answers to what was asked before a restart must not match.
        self._id = int(random_hex(4), 16) << 8
        self._pending = {}  # id -> (deadline, done, on_progress)
        self._spans = new_spans()

    def attach(self, link):
        """The bridge on `link` offers this upstream."""
        if self.link is not link:
            self.lost()
            self.link = link
            link.conversations[self.name] = self._receive

    @property
    def up(self):
        return self.link is not None and self.link.up and self.link.states.get(self.name, False)

    @up.setter
    def up(self, value):
        """What the bridge says is what counts."""

    @property
    def deliver(self):
        return self.link.deliver if self.link else None

    @property
    def longest(self):
        return self.link.peer_rx

    def meta(self, extra=b"", can=b"{}"):
        if extra:
            return b"".join((self._meta, can, b",", extra, b"}"))
        return self._meta + can + b"}"

    def asks(self, raw):
        # The bridge puts the type first.
        return bytes(raw[: len(_ASKS)]) == _ASKS

    def next_token(self):
        """The progress token to put into the _meta of the next `begin`."""
        return self._id + 1

    def begin(self, method, params_parts, timeout_ms, done, on_progress=None):
        """Send a request now; `done(ok, raw, error)` is called once, later.

        ok: a result came; raw: its JSON (or the error object's), a memoryview valid during the
        call only;
        error: None, Unavailable or NoAnswer. Returns an id for give_up(). Raises Unavailable when
        the link or the upstream is down.
        """
        if not self.up:
            raise Unavailable("%s is not reachable" % self.name)
        self._id += 1
        parts = [self._head, ('%d,"method":"%s","params":' % (self._id, method)).encode()]
        parts.extend(params_parts)
        parts.append(b"}")
        size = sum(len(p) for p in parts) + 32
        if size > self.link.peer_rx:
            told = "the call is %d bytes, the bridge takes %d" % (size, self.link.peer_rx)
            done(False, dumps({"code": INVALID_REQUEST, "message": told}), None)
            return None
        self._pending[self._id] = (ticks_add(ticks_ms(), timeout_ms), done, on_progress)
        self.link.send(b"u", parts)
        return self._id

    def give_up(self, id):
        """Nobody waits for the answer any more."""
        if self._pending.pop(id, None) and self.link.up:
            self._cancel(id)

    def abandon(self, state):
        for row in self._asked:
            if row[0] == state:
                self._asked.remove(row)
                if self.link.up:
                    self._cancel(row[1])
                return

    def _cancel(self, id):
        told = '%s {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,'
        parts = [(told % (self.name, id)).encode(), b'"_meta":', self.meta(), b"}}"]
        self.link.send(b"u", parts)

    async def request(self, method, params_parts, timeout_ms, on_progress=None, can=b"{}"):
        """See Upstream.request."""
        outcome = []

        def done(ok, raw, error):
            outcome.append((ok, bytes(raw) if raw is not None else b"", error))

        id = self.begin(method, params_parts, timeout_ms, done, on_progress)
        try:
            while not outcome:  # asyncio's Event would cost a board more RAM than this does time
                await sleep_ms(2)
        except asyncio.CancelledError:
            self.give_up(id)
            raise
        ok, raw, error = outcome[0]
        if error:
            raise error
        return ok, raw

    def tick(self, now):
        """Give up on requests whose time is over."""
        late = [id for id, row in self._pending.items() if ticks_diff(row[0], now) <= 0]
        for id in late:
            self._fail(id, "%s did not answer in time" % self.name)

    def lost(self):
        """The link was lost or restarted: nothing under way will be answered."""
        for id in list(self._pending):
            self._fail(id, "the link to %s was lost" % self.name)

    def _fail(self, id, why):
        self._pending.pop(id)[1](False, None, NoAnswer(why))

    def _receive(self, buf, lo, hi):
        spans = self._spans
        kind = scan(buf, lo, hi, spans, _MAX_DEPTH)
        view = memoryview(buf)
        if kind == NOTIFICATION:
            raw = bytes(view[spans[2 * PARAMS] : spans[2 * PARAMS + 1]])
            row = self._pending.get(json.loads(raw).get("progressToken"))
            if row and row[2]:
                row[2](raw)
            return
        if kind != RESPONSE and kind != ERROR_RESPONSE:
            raise ValueError("not an answer")
        id = int(bytes(view[spans[2 * ID] : spans[2 * ID + 1]]))
        row = self._pending.pop(id, None)
        if row is None:
            return  # given up on, or asked before a restart
        field = RESULT if kind == RESPONSE else ERROR
        raw = view[spans[2 * field] : spans[2 * field + 1]]
        if kind == RESPONSE and self.asks(raw):
            state = member(bytes(raw), b"requestState")
            if state is not None:
                self._asked = self._asked[1 - _MAX_ASKED :] + [(json.loads(state), id)]
        row[1](kind == RESPONSE, raw, None)
