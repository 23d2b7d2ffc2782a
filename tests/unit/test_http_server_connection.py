"""One HTTP connection in memory: order, keep-alive, time-outs, a peer that does not read."""

from http_memory import LIMITS, MemoryConnection, answers

from mcp_gw.protocol.http_connection import CLOSED, CLOSING, FLUSHING, IDLE, PENDING, Limits

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


class App:
    """Answers with the path and the body, at once or when told to."""

    def __init__(self, later=False, refuse=False):
        self.later = later
        self.refuse = refuse
        self.seen = []
        self.gone_count = self.quiet_count = 0

    def head(self, connection, head):
        if self.refuse:
            connection.requests.discard = True
            if head.expects:
                connection.answer(401, b"", (b"no",))

    def request(self, connection, head, buf, lo, hi):
        body = bytes(memoryview(buf)[lo:hi])
        self.seen.append((head.path, body))
        if not self.later:
            self.answer(connection)

    def answer(self, connection):
        path, body = self.seen[-1]
        connection.answer_json([path.encode(), b"=", body])

    def quiet(self, connection):
        self.quiet_count += 1

    def gone(self, connection):
        self.gone_count += 1


def bodies(connection):
    return [row[2] for row in connection.answers()]


def test_requests_are_answered_in_order_whatever_the_pieces():
    wire = GET % b"1" + POST + GET % b"2" + POST + POST
    for size in (1, 5, 40, 1000):
        connection = MemoryConnection(App())
        for i in range(0, len(wire), size):
            connection.give(wire[i : i + size])
        assert bodies(connection) == [b"/1=", b"/a=abc", b"/2=", b"/a=abc", b"/a=abc"]
        assert connection.phase == IDLE and not connection.closed


def test_what_comes_while_an_answer_is_due_waits_its_turn():
    app = App(later=True)
    connection = MemoryConnection(app)
    connection.give(GET % b"1" + GET % b"2")
    connection.give(GET % b"3" + b"GET /4 HT")
    for n in (1, 2, 3):
        assert len(app.seen) == n and connection.phase == PENDING and not connection.sent
        app.answer(connection)
        assert bodies(connection) == [b"/%d=" % n]
    assert connection.phase != IDLE and len(app.seen) == 3
    connection.give(b"TP/1.1\r\nHost: x\r\n\r\n")
    assert len(app.seen) == 4


def test_what_waits_is_bounded_by_not_reading_on():
    app = App(later=True)
    connection = MemoryConnection(app)
    connection.give(GET % b"1")
    sent = 0
    while connection.reading:
        connection.give(POST)
        sent += 1
        assert sent * len(POST) < 2 * LIMITS[0]
    for _ in range(sent + 1):
        app.answer(connection)
    assert len(app.seen) == sent + 1 and connection.reading
    assert len(bodies(connection)) == sent + 1


def test_connection_close_and_old_clients():
    for head, more in (
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ):
        connection = MemoryConnection(App())
        connection.give(head + GET % b"2")
        rows = connection.answers()
        assert len(rows) == 1 + more
        assert rows[0][1].get(b"connection", b"") == (b"keep-alive" if more else b"close")
        assert connection.closed == (not more) and connection.app.gone_count == (not more)


def test_a_client_that_waits_for_100_gets_it_once():
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    connection = MemoryConnection(App())
    connection.give(head)
    assert connection.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.give(b"abc" + head + b"def")  # the second did not wait
    assert bodies(connection) == [b"/a=abc", b"/a=def"]
    # One that is refused keeps its body.
    connection = MemoryConnection(App(refuse=True))
    connection.give(head)
    assert [row[0] for row in connection.answers()] == [401]
    assert connection.phase == CLOSING
    connection.give(b"abc" + POST)
    assert not connection.sent and not connection.app.seen


def test_garbage_gets_its_status_and_then_no_more():
    for wire, status in (
        (b"GARBAGE\r\n\r\n", 400),
        (POST.replace(b"3", b"5000"), 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 2000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\n\n", 400),
    ):
        connection = MemoryConnection(App())
        connection.give(POST + wire)
        connection.give(POST)
        rows = connection.answers()
        assert [row[0] for row in rows] == [200, status]
        assert rows[1][1][b"connection"] == b"close"
        assert len(connection.app.seen) == 1 and connection.phase == CLOSING
        connection.tick(connection.since + 1000)
        assert not connection.closed
        connection.tick(connection.since + 3000)
        assert connection.closed == 1 and connection.app.gone_count == 1


def test_time_outs():
    connection = MemoryConnection(App())
    connection.tick(29_999)
    assert not connection.closed
    connection.tick(30_001)
    assert connection.closed and not connection.sent
    # A slow request, from its first byte on, however it trickles.
    connection = MemoryConnection(App())
    for i in range(9):
        connection.limits.now = i * 1200
        connection.tick(i * 1200)
        connection.give(POST[i : i + 1])
    assert not connection.closed
    connection.tick(10_001)
    assert connection.answers()[0][0] == 408 and connection.phase == CLOSING
    # Nobody is hurried while we are the ones who take long.
    connection = MemoryConnection(App(later=True))
    connection.give(POST)
    for now in (16_000, 32_000, 33_000):
        connection.tick(now)
    assert connection.app.quiet_count == 2 and connection.phase == PENDING


def test_an_answer_that_cannot_be_sent_at_once():
    for room in (0, 1, 50, 76, 81):
        connection = MemoryConnection(App())
        connection.room = room
        connection.give(POST + GET % b"2")
        assert connection.phase == FLUSHING and connection.writing
        assert len(connection.app.seen) == 1
        while connection.waiting:
            connection.room = 7
            connection.flush()
        connection.room = None
        connection.flush()
        assert bodies(connection) == [b"/a=abc", b"/2="] and connection.phase == IDLE
        assert not connection.writing and connection.reading


def test_a_peer_that_does_not_read_is_cut_off():
    connection = MemoryConnection(App())
    connection.room = 10
    connection.give(POST)
    connection.tick(9_000)
    assert not connection.closed
    connection.limits.now = 9_000
    connection.room = 1
    connection.flush()  # a byte went: that is something
    connection.tick(18_000)
    assert not connection.closed
    connection.tick(20_000)
    assert connection.closed


def test_streams():
    app = App(later=True)
    connection = MemoryConnection(app)
    connection.give(POST + POST)
    connection.begin(b"Content-Type: text/plain\r\n")
    assert connection.chunk((b"one ", b"two")) and connection.chunk((b"x" * 1500,))
    assert connection.answers()[0][2:] == (b"one two" + b"x" * 1500, True)
    connection.sent.extend(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.finish()
    assert connection.answers()[0][2] == b"" and len(app.seen) == 2
    # To an old client the end of the connection is the end of the body.
    connection = MemoryConnection(app)
    connection.give(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    connection.begin(b"")
    connection.chunk((b"one ", b"two"))
    connection.finish()
    rows = connection.answers()
    assert rows[0][2] == b"one two" and b"transfer-encoding" not in rows[0][1]
    assert connection.closed


def test_the_backlog_of_a_stream_is_bounded():
    app = App(later=True)
    connection = MemoryConnection(app)
    connection.give(POST)
    connection.begin(b"")
    connection.room = 100
    most = 0
    while connection.chunk((b"0123456789" * 10,)):
        most = max(most, connection.waiting)
        assert most <= LIMITS[2]
    assert most > LIMITS[2] - 200
    assert connection.phase == CLOSED and app.gone_count == 1
    assert not connection.chunk((b"x",))
    connection.finish()
    assert len(connection.sent) < 400


def test_parts_of_any_size_make_the_same_bytes():
    out_size = LIMITS[6]
    for sizes in ((0,), (1, 2, 3), (out_size - 76,), (out_size - 75,), (out_size * 3, 5, 900, 0)):
        parts = [bytes([65 + i]) * n for i, n in enumerate(sizes)]
        for room in (None, 0, 200):
            connection = MemoryConnection(App(later=True))
            connection.give(POST)
            connection.room = room
            connection.answer_json(parts)
            connection.room = None
            connection.flush()
            rows = answers(connection.take())
            assert rows[0][2] == b"".join(parts) and connection.phase == IDLE
            assert rows[0][1][b"content-type"] == b"application/json"


def test_head_gets_the_length_and_no_body():
    connection = MemoryConnection(App(later=True))
    connection.give(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.answer(200, b"", (b"12345",))
    assert connection.take().endswith(b"Content-Length: 5\r\n\r\n")


def test_limits_are_shared_by_connections():
    limits = Limits(*LIMITS)
    one, two = MemoryConnection(App(), limits), MemoryConnection(App(), limits)
    one.give(POST[:-1])
    two.give(POST)
    one.give(POST[-1:])
    assert bodies(one) == bodies(two) == [b"/a=abc"]
