"""One HTTP/1.1 connection of a server, without I/O: what comes in becomes requests for an
application, what it answers goes out, in order, with time-outs and a bounded backlog.

A subclass does the I/O: transmit() and watch() below, and close().
"""

from ..compat import const, ticks_diff
from .http import NEED, HTTPError
from .http_server import REQUEST, Requests, status_line
from .jsontext import gather

IDLE = const(0)  # between requests
RECEIVING = const(1)  # a request has begun
PENDING = const(2)  # a request is complete, its answer is not
FLUSHING = const(3)  # the answer is complete, not all of it could be sent
CLOSING = const(4)  # our last words are said; what comes in is dropped until the peer closes
CLOSED = const(5)

# How long the peer may take to close a connection after our last words.
_LINGER_MS = const(2000)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NOTHING = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
# The head of the usual answer. The length has room for eight digits and is filled in; white space
# before a field's value means nothing.
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:        \r\n\r\n"
_LENGTH = const(64)  # where the digits begin
_BODY = const(76)  # where the body begins


class Limits:
    """What all connections of a server have in common.

    max_head, max_body, backlog: bytes; idle_ms, request_ms, quiet_ms: see config.py. out: the
    buffer in which answers are put together; it begins with the head of the usual answer.
    """

    def __init__(self, max_head, max_body, backlog, idle_ms, request_ms, quiet_ms, out_size):
        self.max_head = max_head
        self.max_body = max_body
        self.backlog = backlog
        self.idle_ms = idle_ms
        self.request_ms = request_ms
        self.quiet_ms = quiet_ms
        self.out = bytearray(out_size)
        self.out[:_BODY] = _JSON
        self.now = 0  # ticks in ms, set now and then


class Connection:
    """app: an object with
    head(connection, head): a new head; it may set head.plan and requests.discard;
    request(connection, head, buf, lo, hi): a request, whose body is buf[lo:hi] during the
        call; it is answered now or later by one answer_*(), or begin(), chunk()..., finish();
    quiet(connection): nothing was sent on a pending answer for quiet_ms;
    gone(connection): the connection is over, whether or not an answer is pending.
    """

    def __init__(self, app, limits, peer=""):
        self.app = app
        self.limits = limits
        self.peer = peer
        self.requests = Requests(limits.max_head, limits.max_body)
        self.phase = IDLE
        self.since = limits.now  # when this phase began, or something was sent in it
        self.exchange = self.session = None  # the application's
        self.head = None  # of the request being answered
        self.streaming = False  # between begin() and finish()
        self._running = False
        self._rest = b""  # what came behind the request being answered
        self._backlog = []  # bytes that could not be sent yet
        self.waiting = 0  # how many

    # For the subclass to do.

    def transmit(self, buf, lo, hi):
        """Send what can be sent now of buf[lo:hi]; returns how many bytes (all of them on a broken
        connection: close() will be called)."""
        raise NotImplementedError

    def watch(self, read, write):
        """From now on be told when the peer can be read, written."""

    def close(self):
        """The connection is over. A subclass lets go of what it holds, once."""
        if self.phase != CLOSED:
            self.phase = CLOSED
            self.app.gone(self)

    # What the subclass calls.

    def feed(self, buf, lo, hi):
        """Bytes came in; buf may be used anew after the call."""
        phase = self.phase
        if phase <= RECEIVING:
            self._run(buf, lo, hi)
        elif phase < CLOSING:
            self._hold(buf, lo, hi)

    def flush(self):
        """The peer can be written again."""
        backlog = self._backlog
        while backlog:
            data = backlog[0]
            n = self.transmit(data, 0, len(data))
            if n:
                self.since = self.limits.now
                self.waiting -= n
            if n < len(data):
                if n:
                    backlog[0] = bytes(memoryview(data)[n:])
                return
            backlog.pop(0)
        self._watch()
        if self.phase == FLUSHING:
            self._answered()

    def tick(self, now):
        """Act on what has taken too long."""
        phase = self.phase
        limits = self.limits
        passed = ticks_diff(now, self.since)
        if phase == IDLE:
            if passed > limits.idle_ms:
                self.close()
        elif phase == RECEIVING:
            if passed > limits.request_ms:
                self.refuse(408, "the request took too long")
        elif self.waiting:
            if passed > limits.request_ms:  # it does not read
                self.close()
        elif phase == PENDING:
            if passed > limits.quiet_ms:
                self.since = now
                self.app.quiet(self)
        elif phase == CLOSING and passed > _LINGER_MS:
            self.close()

    # In.

    def _run(self, buf, lo, hi):
        requests = self.requests
        self._running = True
        try:
            while True:
                event = requests.next(buf, lo, hi)
                lo = requests.pos
                if event == REQUEST:
                    self.head = requests.head
                    self.phase = PENDING
                    self.app.request(self, self.head, requests.buf, requests.lo, requests.hi)
                    if self.phase != IDLE:
                        requests.release()
                        if lo < hi and self.phase < CLOSING:
                            self._hold(buf, lo, hi)
                        return
                    if lo == hi:
                        requests.release()
                        return
                    continue
                if self.phase == IDLE and requests.begun:
                    self.phase = RECEIVING
                    self.since = self.limits.now
                if event == NEED:
                    return
                head = self.head = requests.head
                self.app.head(self, head)
                if self.phase != RECEIVING:
                    return
                if head.expects and lo == hi:
                    self._send((_CONTINUE,))
        except HTTPError as e:
            self.refuse(e.status, str(e))
        finally:
            self._running = False

    def _hold(self, buf, lo, hi):
        """Keep what came behind the request being answered; it is bounded, the rest waits in the
        network."""
        self._rest += bytes(memoryview(buf)[lo:hi])
        if len(self._rest) > self.limits.max_head:
            self._watch()

    def _watch(self):
        self.watch(len(self._rest) <= self.limits.max_head, self.waiting > 0)

    def _answered(self):
        """An answer is complete and sent: on to the next request."""
        if self.head is not None and not self.head.keep_alive:
            self.head = None
            self.close()
            return
        self.phase = IDLE
        self.since = self.limits.now
        if self._running or not self._rest:
            return
        rest = bytearray(self._rest)
        self._rest = b""
        if len(rest) > self.limits.max_head:
            self._watch()
        self._run(rest, 0, len(rest))

    # Out.

    def answer_json(self, parts):
        """The usual answer: 200, JSON text in parts (list of bytes-like)."""
        out = self.limits.out
        end = gather(parts, out, _BODY)
        if end < 0 or self.waiting or not self.head.keep_alive or self.head.old:
            self.answer(200, b"Content-Type: application/json\r\n", parts)
            return
        out[_LENGTH : _LENGTH + 8] = b"%8d" % (end - _BODY)
        n = self.transmit(out, 0, end)
        if n == end:
            self._answered()
        else:
            self.phase = FLUSHING
            self._late(out, n, end)

    def answer_nothing(self):
        """202, no body."""
        if self.head.keep_alive and not self.head.old:
            self._send((_NOTHING,))
            self._finish()
        else:
            self.answer(202, b"", ())

    def answer(self, status, fields, parts):
        """A whole answer. fields: header lines, bytes with their CR LF, without Content-Length;
        parts: the body, list of bytes-like."""
        if self.requests.begun and self.head:
            self.head.keep_alive = False  # the rest of the request is not waited for
        size = 0
        for part in parts:
            size += len(part)
        head = status_line(status) + fields
        if status != 204:
            head += b"Content-Length: %d\r\n" % size
        whole = [head + self._connection_field()]
        if self.head is None or self.head.method != "HEAD":
            whole.extend(parts)
        self._send(whole)
        self._finish()

    def _connection_field(self):
        if self.head is None or not self.head.keep_alive:
            return b"Connection: close\r\n\r\n"
        return b"Connection: keep-alive\r\n\r\n" if self.head.old else b"\r\n"

    def begin(self, fields):
        """The head of an answer whose parts follow. fields as in answer()."""
        self.streaming = True
        head = status_line(200) + fields
        if self.head.old:
            self.head.keep_alive = False  # the body ends where the connection does
        else:
            head += b"Transfer-Encoding: chunked\r\n"
        self._send((head + self._connection_field(),))

    def chunk(self, parts):
        """Part of a body; parts: list of bytes-like, not empty. Returns whether the connection is
        still there: one that does not read is closed."""
        if self.head.old:
            self._send(parts)
        else:
            size = 0
            for part in parts:
                size += len(part)
            whole = [b"%x\r\n" % size]
            whole.extend(parts)
            whole.append(b"\r\n")
            self._send(whole)
        if self.waiting > self.limits.backlog:
            self.close()
        return self.phase != CLOSED

    def finish(self):
        """The body is complete."""
        self.streaming = False
        if self.phase == CLOSED:
            return
        if not self.head.old:
            self._send((b"0\r\n\r\n",))
        self._finish()

    def fail(self):
        """The application could not make an answer, or not all of it."""
        if self.phase == PENDING:
            if self.streaming:
                self.close()
            else:
                self.answer(500, b"", ())

    def refuse(self, status, text, fields=b""):
        """The last words on this connection, to a request that cannot be read on."""
        if self.phase >= FLUSHING:
            return
        self.head = None
        self._send(
            (
                status_line(status),
                fields,
                b"Content-Type: text/plain\r\nConnection: close\r\nContent-Length: ",
                b"%d\r\n\r\n" % (len(text) + 1),
                text.encode(),
                b"\n",
            )
        )
        self._linger()

    def _linger(self):
        """Closing at once would make the network throw away what the peer has not read yet."""
        if self.phase != CLOSED:
            self._rest = b""
            self.phase = CLOSING
            self.since = self.limits.now
            self._watch()

    def _finish(self):
        if self.phase == CLOSED:
            return
        if self.requests.begun:
            self._linger()
        elif self.waiting:
            self.phase = FLUSHING
        else:
            self._answered()

    def _send(self, parts):
        """Send parts, or keep what cannot be sent now."""
        if self.phase == CLOSED:
            return
        self.since = self.limits.now
        out = self.limits.out
        at = _BODY
        for part in parts:
            size = len(part)
            if at + size > len(out):
                self._pass(out, _BODY, at)
                at = _BODY
                if at + size > len(out):
                    self._pass(part, 0, size)
                    continue
            out[at : at + size] = part
            at += size
        self._pass(out, _BODY, at)

    def _pass(self, buf, lo, hi):
        n = 0 if self.waiting or lo == hi else self.transmit(buf, lo, hi)
        if lo + n < hi:
            self._late(buf, lo + n, hi)

    def _late(self, buf, lo, hi):
        first = not self.waiting
        whole = isinstance(buf, bytes) and lo == 0  # such a part never changes
        self._backlog.append(buf if whole else bytes(memoryview(buf)[lo:hi]))
        self.waiting += hi - lo
        if first:
            self._watch()
