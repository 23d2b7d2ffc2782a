"""Stands between an HTTP client and an MCP server and records the conversations that pass.

    with HTTPTap("http://127.0.0.1:8080/mcp") as tap:
        ...                      # the client talks to tap.url

Bytes pass unchanged as they come; what is JSON-RPC in them goes to Recorders (wire_record.py): one
for each legacy session, one for each exchange where there is no session.
"""

import contextlib
import socket
import threading
import urllib.parse

from waiting import PATIENCE_S
from wire_record import Recorder
from wire_schema import REVISIONS

SESSION, VERSION = "mcp-session-id", "mcp-protocol-version"
UNNAMED = "2025-03-26"  # what a request without MCP-Protocol-Version is taken to be
# What follows a head: nothing, whatever its fields say; what they say; that, or all to the end.
NOTHING, STATED, TO_THE_END = range(3)


class HTTPTap:
    """url: of the server's MCP endpoint; the tap's own is `url`."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self._to = parts.hostname, parts.port or 80
        self.path = parts.path or "/"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        # The host's name stays as it was: servers look at it.
        self.url = urllib.parse.urlunsplit(parts._replace(netloc=f"{parts.hostname}:{self.port}"))
        self.sessions = {}  # Mcp-Session-Id -> Recorder
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near):
        try:
            far = socket.create_connection(self._to, PATIENCE_S)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        watch = Connection(self)
        back = threading.Thread(target=carry, args=(far, near, watch.answered), daemon=True)
        back.start()
        carry(near, far, watch.asked)
        back.join()
        near.close()
        far.close()


def carry(source, sink, hear):
    """Pass bytes on until the end; hear(bytes) before they go, hear(b"") at the end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            hear(data)
            sink.sendall(data)
    hear(b"")
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Connection:
    """What one connection carried: its requests and, one after the other, their responses."""

    def __init__(self, tap):
        self.tap = tap
        self.waiting = []  # exchanges that have no whole response yet
        self.asked = Parser(self._begin_request)
        self.answered = Parser(self._begin_response)

    def _begin_request(self, line, fields):
        exchange = Exchange(self.tap, line, fields)
        self.waiting.append(exchange)
        return exchange.take_request, exchange.end_request, STATED

    def _begin_response(self, line, fields):
        exchange = self.waiting[0]
        status = int(line.split()[1])
        if status >= 200:
            exchange.begin_response(fields)

        def end():
            exchange.end_response()
            self.waiting.remove(exchange)

        if status < 200:
            return exchange.take_response, None, NOTHING
        bare = status in (204, 304) or exchange.method == "HEAD"
        return exchange.take_response, end, NOTHING if bare else TO_THE_END


class Exchange:
    """A request and its response."""

    def __init__(self, tap, line, fields):
        self.tap = tap
        self.method, target, _ = line.split(" ")
        self.ours = target.partition("?")[0] == tap.path
        self.body = self.answer = b""
        version = fields.get(VERSION, UNNAMED)
        revision = version if version in REVISIONS[:-1] else UNNAMED
        self.recorder = tap.sessions.get(fields.get(SESSION)) or Recorder(revision)
        self.kind = ""

    def take_request(self, data):
        self.body += data

    def end_request(self):
        if self.ours and self.method == "POST":
            self.recorder.sent_message(self.body)

    def begin_response(self, fields):
        self.kind = fields.get("content-type", "").partition(";")[0].strip()
        if self.ours and SESSION in fields:
            self.tap.sessions.setdefault(fields[SESSION], self.recorder)

    def take_response(self, data):
        self.answer += data
        if self.kind == "text/event-stream":
            *events, self.answer = self.answer.replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                self._event(event)

    def _event(self, event):
        lines = [
            line[5:].removeprefix(b" ") for line in event.split(b"\n") if line[:5] == b"data:"
        ]
        text = b"\n".join(lines)
        if text and self.ours:
            self.recorder.received_message(text)

    def end_response(self):
        if self.ours and self.kind == "application/json" and self.answer.strip():
            self.recorder.received_message(self.answer)


class Parser:
    """HTTP/1.1 in one direction. begin(start line, {field: value}) is called for each head and
    says what becomes of the body: (take(data), end() or None, NOTHING or STATED or TO_THE_END)."""

    def __init__(self, begin):
        self._begin = begin
        self._data = b""
        self._steps = self._run()
        next(self._steps)

    def __call__(self, data):
        """More bytes; b"" at the end of the connection. What is no HTTP is not listened to any
        longer: hostile clients have their own tests."""
        with contextlib.suppress(StopIteration, ValueError, IndexError):
            self._steps.send(data)

    def _run(self):
        while True:
            head = yield from self._until(b"\r\n\r\n")
            if head is None:
                return
            line, *rows = head.decode("latin-1").split("\r\n")
            rows = [row.partition(":") for row in rows]
            fields = {name.strip().lower(): value.strip() for name, _, value in rows}
            take, end, body = self._begin(line, fields)
            if body != NOTHING:
                yield from self._body(fields, take, body)
            if end:
                end()

    def _body(self, fields, take, body):
        if "chunked" in fields.get("transfer-encoding", ""):
            yield from self._chunks(take)
        elif "content-length" in fields:
            yield from self._exactly(int(fields["content-length"]), take)
        elif body == TO_THE_END:
            while self._data or (yield from self._more()):
                take(self._data)
                self._data = b""

    def _chunks(self, take):
        while True:
            size = yield from self._until(b"\r\n")
            size = int((size or b"0").partition(b";")[0], 16)
            if not size:
                while (yield from self._until(b"\r\n")):
                    pass
                return
            yield from self._exactly(size, take)
            yield from self._until(b"\r\n")

    def _exactly(self, size, take):
        while size and (self._data or (yield from self._more())):
            take(self._data[:size])
            taken = min(size, len(self._data))
            self._data = self._data[taken:]
            size -= taken

    def _until(self, mark):
        """What comes before `mark`; None if the connection ends before."""
        while mark not in self._data:
            if not (yield from self._more()):
                return None
        found, _, self._data = self._data.partition(mark)
        return found

    def _more(self):
        data = yield
        self._data += data
        return bool(data)
