"""Hostile bytes through the sans-IO parts of the HTTP upstream: only the errors they promise,
whatever the cuts.
"""

import json
import random
import re

import soak
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value

from mcp_gw.errors import GatewayError
from mcp_gw.protocol import client as core
from mcp_gw.protocol.http import (
    BODY,
    END,
    HEAD,
    NEED,
    HTTPError,
    ResponseParser,
    TooLarge,
    head,
    parse_url,
)
from mcp_gw.protocol.sse import SSEDecoder
from mcp_gw.protocol.streamable import header_value, marks_of, request_fields
from mcp_gw.route.upstream import Upstream, asks, error_of

EXAMPLES = soak.count(400, 20_000)
MUTATIONS = soak.count(20_000, 1_000_000)
MAX_BODY = 4096


def cut(data, sizes):
    """data in pieces of the given sizes (the last one repeated)."""
    at = n = 0
    while at < len(data):
        size = max(1, sizes[min(n, len(sizes) - 1)])
        yield data[at : at + size]
        at += size
        n += 1


def mutated(rng, data, alphabet):
    """A few bytes changed, removed, doubled or moved."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 5, 40))
        what = rng.randrange(6)
        if what == 0:
            data[at : at + length] = b""
        elif what == 1:
            data[at:at] = data[at : at + length]
        elif what == 2:
            data[at:at] = rng.choice(alphabet)
        elif what == 3:
            data[at : at + 1] = bytes((rng.randrange(256),))
        elif what == 4:
            to = rng.randrange(len(data) + 1)
            data[to:to] = data[at : at + length]
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


# --- HTTP answers

ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[[1, 2]]",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
    b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nMcp-Session-Id: abc\r\n\r\n"
    b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
)
HTTP_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\r\n\r\n", b"\r\n a"),
    *(b"0", b"-1", b"FFFFFFFF", b"1_0", b"x" * 300, b"HTTP/1.1 200 OK\r\n"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
)


def parse(pieces, ends):
    """(answers, error): each answer (status, headers, body, keep_alive), error None or a type."""
    parser = ResponseParser(MAX_BODY)
    answers, body = [], bytearray()
    try:
        for piece in pieces:
            pos = 0
            while True:
                event = parser.next(piece, pos, len(piece))
                assert pos <= parser.pos <= len(piece)
                pos = parser.pos
                if event == HEAD:
                    assert 200 <= parser.status <= 599
                    assert len(parser.headers) <= parser.MAX_FIELDS
                elif event == BODY:
                    assert pos >= parser.hi > parser.lo >= 0
                    body += piece[parser.lo : parser.hi]
                    assert len(body) <= MAX_BODY
                elif event == END:
                    answers.append((parser.status, parser.headers, bytes(body), parser.keep_alive))
                    body.clear()
                    parser.reset()
                    if pos == len(piece):
                        break
                else:
                    assert event == NEED and pos == len(piece)
                    break
        if ends and parser.started:
            assert parser.eof() == END
            answers.append((parser.status, parser.headers, bytes(body), parser.keep_alive))
    except HTTPError as e:
        return answers, type(e)
    return answers, None


def test_mutated_answers():
    rng = random.Random(soak.seed("mutated answers"))
    outcomes = set()
    for _ in range(MUTATIONS):
        wire = mutated(rng, rng.choice(ANSWERS), HTTP_WORDS)
        whole = parse([wire], True)
        assert parse(cut(wire, [rng.randrange(1, 60) for _ in range(5)]), True) == whole, wire
        outcomes.add((len(whole[0]), whole[1]))
    assert {(0, HTTPError), (1, None), (2, None), (1, HTTPError)} <= outcomes


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_any_answer(data, sizes):
    for start in (b"", b"HTTP/1.1 200 OK\r\n", ANSWERS[1][:80]):
        assert parse(cut(start + data, sizes), True) == parse([start + data], True)


# --- events


def reference(wire):
    """The decoding of a whole stream by the letter of the HTML standard: [(event, data)], last id,
    retry.
    """
    out, last_id, retry, data, event = [], b"", None, b"", b""
    wire = wire.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\n|\r", wire)
    for line in lines[:-1]:
        if not line:
            if data:
                out.append((event or b"message", data[:-1]))
            data, event = b"", b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data += value + b"\n"
        elif field == b"event":
            event = value
        elif field == b"id" and b"\0" not in value:
            last_id = value
        elif field == b"retry" and re.fullmatch(rb"[0-9]{1,9}", value):
            retry = int(value)
    return out, last_id, retry


def decode(pieces, cap=100_000):
    decoder = SSEDecoder(cap)
    out = []
    for piece in pieces:
        pos = 0
        while decoder.next(piece, pos, len(piece)):
            pos = decoder.pos
            out.append((decoder.event, bytes(decoder.data)))
    return out, decoder.last_id, decoder.retry


SSE_WORDS = [
    b"data",
    b"event",
    b"id",
    b"retry",
    b":",
    b": ",
    b" ",
    b"\n",
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"12",
]
SSE_WORDS += [b"\xef\xbb\xbf", b"\0", b"{}", b"x" * 40, b"data: x\n\n", b"message", b"\xc3\xa9"]
SSE_CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(SSE_WORDS), max_size=60).map(b"".join), SSE_CUTS)
def test_events_like_the_standard(wire, sizes):
    # A CR that ends the stream is held back by nobody: it ends its line at once, here as there.
    assert decode(cut(wire, sizes)) == reference(wire)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=300), SSE_CUTS, st.integers(0, 50))
def test_any_stream(wire, sizes, cap):
    try:
        events, _, _ = decode(cut(wire, sizes), cap)
    except TooLarge:
        return
    assert all(len(data) <= cap for _, data in events)


# --- the client

RESULT = {"content": [{"type": "text", "text": '\u00e9 \\ "'}], "resultType": "complete"}
JSON_WORDS = tuple(
    b'{ } [ ] , : " \\ null true -1 1e9 "id" "result" "error" "method" "2.0" \\u0000 \xff'.split()
)


def messages(client):
    own = client._last_id
    for row in (
        {"id": own, "result": RESULT},
        {
            "id": own,
            "result": {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {}},
        },
        {
            "id": own,
            "result": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}},
        },
        {"id": own, "result": {"resultType": "input_required", "requestState": "s"}},
        {
            "id": own,
            "error": {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}},
        },
        {"id": None, "error": {"code": -32600, "message": "no"}},
        {"id": "a", "method": "ping"},
        {"id": 7, "method": "sampling/createMessage", "params": {"messages": []}},
        {"method": "notifications/progress", "params": {"progressToken": 3, "progress": 0.5}},
        {"method": "notifications/tools/list_changed"},
    ):
        yield json.dumps({"jsonrpc": "2.0"} | row, ensure_ascii=False).encode()


def clients():
    """Clients in every state, with how many requests are under way."""
    probing = core.Client("gw", "1")
    probing.open()
    handshaking = core.Client("gw", "1")
    handshaking.open()
    handshaking.rejected("no")
    ready = core.Client("gw", "1", True)
    ready.request("tools/call", [b"{}"])
    legacy = core.Client("gw", "1")
    legacy.open()
    legacy.rejected("no")
    result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}
    wire = json.dumps({"jsonrpc": "2.0", "id": legacy.out_id, "result": result}).encode()
    assert legacy.receive(wire, 0, len(wire)) == core.READY
    legacy.request("tools/call", [b"{}"])
    idle = core.Client("gw", "1")
    return probing, handshaking, ready, legacy, idle


def test_mutated_messages():
    rng = random.Random(soak.seed("mutated messages"))
    seen = set()
    for _ in range(MUTATIONS // 4):
        for client in clients():
            wire = mutated(rng, rng.choice(list(messages(client))), JSON_WORDS)
            sole = rng.choice((None, client._last_id))
            event = client.receive(wire, 0, len(wire), sole)
            seen.add(event)
            if event in (core.ANSWER, core.FAILURE):
                raw = wire[client.lo : client.hi]
                json.loads(raw)
                assert asks(raw) in (True, False)
                if event == core.FAILURE:
                    assert isinstance(error_of(raw)[0], int)
            elif event == core.ASKED:
                json.loads(client.asked)
                assert client.method in core.QUESTIONS
            elif event in (core.SEND, core.REPLY):
                reply = json.loads(b"".join(client.out))
                assert reply["jsonrpc"] == "2.0"
            elif event == core.PROGRESS:
                token = client.progress_token(wire)
                assert isinstance(json.loads(token), (str, int, float))
            elif event == core.REFUSED:
                assert client.why
    everything = set(range(core.NOTHING, core.ASKED + 1))
    assert seen == everything


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "tools",
                    "nextCursor",
                    "name",
                    "inputSchema",
                    "properties",
                    "x-mcp-header",
                    "code",
                    'é"\\',
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


class Lister(Upstream):
    """An upstream whose answer to every request is `raw`."""

    def __init__(self, raw):
        super().__init__("up")
        self.raw = raw

    def meta(self, extra=b""):
        return b"{}"

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None):
        json.loads(b"".join(params_parts))
        return True, self.raw


def run(steps):
    try:
        steps.send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("it waited")


@settings(max_examples=EXAMPLES, deadline=None)
@given(JSON, st.booleans())
def test_any_list_of_tools(value, spaced):
    raw = json.dumps(value, separators=(" , ", " : ") if spaced else (",", ":")).encode()
    found = []
    try:
        count, _ = run(Lister(raw).tools(found.append))
    except GatewayError:
        assert not isinstance(value, dict) or not isinstance(value.get("tools"), list)
        return
    want = [tool for tool in value["tools"] if isinstance(tool, dict)]
    pages = 1 if not want else count // len(want)
    assert [json.loads(row) for row in found] == want * pages
    for row in found:
        assert marks_of(row) is None or marks_of(row)[1]


@settings(max_examples=EXAMPLES, deadline=None)
@given(JSON)
def test_any_error_object(value):
    code, message = error_of(json.dumps(value).encode())
    assert isinstance(code, int) and isinstance(message, str)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=40))
def test_any_name_in_a_header(text):
    client = core.Client("gw", "1", True)
    params = json.dumps({"name": text}).encode()
    lines = b"".join(request_fields(client, None, "tools/call", [params], {})).split(b"\r\n")
    assert len(lines) == 4 and lines[-1] == b""
    name = lines[2].decode().removeprefix("Mcp-Name: ")
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert name == header_value(text) and decode_header_value(name) == text


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.text(max_size=40),
    st.sampled_from(["", "http://", "https://h", "http://[::1]", "http://h:1/"]),
)
def test_any_url(text, start):
    try:
        url = parse_url(start + text)
    except ValueError:
        return
    lines = head("POST", url, []).split(b"\r\n")
    assert len(lines) == 3 and lines[0].count(b" ") == 2
    assert 0 < url.port < 65536 and url.host
