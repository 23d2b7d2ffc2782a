"""Clients that mean harm, or do not know better, against the unix build's HTTP server: a clear
status, bounded memory, and everybody else is served throughout."""

import contextlib
import json
import socket
import time

import pytest
import rig
import targets
from http_process import META, Closed, HttpProcess, called, modern, posted, text
from waiting import PATIENCE_S, until

APP = rig.APPS / "http_bench.py"
MOST = 12  # connections
REQUEST_S = 2
BACKLOG = 65536
BODY = 16384
SETTINGS = [
    f"http_connections={MOST}",
    f"http_request_s={REQUEST_S}",
    f"http_backlog={BACKLOG}",
    f"max_message={BODY}",
    "http_quiet_s=1",
    "http_head=4096",
]
# What memory may grow by while it is being abused, kB: the buffers, and the heap's own growth.
GROWTH_KB = 3000
HEAD = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http")
    with HttpProcess(folder, targets.firmware("unix"), APP, *SETTINGS) as process:
        yield process


@pytest.fixture
def server(process):
    """The process; afterwards it serves as before, has let go of everything and did not grow."""
    assert served(process) == "hi"
    before = process.resident_kb(), heap(process)
    descriptors = process.descriptors()
    # One that counts still would be in the way of the test's.
    until(lambda: not process.connections(), "connections are left")
    yield process
    assert served(process) == "hi"
    until(lambda: process.descriptors() <= descriptors + 1, "connections are left")
    assert heap(process) < before[1] + 100_000
    assert process.resident_kb() < before[0] + GROWTH_KB
    assert "Traceback" not in process.errors.read_text()


def heap(process):
    with process.connect() as client:
        return int(text(client.call("heap")))


def served(process, word="hi"):
    """What a new client is told by `echo`; one that is told 503 comes again, as asked."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with process.connect() as client, contextlib.suppress(Closed, ConnectionError):
            status, headers, body = client.call("echo", text=word)
            if status != 503:
                return text((status, headers, body))
            assert int(headers["retry-after"]) < 10
        assert time.monotonic() < end
        time.sleep(0.1)


def status_of(client):
    """Status of the last answer on a connection that the server then closes."""
    status, headers, _ = client.answer()
    assert headers["connection"] == "close"
    return status


SMUGGLING = {
    "two lengths": (b"Content-Length: 4\r\nContent-Length: 30\r\n\r\n", 400),
    "the same length twice": (b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
    "a list of lengths": (b"Content-Length: 4,4\r\n\r\n", 400),
    "length and chunks": (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and length": (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a coding that ends in chunked": (b"Transfer-Encoding: x, chunked\r\n\r\n0\r\n\r\n", 501),
    "a folded line": (b"X: y\r\n Content-Length: 4\r\n\r\n", 400),
    "a bare line feed": (b"X: y\nContent-Length: 4\r\n\r\n", 400),
    "a bare carriage return": (b"X: y\rContent-Length: 4\r\n\r\n", 400),
    "a space before the colon": (b"Content-Length : 4\r\n\r\n", 400),
    "a NUL": (b"X: \0\r\n\r\n", 400),
    "a sign": (b"Content-Length: +4\r\n\r\n", 400),
    "1 GB": (b"Content-Length: 1073741824\r\n\r\n", 413),
    "2**64": (b"Content-Length: 18446744073709551616\r\n\r\n", 400),
    "a chunk of 2**64": (b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 400),
    "a chunk of 2**32 - 1": (b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", 400),
    "a chunk of -1": (b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
    "a chunk longer than it says": (b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
    "chunks without end": (b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 20000, 413),
    "an extension without end": (b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000, 413),
    "a header flood": (b"X: y\r\n" * 100_000, 431),
    "a line without end": (b"X: " + b"y" * 100_000, 431),
    "two hosts": (b"Host: evil.example\r\n\r\n", 400),
}


@pytest.mark.parametrize("shape", SMUGGLING)
def test_shapes_that_could_be_read_in_two_ways(server, shape):
    more, status = SMUGGLING[shape]
    with server.connect() as client:
        # A good request before, whose answer comes; one behind, which must not be seen.
        client.send(called("echo", text="before"))
        assert text(client.answer()) == "before"
        with contextlib.suppress(ConnectionError):
            client.send(HEAD + more + called("echo", text="smuggled"))
        assert status_of(client) == status
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_WR)
        assert client.ended()


def test_a_long_body_is_refused_before_it_is_sent(server):
    with server.connect() as client:
        client.send(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                client.send(b"x" * 65536)
        assert status_of(client) == 413
    with server.connect() as client:
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n")
        assert status_of(client) == 413


def test_slow_loris(server):
    with contextlib.ExitStack() as stack:
        steady = stack.enter_context(server.connect())
        assert text(steady.call("echo", text="first")) == "first"
        slow = [stack.enter_context(server.connect()) for _ in range(3 * MOST)]
        began = time.monotonic()
        words = 0
        while time.monotonic() < began + 2.5 * REQUEST_S:
            for client in slow:
                with contextlib.suppress(OSError):
                    client.sock.send(HEAD[words % len(HEAD) :][:1])
            words += 1
            # Who is busy keeps the connection; who is new gets in.
            assert text(steady.call("echo", text=str(words))) == str(words)
            if words % 5 == 0:
                assert served(server) == "hi"
            time.sleep(0.02)
        told = []
        for client in slow:
            with contextlib.suppress(Closed, ConnectionError):  # before its first byte
                told.append(status_of(client))
    assert set(told) <= {408, 503} and told.count(408) >= MOST - 1


def test_a_slow_body(server):
    with server.connect() as client:
        client.send(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert status_of(client) == 408


def test_connections_opened_and_left(tmp_path):
    """With the default of 64 connections."""
    process = HttpProcess(tmp_path, targets.firmware("unix"), APP)
    with process, contextlib.ExitStack() as stack:
        assert served(process) == "hi"
        before = process.resident_kb()
        for n in range(200):
            stack.enter_context(process.connect())
            if n % 8 == 0:
                with process.connect() as client:
                    assert text(client.call("echo", text="me")) == "me"
        assert process.resident_kb() < before + GROWTH_KB
        assert process.descriptors() < 64 + 20


def test_no_descriptors_left(tmp_path):
    """What the system has no room for waits; it is not asked for again and again."""
    limited = 'ulimit -n 24; exec "$0" "$@"'
    process = HttpProcess(tmp_path, "sh", "-c", limited, targets.firmware("unix"), APP)
    with process, contextlib.ExitStack() as stack:
        steady = stack.enter_context(process.connect())
        assert text(steady.call("echo", text="first")) == "first"
        others = [stack.enter_context(process.connect()) for _ in range(40)]
        until(lambda: process.descriptors() == 24)
        began = process.cpu_s()
        for n in range(20):
            assert text(steady.call("echo", text=str(n))) == str(n)
            time.sleep(0.05)
        assert process.cpu_s() < began + 0.5
        for client in others:
            client.close()
        assert served(process) == "hi"


def listening(client):
    """Open a stream that stays open."""
    params = {"notifications": {"toolsListChanged": True}, "_meta": META}
    client.send(modern("subscriptions/listen", params))
    status, headers = client.head()
    assert status == 200 and headers["content-type"] == "text/event-stream"
    assert b"acknowledged" in client.chunk()


def test_more_than_can_be_served_get_503(server):
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(MOST):
            clients.append(stack.enter_context(server.connect()))
            # At once: one that stays silent may be closed.
            listening(clients[-1])
        for _ in range(20):
            with server.connect() as late:
                late.send(called("echo", text="hi"))
                with contextlib.suppress(Closed, ConnectionError):
                    status, headers, _ = late.answer()
                    assert status == 503 and int(headers["retry-after"]) < 10
        assert clients[0].chunk() == b":\n\n"  # a sign of life
        clients.pop().close()
        assert served(server) == "hi"


def test_a_client_that_never_reads_its_stream(server):
    with server.connect(receive_buffer=4096) as client, server.connect() as other:
        before = server.resident_kb()
        # 100 MB would come: it is cut off long before.
        client.send(called("flood", "token", n=100_000, size=1000))
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < end:
                assert text(other.call("echo", text="me too")) == "me too"
                assert server.resident_kb() < before + GROWTH_KB
                with contextlib.suppress(BlockingIOError):
                    client.sock.send(b"x", socket.MSG_DONTWAIT)  # fails once the server has closed
            pytest.fail("it is not cut off")


def test_a_client_that_never_reads_its_answers(server):
    with server.connect(receive_buffer=4096) as client, server.connect() as other:
        client.sock.settimeout(0.2)
        request = called("long", size=10_000)
        sent = 0
        try:
            while sent < 100_000_000:
                sent += client.sock.send(request * 20)
                assert text(other.call("echo", text="me too")) == "me too"
        except (TimeoutError, ConnectionError):
            pass
        assert sent < 20_000_000  # it is not read without end
        before = server.descriptors()
        until(lambda: server.descriptors() < before, "it is not cut off")
        assert text(other.call("echo", text="still")) == "still"


def test_clients_that_come_and_go(server):
    for n in range(300):
        with server.connect() as client:
            if n % 3 == 0:
                client.send(HEAD[: n % 60])
            elif n % 3 == 1:
                client.send(called("flood", "t", n=1000, size=10))
        if n % 50 == 0:
            assert served(server) == "hi"


def test_garbage(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(range(256)) * 20,
        b"\r\n" * 1000,
    ):
        with server.connect() as client:
            with contextlib.suppress(ConnectionError):
                client.send(data)
            with contextlib.suppress(ConnectionError):
                assert status_of(client) in (400, 408, 431, 505)


def test_bodies_that_are_no_messages(server):
    deep = b"[" * 10_000
    for body, status in (
        (b"", 400),
        (b"{", 400),
        (b"nonsense", 400),
        (deep, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":' + deep, 400),
        (b"\xff\xfe" * 50, 400),
        (b"[]", 400),
        (b"null", 400),
    ):
        with server.connect() as client:
            for _ in range(2):  # the connection survives
                client.send(posted(body, MCP_Protocol_Version="2026-07-28"))
                answer = client.answer()
                assert answer[0] == status and "error" in json.loads(answer[2]), body[:40]
