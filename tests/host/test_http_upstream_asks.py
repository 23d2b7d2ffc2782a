"""What servers ask of their client in the middle of a call: HttpUpstream against the official
SDK's server in both eras, under CPython and the unix build.
"""

import json
import queue
import threading

import pytest
from http_upstream_rig import (
    INTERPRETERS,
    Driver,
    SDKServer,
    bodies,
    events,
    http,
    legacy,
    result,
    rigs,
)
from waiting import PATIENCE_S, until

ERAS = {"modern": ["sse"], "legacy": ["session", "--legacy", "400"]}
ALL = '{"elicitation":{"form":{}},"sampling":{},"roots":{}}'
MUSING = {
    "role": "assistant",
    "content": {"type": "text", "text": "fine"},
    "model": "m",
    "stopReason": "endTurn",
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    running = {}

    def get(*options):
        if options not in running:
            ledger = tmp_path_factory.mktemp("server") / "ledger"
            running[options] = SDKServer(ledger, *options)
        return running[options]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture
def drive():
    drivers = []

    def make(interpreter, **options):
        drivers.append(Driver(interpreter, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture(params=INTERPRETERS)
def rig(request):
    yield from rigs(request.param)


def ask(up, tool, arguments=None, can=ALL, **more):
    """One round of a call; returns its result or error object."""
    params = {"name": tool, "arguments": arguments or {}} | more
    out = up.do("request", "tools/call", json.dumps(params), 10000, None, 0, can)
    assert "ok" in out, out
    return json.loads(out["raw"])


def go_on(up, row, answers, tool, arguments=None, can=ALL):
    """The next round, with answers for what `row` asks: method -> result."""
    assert row["resultType"] == "input_required", row
    given = {key: answers[asked["method"]] for key, asked in row["inputRequests"].items()}
    more = {"inputResponses": given, "requestState": row["requestState"]}
    return ask(up, tool, arguments, can, **more)


def text(row):
    assert not row.get("isError"), row
    return row["content"][0]["text"]


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("era", ERAS)
def test_questions_in_both_eras_look_alike(servers, drive, interpreter, era):
    server = servers(*ERAS[era])
    up = drive(interpreter, url=server.url)
    before = server.executed("order")
    row = ask(up, "order", {"cup": "mug"})
    (question,) = row["inputRequests"].values()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "How large a mug?"
    assert server.executed("order") == before
    accepted = {"action": "accept", "content": {"size": 3}}
    answers = {"elicitation/create": accepted, "sampling/createMessage": MUSING}
    answers["roots/list"] = {"roots": [{"uri": "file:///home"}]}
    assert text(go_on(up, row, answers, "order", {"cup": "mug"})) == "mug of 3"
    assert server.executed("order") == before + 1

    row = ask(up, "praise", {"cup": "mug"})
    assert text(go_on(up, row, answers, "praise", {"cup": "mug"})) == "fine"
    row = ask(up, "where")
    assert text(go_on(up, row, answers, "where")) == "file:///home"
    # Declined: the tool says what becomes of it.
    row = ask(up, "order", {"cup": "mug"})
    row = go_on(up, row, {"elicitation/create": {"action": "decline"}}, "order", {"cup": "mug"})
    assert row["isError"]
    # Two questions, one after the other.
    row = ask(up, "confirm", {"cup": "pot"})
    row = go_on(up, row, answers, "confirm", {"cup": "pot"})
    answers["elicitation/create"] = {"action": "accept", "content": {"sure": True}}
    assert text(go_on(up, row, answers, "confirm", {"cup": "pot"})) == "pot of 3: True"
    # Those who cannot answer are not asked, and other calls go on meanwhile.
    row = ask(up, "order", {"cup": "mug"}, can='{"sampling":{}}')
    assert row.get("isError") or row.get("code"), row
    held = ask(up, "order", {"cup": "mug"})
    others = [ask(up, "order", {"cup": "mug"}) for _ in range(3)]
    assert up.text("add", {"a": 1, "b": 1}) == "2"
    answers["elicitation/create"] = accepted
    for each in (held, *others):
        assert text(go_on(up, each, answers, "order", {"cup": "mug"})) == "mug of 3"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_limits_on_calls_that_wait(servers, drive, interpreter):
    server = servers(*ERAS["legacy"])
    accepted = {"elicitation/create": {"action": "accept", "content": {"size": 1}}}
    # No answer in time: the call is over for the server, too.
    up = drive(interpreter, url=server.url, held=2, answer_ms=300)
    row = ask(up, "order", {"cup": "mug"})
    up.do("sleep", 0.6)
    late = go_on(up, row, accepted, "order", {"cup": "mug"})
    assert late["code"] == -32602 and "again" in late["message"]
    up = drive(interpreter, url=server.url, held=2)
    rows = [ask(up, "order", {"cup": "mug"}) for _ in range(2)]
    # Too many at once: the server is told, and the tool fails.
    assert "too many" in ask(up, "order", {"cup": "mug"})["message"]
    for each in rows:
        assert text(go_on(up, each, accepted, "order", {"cup": "mug"})) == "mug of 1"
    unknown = ask(up, "order", {"cup": "mug"}, requestState="made up", inputResponses={})
    assert unknown["code"] == -32602
    row = ask(up, "order", {"cup": "mug"})
    # An answer that is missing is asked for again; the state is good once.
    first, row = row, go_on(up, row | {"inputRequests": {}}, accepted, "order", {"cup": "mug"})
    assert go_on(up, first, accepted, "order", {"cup": "mug"})["code"] == -32602
    assert text(go_on(up, row, accepted, "order", {"cup": "mug"})) == "mug of 1"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("era", ERAS)
def test_giving_up_reaches_the_server(servers, drive, interpreter, era):
    server = servers(*ERAS[era])
    up = drive(interpreter, url=server.url)
    assert up.text("add", {"a": 1, "b": 1}) == "2"
    before = server.ledger.read_text().count("brew cancelled")
    out = up.call("brew", {"seconds": 1000}, 1500)
    assert out["raised"] == "NoAnswer", out
    up.do("sleep", 0.3)  # the word goes out beside the calls
    until(lambda: server.ledger.read_text().count("brew cancelled") == before + 1)
    assert up.text("add", {"a": 1, "b": 1}) == "2"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_stream_that_ends_early_is_resumed(servers, drive, interpreter):
    server = servers(*ERAS["legacy"], "--resumable")
    up = drive(interpreter, url=server.url)
    before = server.executed("hangs_up")
    out = up.call("hangs_up", {"times": 3}, 20000, 5)
    assert out.get("ok"), out
    assert json.loads(out["raw"])["content"][0]["text"] == "answered"
    told = [json.loads(raw)["message"] for raw in out["progress"]]
    assert [row for row in told if "again" not in row] == ["round 0", "round 1", "round 2"]
    assert server.executed("hangs_up") == before + 1


def event(id, message=None):
    data = b"data: " + (json.dumps(message).encode() if message else b"") + b"\n"
    return b"id: %d\nretry: 50\n" % id + data + b"\n"


def test_a_stream_that_breaks_is_resumed(rig):
    """The connection is cut; the server is away for a moment; the answer comes by GET."""
    down = {"left": 2}
    ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
    read = threading.Event()  # what had come before the cut, or a reset would take it back

    def script(n, head, body):
        if head.startswith(b"GET"):
            assert b"last-event-id: 7\r\n" in head.lower() + b"\r\n"
            assert b"mcp-session-id: s-1\r\n" in head.lower() + b"\r\n"
            down["left"] -= 1
            if down["left"]:
                return ["reset"]
            return [events(event(8, result(down["body"])), tail=False)]
        message = json.loads(body)
        if message.get("id") == "p":
            read.set()
            return [http(b"", "202 Accepted")]
        if message["method"] == "tools/call":
            down["body"] = body
            return cut()
        return opening(n, head, body)

    def cut():
        yield events(event(7, ping), tail=False)
        assert read.wait(PATIENCE_S)
        yield "reset"

    opening = legacy(lambda n, h, b: [http(result(b))], "s")
    server, up = rig(script)
    out = up.call("t", None, 20000)
    assert out.get("ok"), out
    assert sum(row.get("method") == "tools/call" for row in bodies(server)) == 1


QUESTION = {"message": "sure?", "requestedSchema": {"type": "object", "properties": {}}}
QUESTION = {"jsonrpc": "2.0", "id": 99, "method": "elicitation/create", "params": QUESTION}


def test_a_question_that_is_repeated_after_a_break_is_answered_once(rig):
    """Once while its answer is awaited, and once more when that has come."""
    answered = threading.Event()
    call = []

    def script(n, head, body):
        if head.startswith(b"GET"):
            return resumed()
        message = json.loads(body)
        if message.get("id") == 99:
            answered.set()
            return [http(b"", "202 Accepted")]
        if message["method"] == "tools/call":
            call.append(body)
            return [events(event(7, QUESTION), tail=False), "close"]
        return opening(n, head, body)

    def resumed():
        yield events(event(8, QUESTION), tail=False)
        assert answered.wait(PATIENCE_S)
        for message in (event(9, QUESTION), event(10, result(call[0]))):
            yield b"%x\r\n%s\r\n" % (len(message), message)
        yield b"0\r\n\r\n"

    opening = legacy(lambda n, h, b: [http(result(b))], "s")
    server, up = rig(script)
    row = ask(up, "t")
    assert len(row["inputRequests"]) == 1
    row = go_on(up, row, {"elicitation/create": {"action": "accept", "content": {}}}, "t")
    assert row == {"content": [], "isError": False}
    up.do("sleep", 0.3)  # what is told beside the calls has gone by then
    replies = [row for row in bodies(server) if row.get("id") == 99]
    assert [row["result"]["action"] for row in replies] == ["accept"]


def test_a_question_that_is_repeated_on_the_session_stream_is_answered_once(rig):
    told = queue.Queue()
    streams = []
    repeated = threading.Event()

    def script(n, head, body):
        if head.startswith(b"GET"):
            streams.append(n)
            repeated.set() if len(streams) == 2 else None
            again = events(event(len(streams), QUESTION), tail=False)
            return [again, "close"] if len(streams) == 1 else [again, PATIENCE_S]
        message = json.loads(body)
        if message.get("method") == "initialize":
            server = {"serverInfo": {"name": "l"}, "capabilities": {"tools": {}}}
            found = result(body, {"protocolVersion": "2025-06-18"} | server)
            return [http(found, extra="Mcp-Session-Id: s\r\n")]
        if "method" not in message:
            told.put(message)
            return [http(b"", "202 Accepted")]
        return opening(n, head, body)

    opening = legacy(lambda n, h, b: [http(result(b))], "s")
    _, up = rig(script, listen=True)
    up.call("t", None, 20000)
    while not repeated.is_set():
        up.do("sleep", 0.1)
    # No call is under way, so it is refused; what is told beside calls comes in order.
    up.do("sleep", 0.2)
    assert told.get(timeout=PATIENCE_S)["error"]["code"] == -32601
    assert told.empty()


def test_a_stream_that_is_lost_for_good(rig):
    """Nothing to resume with, or nobody who knows the stream: perhaps executed."""

    def script(n, head, body):
        if head.startswith(b"GET"):
            return [http(b"", "405 No")]
        if json.loads(body)["method"] == "tools/call":
            return [events(event(7), tail=False), "close"]
        return opening(n, head, body)

    opening = legacy(lambda n, h, b: [http(result(b))], "s")
    server, up = rig(script)
    assert up.call("t", None, 20000)["raised"] == "NoAnswer"
    assert [head.split()[0] for _, head, _ in server.requests].count(b"GET") == 1


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("era", ERAS)
def test_changes_are_heard_unasked(servers, drive, interpreter, era):
    server = servers(*ERAS[era])
    up = drive(interpreter, url=server.url, listen=True)
    assert up.text("add", {"a": 1, "b": 1}) == "2"

    def heard():
        assert up.text("shout") == "shouted"
        up.do("sleep", 0.1)
        return "tools" in up.do("state")["changes"]

    until(heard)
