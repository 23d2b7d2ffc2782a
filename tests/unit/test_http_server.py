"""The server's HTTP parser: what it takes, what it refuses and with which status, however the
bytes are cut."""

from mcp_gw.protocol.http import HEAD, NEED, HTTPError
from mcp_gw.protocol.http_server import REQUEST, Requests

MAX_HEAD = 1024
MAX_BODY = 300
HOST = b"Host: x\r\n"


def parse(pieces, requests=None):
    """(list of (method, path, query, body, keep_alive, expects), status or None, begun)"""
    requests = requests or Requests(MAX_HEAD, MAX_BODY)
    out = []
    try:
        for piece in pieces:
            pos = 0
            while True:
                event = requests.next(piece, pos, len(piece))
                assert pos <= requests.pos <= len(piece)
                pos = requests.pos
                if event == NEED:
                    assert pos == len(piece)
                    break
                head = requests.head
                if event == HEAD:
                    continue
                assert event == REQUEST
                body = bytes(memoryview(requests.buf)[requests.lo : requests.hi])
                out.append(
                    (head.method, head.path, head.query, body, head.keep_alive, head.expects)
                )
    except HTTPError as e:
        return out, e.status, requests.begun
    return out, None, requests.begun


def cut(data, size):
    return [bytearray(data[i : i + size]) for i in range(0, len(data), size)]


def everyway(wire):
    """What comes of `wire` whole; checks that cuts make no difference."""
    whole = parse([bytearray(wire)])
    for size in (1, 2, 3, 7, 50):
        assert parse(cut(wire, size)) == whole, (size, wire)
    return whole


GOOD = (
    (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", ("GET", "/", "", b"", True, False)),
    (b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", ("GET", "/", "", b"", True, False)),
    (
        b"POST /mcp?a=b?c HTTP/1.1\r\nHost: h:80\r\nContent-Length: 4\r\n\r\nbody",
        ("POST", "/mcp", "a=b?c", b"body", True, False),
    ),
    (
        b"POST /mcp HTTP/1.1\r\nhOST:h\r\ncontent-LENGTH:   4  \r\n"
        b"Connection: foo, Close\r\n\r\nbody",
        ("POST", "/mcp", "", b"body", False, False),
    ),
    (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"2\r\nbo\r\n1;x=y\r\nd\r\n0001\r\ny\r\n0\r\nTrailer: z\r\n\r\n",
        ("POST", "/", "", b"body", True, False),
    ),
    (
        b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
        ("POST", "/", "", b"x", True, True),
    ),
    (b"GET / HTTP/1.0\r\n\r\n", ("GET", "/", "", b"", False, False)),
    (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", ("GET", "/", "", b"", True, False)),
    (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", ("OPTIONS", "*", "", b"", True, False)),
    (
        b"GET http://X:8/mcp?q HTTP/1.1\r\nHost: x:8\r\n\r\n",
        ("GET", "/mcp", "q", b"", True, False),
    ),
    (b"GET http://x HTTP/1.1\r\n" + HOST + b"\r\n", ("GET", "/", "", b"", True, False)),
    (
        b"DELETE /mcp HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
        ("DELETE", "/mcp", "", b"", True, False),
    ),
)


def test_good_requests():
    for wire, row in GOOD:
        assert everyway(wire) == ([row], None, False), wire


def test_pipelined_requests_come_in_order():
    wire = b"".join([wire for wire, _ in GOOD])
    assert everyway(wire) == ([row for _, row in GOOD], None, False)


POST = b"POST /mcp HTTP/1.1\r\n" + HOST
BAD = (
    # two lengths, a length beside a coding, codings
    (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody", 400),
    (POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", 400),
    (POST + b"Content-Length: 4, 4\r\n\r\nbody", 400),
    (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 501),
    (b"POST /mcp HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # odd lengths
    (POST + b"Content-Length: +4\r\n\r\nbody", 400),
    (POST + b"Content-Length: -4\r\n\r\nbody", 400),
    (POST + b"Content-Length: 0x4\r\n\r\nbody", 400),
    (POST + b"Content-Length: 4 4\r\n\r\nbody", 400),
    (POST + b"Content-Length: \r\n\r\nbody", 400),
    (POST + b"Content-Length: 99999999999999999999\r\n\r\nbody", 400),
    (POST + b"Content-Length: 301\r\n\r\n", 413),
    (POST + b"Content-Length: 1073741824\r\n\r\n", 413),
    # chunks
    (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n 1\r\na\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\na\r\n0\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 300 + b"\r\na\r\n", 413),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n12d\r\n" + b"x" * 301 + b"\r\n0\r\n\r\n", 413),
    # lines
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\n a: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\tb\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA(: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\x0b: chunked\r\n\r\n", 400),
    (b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    # the first line
    (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / \r\n" + HOST + b"\r\n", 400),
    (b"GET /\r\n\r\n", 400),
    (b" GET / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"G\xc3\x9cT / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\xc3\xbc HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET mcp HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://y/mcp HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET http://x@x/mcp HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET ftp://x/mcp HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400),
    (b"GET / XTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
    # Host
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x@y\r\n\r\n", 400),
    # caps
    (b"GET /" + b"x" * 2050 + b" HTTP/1.1\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: " + b"x" * 1100, 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 200, 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"A:\r\n" * 65 + b"\r\n", 431),
    (POST + b"Expect: wonders\r\nContent-Length: 4\r\n\r\nbody", 417),
)


def test_bad_requests():
    for wire, status in BAD:
        # The request line has a cap of its own, so its case needs a larger head.
        requests = Requests(8192, MAX_BODY) if status == 414 else None
        out, told, _ = parse([bytearray(wire)], requests)
        assert (out, told) == ([], status), (wire, told)
        if status != 414:
            everyway(wire)


def test_nothing_is_taken_from_a_connection_that_has_failed():
    requests = Requests(MAX_HEAD, MAX_BODY)
    good = bytearray(GOOD[0][0])
    assert parse([bytearray(b"GET / HTTP/9.9\r\n")], requests)[1] == 505
    assert parse([good], requests)[1] == 400


def test_caps_are_exact():
    for extra, status in ((0, None), (1, 431)):
        wire = b"GET / HTTP/1.1\r\n" + HOST + b"A: \r\n\r\n"
        wire = wire.replace(b"A: ", b"A: " + b"x" * (MAX_HEAD - len(wire) + extra))
        assert everyway(wire)[1] == status
    for n, status in ((MAX_BODY, None), (MAX_BODY + 1, 413)):
        assert everyway(POST + b"Content-Length: %d\r\n\r\n" % n + b"x" * n)[1] == status
        chunk = b"%x\r\n" % n + b"x" * n + b"\r\n0\r\n\r\n"
        assert everyway(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)[1] == status
    wire = b"GET / HTTP/1.1\r\n" + HOST
    assert everyway(wire + b"A:\r\n" * 63 + b"\r\n")[1] is None


def test_a_repeated_head_is_not_parsed_again():
    requests = Requests(MAX_HEAD, MAX_BODY)
    head = POST + b"X: y\r\nContent-Length: 4\r\n\r\n"
    rows, status, begun = parse([bytearray(head + b"onec" + head + b"twoc" + head)], requests)
    assert [row[3] for row in rows] == [b"onec", b"twoc"] and status is None and begun
    rows, status, begun = parse([bytearray(b"thre")], requests)
    assert [row[3] for row in rows] == [b"thre"] and status is None and not begun
    # A head that comes in two pieces is parsed, and what was kept stays.
    whole = bytearray(head + b"four")
    assert requests.next(whole, 0, len(whole)) == REQUEST
    kept = requests.head
    pieces = [whole[:30], whole[30:]]
    assert [row[3] for row in parse(pieces, requests)[0]] == [b"four"]
    assert requests.head is not kept
    assert requests.next(whole, 0, len(whole)) == REQUEST and requests.head is kept
    # Nothing but the length may differ.
    for length in (b"0", b"1", b"4"):
        other = bytearray(head.replace(b"4\r\n", length + b"\r\n") + b"four")
        assert requests.next(other, 0, len(other)) == REQUEST and requests.head is kept
        assert bytes(other[requests.lo : requests.hi]) == b"four"[: int(length)]
        assert requests.pos == len(other) - 4 + int(length)
    # More than is there, or than may be, is for the parser; so is what is no number.
    for old, new in (
        (b"X: y", b"X: z"),
        (b"4\r\n", b"5\r\n"),
        (b"4\r\n", b"4 \r\n"),
        (b"4\r\n", b"000000004\r\n"),
        (b"4\r\n", b"4\r\nY: 1\r\n"),
    ):
        other = bytearray(head.replace(old, new) + b"four")
        assert requests.next(other, 0, len(other)) == HEAD
        assert requests.head is not kept
        requests = Requests(MAX_HEAD, MAX_BODY)
        parse([bytearray(head + b"body")], requests)
        kept = requests.head
    for length, bad in ((b"", 400), (b"-4", 400), (b"+4", 400), (b"4,4", 400), (b"99999999", 413)):
        other = bytearray(head.replace(b"4\r\n", length + b"\r\n") + b"four")
        assert parse([other], requests)[1] == bad
        requests = Requests(MAX_HEAD, MAX_BODY)
        parse([bytearray(head + b"body")], requests)
    # The buffer may hold old bytes behind those that are new.
    for n in range(len(whole)):
        event = requests.next(whole, 0, n)
        assert event == (NEED if n < len(head) else HEAD)
        requests = Requests(MAX_HEAD, MAX_BODY)
        parse([bytearray(head + b"body")], requests)


def test_almost_the_same_head_means_what_it_says():
    head = POST + b"X: y\r\nContent-Length: 4\r\nY: z\r\n\r\n"
    for old, new in (
        (b"x: y", b"x: y"),
        (b"Y: z", b"Y: zz"),
        (b"mcp", b"mcq"),
        (b": 4", b":4"),
        (b": 4", b": 3"),
        (b": 4", b": 04"),
        (b": 4", b": 12"),
        (b": 4", b": 300"),
        (b": 4", b": 301"),
        (b": 4", b": 000000000000000004"),
        (b": 4", b": 4 "),
        (b": 4", b": 4 4"),
        (b": 4", b": "),
        (b": 4", b": 4\n"),
        (b": 4", b": 4\r"),
        (b": 4", b": 4\r\nContent-Length: 4"),
        (b": 4", b": 4\r\nTransfer-Encoding: chunked"),
    ):
        wire = head.replace(old, new) + b"4\r\nbody\r\n0\r\n\r\n" + b"x" * 290
        for missing in (0, 1, 200):
            end = len(wire) - missing
            requests = Requests(MAX_HEAD, MAX_BODY)
            assert parse([bytearray(head + b"body")], requests)[0]
            # As a parser reads it that saw nothing before; what lies behind the end is old.
            rows, expected, _ = parse([bytearray(wire[:end])])
            buf = bytearray(wire + head)
            pos = 0
            bodies = []
            status = None
            try:
                while True:
                    event = requests.next(buf, pos, end)
                    pos = requests.pos
                    if event == NEED:
                        break
                    if event == REQUEST:
                        bodies.append(bytes(memoryview(requests.buf)[requests.lo : requests.hi]))
                        assert requests.head.length in (None, len(bodies[-1]))
            except HTTPError as e:
                status = e.status
            assert (bodies, status) == ([row[3] for row in rows], expected), (new, missing)


def test_a_body_can_be_dropped():
    requests = Requests(MAX_HEAD, MAX_BODY)
    wire = bytearray(POST + b"Content-Length: 4\r\n\r\nbody")
    assert requests.next(wire, 0, len(wire)) == HEAD
    requests.discard = True
    assert requests.next(wire, requests.pos, len(wire)) == REQUEST
    assert requests.lo == requests.hi and not requests.begun
