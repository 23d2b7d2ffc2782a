"""HttpUpstream against the official SDK's server, both eras, under CPython and the unix build."""

import itertools
import json

import pytest
from http_upstream_rig import INTERPRETERS, Driver, SDKServer, call
from waiting import PATIENCE_S, until

MODES = ["json", "sse", "session"]
ERAS = {"modern": [], "legacy": ["--legacy", "400"]}
DOORS = ["404", "405", "500"]
PATIENT_MS = 1000 * PATIENCE_S


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """servers(mode, *options): such a server, started once."""
    running = {}

    def get(mode, *options):
        if (mode, options) not in running:
            ledger = tmp_path_factory.mktemp("server") / "ledger"
            running[mode, options] = SDKServer(ledger, mode, *options)
        return running[mode, options]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture
def drive():
    """drive(interpreter, **options): a driven upstream."""
    drivers = []

    def make(interpreter, **options):
        drivers.append(Driver(interpreter, **options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize(("mode", "era"), list(itertools.product(MODES, ERAS)))
def test_conversation(servers, drive, interpreter, mode, era):
    server = servers(mode, *ERAS[era])
    up = drive(interpreter, url=server.url)
    listed = up.do("tools")
    assert listed["whole"] and listed["count"] == len(listed["tools"])
    tools = {tool["name"]: tool for tool in map(json.loads, listed["tools"])}
    assert tools["add"]["inputSchema"]["required"] == ["a", "b"]

    state = up.do("state")
    assert state["up"] and state["modern"] is (era == "modern")
    assert state["version"] == ("2026-07-28" if era == "modern" else "2025-11-25")
    assert state["server"]["name"] == "upstream"
    assert bool(state["session"]) is (mode == "session" and era == "legacy")

    assert up.text("add", {"a": 2, "b": 40}) == "42"
    assert up.text("routed", {"region": "eu\u00e9 "}) == "eu\u00e9 "
    raised = up.call("fails")
    assert raised["ok"] and json.loads(raised["raw"])["isError"]
    unknown = up.do("request", "no/such", "{}")
    assert not unknown["ok"] and json.loads(unknown["raw"])["code"] == -32601
    bad = up.do("request", "tools/call", '{"arguments":{}}')
    assert not bad["ok"] and json.loads(bad["raw"])["code"] == -32602
    note = up.do("request", "resources/read", json.dumps({"uri": "note://h\u00e9"}))
    assert json.loads(note["raw"])["contents"][0]["text"] == "note h\u00e9", note

    stepped = up.call("steps", {"count": 3}, token=77)
    assert stepped["ok"]
    told = [json.loads(raw) for raw in stepped["progress"]]
    if mode == "json":
        assert told == []
    else:
        assert [row["progress"] for row in told] == [0, 1, 2]
        assert {row["progressToken"] for row in told} == {77}
        assert told[2]["message"] == "step 2 \u20ac"

    # A stateless server may share the connection with nobody else and still answers after all
    # that.
    assert up.text("add", {"a": 1, "b": 1}) == "2"
    assert up.do("close") is None
    assert up.do("state")["session"] is None
    assert up.text("add", {"a": 3, "b": 1}) == "4"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("door", DOORS)
def test_ways_to_turn_the_probe_down(servers, drive, interpreter, door):
    up = drive(interpreter, url=servers("json", "--legacy", door).url)
    assert up.text("add", {"a": 1, "b": 2}) == "3"
    assert up.do("state")["modern"] is False


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_what_a_legacy_server_asks_back(servers, drive, interpreter):
    up = drive(interpreter, url=servers("session", "--legacy", "400").url)
    assert up.text("asks") == "pong, -32601"
    assert up.do("state")["changes"] == []
    assert up.text("grows") == "grown"
    assert up.do("state")["changes"] == ["tools"]


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_what_a_modern_server_asks_back(servers, drive, interpreter):
    up = drive(interpreter, url=servers("sse").url)
    out = up.call("unsure")
    assert out["ok"], out
    row = json.loads(out["raw"])
    assert row["resultType"] == "input_required" and row["requestState"]
    # A tool that was never listed: its marked argument is found out about, and the call still made
    # once.
    assert up.text("routed", {"region": "eu"}) == "eu"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("mode", MODES)
def test_calls_side_by_side(servers, drive, interpreter, mode):
    server = servers(mode)
    up = drive(interpreter, url=server.url, connections=2)
    up.do("connect")
    outs = up.do("several", [call("meet", {"count": 2})] * 2)
    assert all(out["ok"] for out in outs)
    # One more than there are connections waits for its turn.
    outs = up.do("several", [call("crowd", {"seconds": 0.4})] * 3)
    assert all(out["ok"] for out in outs)
    assert max(json.loads(out["raw"])["structuredContent"]["result"] for out in outs) <= 2
    # ... but not for longer than its own time-out, and is then certainly not sent.
    before = server.executed("add")
    outs = up.do(
        "several", [call("slow", {"seconds": 2})] * 2 + [call("add", {"a": 1, "b": 1}, 300)]
    )
    assert outs[2]["raised"] == "Unavailable"
    assert [out["ok"] for out in outs[:2]] == [True, True]
    assert server.executed("add") == before


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize(
    ("mode", "era"), [("json", "modern"), ("session", "legacy"), ("sse", "legacy")]
)
def test_server_killed_and_started_again(tmp_path, drive, interpreter, mode, era):
    server = SDKServer(tmp_path / "ledger", mode, *ERAS[era])
    try:
        up = drive(interpreter, url=server.url)
        assert up.text("add", {"a": 1, "b": 2}) == "3"
        session = up.do("state")["session"]
        # Between calls.
        server.kill()
        out = up.call("add", {"a": 1, "b": 2})
        assert out["raised"] == "Unavailable", out
        assert up.do("state")["up"] is False
        # Back again: a session that is gone is opened anew, the call is made once.
        server = SDKServer(tmp_path / "ledger", mode, *ERAS[era], port=server.port)
        before = server.executed("add")
        assert up.text("add", {"a": 1, "b": 3}) == "4"
        assert server.executed("add") == before + 1
        state = up.do("state")
        assert state["up"] and (session is None or state["session"] not in (None, session))
        # During a call.
        up.send("request", *call("slow", {"seconds": 1000}))
        until(lambda: server.executed("slow"))
        server.kill()
        out = up.take()
        assert out["raised"] == "NoAnswer" and "within" not in out["text"], out
        # Nothing there at all, from the beginning.
        other = drive(interpreter, url=server.url)
        assert other.do("connect")["raised"] == "Unavailable"
        assert other.call("add")["raised"] == "Unavailable"
    finally:
        if server.process.poll() is None:
            server.kill()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("mode", MODES)
def test_time_out(servers, drive, interpreter, mode):
    server = servers(mode)
    up = drive(interpreter, url=server.url, timeout_ms=1500)
    assert up.call("add", {"a": 1, "b": 2}, PATIENT_MS)["ok"]
    out = up.call("slow", {"seconds": 1000})
    assert out["raised"] == "NoAnswer" and out["seconds"] > 1.4, out
    assert "within 1500 ms" in out["text"]
    assert up.call("add", {"a": 1, "b": 2}, PATIENT_MS)["ok"]
    assert up.call("slow", {"seconds": 1}, PATIENT_MS)["ok"]


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("mode", MODES)
def test_answer_one_byte_over_the_cap(servers, drive, interpreter, mode):
    server = servers(mode)
    up = drive(interpreter, url=server.url, max_body=20000)
    size = len(up.call("blob", {"size": 0})["raw"])
    assert up.call("blob", {"size": 8000})["ok"]
    before = server.executed("blob")
    out = up.call("blob", {"size": 20000 - size})
    # It came twice, as text and as structured content, and was executed: no reason to send it
    # again.
    assert not out["ok"] and "longer than 20000 bytes" in json.loads(out["raw"])["message"], out
    assert server.executed("blob") == before + 1
    assert up.text("add", {"a": 1, "b": 2}) == "3"


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_large_messages(servers, drive, interpreter):
    # Larger than any socket buffer, both ways.
    up = drive(interpreter, heap="32m", url=servers("json").url, max_body=4 << 20)
    assert up.text("blob", {"size": 1_000_000}) == "x" * 1_000_000
    note = '{"uri":"note://n","more":"PAD"}'
    out = up.do("request", "resources/read", note, None, None, 1_000_000)
    assert out["ok"], str(out)[:300]


def test_answer_larger_than_the_heap(servers, drive):
    server = servers("json")
    up = drive("micropython", heap="1m", url=server.url, max_body=4 << 20)
    assert up.text("add", {"a": 1, "b": 2}) == "3"
    before = server.executed("blob")
    out = up.call("blob", {"size": 1_000_000})
    assert not out["ok"] and "no memory" in json.loads(out["raw"])["message"]
    assert server.executed("blob") == before + 1
    assert up.text("add", {"a": 1, "b": 2}) == "3"
