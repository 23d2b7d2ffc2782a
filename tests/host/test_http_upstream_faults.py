"""HttpUpstream against a server that misbehaves in exactly the way each test names."""

import json
import os
import socket

import pytest
from http_upstream_rig import (
    INTERPRETERS,
    RawServer,
    bodies,
    events,
    fields,
    good,
    http,
    modern,
    result,
    rigs,
    said,
)
from waiting import PATIENCE_S

CLOSE, RESET = RawServer.CLOSE, RawServer.RESET
# A time-out that only a hang reaches, and what certainly was none.
PATIENT_MS = 1000 * PATIENCE_S
SOON_S = PATIENCE_S / 2
LIST = ("tools/list", "{}")
LARGE = ("tools/call", '{"name":"t","a":"PAD"}', None, None, 8_000_000)  # more than sockets hold


@pytest.fixture(params=INTERPRETERS)
def rig(request):
    yield from rigs(request.param)


def test_one_connection_is_kept(rig):
    server, up = rig(
        modern(lambda n, head, body: good(n, head, body) if n % 2 else [events(result(body))])
    )
    for _ in range(20):
        assert up.call("t")["ok"]
    assert server.connections == 1
    assert len({row["id"] for row in bodies(server)}) == 21


def test_bytes_of_a_request(rig):
    server, up = rig(modern(good), headers={"Authorization": "Bearer s3"})
    assert up.call("t\u00e9", {"a": "\u20ac"})["ok"]
    first, second = (fields(head) for _, head, _ in server.requests)
    assert server.requests[1][1].startswith(
        b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port
    )
    for row in (first, second):
        assert row["authorization"] == "Bearer s3"
        assert row["accept"] == "application/json, text/event-stream"
        assert row["content-type"] == "application/json"
        assert row["mcp-protocol-version"] == "2026-07-28"
        assert "mcp-session-id" not in row
    assert first["mcp-method"] == "server/discover" and "mcp-name" not in first
    assert second["mcp-method"] == "tools/call" and second["mcp-name"] == "=?base64?dMOp?="
    meta = bodies(server)[1]["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


# What a modern server answers to a call -> what the gateway makes of it: a word of the error, or
# an exception.
GARBAGE = {
    "not JSON": (lambda b: [http(b"<oops>")], "JSON-RPC"),
    "empty": (lambda b: [http(b"")], "JSON-RPC"),
    "html": (lambda b: [http(b"<html></html>", kind="text/html")], "JSON-RPC"),
    "no type": (lambda b: [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"], "JSON-RPC"),
    "batch": (lambda b: [http([result(b)])], "JSON-RPC"),
    "other id": (lambda b: [http(result(b) | {"id": 9999})], "JSON-RPC"),
    "string id": (lambda b: [http(result(b) | {"id": str(json.loads(b)["id"])})], "JSON-RPC"),
    "broken UTF-8": (
        lambda b: [http(json.dumps(result(b, "x")).encode().replace(b"x", b"\xff"))],
        "JSON-RPC",
    ),
    "too deep": (
        lambda b: [
            http(json.dumps(result(b, "x")).encode().replace(b'"x"', b"[" * 99 + b"]" * 99))
        ],
        "JSON-RPC",
    ),
    "accepted": (lambda b: [http(b"", "202 Accepted")], "JSON-RPC"),
    "no content": (lambda b: [b"HTTP/1.1 204 No Content\r\n\r\n"], "JSON-RPC"),
    "bad event": (lambda b: [events(b"data: <oops>\n\n")], "JSON-RPC"),
    "no event": (lambda b: [events(b": ping\n\n")], NotImplementedError),
    "stream cut": (lambda b: [events(b": ping\n\n", tail=False), CLOSE], NotImplementedError),
    "body cut": (lambda b: [http(result(b))[:-5], CLOSE], NotImplementedError),
    "body reset": (lambda b: [http(result(b))[:-5], RESET], NotImplementedError),
    "head cut": (lambda b: [b"HTTP/1.1 200", CLOSE], NotImplementedError),
    "nothing": (lambda b: [CLOSE], NotImplementedError),
    "reset": (lambda b: [RESET], NotImplementedError),
    "not HTTP": (lambda b: [b"SSH-2.0-OpenSSH\r\n"], NotImplementedError),
    "two lengths": (
        lambda b: [http(result(b), extra="Content-Length: 5\r\n")],
        NotImplementedError,
    ),
    "folded": (lambda b: [http(result(b), extra=" folded\r\n")], NotImplementedError),
    "gzip": (lambda b: [http(result(b), extra="Content-Encoding: gzip\r\n")], NotImplementedError),
    "header flood": (lambda b: [http(result(b), extra="A: b\r\n" * 100)], "header lines"),
    "header too long": (
        lambda b: [http(result(b), extra="A: " + "b" * 9000 + "\r\n")],
        "header longer",
    ),
    "1 GB": (
        lambda b: [http(b"x", extra="X: 1\r\n").replace(b"Length: 1", b"Length: 1000000000")],
        "longer than",
    ),
    "endless chunks": (
        lambda b: [
            http(b"", extra="Transfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n", b""
            ),
            *[b"4000\r\n" + b" " * 0x4000 + b"\r\n"] * 20,
        ],
        "longer than",
    ),
    "endless event": (
        lambda b: [events(*[b"data: " + b"x" * 9999 + b"\n"] * 20, tail=False)],
        "longer than",
    ),
    "401": (lambda b: [http(b"who?", "401 Unauthorized", "text/plain")], "status 401: who?"),
    "403": (lambda b: [http(b"<p>no</p>", "403 Forbidden", "text/html")], "status 403"),
    "413": (lambda b: [http(b"", "413 Too Large", "text/plain")], "status 413"),
    "418 huge": (lambda b: [http(b"z" * 50000, "418 Teapot", "text/plain")], "status 418: zzz"),
    "302": (
        lambda b: [http(b"", "302 Found", extra="Location: http://other/mcp\r\n")],
        "redirecting to http://other/mcp",
    ),
    "500": (lambda b: [http(b"{}", "500 Oops")], "status 500"),
    "502": (lambda b: [http(b"", "502 Bad Gateway")], NotImplementedError),
    "504": (lambda b: [http(b"", "504 Gateway Timeout")], NotImplementedError),
    "503": (lambda b: [http(b"", "503 Unavailable")], "Unavailable"),
    "429": (lambda b: [http(b"", "429 Too Many")], "Unavailable"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(rig, name):
    answer, want = GARBAGE[name]
    script = modern(lambda n, head, body: good(n, head, body) if n else answer(body))
    server, up = rig(script, max_body=100000, timeout_ms=PATIENT_MS)
    out = up.call("t")
    if want is NotImplementedError:
        assert out.get("raised") == "NoAnswer", out
    elif want == "Unavailable":
        assert out.get("raised") == "Unavailable", out
    else:
        assert want in said(out)
    assert out["seconds"] < SOON_S
    # Executed perhaps: never sent a second time. And the next call is served.
    assert [row["method"] for row in bodies(server)] == ["server/discover", "tools/call"]
    assert up.call("t")["ok"]


def test_error_objects_pass_through(rig):
    for status in ("200 OK", "400 Bad Request", "404 Not Found", "500 Oops", "403 Forbidden"):
        answer = {"code": -32077, "message": "m\u00e9", "data": [1.5e3]}

        def script(n, head, body, status=status, answer=answer):
            return [
                http({"jsonrpc": "2.0", "id": json.loads(body)["id"], "error": answer}, status)
            ]

        server, up = rig(modern(script))
        out = up.call("t")
        assert out["ok"] is False and json.loads(out["raw"]) == answer, (status, out)
        assert "1500.0" in out["raw"]  # as it came, not parsed and written anew
        assert len(server.requests) == 2


def test_stale_connection(rig):
    # The server closes after each answer without saying so: noticed before the next request is
    # written.
    server, up = rig(modern(lambda n, head, body: [*good(n, head, body), CLOSE]))
    for _ in range(5):
        assert up.call("t")["ok"]
        while server.served.get(timeout=PATIENCE_S) < len(server.requests) - 1:
            pass
    assert server.connections == 5
    assert len(server.requests) == 6


def test_unasked_bytes_on_a_kept_connection(rig):
    # Many servers say 408 before they close an idle connection; it must not be taken for the next
    # answer.
    timeout = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    server, up = rig(modern(lambda n, head, body: [*good(n, head, body), 0.05, timeout]))
    for _ in range(3):
        assert up.call("t")["ok"]
        while server.served.get(timeout=PATIENCE_S) < len(server.requests) - 1:
            pass
    assert server.connections == 3


def test_kept_connection_that_dies_with_the_request(rig):
    # Closed when the request arrives, without a byte of an answer: only a call that changes
    # nothing goes again.
    for cut in (CLOSE, RESET):
        server, up = rig(
            modern(lambda n, head, body, cut=cut: [cut] if n in (1, 3) else good(n, head, body))
        )
        assert up.call("t")["ok"]
        out = up.call("t")
        assert out["raised"] == "NoAnswer", out
        assert [row["method"] for row in bodies(server)[1:]] == ["tools/call"] * 2
        assert up.call("t")["ok"]
        out = up.do("request", *LIST)
        assert out["ok"], out
        assert [row["method"] for row in bodies(server)[4:]] == ["tools/list"] * 2
        # On a new connection a second try would be no better.
        server, up = rig(modern(lambda n, head, body, cut=cut: [cut]))
        assert up.do("request", *LIST)["raised"] == "NoAnswer"
        assert up.do("request", *LIST)["raised"] == "NoAnswer"
        assert (
            len(server.requests) == 3 + 1
        )  # the first one used the connection kept from the opening


def test_connection_closed_as_told(rig):
    server, up = rig(
        modern(lambda n, head, body: [http(result(body), extra="Connection: close\r\n"), CLOSE])
    )
    assert up.call("t")["ok"] and up.call("t")["ok"]
    assert server.connections == 2  # the first one was kept from the opening


def test_connection_that_is_to_be_closed_but_is_not(rig):
    server, up = rig(
        modern(lambda n, h, body: [http(result(body), extra="Connection: close\r\n")])
    )
    for _ in range(3):
        assert up.call("t")["ok"]
    assert server.connections == 3  # the first call used the connection kept from the opening


def test_error_page_without_end(rig):
    page = http(b"z" * 5000, "500 Oops", "text/plain").replace(b"Length: 5000", b"Length: 9000000")
    _, up = rig(modern(lambda n, head, body: [page, PATIENCE_S]), timeout_ms=PATIENT_MS)
    out = up.call("t")
    assert "status 500: zzz" in said(out) and out["seconds"] < SOON_S


def test_body_until_the_connection_ends(rig):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    server, up = rig(modern(lambda n, h, body: [head + json.dumps(result(body)).encode(), CLOSE]))
    assert up.call("t")["ok"] and up.call("t")["ok"]


def test_event_stream_that_goes_on_after_the_answer(rig):
    # The answer is given at once; the stream's end is waited for only briefly.
    server, up = rig(
        modern(lambda n, head, body: [events(result(body), tail=False), PATIENCE_S, b"0\r\n\r\n"])
    )
    out = up.call("t")
    assert out["ok"] and out["seconds"] < SOON_S
    assert up.call("t")["ok"]
    # An end that comes a moment later keeps the connection, unless that moment was a long one.
    server, up = rig(
        modern(lambda n, head, body: [events(result(body), tail=False), 0.01, b"0\r\n\r\n"])
    )
    for _ in range(20):
        assert up.call("t")["ok"]
    assert server.connections < 20


def test_events_cut_anywhere(rig):
    note = {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": 1, "progress": 1},
    }

    def script(n, head, body):
        wire = events(
            b": hi\r\n\r\n", b"id: 0\ndata:\n\n", note, b"event: x\ndata: {}\n\n", result(body)
        )
        size = (1, 2, 3, 7, 50, 1000)[n]
        return [
            step for at in range(0, len(wire), size) for step in (wire[at : at + size], 0.0005)
        ]

    _, up = rig(modern(script))
    for _ in range(6):
        out = up.call("t", token=1)
        assert out["ok"] and len(out["progress"]) == 1, out


def test_silence_times_out(rig):
    server, up = rig(modern(lambda n, head, body: [PATIENCE_S]))
    up.do("connect")
    out = up.call("t", timeout_ms=1500)
    assert out["raised"] == "NoAnswer" and out["seconds"] > 1.4
    assert "within 1500 ms" in out["text"]
    # During the opening the request itself was not sent yet.
    server, up = rig(lambda n, head, body: [PATIENCE_S], timeout_ms=1500)
    out = up.call("t")
    assert out["raised"] == "Unavailable" and out["seconds"] > 1.4
    assert [row["method"] for row in bodies(server)] == ["server/discover"]


def test_nobody_answers_the_connect(rig):
    # A listener whose queue is full: the connection stays half open.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/mcp"
        _, up = rig(good, url=url, connect_ms=300, timeout_ms=PATIENT_MS)
        for _ in range(3):
            out = up.call("t")
            assert out["raised"] == "Unavailable" and out["seconds"] < SOON_S, out
        for filler in fillers:
            filler.close()


def test_names_that_do_not_resolve(rig):
    _, up = rig(good, url="http://no-such-host.invalid/mcp")
    assert up.call("t")["raised"] == "Unavailable"


def opened(listener):
    """Accept a connection and answer the opening on it."""
    connection, _ = listener.accept()
    body = connection.recv(65536).partition(b"\r\n\r\n")[2]
    connection.sendall(http(result(body, {"supportedVersions": ["2026-07-28"]})))
    return connection


def test_server_that_does_not_read(rig):
    # The request never left as a whole, so it cannot have been executed.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        _, up = rig(good, heap="64m", url=url, timeout_ms=2000)
        up.send("request", *LARGE)
        with opened(listener):
            out = up.take()
            assert out["raised"] == "Unavailable" and "within 2000 ms" in out["text"], out
            assert out["seconds"] < SOON_S


def test_server_that_hangs_up_while_the_request_is_sent(rig):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        _, up = rig(good, heap="64m", url=url, timeout_ms=PATIENT_MS)
        up.send("request", *LARGE)
        with opened(listener) as connection:
            connection.recv(1000)
        # Broken off in the middle: tried again on a new connection, which fares no better.
        listener.accept()[0].close()
        out = up.take()
        assert out["raised"] == "Unavailable" and "cannot send" in out["text"], out
        assert out["seconds"] < SOON_S


def test_bad_options(rig):
    for options in (
        {"url": "ftp://x"},
        {"url": "http://u:p@x/"},
        {"url": "http://x/", "headers": {"A": "b\r\nC: d"}},
        {"url": "http://x/", "headers": {"Content-Length": "5"}},
        {"url": "http://x/", "headers": {"host": "y"}},
        {"url": "https://x/", "ca": "/no/such/file"},
        {"url": "https://x/", "ca_hex": b"rubbish".hex()},
        {"url": "https://x/", "ca_hex": "3003020101"},
        {"url": "https://x/", "ca_hex": b"-----BEGIN CERTIFICATE-----\nAAAA".hex()},
    ):
        _, up = rig(good, **options)
        assert up.made.get("raised") == "ConfigError", options
        assert "up" in up.made["text"]


def test_nothing_grows(rig):
    def script(n, head, body):
        if n % 10 == 7:
            return [CLOSE]
        return [events(result(body))] if n % 2 else good(n, head, body)

    server, up = rig(modern(script))
    call = ("tools/call", '{"name":"t","arguments":{"a":1}}', None, 5)
    assert up.do("many", 100, call)["good"] == 90
    before = up.do("many", 100, call)
    files = len(os.listdir(f"/proc/{up.process.pid}/fd"))
    after = up.do("many", 1000, call)
    assert after["good"] == 900
    assert after["heap"] - before["heap"] <= 0
    assert len(os.listdir(f"/proc/{up.process.pid}/fd")) == files


def test_no_sockets_are_left_behind(rig):
    # Attempts that fail in every phase: refused, half open, silent, broken off.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _, refused = rig(good, url=f"http://127.0.0.1:{port}/")
    _, silent = rig(lambda n, head, body: [PATIENCE_S], timeout_ms=30)
    _, broken = rig(lambda n, head, body: [CLOSE])
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        _, half = rig(good, url=url, connect_ms=30)
        for up in (refused, silent, broken, half):
            up.call("t")
            files = len(os.listdir(f"/proc/{up.process.pid}/fd"))
            for _ in range(20):
                assert up.call("t")["raised"] == "Unavailable"
            assert len(os.listdir(f"/proc/{up.process.pid}/fd")) <= files
        for filler in fillers:
            filler.close()
