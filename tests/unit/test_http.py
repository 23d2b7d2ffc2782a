"""HTTP/1.1 responses, requests and URLs: tables of (bytes, cut at every size) -> events."""

from mcp_gw.protocol.http import (
    BODY,
    END,
    HEAD,
    NEED,
    HTTPError,
    ResponseParser,
    TooLarge,
    field,
    head,
    parse_url,
    request,
)

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

# wire bytes (one or more answers), whether EOF follows -> rows of status, some headers, body,
# keep_alive
GOOD = (
    (
        PAGE + b"Content-Length: 5\r\n\r\nhello",
        False,
        [(200, {b"content-type": b"text/plain"}, b"hello", True)],
    ),
    (PAGE + b"content-LENGTH:0\r\n\r\n", False, [(200, {b"content-length": b"0"}, b"", True)]),
    (PAGE + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", False, [(200, {}, b"ok", True)]),
    (PAGE + b"Connection: Close\r\nContent-Length: 1\r\n\r\nx", False, [(200, {}, b"x", False)]),
    (
        PAGE + b"Connection: upgrade, close\r\nContent-Length: 1\r\n\r\nx",
        False,
        [(200, {}, b"x", False)],
    ),
    (PAGE + b"\r\nuntil the end\r\n\r\n", True, [(200, {}, b"until the end\r\n\r\n", False)]),
    (PAGE + b"\r\n", True, [(200, {}, b"", False)]),
    (
        PAGE
        + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00A;x=y\r\n0123456789\r\n0\r\n\r\n",
        False,
        [(200, {}, b"hello0123456789", True)],
    ),
    (
        PAGE + b"Transfer-Encoding: Chunked\r\n\r\n1 \r\nz\r\n0\r\nTrailer: 1\r\nB: 2\r\n\r\n",
        False,
        [(200, {b"transfer-encoding": b"Chunked"}, b"z", True)],
    ),
    (b"HTTP/1.1 204 No Content\r\n\r\n", False, [(204, {}, b"", True)]),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", False, [(304, {}, b"", True)]),
    (b"HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n", False, [(202, {}, b"", True)]),
    (b"HTTP/1.1 202 \r\nContent-Length: 0\r\n\r\n", False, [(202, {}, b"", True)]),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False, [(200, {}, b"x", False)]),
    (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        False,
        [(200, {}, b"x", True)],
    ),
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
        + PAGE
        + b"Content-Length: 1\r\n\r\nx",
        False,
        [(200, {b"content-type": b"text/plain"}, b"x", True)],
    ),
    (
        b"HTTP/1.1 500 Oh \xe9\r\nA: 1\r\na:  2\t\r\nB:\r\nContent-Length: 1\r\n\r\nx",
        False,
        [(500, {b"a": b"1, 2", b"b": b""}, b"x", True)],
    ),
    (
        PAGE
        + b"Content-Length: 1\r\n\r\nx"
        + PAGE
        + b"Transfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\n\r\n"
        + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        False,
        [(200, {}, b"x", True), (200, {}, b"y", True), (404, {}, b"", True)],
    ),
)

# What must be refused, and a word of the reason.
BAD = (
    (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1"),
    (b"\r\n\r\n", "HTTP/1.1"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "status"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", "status"),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", "status"),
    (b"HTTP/1.1  200 OK\r\n\r\n", "status"),
    (b"HTTP/1.1\t200 OK\r\n\r\n", "status"),
    (b"HTTP/1.1 600 OK\r\n\r\n", "status"),
    (b"HTTP/1.1 099 OK\r\n\r\n", "status"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switched"),
    (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "CR LF"),
    (PAGE + b"A: b\n\r\n", "CR LF"),
    (PAGE + b"A: b\rc\r\n", "CR"),
    (PAGE + b"A: b\0c\r\n", "NUL"),
    (PAGE + b" folded\r\n", "folded"),
    (PAGE + b"\tfolded\r\n", "folded"),
    (PAGE + b"no colon\r\n", "name"),
    (PAGE + b": no name\r\n", "name"),
    (PAGE + b"Content-Length : 5\r\n", "name"),
    (PAGE + b"B\xe9: 5\r\n", "name"),
    (PAGE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "two different"),
    (PAGE + b"Content-Length: 5, 5\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length: -1\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length: +1\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length: 0x10\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length:\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length: 1000000000000000\r\n\r\n", "Content-Length"),
    (PAGE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "beside"),
    (PAGE + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "coding"),
    (PAGE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "coding"),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "coding"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n 1\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n1_0\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n;a=b\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n10000000\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF1\r\n", "chunk size"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "chunk longer"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", "CR LF"),
    (PAGE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n folded\r\n\r\n", "folded"),
)


def parsed(wire, size, eof, parser=None):
    """Feed `wire` in pieces of `size`; returns the rows of GOOD."""
    parser = parser or ResponseParser()
    out = []
    body = b""
    row = None
    for at in range(0, len(wire), size):
        piece = wire[at : at + size]
        pos = 0
        while True:
            event = parser.next(piece, pos, len(piece))
            pos = parser.pos
            if event == HEAD:
                assert row is None
                row = (parser.status, parser.headers, parser.keep_alive)
                body = b""
            elif event == BODY:
                assert parser.lo < parser.hi <= len(piece)
                body += piece[parser.lo : parser.hi]
            elif event == END:
                out.append((row[0], row[1], body, row[2]))
                row = None
                parser.reset()
                if pos == len(piece):
                    break
            else:
                assert event == NEED and pos == len(piece)
                break
    if eof:
        assert parser.eof() == END
        out.append((row[0], row[1], body, row[2]))
        row = None
    assert row is None
    return out


def test_answers_cut_at_every_size():
    for wire, eof, want in GOOD:
        for size in range(1, len(wire) + 1):
            got = parsed(wire, size, eof)
            assert len(got) == len(want), (wire, size, got)
            for (status, headers, body, keep), row in zip(got, want):  # noqa: B905
                assert (status, body, keep) == (row[0], row[2], row[3]), (wire, size)
                for name in row[1]:
                    assert headers[name] == row[1][name], (wire, size, headers)


def test_what_is_refused():
    for wire, word in BAD:
        for size in range(1, len(wire) + 1):
            parser = ResponseParser()
            try:
                parsed(wire, size, False, parser)
            except HTTPError as e:
                assert word in str(e), (wire, size, str(e))
            else:
                raise AssertionError((wire, size))
            try:  # a connection that failed stays failed
                parser.next(PAGE, 0, len(PAGE))
            except HTTPError:
                pass
            else:
                raise AssertionError(wire)


def test_end_of_connection():
    for wire, why in (
        (b"", "before"),
        (b"HT", "middle"),
        (PAGE, "middle"),
        (PAGE + b"Content-Length: 5\r\n\r\nhell", "middle"),
        (PAGE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "middle"),
        (PAGE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "middle"),
    ):
        parser = ResponseParser()
        pos = 0
        while parser.next(wire, pos, len(wire)) != NEED:
            pos = parser.pos
        assert parser.started == bool(wire)
        try:
            parser.eof()
        except HTTPError as e:
            assert why in str(e), (wire, str(e))
        else:
            raise AssertionError(wire)


def test_head_has_no_body():
    parser = ResponseParser()
    parser.head = True
    wire = PAGE + b"Content-Length: 5\r\n\r\n"
    assert parser.next(wire, 0, len(wire)) == HEAD
    assert parser.next(wire, parser.pos, len(wire)) == END
    assert parser.pos == len(wire)


def _refused(parser, wire, size, word):
    try:
        parsed(wire, size, False, parser)
    except TooLarge as e:
        assert word in str(e), str(e)
        return True
    return False


def test_caps_and_one_byte_over():
    line = b"A: " + b"x" * 500 + b"\r\n"
    for size in (1, 7, 4096, 100000):
        # The head as a whole, interim answers and a line that never ends included.
        n = (
            ResponseParser.MAX_HEAD
            - len(PAGE)
            - len(b"Content-Length: 0\r\n\r\n")
            - len(b"B: \r\n")
        )
        fits = PAGE + b"B: " + b"y" * n + b"\r\nContent-Length: 0\r\n\r\n"
        assert len(fits) == ResponseParser.MAX_HEAD
        assert parsed(fits, size, False)[0][0] == 200
        longer = fits.replace(b"B: y", b"B: yy")
        assert _refused(ResponseParser(), longer, size, "header"), size
        assert _refused(ResponseParser(), PAGE + line * 40, size, "header")
        assert _refused(ResponseParser(), b"HTTP/1.1 200 " + b"x" * 9000, size, "header")
        interim = b"HTTP/1.1 103 Hints\r\n" + line + b"\r\n"
        assert _refused(ResponseParser(), interim * 40, size, "header")
        chunked = PAGE + b"Transfer-Encoding: chunked\r\n\r\n"
        assert _refused(ResponseParser(), chunked + b"0\r\n" + line * 40, size, "header")
        # The number of fields.
        many = b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 63 + b"Content-Length: 0\r\n\r\n"
        assert parsed(many, size, False)[0][0] == 200
        assert _refused(
            ResponseParser(), many.replace(b"a:", b"a:\r\nb:", 1), size, "header lines"
        )
        # A chunk's extension.
        ext = b"1;" + b"e" * (ResponseParser.MAX_CHUNK_LINE - 3) + b"\r\nz\r\n0\r\n\r\n"
        assert parsed(chunked + ext, size, False)[0][2] == b"z"
        assert _refused(ResponseParser(), chunked + ext.replace(b"1;", b"1;e"), size, "chunk-size")
        # The body.
        for wire in (
            PAGE + b"Content-Length: %d\r\n\r\n" % 100 + b"z" * 100,
            chunked + b"32\r\n" + b"z" * 50 + b"\r\n32\r\n" + b"z" * 50 + b"\r\n0\r\n\r\n",
        ):
            assert len(parsed(wire, size, False, ResponseParser(100))[0][2]) == 100
            assert _refused(ResponseParser(99), wire, size, "body")


def test_urls():
    for text, want in (
        ("http://localhost", (False, "localhost", 80, "/", "localhost")),
        ("http://localhost:8080/mcp", (False, "localhost", 8080, "/mcp", "localhost:8080")),
        (
            "HTTPS://Pi.local:8443/mcp?a=b/c#frag",
            (True, "Pi.local", 8443, "/mcp?a=b/c", "Pi.local:8443"),
        ),
        ("https://pi.local:443/", (True, "pi.local", 443, "/", "pi.local")),
        ("http://pi.local:443/", (False, "pi.local", 443, "/", "pi.local:443")),
        ("http://h?x=1", (False, "h", 80, "/?x=1", "h")),
        ("http://h:/x", (False, "h", 80, "/x", "h")),
        ("http://[::1]:9/x", (False, "::1", 9, "/x", "[::1]:9")),
        ("https://[fe80::1.2.3.4]", (True, "fe80::1.2.3.4", 443, "/", "[fe80::1.2.3.4]")),
    ):
        u = parse_url(text)
        assert (u.tls, u.host, u.port, u.target, u.authority) == want, text
    for text in (
        "",
        "localhost",
        "ftp://h/",
        "http:/h",
        "http://",
        "http:///x",
        "http://u:p@h/",
        "http://h:0/",
        "http://h:65536/",
        "http://h:123456/",
        "http://h:1x/",
        "http://h:1:2/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[h]/",
        "http://[fe80::1%25eth0]/",
        "http://::1/",
        "http://h/a b",
        "http://h/a\r\nX: y",
        "http://h\xe9/",
        "http://h/\xe9",
        "http://h!/",
    ):
        try:
            parse_url(text)
        except ValueError:
            continue
        raise AssertionError(text)


def test_requests():
    url = parse_url("http://[::1]:99/mcp?x")
    start = head("POST", url, [("A", "b c"), ("X-Y", "")])
    assert start == b"POST /mcp?x HTTP/1.1\r\nHost: [::1]:99\r\nA: b c\r\nX-Y: \r\n"
    wire = request(
        start, [field("M", "tools/call")], [b"{", memoryview(b'"a":1'), bytearray(b"}")]
    )
    assert bytes(wire) == start + b'M: tools/call\r\nContent-Length: 7\r\n\r\n{"a":1}'
    assert bytes(request(start, (), ())) == start + b"Content-Length: 0\r\n\r\n"
    for name, value in (
        ("A", "b\r\nC: d"),
        ("A", "b\n"),
        ("A", " b"),
        ("A", "b "),
        ("A", "\xe9"),
        ("A", "\0"),
        ("A b", "c"),
        ("A:", "c"),
        ("", "c"),
        ("\xe9", "c"),
        ("A\r\n", "c"),
    ):
        try:
            field(name, value)
        except ValueError:
            continue
        raise AssertionError((name, value))
