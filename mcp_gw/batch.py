"""Batches, which revision 2025-03-26 has and no other: an array of messages, answered by one."""

from .errors import INVALID_REQUEST, ProtocolError
from .protocol.framing import METHOD, REQUEST, VERSION, text
from .protocol.jsontext import items, joined
from .protocol.results import error


class Batch:
    """Takes the messages of one batch and gathers their answers.

    dispatch: the Dispatch; port: where the batch came from, and its answer goes.
    """

    MOST = 32  # messages in one batch

    def __init__(self, dispatch, port):
        self._dispatch = dispatch
        self._port = port
        self.session = port.session
        self.link = port.link
        self._age = port.session.age
        self._due = 0
        self._answers = []
        self._all = False  # every message was taken

    def take(self, buf, lo, hi):
        """buf[lo:hi]: a valid JSON array. Returns 1 when an answer follows, else 2."""
        data = bytes(memoryview(buf)[lo:hi])
        rows = list(items(data, data.find(b"[")))
        if not 0 < len(rows) <= self.MOST:
            why = "a batch has from 1 to %d messages" % self.MOST
            self._port.answer(error(None, INVALID_REQUEST, why), 400)
            return REQUEST
        session = self.session
        self._check = session.check
        session.check = self._fits
        try:
            for start, end in rows:
                self._due += 1
                if not self._asks(data, start, end):
                    self._due -= 1
        finally:
            session.check = self._check
        self._all = True
        if not self._due and not self._answers:
            return 2
        self._done()
        return REQUEST

    def _asks(self, data, start, end):
        """Take one message. Returns whether an answer to it is due or was given."""
        if data[start] == 0x5B:
            self.answer(error(None, INVALID_REQUEST, "a batch within a batch"))
            return True
        kind = self._dispatch.take(self, data, start, end)
        return kind == REQUEST or kind < 0

    def _fits(self, kind, buf, spans):
        """For Session.check: what is no part of a batch."""
        if kind == REQUEST:
            if spans[2 * VERSION] >= 0:
                raise ProtocolError(INVALID_REQUEST, "this revision has no batches")
            if text(buf, spans, METHOD) == "initialize":
                raise ProtocolError(INVALID_REQUEST, "initialize must not be part of a batch")
        if self._check:
            self._check(kind, buf, spans)

    # A port for its messages.

    def send(self, parts):
        self._port.send(parts)

    def close_stream(self):
        self._port.close_stream()

    def dropped(self):
        """A request was cancelled: the others are answered without it."""
        if self.session.age == self._age:
            self._due -= 1
            self._done()

    def answer(self, parts, status=200):
        self._answers.append(bytes(joined(parts)))
        self._done()

    def _done(self):
        if self._all and len(self._answers) >= self._due and self._due:
            self._due = 0
            self._port.answer([b"[" + b",".join(self._answers) + b"]"])
