"""Servers that answer what nobody thought of: HttpUpstream under CPython and the unix build."""

import json

import pytest
from http_upstream_rig import (
    INTERPRETERS,
    RawServer,
    bodies,
    events,
    good,
    http,
    legacy,
    modern,
    result,
    rigs,
    said,
)
from waiting import until

CHANGING = {"tools": {"listChanged": True}}
ALL = '{"elicitation":{"form":{}},"sampling":{},"roots":{}}'


@pytest.fixture(params=INTERPRETERS)
def rig(request):
    yield from rigs(request.param)


def test_a_task_that_nobody_asked_for_is_no_result(rig):
    def task(n, head, body):
        return [http(result(body, {"resultType": "task", "taskId": "t", "status": "working"}))]

    _, up = rig(modern(task))
    assert "nobody asked for" in said(up.call("order"))


@pytest.mark.parametrize("id", [1.5, 1e3, True, -3, [1], {}])
def test_an_answer_to_something_else_is_passed_over(rig, id):
    def odd(n, head, body):
        row = {"jsonrpc": "2.0", "id": id, "result": {"content": ["other"]}}
        return [events(row, result(body))]

    _, up = rig(modern(odd))
    out = up.call("order")
    assert out.get("ok") and json.loads(out["raw"])["content"] == [], out


def test_a_server_that_hangs_up_on_what_is_told_for_forms_sake(rig):
    script = legacy(good)

    def closing(n, head, body):
        if json.loads(body).get("method") == "notifications/initialized":
            return [RawServer.CLOSE]
        return script(n, head, body)

    _, up = rig(closing)
    assert up.call("order").get("ok")


@pytest.mark.parametrize("params", [{"mode": []}, {"mode": {}}])
def test_a_question_in_a_way_that_is_not_known_is_refused(rig, params):
    def asks(n, head, body):
        asked = {"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": params}
        return [events(asked, tail=False), 30]

    server, up = rig(legacy(asks), timeout_ms=3000)
    up.send("request", "tools/call", '{"name":"order","arguments":{}}', 3000, None, 0, ALL)
    assert until(lambda: [row for row in bodies(server) if row.get("id") == "q"])
    (reply,) = [row for row in bodies(server) if row.get("id") == "q"]
    assert "error" in reply
    up.take()


def test_a_listener_comes_back_to_a_server_that_was_away_for_a_moment(rig):
    def script(n, head, body):
        method = json.loads(body)["method"]
        if method == "server/discover":
            value = {"supportedVersions": ["2026-07-28"], "capabilities": CHANGING}
            return [http(result(body, value))]
        if method == "subscriptions/listen":
            return [http(b"", "503 Service Unavailable", "text/plain")]
        return [http(result(body))]

    server, up = rig(script, listen=True)
    assert up.call("order").get("ok")

    def asked_again():
        up.do("sleep", 0.3)
        return [row["method"] for row in bodies(server)].count("subscriptions/listen") > 1

    until(asked_again)
