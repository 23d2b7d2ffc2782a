"""HTTP/1.1 seen from the server, without I/O: requests out of bytes, and the heads of answers.

Clients that keep a connection repeat their head word for word, but for the length of the body. So
Requests recognises the head of the request before and does not parse it again.
"""

from ..compat import const
from .framing import find
from .http import BODY, END, HEAD, NEED, HTTPError, Parser, TooLarge

REQUEST = END  # what Requests.next() reports when a request is complete

_METHOD_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HOST_CHARS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
_LONGEST_METHOD = const(16)
_LONGEST_LENGTH = const(8)  # digits of a Content-Length that is recognised without the parser
_CR = const(13)
_CONTENT_LENGTH = b"\r\ncontent-length:"

REASONS = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


def status_line(status):
    """The first line of an answer, bytes with its CR LF."""
    return ("HTTP/1.1 %d %s\r\n" % (status, REASONS.get(status, "Unknown"))).encode()


class Head:
    """The head of one request.

    method, path, query: str ("" without a query); headers: dict of lower-case name -> value, both
    bytes; length: bytes of body, None where it comes in chunks; keep_alive: whether the connection
    survives the answer; expects: the client waits for 100 Continue; old: it speaks HTTP/1.0;
    plan: whatever the application wants to remember with this head.
    """

    def __init__(self, parser):
        self.method = parser.method
        self.path, _, self.query = parser.target.partition("?")
        self.headers = parser.headers
        self.length = parser.length
        self.keep_alive = parser.keep_alive
        self.expects = parser.expects
        self.old = parser.old
        self.plan = None


class RequestParser(Parser):
    """Parses the requests on one connection. After HEAD: method and target (str), expects, old
    beside what Parser offers. HTTPError.status says what to answer."""

    ONE_LENGTH = True
    MAX_LINE = 2048  # bytes of the request line

    def __init__(self, max_head, max_body):
        self.MAX_HEAD = max_head
        super().__init__(max_body)

    def reset(self):
        super().reset()
        self.method = self.target = ""
        self.expects = self.old = False
        self._blank = False  # an empty line came before the request

    def _check_length(self, n, state):
        if not self._head and n > self.MAX_LINE:
            raise TooLarge("request line longer than %d bytes" % self.MAX_LINE, 414)
        super()._check_length(n, state)

    def _take(self, line, state):
        if not line and not self._head and not self._blank:
            self._blank = True  # some clients end a body with CR LF (RFC 9112, 2.2)
            return False
        return super()._take(line, state)

    def _first_line(self, line):
        words = line.split(b" ")
        if len(words) != 3:
            raise HTTPError("a request line is METHOD TARGET VERSION")
        method, target, version = words
        if version != b"HTTP/1.1":
            if version != b"HTTP/1.0":
                known = len(version) == 8 and version[:5] == b"HTTP/"
                raise HTTPError("HTTP/1.1 is spoken here", 505 if known else 400)
            self.old = True
        if not 0 < len(method) <= _LONGEST_METHOD or not all(c in _METHOD_CHARS for c in method):
            raise HTTPError("bad method")
        if not target or not all(0x21 <= c <= 0x7E for c in target):
            raise HTTPError("bad request target")
        self.method = method.decode()
        self.target = target.decode()

    def _head_end(self):
        headers = self.headers
        host = headers.get(b"host")
        if host is None:
            if not self.old:
                raise HTTPError("no Host")
        elif not host or not all(c in _HOST_CHARS for c in host):
            raise HTTPError("bad Host")
        self._check_target(host)
        if self.old:
            if b"transfer-encoding" in headers:
                raise HTTPError("a transfer coding in HTTP/1.0")
            self.keep_alive = self._connection_says(b"keep-alive")
        else:
            self.keep_alive = not self._connection_says(b"close")
        expect = headers.get(b"expect")
        if expect is not None and not self.old:
            if expect.lower() != b"100-continue":
                raise HTTPError("only 100-continue can be expected", 417)
            self.expects = True
        self._frame(False)
        if self.max_body is not None and self.length is not None and self.length > self.max_body:
            raise TooLarge("body longer than %d bytes" % self.max_body)
        return True

    def _check_target(self, host):
        """Only paths are served; a whole URL is one if it means the host that Host names."""
        target = self.target
        if target[0] == "/" or (target == "*" and self.method == "OPTIONS"):
            return
        scheme, found, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if not found or scheme.lower() not in ("http", "https") or host is None:
            raise HTTPError("bad request target")
        if authority.lower() != host.decode().lower():
            raise HTTPError("the request target and Host name different servers")
        self.target = "/" + path


class Requests:
    """One connection's requests. After HEAD: head (a Head); after REQUEST: head, and the body is
    buf[lo:hi], valid until the buffer that was given or this object is used again.

    max_head, max_body: bytes. discard: set it at HEAD to have the body dropped.
    """

    def __init__(self, max_head, max_body):
        self._parser = RequestParser(max_head, max_body)
        self._max_body = max_body
        self.head = None
        self.discard = False
        self.buf = b""
        self.lo = self.hi = self.pos = 0
        self.begun = False  # in the middle of a request
        self._at = -1  # where the head begins in the buffer given, if it lies there as a whole
        self._kept = None  # what the head before said, and its text
        self._before = self._after = b""  # around the digits of its Content-Length

    def next(self, buf, pos, end):
        """Go on at buf[pos:end]; then from self.pos. Returns NEED (everything is consumed), HEAD
        (new head, before its body is read) or REQUEST. Raises HTTPError: of no use after that."""
        if not self.begun:
            kept = self._kept
            if kept is not None and buf.startswith(self._before, pos):
                lo = pos + len(self._before)
                hi = lo
                if lo < end:
                    hi = find(buf, _CR, lo, min(end, lo + _LONGEST_LENGTH + 1))
                if hi > lo and buf.startswith(self._after, hi):
                    digits = bytes(memoryview(buf)[lo:hi])
                    length = int(digits) if digits.isdigit() else end
                    lo = hi + len(self._after)
                    if length <= min(end - lo, self._max_body):
                        kept.length = length
                        self.head = kept
                        self.buf = buf
                        self.lo = lo
                        self.hi = self.pos = lo + length
                        return REQUEST
            if pos == end:
                self.pos = pos
                return NEED
            self.begun = True
            self.discard = False
            self._parser.reset()
            self._at = pos
            self.release()
        return self._parse(buf, pos, end)

    def _parse(self, buf, pos, end):
        parser = self._parser
        while True:
            event = parser.next(buf, pos, end)
            pos = self.pos = parser.pos
            if event == BODY:
                if not self.discard:
                    self._collect(buf, parser.lo, parser.hi, parser.length)
                continue
            if event == HEAD:
                head = self.head = Head(parser)
                if self._at >= 0 and head.length is not None and not head.expects:
                    self._keep(bytes(memoryview(buf)[self._at : pos]), head)
                self._at = -1
            elif event == END:
                self.begun = False
            else:
                self._at = -1
            return event

    def _keep(self, data, head):
        """Remember a head, if it gives a length; data: its text (bytes)."""
        at = data.lower().find(_CONTENT_LENGTH) + len(_CONTENT_LENGTH)
        self._kept = None
        if at >= len(_CONTENT_LENGTH):
            while data[at] in b" \t":
                at += 1
            self._before = data[:at]
            self._after = data[data.find(b"\r", at) :]
            self._kept = head

    def _collect(self, buf, lo, hi, length):
        n = hi - lo
        if n == length:  # all of it lies in the caller's buffer
            self.buf = buf
            self.lo = lo
            self.hi = hi
            return
        size = self.hi
        end = size + n
        if end > len(self.buf):
            # Doubled, so that many small pieces cost few copies; never more than the cap.
            room = min(max(2 * size, end, 512), max(end, length or self._max_body or end))
            grown = bytearray(room)
            grown[:size] = memoryview(self.buf)[:size]
            self.buf = grown
        self.buf[size:end] = memoryview(buf)[lo:hi]
        self.hi = end

    def release(self):
        """Let go of the body."""
        self.buf = b""
        self.lo = self.hi = 0
