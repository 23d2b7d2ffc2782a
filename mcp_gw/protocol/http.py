"""HTTP/1.1 without I/O: what messages of both directions have in common, and the client's part:
URLs, request bytes, and a response parser with caps. The server's part is in http_server.py.

The parser is strict where being lenient has let messages be read in two ways: folded header lines,
bare LF, two different lengths, a length beside chunks and odd chunk sizes are all refused (RFC
9112).
"""

from ..compat import const
from ..errors import GatewayError
from .framing import find

# What Parser.next() reports.
NEED = const(0)  # everything up to `end` is consumed: feed more, or call eof()
HEAD = const(1)  # status and headers are complete
BODY = const(2)  # body bytes are buf[parser.lo:parser.hi]
END = const(3)  # the message is complete; parsing may go on at parser.pos after reset()

_FIRST = const(0)
_FIELDS = const(1)
_SIZED = const(2)  # body bytes, counted down in _left: a whole body or one chunk
_CHUNK = const(3)
_CHUNK_END = const(4)
_TRAILER = const(5)
_TO_EOF = const(6)
_COMPLETE = const(7)
_FAILED = const(8)

# What a header's name is made of (RFC 9110, 5.6.2).
TOKEN_CHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TOKEN_BYTES = TOKEN_CHARS.encode()
_HEX = b"0123456789abcdefABCDEF"


class HTTPError(GatewayError):
    """The peer's bytes are no acceptable HTTP message. The connection cannot be used further.

    status: what a server answers with.
    """

    def __init__(self, text, status=400):
        super().__init__(text)
        self.status = status


class TooLarge(HTTPError):
    """Some part of the message is longer than its cap."""

    def __init__(self, text, status=413):
        super().__init__(text, status)


class Parser:
    """What requests and responses have in common: header fields with caps, and the body's framing.

    After HEAD: headers (dict: lower-case name -> value, both bytes; repeated fields joined by ",
    "),
    length (bytes of body, None when not announced), keep_alive (whether the connection survives
    this message).
    """

    MAX_HEAD = (
        8192  # bytes of start line, header lines and trailers together, interim responses included
    )
    MAX_FIELDS = 64  # header lines, trailers included
    MAX_CHUNK_LINE = 256  # bytes of a chunk-size line with its extensions
    ONE_LENGTH = False  # whether a length said twice is refused even if it is the same

    def __init__(self, max_body=None):
        self._max_body_given = max_body
        self.reset()

    def reset(self):
        """Ready for the next message on the same connection."""
        self._state = _FIRST
        self._line = b""  # the line's part that came in earlier calls
        self._head = 0  # bytes of head consumed
        self._fields = 0
        self._left = 0
        self._chunked = False
        self.max_body = self._max_body_given  # bytes; None: no cap. May be changed after HEAD
        self.body_size = 0
        self.started = False  # whether a byte of this message was seen
        self.headers = {}
        self.length = None
        self.keep_alive = False
        self.pos = self.lo = self.hi = 0

    def next(self, buf, pos, end):
        """Parse on at buf[pos:end] up to the next event; go on from self.pos.

        Raises HTTPError or TooLarge; after that every further call raises.
        """
        try:
            return self._next(buf, pos, end)
        except HTTPError:
            self._state = _FAILED
            raise

    def eof(self):
        """The peer closed the connection. Returns END if that completes the message, else raises
        HTTPError.
        """
        state = self._state
        self._state = _FAILED
        if state == _TO_EOF or state == _COMPLETE:
            return END
        if not self.started:
            raise HTTPError("connection closed before any byte of an answer")
        raise HTTPError("connection closed in the middle of an answer")

    def _next(self, buf, pos, end):
        if self._state == _FAILED:
            raise HTTPError("this connection has failed before")
        if pos < end:
            self.started = True
        while True:
            state = self._state
            if state == _COMPLETE:
                self.pos = pos
                return END
            if pos == end:
                self.pos = pos
                return NEED
            if state == _SIZED or state == _TO_EOF:
                return self._body(pos, end, state)
            stop = find(buf, 10, pos, end)
            line = self._line + bytes(memoryview(buf)[pos : end if stop < 0 else stop])
            self._check_length(len(line), state)
            if stop < 0:
                self._line = line
                self.pos = end
                return NEED
            self._line = b""
            pos = stop + 1
            if line[-1:] != b"\r" or line.find(b"\r") != len(line) - 1 or b"\0" in line:
                raise HTTPError("a line that does not end in CR LF, or holds CR or NUL")
            if self._take(line[:-1], state):
                self.pos = pos
                return HEAD

    def _check_length(self, n, state):
        """n: bytes of the line so far, without its LF."""
        if state == _CHUNK or state == _CHUNK_END:
            if n > self.MAX_CHUNK_LINE:
                raise TooLarge("chunk-size line longer than %d bytes" % self.MAX_CHUNK_LINE)
        elif self._head + n + 1 > self.MAX_HEAD:
            raise TooLarge("header longer than %d bytes" % self.MAX_HEAD, 431)

    def _body(self, pos, end, state):
        n = end - pos
        if state == _SIZED:
            if n > self._left:
                n = self._left
            self._left -= n
            if not self._left:
                self._state = _CHUNK_END if self._chunked else _COMPLETE
        self.body_size += n
        if self.max_body is not None and self.body_size > self.max_body:
            raise TooLarge("body longer than %d bytes" % self.max_body)
        self.lo = pos
        self.hi = self.pos = pos + n
        return BODY

    def _take(self, line, state):
        """One whole line, without its end. True when the head is complete."""
        if state == _CHUNK:
            size = line.split(b";", 1)[0].rstrip(b" \t")
            if not 0 < len(size) <= 7 or not all(c in _HEX for c in size):
                raise HTTPError("bad chunk size")
            self._left = int(size, 16)
            self._state = _SIZED if self._left else _TRAILER
            return False
        if state == _CHUNK_END:
            if line:
                raise HTTPError("chunk longer than its size")
            self._state = _CHUNK
            return False
        self._head += len(line) + 2
        if state == _FIRST:
            self._first_line(line)
            self._state = _FIELDS
            return False
        if not line:
            if state == _TRAILER:
                self._state = _COMPLETE
                return False
            return self._head_end()
        self._fields += 1
        if self._fields > self.MAX_FIELDS:
            raise TooLarge("more than %d header lines" % self.MAX_FIELDS, 431)
        name, value = _field(line)
        if state == _TRAILER:
            return False  # checked and dropped: nothing of ours is sent in trailers
        known = self.headers.get(name)
        if known is not None:
            if name == b"content-length":
                if known != value or self.ONE_LENGTH:
                    raise HTTPError("two different lengths")
            else:
                value = known + b", " + value
        self.headers[name] = value
        return False

    def _frame(self, to_eof):
        """Choose the body's framing from the headers. to_eof: a body without length lasts until
        the connection's end.
        """
        coding = self.headers.get(b"transfer-encoding")
        length = self.headers.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise HTTPError("a length beside a transfer coding")
            if coding.lower() != b"chunked":
                raise HTTPError("a transfer coding other than chunked", 501)
            self._chunked = True
            self._state = _CHUNK
        elif length is not None:
            if not length.isdigit() or len(length) > 15:
                raise HTTPError("bad Content-Length")
            self.length = self._left = int(length)
            self._state = _SIZED if self._left else _COMPLETE
        elif to_eof:
            self._state = _TO_EOF
            self.keep_alive = False
        else:
            self._no_body()

    def _no_body(self):
        self.length = 0
        self._state = _COMPLETE

    def _connection_says(self, word):
        options = self.headers.get(b"connection", b"").lower().split(b",")
        return any(o.strip() == word for o in options)


class ResponseParser(Parser):
    """Parses the answers on one connection. After HEAD: status (int) beside what Parser offers.

    Interim (1xx) responses are skipped. Set `head` before the answer to a HEAD request.
    """

    def reset(self):
        super().reset()
        self.status = 0
        self.head = False
        self._old = False

    def _first_line(self, line):
        version = line[:8]
        code = line[9:12]
        if version != b"HTTP/1.1" and version != b"HTTP/1.0":
            raise HTTPError("not an HTTP/1.1 answer")
        if (
            line[8:9] != b" "
            or line[12:13] not in (b" ", b"")
            or not code.isdigit()
            or len(code) != 3
        ):
            raise HTTPError("bad status line")
        self._old = version == b"HTTP/1.0"
        self.status = int(code)
        if not 100 <= self.status <= 599:
            raise HTTPError("bad status %d" % self.status)

    def _head_end(self):
        if self.status == 101:
            raise HTTPError("the peer switched protocols unasked")
        if self.status < 200:
            self.headers = {}
            self._state = _FIRST
            return False
        if self._old:
            self.keep_alive = self._connection_says(b"keep-alive")
            if b"transfer-encoding" in self.headers:
                raise HTTPError("a transfer coding in HTTP/1.0")
        else:
            self.keep_alive = not self._connection_says(b"close")
        if self.head or self.status == 204 or self.status == 304:
            self._no_body()
        else:
            self._frame(True)
        return True


def _field(line):
    colon = line.find(b":")
    if line[0] in b" \t":
        raise HTTPError("a folded header line")
    if colon <= 0:
        raise HTTPError("a header line without a name")
    name = line[:colon]
    for c in name:
        if c not in _TOKEN_BYTES:
            raise HTTPError("bad header name")
    return name.lower(), line[colon + 1 :].strip(b" \t")


class URL:
    """tls (bool), host (str, without brackets), port (int), target (path and query), authority
    (for the Host header).
    """

    def __init__(self, tls, host, port, target):
        self.tls = tls
        self.host = host
        self.port = port
        self.target = target
        shown = "[" + host + "]" if ":" in host else host
        self.authority = shown if port == (443 if tls else 80) else "%s:%d" % (shown, port)


def parse_url(text):
    """Split an absolute http or https URL (str) into a URL. Raises ValueError saying what is
    wrong.

    A fragment is dropped. Credentials are refused: they belong in a header, where they do not
    reach logs.
    """
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("http", "https"):
        raise ValueError("a URL begins with http:// or https://, not %r" % text[:20])
    for c in rest:
        if not "!" <= c <= "~":
            raise ValueError("a URL holds printable ASCII only: percent-encode the rest")
    rest = rest.split("#", 1)[0]
    cut = len(rest)
    for mark in "/?":
        at = rest.find(mark)
        if 0 <= at < cut:
            cut = at
    authority, target = rest[:cut], rest[cut:]
    if not target.startswith("/"):
        target = "/" + target
    if "@" in authority:
        raise ValueError("credentials in a URL are not taken: use a header")
    if authority.startswith("["):
        host, found, port = authority[1:].partition("]")
        if not found or ":" not in host or not all(c in "0123456789abcdefABCDEF:." for c in host):
            raise ValueError("bad IPv6 address in a URL")
        if port and port[0] != ":":
            raise ValueError("bad port in a URL")
        port = port[1:]
    else:
        host, _, port = authority.partition(":")
        if not host or not all(c.isalpha() or c.isdigit() or c in "-._" for c in host):
            raise ValueError("bad host name in a URL: %r" % host)
    tls = scheme == "https"
    if port and (not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536):
        raise ValueError("bad port in a URL: %r" % port)
    return URL(tls, host, int(port) if port else (443 if tls else 80), target)


def field(name, value):
    """One header line (bytes, with its CR LF) from two str. Raises ValueError for what could break
    out of the line.
    """
    if not name or not all(c in TOKEN_CHARS for c in name):
        raise ValueError("bad header name %r" % name)
    if value != value.strip() or not all(" " <= c <= "~" or c == "\t" for c in value):
        raise ValueError("header %s: printable ASCII only, no space at its ends" % name)
    return (name + ": " + value + "\r\n").encode()


def head(method, url, fields):
    """Request line, Host and further header lines (bytes) for `url` (a URL); without the empty
    line that ends them.

    fields: iterable of (name, value) str pairs.
    """
    out = bytearray((method + " " + url.target + " HTTP/1.1\r\n").encode())
    out.extend(field("Host", url.authority))
    for name, value in fields:
        out.extend(field(name, value))
    return bytes(out)


def request(head, fields, parts):
    """A whole request in one buffer, to be sent in one write.

    head: from head(); fields: further header lines, bytes each; parts: the body, list of
    bytes-like.
    """
    out = bytearray(head)
    for line in fields:
        out.extend(line)
    size = 0
    for part in parts:
        size += len(part)
    out.extend(b"Content-Length: %d\r\n\r\n" % size)
    for part in parts:
        out.extend(part)
    return out
