"""The recorder that judges conversations in other tests refuses what it is there to find."""

import http.server
import json
import subprocess
import sys
import threading
import urllib.request

import pytest
import wire_record
import wire_schema
from http_tap import HTTPTap
from waiting import PATIENCE_S
from wire_record import Logged, Recorder
from wire_schema import MODERN, REVISIONS

LEGACY = REVISIONS[:-1]
TEXT = {"content": [{"type": "text", "text": "x"}]}
TASK = {
    "taskId": "t1",
    "status": "working",
    "createdAt": "2026-07-28T10:00:00Z",
    "lastUpdatedAt": "2026-07-28T10:00:00Z",
    "ttlMs": None,
}
DONE = {"resultType": "complete"}
FORM = {
    "method": "elicitation/create",
    "params": {
        "message": "?",
        "requestedSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
    },
}
needs_files = pytest.mark.skipif(
    not wire_schema.DATA.is_dir(), reason=f"no schema files at {wire_schema.DATA}"
)


@pytest.fixture
def recorder():
    """A Recorder that the end of the test does not look at."""
    recorder = Recorder()
    wire_record._new.remove(recorder)
    return recorder


def line(message):
    return json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"


class Talk:
    """A conversation in `revision` on a recorder."""

    def __init__(self, recorder, revision):
        self.recorder = recorder
        self.revision = revision
        self.id = 0
        if revision != MODERN:
            result = {
                "protocolVersion": revision,
                "capabilities": {},
                "serverInfo": {"name": "s", "version": "1"},
            }
            assert self.ask("initialize", result) is None

    def request(self, method, capabilities=None, **params):
        self.id += 1
        if self.revision == MODERN:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": capabilities or {},
                **params.get("_meta", {}),
            }
        self.recorder.sent(line({"id": self.id, "method": method, "params": params}))

    def ask(self, method, result, **params):
        """What the recorder has against a result, or None."""
        self.request(method, **params)
        return self.hear({"id": self.id, "result": result})

    def hear(self, message):
        self.recorder.received(line(message))
        return next((fault for _, fault in self.recorder.faults()), None)


@pytest.mark.parametrize("revision", REVISIONS)
def test_results(recorder, revision):
    talk = Talk(recorder, revision)
    more = {**DONE, "ttlMs": 0, "cacheScope": "private"} if revision == MODERN else {}
    done = DONE if revision == MODERN else {}
    tool = {"name": "t", "inputSchema": {"type": "object"}}
    assert talk.ask("tools/list", {"tools": [tool], **more}) is None
    assert talk.ask("tools/call", {**TEXT, **done}, name="t") is None
    assert "inputSchema" in talk.ask("tools/list", {"tools": [{"name": "t"}], **more})
    assert talk.ask("tools/list", {"tools": [{**tool, "inputSchema": {"type": "array"}}], **more})
    odd = {"type": "object", "properties": {"a": {"type": "number", "minimum": "1"}}}
    assert "minimum" in talk.ask("tools/list", {"tools": [{**tool, "inputSchema": odd}], **more})
    assert "content" in talk.ask("tools/call", done, name="t")
    assert talk.ask("tools/call", {"content": [{"type": "text"}], **done}, name="t")
    assert talk.ask("tools/call", {"content": [{"type": "song"}], **done}, name="t")
    assert "no method" in talk.ask("no/such", done)
    assert talk.hear({"id": 99, "result": done}) == "the answer to no request"
    assert talk.hear({"id": talk.id, "result": done})
    assert talk.hear({"id": str(talk.id), "result": done})
    assert talk.ask("tools/call", [1], name="t")
    if revision == MODERN:
        assert "resultType" in talk.ask("tools/call", TEXT, name="t")
        assert talk.ask("ping", DONE) and talk.ask("tools/list", {"tools": [tool], **DONE})
    else:
        assert talk.ask("ping", {}) is None
        assert talk.ask("server/discover", {}) is not None


def test_promises_of_tools(recorder):
    talk = Talk(recorder, "2025-06-18")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    tool = {"name": "t", "inputSchema": {"type": "object"}, "outputSchema": schema}
    assert talk.ask("tools/list", {"tools": [tool]}) is None
    assert talk.ask("tools/call", {**TEXT, "structuredContent": {"n": 1}}, name="t") is None
    assert talk.ask("tools/call", {**TEXT, "isError": True}, name="t") is None
    assert talk.ask("tools/call", {**TEXT, "structuredContent": {"n": "1"}}, name="t")
    assert "outputSchema" in talk.ask("tools/call", TEXT, name="t")
    queued = {"id": "0" * 16, "uri": "queue://" + "0" * 16, "expires_s": 60}
    for row, good in ((queued, True), ({**queued, "uri": "x"}, False), ({}, False)):
        result = {**TEXT, "_meta": {"mcp-gw/queued": row}}
        assert (talk.ask("tools/call", result, name="other") is None) == good
    assert talk.ask("tools/call", {**TEXT, "_meta": {"mcp-gw/new": 1}}, name="other")


def test_initialize(recorder):
    good = {
        "protocolVersion": "2025-03-26",
        "capabilities": {},
        "serverInfo": {"name": "s", "version": "1"},
    }
    talk = Talk(recorder, MODERN)
    for wrong in (
        {**good, "protocolVersion": MODERN},
        {**good, "protocolVersion": "1.0"},
        {**good, "serverInfo": {"name": "s"}},
    ):
        assert talk.ask("initialize", wrong)


@pytest.mark.parametrize("revision", REVISIONS)
def test_errors(recorder, revision):
    talk = Talk(recorder, revision)

    def fail(**message):
        talk.request("tools/call", name="t")
        return talk.hear({"id": talk.id, **message})

    assert fail(error={"code": -32602, "message": "no"}) is None
    for wrong in ({}, {"code": 1}, {"message": "no"}, {"code": "1", "message": "no"}, "no"):
        assert fail(error=wrong)
    assert fail(error={"code": 1, "message": ""}, result={})
    assert fail()
    unread = {"code": -32700, "message": "no"}
    assert talk.hear({"error": unread}) is None
    assert talk.hear({"id": None, "error": unread}) is None
    assert talk.hear({"id": None, "error": {**unread, "code": -32603}})
    assert talk.hear({"id": 77, "error": unread}) == "an error to no request"
    if revision == MODERN:
        data = {"supported": [MODERN], "requested": "1"}
        error = {"code": -32022, "message": "no"}
        assert fail(error={**error, "data": data}) is None
        assert fail(error=error) and fail(error={**error, "data": {"supported": "x"}})


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_a_server_says_unasked(recorder, revision):
    talk = Talk(recorder, revision)
    if revision == MODERN:
        talk.request("tools/call", name="t", _meta={"progressToken": "p"})
    else:
        talk.request("tools/call", name="t", _meta={"progressToken": "p"})
    progress = {"method": "notifications/progress"}
    assert talk.hear({**progress, "params": {"progressToken": "p", "progress": 1}}) is None
    assert talk.hear({**progress, "params": {"progressToken": "p", "progress": "1"}})
    assert talk.hear({**progress, "params": {"progressToken": "q", "progress": 1}})
    assert talk.hear(progress)
    log = {"method": "notifications/message", "params": {"level": "info", "data": 1}}
    assert talk.hear(log) is None
    assert talk.hear({**log, "params": {"level": "loud", "data": 1}})
    assert talk.hear({"method": "notifications/none"})
    asks = {"id": 1, "method": "sampling/createMessage", "params": {"messages": []}}
    assert talk.hear(asks)
    asks["params"]["maxTokens"] = 5
    assert (talk.hear(asks) is None) == (revision != MODERN)
    form = {"id": 2, **FORM}
    assert (talk.hear(form) is None) == (revision in ("2025-06-18", "2025-11-25"))


def test_batches_are_of_one_revision(recorder):
    for revision in LEGACY:
        talk = Talk(recorder, revision)
        talk.recorder.sent(b'[{"jsonrpc":"2.0","id":"a","method":"ping"}]\n')
        talk.recorder.received(b'[{"jsonrpc":"2.0","id":"a","result":{}}]\n')
        assert bool(talk.recorder.faults()) == (revision != "2025-03-26")


def test_no_messages(recorder):
    for text in (b"# comment\n", b"{}\n", b"[]\n", b'{"jsonrpc":"2.0"\n', b'"x"\n', b"{\xff}\n"):
        recorder.received(text)
        assert len(recorder.faults()) == 1, text
    recorder.received(b'{"jsonrpc":"2.0","method":"notifications/message",')
    recorder.received(b'"params":{"level":"info","data":NaN}}\n')
    assert len(recorder.faults()) == 1
    recorder.noise = True
    recorder.received(b"# comment\n\x1eh 2 00000000 {}\n>>> \n")
    assert not recorder.faults()
    recorder.received(b"{}\n")
    with pytest.raises(AssertionError, match="no JSON-RPC"):
        recorder.check()


@needs_files
def test_tasks(recorder):
    talk = Talk(recorder, MODERN)
    knows = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
    created = {**TASK, "resultType": "task"}
    assert talk.ask("tools/call", created, name="t", capabilities=knows) is None
    assert talk.ask("tools/call", created, name="t")
    assert talk.ask("tools/call", {**created, "ttlMs": "x"}, name="t", capabilities=knows)
    assert talk.ask("tools/call", {**created, "createdAt": "now"}, name="t", capabilities=knows)
    got = {**TASK, **DONE}
    failed = {"code": -32603, "message": "no"}
    for row, good in (
        (got, True),
        ({**got, "resultType": "task"}, False),
        ({**got, "status": "gone"}, False),
        ({**got, "status": "completed"}, False),
        ({**got, "status": "completed", "result": {**TEXT, **DONE}}, True),
        ({**got, "status": "completed", "result": {}}, False),
        ({**got, "status": "failed", "error": failed}, True),
        ({**got, "status": "failed", "error": {}}, False),
        ({**got, "result": {**TEXT, **DONE}}, False),
        ({**got, "status": "input_required", "inputRequests": {"a": FORM}}, True),
        ({**got, "status": "input_required", "inputRequests": {"a": {"method": "x"}}}, False),
    ):
        assert (talk.ask("tasks/get", row) is None) == good, row
        note = {key: value for key, value in row.items() if key != "resultType"}
        if row.get("resultType") == "complete":
            assert (talk.hear({"method": "notifications/tasks", "params": note}) is None) == good
    assert talk.ask("tasks/update", DONE) is None
    assert talk.ask("tasks/cancel", {**DONE, "more": 1})


@needs_files
def test_tasks_of_the_revision_before(recorder):
    talk = Talk(recorder, "2025-11-25")
    task = {**TASK, "ttl": 5}
    del task["ttlMs"]
    assert talk.ask("tools/call", {"task": task}, name="t", task={}) is None
    assert talk.ask("tools/call", {"task": {}}, name="t", task={})
    assert talk.ask("tasks/get", task) is None
    assert talk.ask("tasks/get", {**task, "ttl": "x"})
    assert talk.ask("tasks/result", TEXT) is None
    assert talk.ask("tasks/result", {})
    assert talk.ask("tasks/list", {"tasks": [task]}) is None
    assert talk.ask("tasks/update", {})


def test_more_input(recorder):
    talk = Talk(recorder, MODERN)
    more = {"resultType": "input_required", "inputRequests": {"a": FORM}, "requestState": "s"}
    assert talk.ask("tools/call", more, name="t") is None
    assert talk.ask("prompts/get", more, name="t") is None
    assert talk.ask("tools/list", more)
    assert talk.ask("tools/call", {**more, "requestState": 1}, name="t")
    assert talk.ask("tools/call", {**more, "inputRequests": {"a": {"method": "ping"}}}, name="t")


def test_the_sdks_models_judge_where_there_are_no_files(recorder, monkeypatch):
    monkeypatch.setattr(wire_schema, "schema", wire_schema.Models)
    for revision in REVISIONS:
        talk = Talk(recorder, revision)
        done = DONE if revision == MODERN else {}
        assert talk.ask("tools/call", {**TEXT, **done}, name="t") is None
        assert talk.ask("tools/call", {"content": [{"type": "text"}], **done}, name="t")
        assert talk.ask("no/such", done)
        assert talk.hear({"method": "notifications/message", "params": {"level": "loud"}})
        talk.request("tools/call", name="t")
        assert talk.hear({"id": talk.id, "error": {"code": "x"}})


def test_a_tap_on_standard_input_and_output(tmp_path):
    logs = wire_record.Logs()
    answer = line({"id": 1, "result": {"tools": []}}).decode()
    server = (
        f"import sys\nfor _ in sys.stdin:\n    print({answer!r}, end='', flush=True)\nsys.exit(5)"
    )
    command = logs.command([sys.executable, "-c", server])
    done = subprocess.run(
        command,
        input=line({"id": 1, "method": "tools/call"}),
        capture_output=True,
        env=logs.environment,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout.decode()) == (5, answer)
    (log,) = tmp_path.__class__(logs._folder.name).iterdir()
    recorder = Logged(log)
    wire_record._new.remove(recorder)
    ((_, fault),) = recorder.faults()
    assert "content" in fault


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers a tools/call with no content, in the way that the tool's name says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how = message["params"]["name"]
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode()
        kind = "application/json"
        if how != "plain":
            kind = "text/event-stream; charset=utf-8"
            body = b"id: 1\ndata:\n\n: hi\n\nid: 2\ndata: " + body + b"\n\n"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if how == "chunks":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("how", ["plain", "events", "chunks"])
def test_a_tap_on_http(how):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with HTTPTap(f"http://127.0.0.1:{server.server_address[1]}/mcp") as tap:
        body = line({"id": 1, "method": "tools/call", "params": {"name": how}})
        with urllib.request.urlopen(tap.url, body, timeout=PATIENCE_S) as response:
            assert b'"result"' in response.read()
    with pytest.raises(AssertionError, match="'content' is a required property"):
        wire_record.check_all()
    server.shutdown()
    server.server_close()
