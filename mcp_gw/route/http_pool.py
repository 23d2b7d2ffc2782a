"""A few kept HTTP/1.1 connections to one server: sends a request, brings back the answer."""

import asyncio

from ..errors import NoAnswer, Unavailable
from ..protocol.http import BODY, END, HEAD, NEED, HTTPError, ResponseParser, TooLarge
from ..protocol.sse import SSEDecoder
from .stream import Stream, Unsent, describe


class Exchange:
    """One request and its answer.

    data: the request's bytes. repeatable: it changes nothing, so it may be sent twice.
    on_event: function(buf, start, end), given the data of each event of an event-stream answer;
    True ends the wait.
    After Pool.run(): status (int), headers (dict of bytes), kind (content type without parameters,
    lower-case bytes), body (bytes-like; empty for an event stream), streamed (the answer was an
    event stream), complete (on_event returned True), last_id (bytes; of the last event that had an
    id), retry (ms that the server asks for before coming again, or None).
    """

    def __init__(self, data, repeatable=False, on_event=None):
        self.data = data
        self.repeatable = repeatable
        self.on_event = on_event
        self.stream = None
        self._clear()

    def _clear(self):
        self.status = 0
        self.headers = {}
        self.kind = b""
        self.body = b""
        self.streamed = self.complete = False
        self.last_id = b""
        self.retry = None

    @property
    def sent(self):
        """Whether the request was handed to the network as a whole: it may have been acted on."""
        return self.stream is not None and self.stream.sent


class _Slot:
    """Room for one connection, used by one request at a time."""

    def __init__(self):
        self.lock = asyncio.Lock()
        self.users = 0  # requests that use it or wait for it
        self.stream = None
        self.parser = None

    def drop(self):
        if self.stream:
            self.stream.close()
        self.stream = self.parser = None


class Pool:
    """Connections to the server of `url` (a URL).

    context: TLS context or None. size: how many connections at most; made when needed, kept while
    the server keeps them.
    connect_ms: time for a TCP connection. max_body: longest body, or event of a stream, in bytes.
    spare: function() -> how many more connections there may be now, since so many are held by
    calls that wait for a person.
    """

    # How long the end of an event stream is waited for once its answer has come: then the
    # connection can be kept.
    LINGER_MS = 50
    MAX_ERROR_PAGE = 2048  # bytes of a body kept that is neither JSON nor events

    def __init__(self, url, context, size, connect_ms, max_body, spare=lambda: 0):
        self._url = url
        self._context = context
        self._connect_ms = connect_ms
        self.max_body = max_body
        self._size = size
        self._spare = spare
        self._slots = [_Slot() for _ in range(size)]

    def close(self):
        """Close the connections that are not in use; the others close when their requests end."""
        for slot in self._slots:
            if not slot.users:
                slot.drop()

    async def run(self, exchange):
        """Carry out an Exchange. Not bounded in time: wrap it in asyncio.wait_for, and ask
        exchange.sent afterwards.

        Raises Unavailable when the server cannot have acted on the request, NoAnswer when it may
        have, and TooLarge when it answered more than max_body.
        """
        slot = min(self._slots, key=_load)
        if slot.users and len(self._slots) < self._size + self._spare():
            slot = _Slot()
            self._slots.append(slot)
        slot.users += 1
        try:
            async with slot.lock:
                await self._run(slot, exchange)
        finally:
            slot.users -= 1
            if not slot.users and len(self._slots) > self._size + self._spare():
                slot.drop()
                self._slots.remove(slot)

    async def _run(self, slot, exchange):
        kept = False
        try:
            while True:
                kept = await self._ready(slot, exchange)
                try:
                    await exchange.stream.send(exchange.data)
                    keep = await self._answer(slot, exchange)
                    break
                except Unsent as e:
                    if not kept:
                        raise Unavailable("cannot send to %s: %s" % (self._url.authority, e))
                except NoAnswer:
                    if not (kept and exchange.repeatable) or slot.parser.started:
                        raise
                # A kept connection that died while idle: once more, on a new one.
                slot.drop()
        except BaseException:  # cancelled ones too: half an answer must not meet the next request
            slot.drop()
            raise
        if not keep:
            slot.drop()

    async def _ready(self, slot, exchange):
        """Have a connection in the slot; True when it is a kept one."""
        if slot.stream:
            exchange.stream = slot.stream
            slot.stream.sent = False
            if not await slot.stream.stale():
                slot.parser.reset()
                return True
            slot.drop()
        stream = exchange.stream = Stream()
        url = self._url
        try:
            await asyncio.wait_for(
                stream.connect(url.host, url.port, self._context), self._connect_ms / 1000
            )
        except asyncio.TimeoutError:
            raise Unavailable("connecting to %s took too long" % url.authority)
        except (OSError, ValueError) as e:
            raise Unavailable("cannot connect to %s: %s" % (url.authority, describe(e)))
        slot.stream = stream
        slot.parser = ResponseParser()
        return False

    async def _answer(self, slot, exchange):
        """Read the answer; True when the connection can be kept."""
        exchange._clear()
        stream, parser = slot.stream, slot.parser
        sink = None
        pos = end = 0
        try:
            while True:
                event = parser.next(stream.buf, pos, end)
                pos = parser.pos
                if event == NEED:
                    if exchange.complete:
                        end = await self._linger(stream)
                        if not end:
                            return False
                    else:
                        end = await stream.read()
                    pos = 0
                    if not end:
                        event = parser.eof()
                if event == HEAD:
                    exchange.status = parser.status
                    exchange.headers = parser.headers
                    sink = self._sink(parser, exchange)
                elif event == BODY:
                    if not exchange.complete and sink.take(stream.buf, parser.lo, parser.hi):
                        return False
                elif event == END:
                    sink.end()
                    return parser.keep_alive and pos == end
        except TooLarge:
            raise
        except HTTPError as e:
            raise NoAnswer("%s: %s" % (self._url.authority, e))
        except (OSError, ValueError) as e:
            raise NoAnswer("%s: %s" % (self._url.authority, describe(e)))

    async def _linger(self, stream):
        try:
            return await asyncio.wait_for(stream.read(), self.LINGER_MS / 1000)
        except asyncio.TimeoutError:
            return 0

    def _sink(self, parser, exchange):
        kind = parser.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
        exchange.kind = kind
        if (
            b"content-encoding" in parser.headers
            and parser.headers[b"content-encoding"] != b"identity"
        ):
            raise HTTPError("a content coding nobody asked for")
        if kind == b"text/event-stream" and 200 <= parser.status < 300:
            exchange.streamed = True
            return _Events(exchange, self.max_body)
        if kind != b"application/json":
            return _Page(exchange, self.MAX_ERROR_PAGE)
        parser.max_body = self.max_body
        if parser.length is not None and parser.length > self.max_body:
            raise TooLarge("body longer than %d bytes" % self.max_body)
        return _Body(exchange, parser.length)


class _Body:
    """A JSON body, collected in one buffer; made at once where the length is known."""

    def __init__(self, exchange, length):
        self._exchange = exchange
        self._fixed = length is not None
        self._data = bytearray(length or 0)
        self._n = 0

    def take(self, buf, lo, hi):
        part = memoryview(buf)[lo:hi]
        if self._fixed:
            self._data[self._n : self._n + hi - lo] = part
            self._n += hi - lo
        else:
            self._data.extend(part)

    def end(self):
        self._exchange.body = self._data


class _Page:
    """A body whose beginning is enough, for an error's text; the rest is not waited for."""

    def __init__(self, exchange, cap):
        self._exchange = exchange
        self._cap = cap

    def take(self, buf, lo, hi):
        room = self._cap - len(self._exchange.body)
        self._exchange.body += bytes(memoryview(buf)[lo : min(hi, lo + room)])
        return hi - lo > room

    def end(self):
        pass


class _Events:
    """An event stream; each event's data goes to on_event."""

    def __init__(self, exchange, cap):
        self._exchange = exchange
        self._decoder = SSEDecoder(cap)

    def take(self, buf, lo, hi):
        decoder, exchange = self._decoder, self._exchange
        more = True
        while more:
            more = decoder.next(buf, lo, hi)
            lo = decoder.pos
            exchange.last_id = decoder.last_id
            exchange.retry = decoder.retry
            if not more:
                return
            data = decoder.data
            if not data or decoder.event != b"message":
                continue
            if exchange.on_event is None or exchange.on_event(data, 0, len(data)):
                exchange.complete = True
                return

    def end(self):
        pass


def _load(slot):
    """Sorts slots: free and connected, free, then by how many wait."""
    return 2 * slot.users + (slot.stream is None)
