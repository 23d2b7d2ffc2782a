"""Connections of the HTTP server in memory, and a reader of what they send. Runs on CPython and on
MicroPython."""

from mcp_gw.protocol.http import BODY, END, HEAD, ResponseParser
from mcp_gw.protocol.http_connection import CLOSED, Connection, Limits
from mcp_gw.protocol.sse import SSEDecoder

LIMITS = (1024, 4096, 2000, 30000, 10000, 15000, 600)


class MemoryConnection(Connection):
    """sent: bytes that went out (bytearray); room: how many more the network takes, None: any
    number; reading, writing: what watch() was told last."""

    def __init__(self, app, limits=None, peer="10.0.0.9"):
        super().__init__(app, limits or Limits(*LIMITS), peer)
        self.sent = bytearray()
        self.room = None
        self.reading, self.writing = True, False
        self.closed = 0

    def transmit(self, buf, lo, hi):
        n = hi - lo if self.room is None else min(hi - lo, self.room)
        if self.room is not None:
            self.room -= n
        self.sent.extend(bytes(memoryview(buf)[lo : lo + n]))
        return n

    def watch(self, read, write):
        self.reading, self.writing = read, write

    def close(self):
        if self.phase != CLOSED:
            self.closed += 1
        super().close()

    def give(self, data):
        """Bytes come in."""
        data = bytearray(data)
        self.feed(data, 0, len(data))

    def take(self):
        """What was sent since the last time, bytes."""
        out = bytes(self.sent)
        self.sent = bytearray()
        return out

    def answers(self):
        return answers(self.take(), self.closed)


def answers(wire, closed=False):
    """Parse answers: list of (status, headers, body); the last may be incomplete: then it has None
    in place of a body if nothing of that came, or what came so far and a True behind it."""
    parser = ResponseParser()
    out = []
    pos = 0
    body = None
    while pos < len(wire) or body is not None:
        event = parser.next(wire, pos, len(wire))
        pos = parser.pos
        if event == HEAD:
            head = parser.status, parser.headers
            body = bytearray()
        elif event == BODY:
            body.extend(wire[parser.lo : parser.hi])
        elif event == END:
            out.append(head + (bytes(body),))
            body = None
            parser.reset()
        else:
            break
    if body is not None:
        out.append(head + ((bytes(body),) if closed else (bytes(body), True)))
    return out


def events(body):
    """The events of an event stream: list of (last id, data)."""
    decoder = SSEDecoder(100_000)
    out = []
    pos = 0
    while decoder.next(body, pos, len(body)):
        pos = decoder.pos
        out.append((decoder.last_id, bytes(decoder.data)))
    return out
