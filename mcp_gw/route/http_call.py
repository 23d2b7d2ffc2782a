"""One request to a server over Streamable HTTP: finds what belongs to it among what comes back."""

from ..protocol.client import (
    ANSWER,
    ASKED,
    CHANGED,
    FAILURE,
    INVALID,
    PROGRESS,
    READY,
    REFUSED,
    REPLY,
    SEND,
)
from .held import Call, Held, is_new

# For calls of those who cannot be asked.
_NONE = Held(0, 0)


class HTTPCall(Call):
    """upstream: the HttpUpstream that carries it; the rest as for Call."""

    def __init__(self, upstream, on_progress, held=_NONE, can=b"{}"):
        Call.__init__(self, held, on_progress, can)
        self._upstream = upstream
        self.exchange = None
        self.id = None
        self.event = None  # of the message waited for
        self.raw = b""
        self.exact = False
        self.why = None  # what was wrong with a message before it
        self._seen = []  # ids of the questions on its stream

    def take(self, buf, start, end):
        """One message; True when it is the one waited for."""
        upstream = self._upstream
        client = upstream.client
        event = client.receive(buf, start, end, self.id)
        if event in (ANSWER, FAILURE, SEND, READY, REFUSED):
            self.event = event
            self.exact = client.exact
            if event == ANSWER or event == FAILURE:
                self.raw = bytes(memoryview(buf)[client.lo : client.hi])
            return True
        if event == PROGRESS:
            if self.on_progress is not None:
                self.on_progress(bytes(memoryview(buf)[client.lo : client.hi]))
        elif event == REPLY:
            upstream.tell(client.out)
        elif event == ASKED and is_new(self._seen, client.asked):
            params = bytes(memoryview(buf)[client.lo : client.hi]) if client.lo >= 0 else b""
            upstream.beside(self.answer(client.asked, client.method, params))
        elif event == CHANGED:
            if upstream.on_change is not None:
                upstream.on_change(client.method)
        elif event == INVALID:
            self.why = client.why
        return False

    async def answer(self, id, method, params):
        """Have a question of the server answered, and tell it."""
        ok, raw = await self.ask(method, params)
        upstream = self._upstream
        upstream.tell(upstream.client.reply(id, ok, raw))
