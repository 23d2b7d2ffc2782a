"""Mutated HTTP requests against the sans-IO server: what is taken does not depend on the cuts nor
differ from what another parser takes, nothing raises, and every answer is well-formed."""

import json
import random
import sys
from pathlib import Path

import h11
import soak

from mcp_gw.protocol.http import HEAD, NEED, HTTPError
from mcp_gw.protocol.http_connection import CLOSED
from mcp_gw.protocol.http_server import REQUEST, Requests

sys.path.append(str(Path(__file__).parents[1] / "native"))

import mutate  # noqa: E402
from http_gateway import INITIALIZE, META, Server, turn  # noqa: E402
from http_memory import answers  # noqa: E402

PARSED = soak.count(40_000, 400_000)
SERVED = soak.count(60_000, 600_000)
MAX_HEAD = 600
MAX_BODY = 400

REQUESTS = (
    b"GET /health?x=y HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"POST /mcp HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    b"DELETE /mcp HTTP/1.0\r\nConnection: keep-alive\r\nMcp-Session-Id: abc\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n",
    b"GET http://x/mcp HTTP/1.1\r\nHost: x\r\n\r\n",
)
WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\r\n\r\n", b"\r\n a"),
    *(b"0", b"-1", b"+1", b"FFFFFFFF", b"1_0", b"\x0b", b"\x85", b"x" * 300, b"0\r\n\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n", b" HTTP/1.1"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"chunked", b"GET / HTTP/1.1\r\n"),
)


def mutated(rng, data):
    """A few bytes changed, removed, doubled, moved or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 5, 40))
        what = rng.randrange(6)
        if what == 0:
            data[at : at + length] = b""
        elif what == 1:
            data[at:at] = data[at : at + length]
        elif what == 2:
            data[at:at] = rng.choice(WORDS)
        elif what == 3:
            data[at : at + 1] = bytes((rng.randrange(256),))
        elif what == 4:
            to = rng.randrange(len(data) + 1)
            data[to:to] = data[at : at + length]
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(rng, data):
    at = 0
    while at < len(data):
        size = rng.randrange(1, 80)
        yield bytearray(data[at : at + size])
        at += size


def parse(pieces):
    """(requests, status of the refusal or None): each request (method, path, query, body, whether
    the connection lives on)."""
    requests = Requests(MAX_HEAD, MAX_BODY)
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
                assert sum(map(len, head.headers)) <= MAX_HEAD
                if event == HEAD:
                    continue
                assert event == REQUEST
                body = bytes(memoryview(requests.buf)[requests.lo : requests.hi])
                assert len(body) <= MAX_BODY
                out.append((head.method, head.path, head.query, body, head.keep_alive))
    except HTTPError as e:
        assert 400 <= e.status <= 505 and str(e)
        return out, e.status
    return out, None


def other_parser(data):
    """The requests that h11 finds, (method, target, body), up to the first it does not take."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD)
    out = []
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                row, body = event, bytearray()
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                out.append((row.method.decode(), row.target.decode(), bytes(body)))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return out
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return out


def test_mutated_requests_are_read_alike():
    rng = random.Random(soak.seed("mutated requests, parser"))
    outcomes = set()
    agreed = 0
    for _ in range(PARSED):
        wire = mutated(rng, rng.choice(REQUESTS) + rng.choice((b"", b"", rng.choice(REQUESTS))))
        whole = parse([bytearray(wire)])
        assert parse(cut(rng, wire)) == whole, wire
        outcomes.add(whole[1])
        theirs = other_parser(wire)
        for (method, path, query, body, _), row in zip(whole[0], theirs, strict=False):
            target = path + "?" + query if query else path
            ours = method, target, body
            if "://" in row[1]:  # only the path of a whole URL counts here
                ours = method, row[1], body
            elif row[1].endswith("?") and not query:
                ours = method, target + "?", body
            assert ours == row, wire
            agreed += 1
    assert {None, 400, 413, 431, 501, 505} <= outcomes
    assert agreed > PARSED / 4


# --- the whole server

HEADERS = (
    *(b"MCP-Protocol-Version: 2026-07-28", b"MCP-Protocol-Version: 2025-11-25"),
    *(b"Mcp-Method: tools/call", b"Mcp-Method: tools/list", b"Mcp-Name: add", b"Mcp-Name: steps"),
    *(b"Mcp-Session-Id: x", b"Last-Event-ID: 0-1"),
    *(b"Last-Event-ID: 1-0", b"Origin: http://localhost", b"Origin: null", b"Accept: */*"),
    *(b"Accept: application/json", b"Accept: text/event-stream", b"Connection: close"),
    *(b"Content-Type: application/json", b"Content-Type: x", b"Expect: 100-continue"),
    *(b"Mcp-Name: =?base64?YWRk?=", b"Mcp-Param-B: 1"),
)
BODIES = [
    {"method": "tools/call", "params": {"name": "add", "arguments": {"a": 1}, "_meta": META}},
    {"method": "tools/call", "params": {"name": "steps", "arguments": {"n": 2}, "_meta": META}},
    {"method": "tools/call", "params": {"name": "add", "arguments": {"a": 1, "b": 1}}},
    {"method": "initialize", "params": INITIALIZE},
    {"method": "tools/list", "params": {"_meta": META}},
]


def http_request(rng, last):
    """The bytes of a request that often makes sense. last: number of the newest session."""
    message = rng.choice(BODIES) | {"jsonrpc": "2.0", "id": rng.randrange(3)}
    body = json.dumps(message).encode() if rng.randrange(4) else mutate.mutated(rng)
    lines = [b"Host: localhost", b"Content-Type: application/json"]
    if "_meta" in message["params"]:
        name = message["params"].get("name")
        lines += [HEADERS[0], b"Mcp-Method: " + message["method"].encode()]
        lines += [b"Mcp-Name: " + name.encode()] if name else []
    elif message["method"] != "initialize":
        lines += [b"Mcp-Session-Id: session-%d" % (last - rng.randrange(5))]
    if rng.randrange(3) == 0:
        lines += rng.sample(HEADERS, rng.randrange(5))
        lines.pop(rng.randrange(len(lines)))
    if rng.randrange(4):
        lines += [b"Content-Length: %d" % len(body)]
    else:
        lines += [b"Transfer-Encoding: chunked"]
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    method = rng.choice((b"POST",) * 9 + (b"GET",) * 3 + (b"DELETE", b"OPTIONS", b"HEAD", b"PUT"))
    path = rng.choice((b"/mcp",) * 5 + (b"/", b"/mcp?x", b"/health"))
    return method + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_mutated_requests_are_answered():
    rng = random.Random(soak.seed("mutated requests, server"))
    failures = []
    server = Server(sessions=8, replay=1000, http_head=1024)
    server.app._log = failures.append
    server.gateway.log_exception = failures.append
    statuses = {}
    connections = []
    done = 0
    while done < SERVED:
        connection = server.connect()
        pieces = b""
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            wire = http_request(rng, server.ids)
            pieces += wire if rng.randrange(3) else mutated(rng, wire)
            done += 1
        for piece in cut(rng, pieces):
            if connection.phase == CLOSED:
                break
            connection.feed(piece, 0, len(piece))
        if done % 7 == 0:
            turn(3)
        connection.tick(0)
        connections.append((connection, b"HEAD " in pieces))
        if len(connections) < 50:
            continue
        # What takes time gets it, and then all goes away.
        turn(10)
        for connection, heads in connections:
            assert connection.waiting == 0
            if not heads:  # whose answers have no bodies
                # (a parser of answers skips interim ones)
                for status, headers, *_ in answers(connection.take(), True):
                    statuses[status] = statuses.get(status, 0) + 1
                    assert b"content-length" in headers or status in (200, 204), headers
            connection.close()
        connections = []
        server.app.tick(done)
        assert not failures, failures[0]
        assert len(server.gateway.sessions) <= 8
        assert not any(one.session.under_way for one in server.app.sessions._table.values())
    assert {200, 202, 204, 400, 403, 404, 405, 406, 409, 413, 415, 501} <= set(statuses)
    assert statuses[200] > SERVED / 20
