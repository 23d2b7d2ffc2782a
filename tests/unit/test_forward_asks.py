"""What an upstream over the serial link asks in the middle of a call, and calls given up."""

import json

from test_forward import INITIALIZE, META, TOOLS, board, connect, sleep_a_little

FORM = {"type": "object", "properties": {"size": {"type": "integer"}}}
ELICIT = {
    "method": "elicitation/create",
    "params": {"mode": "form", "message": "How large?", "requestedSchema": FORM},
}
MUSE = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Praise it"}}],
        "maxTokens": 9,
    },
}
ACCEPT = {"action": "accept", "content": {"size": 3}}
CALL = {
    "jsonrpc": "2.0",
    "id": 5,
    "method": "tools/call",
    "params": {"name": "office_forecast", "arguments": {"cup": "mug"}},
}
DONE = {"resultType": "complete", "content": [{"type": "text", "text": "mug of 3"}]}
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def asking(state="s1", **requests):
    row = [("resultType", "input_required"), ("requestState", state)]
    text = ",".join("%s:%s" % (json.dumps(k), json.dumps(v)) for k, v in row)
    return "{" + text + ',"inputRequests":' + json.dumps(requests) + "}"


def reply(wire, request, raw):
    """The bridge's answer as it is on the wire; returns what the board sends then."""
    answer = '{"jsonrpc":"2.0","id":%d,"result":%s}' % (request["id"], raw)
    return wire.frame(b"u", b"office ", answer.encode())


def upstream(row):
    assert row[0] == "u", row
    return json.loads(row[1].partition(" ")[2])


def legacy(capabilities, **options):
    """A connected board whose client speaks 2025-11-25."""
    gw, wire = board(**options)
    params = dict(INITIALIZE["params"], capabilities=capabilities)
    connect(gw, wire, TOOLS, dict(INITIALIZE, params=params))
    return gw, wire


def modern_call(capabilities, **more):
    params = dict(CALL["params"], **more)
    params["_meta"] = dict(META)
    params["_meta"][CAPABILITIES] = capabilities
    return dict(CALL, params=params)


def test_a_legacy_client_is_asked_by_a_request():
    gw, wire = legacy({"elicitation": {}})
    try:
        request = upstream(wire.message(CALL)[0])
        assert request["params"]["_meta"][CAPABILITIES] == {"elicitation": {}}
        (question,) = reply(wire, request, asking(q=ELICIT))
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"] == "How large?"
        out = wire.message({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT})
        again = upstream(out[0])
        assert again["id"] != request["id"]
        assert again["params"]["name"] == "forecast"
        assert again["params"]["arguments"] == {"cup": "mug"}
        assert again["params"]["inputResponses"] == {"q": ACCEPT}
        assert again["params"]["requestState"] == "s1"
        # Asked once more, and then answered.
        (question,) = reply(wire, again, asking("s2", p=ELICIT))
        out = wire.message({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT})
        again = upstream(out[0])
        assert again["params"]["requestState"] == "s2"
        assert set(again["params"]["inputResponses"]) == {"p"}
        (out,) = reply(wire, again, json.dumps(DONE))
        assert out["id"] == 5 and out["result"]["content"] == DONE["content"]
    finally:
        gw.close()


def test_a_legacy_client_that_refuses_or_cannot():
    gw, wire = legacy({"elicitation": {}})
    try:
        request = upstream(wire.message(CALL)[0])
        (question,) = reply(wire, request, asking(q=ELICIT))
        error = {"code": -1, "message": "not now"}
        out = wire.message({"jsonrpc": "2.0", "id": question["id"], "error": error})
        answer = [row for row in out if isinstance(row, dict)][0]
        assert answer["id"] == 5 and "not now" in answer["error"]["message"]
        # The server behind the bridge need not wait any more.
        cancelled = upstream([row for row in out if not isinstance(row, dict)][0])
        assert cancelled["method"] == "notifications/cancelled"
        assert cancelled["params"]["requestId"] == request["id"]
        # Asked for what the client has not declared.
        request = upstream(wire.message(CALL)[0])
        out = reply(wire, request, asking(q=MUSE))
        assert [row for row in out if isinstance(row, dict)][0]["error"]
        # Nonsense.
        for odd in (asking(q={"method": "x"}), asking(q=5), asking(q={"method": "ping"})):
            request = upstream(wire.message(CALL)[0])
            out = reply(wire, request, odd)
            assert [row for row in out if isinstance(row, dict)][0]["error"]["code"] == -32603
    finally:
        gw.close()


def test_a_client_of_the_modern_revision_gets_the_question_itself():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        can = {"elicitation": {}, "extensions": {"x": {}}}
        request = upstream(wire.message(modern_call(can))[0])
        # What does not concern the upstream stays here: it could answer with a task.
        assert request["params"]["_meta"][CAPABILITIES] == {"elicitation": {}}
        (out,) = reply(wire, request, asking(q=ELICIT))
        row = out["result"]
        assert row["resultType"] == "input_required" and row["inputRequests"] == {"q": ELICIT}
        given = {"requestState": row["requestState"], "inputResponses": {"q": ACCEPT}}
        again = upstream(wire.message(modern_call(can, **given))[0])
        params = again["params"]
        assert (params["name"], params["requestState"]) == ("forecast", "s1")
        assert params["inputResponses"] == {"q": ACCEPT}
        assert params["arguments"] == {"cup": "mug"}
        (out,) = reply(wire, again, json.dumps(DONE))
        assert out["result"]["content"] == DONE["content"]
        # A state that was not made here, or for another tool, goes nowhere.
        bad = dict(given, requestState=row["requestState"][:-4] + "AAA=")
        assert wire.message(modern_call(can, **bad))[0]["error"]["code"] == -32602
        other = modern_call(can, **given)
        other["params"]["name"] = "office_log_reading"
        assert wire.message(other)[0]["error"]["code"] == -32602
        # Asked for what it cannot do.
        request = upstream(wire.message(modern_call(can))[0])
        out = reply(wire, request, asking(q=MUSE))
        assert [r for r in out if isinstance(r, dict)][0]["error"]["code"] == -32021
    finally:
        gw.close()


def test_a_function_of_the_user_answers_for_the_model():
    asked = []

    async def muse(params):
        asked.append(params["messages"][0]["content"]["text"])
        return "fine"

    for modern in (True, False):
        gw, wire = board(sampling=muse) if modern else legacy({}, sampling=muse)
        try:
            if modern:
                connect(gw, wire, TOOLS)
            call = modern_call({"elicitation": {}}) if modern else CALL
            request = upstream(wire.message(call)[0])
            assert "sampling" in request["params"]["_meta"][CAPABILITIES]
            out = reply(wire, request, asking(q=MUSE))
            again = upstream(out[0])
            answer = again["params"]["inputResponses"]["q"]
            assert answer["content"] == {"type": "text", "text": "fine"}
            assert answer["role"] == "assistant" and answer["model"]
            (out,) = reply(wire, again, json.dumps(DONE))
            assert out["result"]["content"] == DONE["content"]
            if not modern:
                continue
            # A question to the person beside it: what was answered here waits for that answer.
            request = upstream(wire.message(call)[0])
            (out,) = reply(wire, request, asking(q=MUSE, e=ELICIT))
            row = out["result"]
            assert list(row["inputRequests"]) == ["e"]
            given = {"requestState": row["requestState"], "inputResponses": {"e": ACCEPT}}
            again = upstream(wire.message(modern_call({"elicitation": {}}, **given))[0])
            assert set(again["params"]["inputResponses"]) == {"q", "e"}
            assert again["params"]["requestState"] == "s1"
        finally:
            gw.close()
    assert asked == ["Praise it"] * 3


def test_an_upstream_that_never_stops_asking():
    gw, wire = legacy({}, sampling=lambda params: {"content": {"type": "text", "text": "."}})
    try:
        out = wire.message(CALL)
        rounds = 0
        while not isinstance(out[0], dict):
            request = upstream(out[0])
            if request["method"] == "notifications/cancelled":
                out = out[1:] or wire.turn()
                continue
            rounds += 1
            out = reply(wire, request, asking("s%d" % rounds, q=MUSE))
        assert 4 < rounds < 40, rounds
        assert "rounds" in out[0]["error"]["message"]
    finally:
        gw.close()


def test_a_function_that_fails_is_an_error_of_the_call():
    for function in (lambda params: 1 / 0, lambda params: 5, lambda params: {"content": {1, 2}}):
        gw, wire = legacy({}, sampling=function)
        try:
            request = upstream(wire.message(CALL)[0])
            out = reply(wire, request, asking(q=MUSE))
            row = [row for row in out if isinstance(row, dict)][0]
            assert "sampling" in row["error"]["message"], row
        finally:
            gw.close()


def test_every_round_of_a_keyed_call_has_its_key():
    gw, wire = legacy({"elicitation": {}}, queueable=("forecast",))
    try:
        request = upstream(wire.message(CALL)[0])
        key = request["params"]["_meta"]["mcp-gw/key"]
        (question,) = reply(wire, request, asking(q=ELICIT))
        out = wire.message({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT})
        again = upstream(out[0])
        assert again["params"]["_meta"]["mcp-gw/key"] == key
        reply(wire, again, json.dumps(DONE))
        call = modern_call({"elicitation": {}})
        request = upstream(wire.message(call)[0])
        key = request["params"]["_meta"]["mcp-gw/key"]
        (out,) = reply(wire, request, asking(q=ELICIT))
        given = {
            "requestState": out["result"]["requestState"],
            "inputResponses": {"q": {"action": "decline"}},
        }
        again = upstream(wire.message(modern_call({"elicitation": {}}, **given))[0])
        assert again["params"]["_meta"]["mcp-gw/key"] == key
    finally:
        gw.close()


def test_a_call_that_was_asked_something_does_not_go_to_the_queue():
    from mcp_gw.queue.nor_kept import RamNor

    gw, wire = legacy({"elicitation": {}}, queueable=("forecast",), queue=RamNor(4))
    try:
        request = upstream(wire.message(CALL)[0])
        (question,) = reply(wire, request, asking(q=ELICIT))
        wire.frame(b"s", b'{"office":false}')
        (out,) = wire.message({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPT})
        assert out["error"]["code"] == -32010
        assert gw.upstreams.forwarder.outbox.pending == 0
        # Before that it does; and delivered later it has nobody who could answer.
        (out,) = wire.message(CALL)
        uri = out["result"]["_meta"]["mcp-gw/queued"]["uri"]
        out = wire.frame(b"s", b'{"office":true}')
        seen = []
        while not seen:
            for row in out:
                if row[0] == "u" and '"tools/list"' in row[1]:
                    listed = {"resultType": "complete", "tools": TOOLS}
                    out = wire.answer_upstream(row[1], listed)[1]
                    seen += [row for row in out if row[0] == "u"]
            if not seen:
                sleep_a_little()
                out = wire.turn()
                seen += [row for row in out if row[0] == "u" and '"tools/call"' in row[1]]
        request = upstream(seen[0])
        assert request["method"] == "tools/call"
        assert request["params"]["_meta"][CAPABILITIES] == {}
        reply(wire, request, asking(q=ELICIT))
        read = {"jsonrpc": "2.0", "id": 6, "method": "resources/read", "params": {"uri": uri}}
        row = json.loads(wire.message(read)[0]["result"]["contents"][0]["text"])
        assert row["state"] == "failed", row
        assert "nobody" in row["result"]["content"][0]["text"]
    finally:
        gw.close()


def test_a_call_given_up_is_given_up_upstream():
    gw, wire = legacy({"elicitation": {}})
    cancel = {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 5, "reason": "no matter"},
    }
    try:
        request = upstream(wire.message(CALL)[0])
        told = upstream(wire.message(cancel)[0])
        assert told["method"] == "notifications/cancelled"
        assert told["params"]["requestId"] == request["id"]
        assert reply(wire, request, json.dumps(DONE)) == []
        # While the client is being asked, too.
        request = upstream(wire.message(CALL)[0])
        (question,) = reply(wire, request, asking(q=ELICIT))
        out = wire.message(cancel)
        told = [upstream(row) for row in out if not isinstance(row, dict)]
        assert [row["params"]["requestId"] for row in told] == [request["id"]]
        (own,) = [row for row in out if isinstance(row, dict)]
        assert own["params"]["requestId"] == question["id"]
        assert wire.message({"jsonrpc": "2.0", "id": 7, "method": "ping"})[0]["result"] == {}
    finally:
        gw.close()
