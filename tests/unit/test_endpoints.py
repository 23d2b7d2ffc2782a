"""The plain HTTP endpoints, without HTTP."""

import asyncio
import json

from http_gateway import turn
from test_forward import TOOLS, board, connect

from mcp_gw import Gateway, Param, ToolError
from mcp_gw.compat import MICROPYTHON
from mcp_gw.endpoints import Endpoints
from mcp_gw.queue.nor_kept import RamNor

COMPLETIONS = "/v1/mcp/completions"
JSON = {b"content-type": b"application/json; charset=utf-8"}


class Asked:
    """One request: `status`, `fields` and `body` once it was answered."""

    def __init__(
        self, gw, method, path, query="", body=b"", headers=JSON, figures=None, endpoints=None
    ):
        self.status = None
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        endpoints = endpoints or Endpoints(gw, figures)
        self.found = endpoints.handle(method, path, query, headers, body, self)

    def __call__(self, status, fields, parts):
        assert self.status is None, "answered twice"
        self.status = status
        self.fields = dict(fields)
        self.body = b"".join(bytes(part) for part in parts)
        assert self.fields["Cache-Control"] == "no-store"

    @property
    def row(self):
        assert self.fields["Content-Type"] == "application/json"
        return json.loads(self.body)


def get(gw, path, query=""):
    return Asked(gw, "GET", path, query)


def complete(gw, body, headers=JSON):
    return Asked(gw, "POST", COMPLETIONS, "", body, headers)


def greenhouse():
    gw = Gateway("greenhouse", version='2 "beta"')

    @gw.tool("Add", a=Param(int), b=Param(int, default=1))
    def add(a, b):
        return {"sum": a + b}

    @gw.tool("Fail")
    def fail():
        raise ToolError("no water")

    @gw.tool("Wait", n=Param(int))
    async def wait(n):
        return "waited %d" % n

    return gw


def test_other_paths_and_methods():
    gw = greenhouse()
    for path in ("/", "/health/", "/v1/queue", "/metrics2", ""):
        asked = get(gw, path)
        assert asked.found is False and asked.status is None
    for method, path, right in (
        ("POST", "/health", "GET"),
        ("DELETE", "/metrics", "GET"),
        ("GET", "/v1/queue/sync", "POST"),
        ("GET", "/v1/mcp/completions", "POST"),
    ):
        asked = Asked(gw, method, path)
        assert asked.found and asked.status == 405 and asked.fields["Allow"] == right
        assert "is for " + right in asked.row["error"]["message"]


def test_health():
    row = get(greenhouse(), "/health").row
    assert row["status"] == "ok" and row["name"] == "greenhouse"
    assert row["version"] == '2 "beta"' and row["uptime_s"] == 0
    assert "upstreams" not in row and "queue" not in row
    assert ("heap_free" in row) == MICROPYTHON


def test_completions():
    gw = greenhouse()
    asked = complete(gw, {"tool": "add", "arguments": {"a": 2, "b": 3}})
    assert asked.status == 200 and asked.row["structuredContent"] == {"sum": 5}
    assert json.loads(asked.row["content"][0]["text"]) == {"sum": 5}
    assert not asked.row.get("isError")
    assert complete(gw, b' {"arguments" :{"a":2} , "tool":"\\u0061dd"}').row[
        "structuredContent"
    ] == {"sum": 3}
    # What goes wrong in a tool, or is wrong with its arguments, is a result.
    for body, told in (
        ({"tool": "fail"}, "no water"),
        ({"tool": "add"}, "a"),
        ({"tool": "add", "arguments": {"a": "x"}}, "a"),
    ):
        asked = complete(gw, body)
        assert asked.status == 200 and asked.row["isError"] is True
        assert told in asked.row["content"][0]["text"]


def test_completions_that_take_time():
    gw = greenhouse()
    asked = complete(gw, {"tool": "wait", "arguments": {"n": 7}})
    for _ in range(1000):
        if asked.status:
            break
        gw.process(
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","arguments":{"n":1}}}'
        )
    assert asked.row["content"] == [{"type": "text", "text": "waited 7"}]


def test_completions_refused():
    gw = greenhouse()
    asked = complete(gw, {"tool": "subtract"})
    assert asked.status == 404 and asked.row["error"]["message"] == "unknown tool subtract"
    for headers in ({}, {b"content-type": b"text/plain"}, {b"content-type": b""}):
        assert complete(gw, {"tool": "fail"}, headers).status == 415
    deep = b'{"tool":"add","arguments":' + b'{"a":' * 40 + b"1" + b"}" * 41
    for body in (
        b"",
        b"[]",
        b"{",
        b"null",
        b'{"tool":"fail"} x',
        b'{"tool":"fa\xffil"}',
        deep,
        {},
        {"tool": 1},
        {"tool": None},
        {"tool": "fail", "arguments": []},
        {"tool": "fail", "arguments": None},
        {"tool": "fail", "argument": {}},
        {"method": "tools/call"},
    ):
        asked = complete(gw, body)
        assert asked.status == 400 and asked.row["error"]["message"], body


def test_metrics():
    gw = greenhouse()
    before = parse(get(gw, "/metrics"))
    assert before["mcpgw_uptime_seconds"] == "0"
    shown = 'mcpgw_info{name="greenhouse",version="2 \\"beta\\"",boot="%s"}' % gw.boot
    assert before[shown] == "1"
    assert ("mcpgw_heap_free_bytes" in before) == MICROPYTHON
    complete(gw, {"tool": "add", "arguments": {"a": 2}})
    complete(gw, {"tool": "fail"})
    gw.process(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
    gw.process(b'{"jsonrpc":"2.0","id":1,"method":"no/such"}')
    gw.process(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}')
    gw.process(b"{")
    after = parse(get(gw, "/metrics"))
    assert after['mcpgw_requests_total{method="tools/call"}'] == "3"
    assert after['mcpgw_requests_total{method="ping"}'] == "1"
    assert after['mcpgw_errors_total{code="-32601"}'] == "1"
    assert after['mcpgw_errors_total{code="-32602"}'] == "1"
    assert after['mcpgw_errors_total{code="-32700"}'] == "1"
    assert after["mcpgw_tool_errors_total"] == "1"
    assert not any("no/such" in name for name in after)
    extra = [("http_connections", "gauge", "Connections now", 3)]
    asked = Asked(gw, "GET", "/metrics", figures=lambda: extra)
    assert parse(asked)["mcpgw_http_connections"] == "3"


def parse(asked):
    """name with labels -> value (str); checks the form."""
    assert asked.status == 200
    assert asked.fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    out = {}
    typed = set()
    for line in asked.body.decode().split("\n")[:-1]:
        if line.startswith("# "):
            typed.add(line.split(" ")[2])
            continue
        name, _, value = line.rpartition(" ")
        assert name.split("{")[0] in typed and name not in out
        out[name] = value
    return out


def test_error_codes_counted_are_few():
    gw = greenhouse()
    counters = gw.server.counters
    for code in range(-100, -1):
        counters.error(code)
    assert len(counters.errors) == 33 and counters.errors[0] == 99 - 32
    counters.error(-100)
    assert counters.errors[-100] == 2


def test_no_queue():
    gw = greenhouse()
    for asked in (get(gw, "/v1/queue/status"), Asked(gw, "POST", "/v1/queue/sync")):
        assert asked.status == 404 and "no queue" in asked.row["error"]["message"]


def test_queue():
    gw, wire = board(["forecast"])
    outbox = gw.queue(RamNor(4))
    try:
        empty = {
            "pending": 0,
            "dropped": 0,
            "dropped_calls": 0,
            "overflow": "refuse",
            "free": outbox.ring.capacity,
            "capacity": outbox.ring.capacity,
            "ids": [],
        }
        assert get(gw, "/v1/queue/status").row == empty
        # The upstream was not there yet, so this one waits.
        asked = complete(gw, {"tool": "office_forecast", "arguments": {"day": 1}})
        for _ in range(100):
            if asked.status:
                break
            gw.poll(wire)
        id = asked.row["_meta"]["mcp-gw/queued"]["id"]
        row = get(gw, "/v1/queue/status").row
        assert (row["pending"], row["ids"]) == (1, [id]) and row["free"] < row["capacity"]
        one = get(gw, "/v1/queue/status", "x=1&id=" + id)
        assert one.status == 200 and one.row["state"] == "queued" and one.row["id"] == id
        assert get(gw, "/v1/queue/status", "id=other").status == 404
        health = get(gw, "/health").row
        assert health["upstreams"] == {"office": "down"} and health["queue"] == {"pending": 1}
        found = parse(get(gw, "/metrics"))
        assert found["mcpgw_queue_pending"] == "1"
        assert found['mcpgw_upstream_up{name="office"}'] == "0"

        calls = recorded(wire)
        connect(gw, wire, TOOLS)
        asked = Asked(gw, "POST", "/v1/queue/sync")
        assert asked.status == 202 and asked.row == {"pending": 1}
        wire.turn()
        wire.answer_upstream(calls[0], error={"code": -32010, "message": "not now"})
        assert one_of(gw, id)["attempts"] == 1
        # It backs off for half a second at least, unless told otherwise.
        Asked(gw, "POST", "/v1/queue/sync")
        wire.turn()
        assert len(calls) == 2
        wire.answer_upstream(calls[1], {"content": [], "resultType": "complete"})
        assert outbox.pending == 0 and one_of(gw, id)["state"] == "done"
        asked = Asked(gw, "POST", "/v1/queue/cancel", "id=" + id)
        assert asked.status == 409 and "done already" in asked.row["error"]["message"]
    finally:
        gw.close()


def test_cancelling():
    gw, wire = board(["forecast"])
    outbox = gw.queue(RamNor(4))
    outbox.put(b"0123456789abcdef-00", "office", "forecast", [b"{}"], 60)
    try:
        asked = Asked(gw, "POST", "/v1/queue/cancel", "x=1&id=0123456789abcdef-00")
        assert asked.status == 200 and asked.row["state"] == "cancelled" and outbox.pending == 0
        assert Asked(gw, "POST", "/v1/queue/cancel", "id=other").status == 404
        assert Asked(gw, "POST", "/v1/queue/cancel").status == 400
        assert Asked(gw, "GET", "/v1/queue/cancel", "id=other").status == 405
        # The queue's own tools are there for those without MCP too.
        row = complete(gw, {"tool": "queue_status", "arguments": {}}).row
        assert row["structuredContent"]["pending"] == 0
    finally:
        gw.close()


def one_of(gw, id):
    return get(gw, "/v1/queue/status", "id=" + id).row


def recorded(wire):
    """The list to which each call that goes to the upstream from now on is added."""
    calls = []
    turn = wire.turn

    def listen(*args):
        out = turn(*args)
        calls.extend(row[1] for row in out if isinstance(row, tuple) and "tools/call" in row[1])
        return out

    wire.turn = listen
    return calls


def test_calls_whose_clients_have_gone_do_not_pile_up():
    gw = Gateway("greenhouse", http_connections=2)
    running = []

    @gw.tool("Hang")
    async def hang():
        running.append(1)
        while running:
            await asyncio.sleep(0)
        return "done"

    endpoints = Endpoints(gw)
    body = b'{"tool":"hang"}'
    calls = [Asked(gw, "POST", COMPLETIONS, "", body, endpoints=endpoints) for _ in range(3)]
    assert [call.status for call in calls] == [None, None, 503]
    turn()
    running.clear()
    turn()
    assert [call.status for call in calls] == [200, 200, 503]
    last = Asked(gw, "POST", COMPLETIONS, "", body, endpoints=endpoints)
    turn()
    running.clear()
    turn()
    assert last.status == 200
