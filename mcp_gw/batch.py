"""Batches, which revision 2025-03-26 has and no other: an array of messages, answered by one."""

from .errors import INVALID_REQUEST
from .protocol.framing import REQUEST
from .protocol.jsontext import joined, skip_value
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
        self._due = 0
        self._answers = []
        self._all = False  # every message was taken

    def take(self, buf, lo, hi):
        """buf[lo:hi]: a valid JSON array. Returns 1 when an answer follows, else 2."""
        data = bytes(memoryview(buf)[lo:hi])
        rows = list(items(data))
        if not 0 < len(rows) <= self.MOST:
            why = "a batch has from 1 to %d messages" % self.MOST
            self._port.answer(error(None, INVALID_REQUEST, why), 400)
            return REQUEST
        for start, end in rows:
            self._due += 1
            if not self._asks(data, start, end):
                self._due -= 1
        self._all = True
        if not self._due and not self._answers:
            return 2
        self._done()
        return REQUEST

    def _asks(self, data, start, end):
        """Take one message. Returns whether an answer to it is due or was given."""
        kind = self._dispatch.take(self, data, start, end)
        return kind == REQUEST or kind < 0

    # A port for its messages.

    def send(self, parts):
        self._port.send(parts)

    def close_stream(self):
        self._port.close_stream()

    def answer(self, parts, status=200):
        self._answers.append(bytes(joined(parts)))
        self._done()

    def _done(self):
        if self._all and len(self._answers) >= self._due and self._due:
            self._due = 0
            self._port.answer([b"[" + b",".join(self._answers) + b"]"])


def items(data):
    """Yield (start, end) of each value in the JSON array `data`."""
    i = data.find(b"[") + 1
    end = len(data)
    while True:
        while data[i] in b" \t\r\n,":
            i += 1
        if data[i] == 0x5D:
            return
        start = i
        i = skip_value(data, i, end)
        yield start, i
