"""How HttpUpstream opens conversations, keeps sessions and lists tools: scripted servers."""

import json
import threading

import pytest
from http_upstream_rig import (
    INTERPRETERS,
    RawServer,
    bodies,
    events,
    failure,
    fields,
    good,
    http,
    legacy,
    modern,
    result,
    rigs,
)
from waiting import PATIENCE_S, until


@pytest.fixture(params=INTERPRETERS)
def rig(request):
    yield from rigs(request.param)


def test_session_of_a_legacy_server(rig):
    server, up = rig(legacy(good, "sess"))
    assert up.call("t")["ok"]
    methods = [json.loads(b)["method"] for _, _, b in server.requests]
    assert methods == ["server/discover", "initialize", "notifications/initialized", "tools/call"]
    rows = [fields(head) for _, head, _ in server.requests]
    assert "mcp-session-id" not in rows[0] and "mcp-session-id" not in rows[1]
    assert "mcp-protocol-version" not in rows[1] and "mcp-method" not in rows[1]
    for row in rows[2:]:
        assert row["mcp-session-id"] == "sess-1" and row["mcp-protocol-version"] == "2025-06-18"
        assert "mcp-method" not in row and "mcp-name" not in row
    assert up.do("close") is None
    deleted = server.requests[-1][1]
    assert deleted.startswith(b"DELETE /mcp ") and fields(deleted)["mcp-session-id"] == "sess-1"
    # And opened anew when needed.
    assert up.call("t")["ok"]
    assert up.do("state")["session"] == "sess-2"


@pytest.mark.parametrize("gone", ["404 with a body", "404 with text", "400"])
def test_session_forgotten_by_the_server(rig, gone):
    answers = {
        "404 with a body": http(failure(-32600, None, "Session not found"), "404 Not Found"),
        "404 with text": http(b"gone", "404 Not Found", "text/plain"),
        "400": http(failure(-32600, "server-error"), "400 Bad Request"),
    }
    server, up = rig(
        legacy(lambda n, h, b: [answers[gone]] if n in (1, 3, 4) else good(n, h, b), "s")
    )
    assert up.call("t")["ok"]
    assert up.call("t")["ok"]  # refused, opened again, sent again
    assert up.do("state")["session"] == "s-2"
    calls = [row for row in bodies(server) if row["method"] == "tools/call"]
    assert len(calls) == 3
    # Once only: a server that goes on refusing is believed.
    out = up.call("t")
    assert out["ok"] is False, out
    assert sum(row["method"] == "tools/call" for row in bodies(server)) == 5
    assert up.call("t")["ok"]


def test_two_calls_find_the_session_gone(rig):
    gone = http(failure(-32600, None), "404 Not Found")
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def handler(n, head, body):
        if n not in (1, 2):
            return good(n, head, body)
        both.wait()  # refused only when both have arrived
        return [gone]

    server, up = rig(legacy(handler, "s"))
    assert up.call("t")["ok"]
    call = ["tools/call", '{"name":"t"}']
    assert [out["ok"] for out in up.do("several", [call, call])] == [True, True]
    assert sum(row["method"] == "initialize" for row in bodies(server)) == 2


def test_bad_session_ids(rig):
    for session in ("a b", "x" * 300, "caf\xe9"):
        server, up = rig(legacy(good, session))
        out = up.call("t")
        assert out["raised"] == "Unavailable" and "session" in out["text"], (session, out)


def test_server_replaced_by_one_of_the_other_era(rig):
    refusal = failure(-32022, None, "no", {"supported": ["2025-11-25"], "requested": "2026-07-28"})
    now = {"modern": True}

    def script(n, head, body):
        row = json.loads(body)
        if now["modern"]:
            if "mcp-session-id" in fields(head):
                return [http(failure(-32600, None), "404 Not Found")]
            return modern_script(n, head, body)
        if fields(head).get("mcp-protocol-version") == "2026-07-28":
            return [http(refusal | {"id": row["id"]}, "400 Bad Request")]
        return legacy_script(n, head, body)

    modern_script, legacy_script = modern(good), legacy(good, "s")
    server, up = rig(script)
    assert up.call("t")["ok"]
    now["modern"] = False
    assert up.call("t")["ok"]
    assert up.do("state")["modern"] is False
    # The other way round the params lack what a modern server wants: said to be not sent, right
    # the next time.
    now["modern"] = True
    out = up.call("t")
    assert out["raised"] == "Unavailable", out
    assert up.call("t")["ok"]
    assert up.do("state")["modern"] is True


def test_openings_that_fail(rig):
    for answer, word in (
        (http(b"", "401 Unauthorized"), "401"),
        (http(b"", "503 Busy"), "503"),
        (http(b"nope", "404 Not Found", "text/plain"), "404: nope"),
        (http(b"", "307 Moved", extra="Location: /mcp/\r\n"), "redirecting to /mcp/"),
        (http(b"[]"), "JSON-RPC"),
        (http(b"x" * 200000), "longer"),
        (
            http(failure(-32022, None, "no", {"supported": ["2030-01-01"]}), "400 Bad"),
            "2030-01-01",
        ),
        (b"220 mail ESMTP\r\n", "HTTP"),
        (b"", ""),
    ):
        server, up = rig(
            lambda n, head, body, answer=answer: [answer, RawServer.CLOSE], max_body=100000
        )
        for out in (up.do("connect"), up.call("t"), up.do("tools")):
            assert out["raised"] == "Unavailable" and word in out["text"], (answer[:60], out)
        assert up.do("state")["up"] is False
        assert all(row["method"] != "tools/call" for row in bodies(server))


def test_pages_of_tools(rig):
    def page(n, head, body):
        cursor = json.loads(body)["params"].get("cursor")
        at = int(cursor or 0)
        tools = [{"name": f"t{i}", "inputSchema": {"a": [i, "}]"]}} for i in range(at, at + 3)]
        value = {"tools": tools}
        if at < 6:
            value = {"nextCursor": str(at + 3)} | value
        return [http(result(body, value))]

    _, up = rig(modern(page))
    out = up.do("tools")
    assert out["whole"] and [json.loads(raw)["name"] for raw in out["tools"]] == [
        f"t{i}" for i in range(9)
    ]
    # Caps.
    for cap, value, count in (
        ("MAX_TOOLS", 7, 7),
        ("MAX_PAGES", 2, 6),
        ("MAX_LIST_BYTES", 100, 2),
    ):
        _, up = rig(modern(page))
        up.do("set", cap, value)
        out = up.do("tools")
        assert (out["count"], out["whole"]) == (count, False), (cap, out)


def test_odd_lists_of_tools(rig):
    for value, count, whole in (
        ({"tools": []}, 0, True),
        ({"tools": [], "nextCursor": ""}, 0, True),
        ({"tools": [], "nextCursor": None}, 0, True),
        ({"tools": [1, "x", None, [{}], {"name": "a"}]}, 1, True),
        ({"tools": [{"name": "a"}], "nextCursor": "same"}, 2, False),
        ({"tools": [{"name": "a"}], "nextCursor": "x" * 2000}, 1, False),
    ):
        _, up = rig(modern(lambda n, head, body, value=value: [http(result(body, value))]))
        out = up.do("tools")
        assert (out["count"], out["whole"]) == (count, whole), (value, out)
    for value in ({}, [], 5, "tools", {"tools": {}}, {"tools": None}):
        _, up = rig(modern(lambda n, head, body, value=value: [http(result(body, value))]))
        assert up.do("tools")["raised"] == "ProtocolError", value
    # A server without tools.
    for code, raised in ((-32601, None), (-32603, "ProtocolError")):

        def none(n, head, body, code=code):
            return [http(failure(code, json.loads(body)["id"]))]

        _, up = rig(modern(none))
        out = up.do("tools")
        assert out.get("raised") == raised and out.get("count") == (None if raised else 0)


def replied(server, up, count):
    """Wait for so many replies to the server's questions: they go out while the driver's loop
    runs."""

    def enough():
        assert up.do("request", "ping", "{}")["ok"]
        return sum("result" in row for row in bodies(server)) >= count

    until(enough)


def test_questions_one_by_one(rig):
    ping = {"jsonrpc": "2.0", "id": "p", "method": "ping"}

    def script(n, head, body):
        called = json.loads(body)["method"] == "tools/call"
        return [events(*[ping] * called, result(body))]

    server, up = rig(legacy(script))
    for n in range(8):
        assert up.call("t")["ok"]
        replied(server, up, n + 1)


def test_a_flood_of_questions(rig):
    ping = [{"jsonrpc": "2.0", "id": i, "method": "ping"} for i in range(50)]
    server, up = rig(legacy(lambda n, h, b: [events(*ping, result(b))], "s"))
    assert up.call("t")["ok"]
    replied(server, up, 1)
    assert up.call("t")["ok"]
    replies = [row for row in bodies(server) if "result" in row]
    # Each of the requests was answered with a flood.
    asked = sum(row.get("method") in ("tools/call", "ping") for row in bodies(server))
    assert 1 <= len(replies) <= 4 * asked
    assert all(row["result"] == {} for row in replies)
