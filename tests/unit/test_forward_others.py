"""Prompts, resources and templates of an upstream over the serial link."""

import json

from test_forward import INITIALIZE, META, board
from test_forward_asks import upstream

PROMPTS = [{"name": "toast", "arguments": [{"name": "to"}]}, {"name": "a b"}, {"title": "none"}]
RESOURCES = [
    {"uri": "cup://list", "name": "cups"},
    {"uri": "board://status", "name": "taken"},
    {"name": "none"},
]
TEMPLATES = [
    {"uriTemplate": "cup://{name}/data", "name": "one"},
    {"uriTemplate": "cup://old/{?x*}", "name": "two"},
]
ANSWERS = {
    "tools/list": {"tools": []},
    "prompts/list": {"prompts": PROMPTS},
    "resources/list": {"resources": RESOURCES},
    "resources/templates/list": {"resourceTemplates": TEMPLATES},
}


def connected():
    gw, wire = board(offers=("tools", "prompts", "resources"))

    @gw.resource("board://status", "Status")
    def status():
        return "ours"

    wire.hello()
    answer_lists(wire, wire.frame(b"s", b'{"office":true}'), ANSWERS)
    assert wire.message(INITIALIZE)[0]["result"]["capabilities"]["prompts"]
    wire.message({"jsonrpc": "2.0", "method": "notifications/initialized"})
    return gw, wire


def answer_lists(wire, out, answers):
    """Answer the board's requests for lists, of which `out` is the first; returns what it tells
    the client meanwhile.
    """
    asked = []
    told = []
    while out:
        told += [row["method"] for row in out if isinstance(row, dict)]
        frames = [row for row in out if not isinstance(row, dict) and row[0] == "u"]
        out = None
        for frame in frames:
            method = upstream(frame)["method"]
            asked.append(method)
            _, out = wire.answer_upstream(frame[1], dict(answers[method], resultType="complete"))
    assert sorted(asked) == sorted(answers), asked
    return told


def ask(wire, method, **params):
    return wire.message({"jsonrpc": "2.0", "id": 9, "method": method, "params": params})[0]


def test_what_is_listed():
    gw, wire = connected()
    try:
        rows = ask(wire, "prompts/list")["result"]["prompts"]
        names = [row["name"] for row in rows]
        assert names[0] == "office_toast" and names[1].startswith("office_a_b_")
        assert rows[0]["arguments"] == [{"name": "to"}] and len(names) == 2
        rows = ask(wire, "resources/list")["result"]["resources"]
        assert [row["uri"] for row in rows] == ["board://status", "cup://list"]
        rows = ask(wire, "resources/templates/list")["result"]["resourceTemplates"]
        assert [row["uriTemplate"] for row in rows] == [r["uriTemplate"] for r in TEMPLATES]
    finally:
        gw.close()


def test_what_is_asked_for_by_name_and_uri():
    gw, wire = connected()
    try:
        out = ask(wire, "prompts/get", name="office_toast", arguments={"to": "you"})
        request = upstream(out)
        assert request["method"] == "prompts/get"
        assert request["params"]["name"] == "toast"
        assert request["params"]["arguments"] == {"to": "you"}
        result = {"resultType": "complete", "messages": []}
        _, (answer,) = wire.answer_upstream(out[1], result)
        assert answer["id"] == 9 and answer["result"]["messages"] == []
        for uri in ("cup://list", "cup://mug/data", "cup://old/?x=1"):
            out = ask(wire, "resources/read", uri=uri)
            request = upstream(out)
            assert request["method"] == "resources/read" and request["params"]["uri"] == uri
            wire.answer_upstream(out[1], {"resultType": "complete", "contents": []})
        assert ask(wire, "resources/read", uri="board://status")["result"]["contents"]
        assert ask(wire, "resources/read", uri="mug://x")["error"]["code"] == -32002
        assert ask(wire, "prompts/get", name="toast")["error"]["code"] == -32602
        # What the upstream says of a resource that is not there, in the client's own revision.
        out = ask(wire, "resources/read", uri="cup://gone")
        error = {"code": -32002, "message": "none"}
        _, (answer,) = wire.answer_upstream(out[1], error=error)
        assert answer["error"]["code"] == -32002
        call = {"jsonrpc": "2.0", "id": 9, "method": "resources/read"}
        call["params"] = {"uri": "cup://gone", "_meta": META}
        (out,) = wire.message(call)
        _, (answer,) = wire.answer_upstream(out[1], error=error)
        assert answer["error"]["code"] == -32602
    finally:
        gw.close()


def test_completion_is_asked_where_the_prompt_or_template_is():
    gw, wire = connected()
    try:
        argument = {"name": "to", "value": "y"}
        prompt = {"type": "ref/prompt", "name": "office_toast"}
        for ref, own in (
            (prompt, {"type": "ref/prompt", "name": "toast"}),
            ({"type": "ref/resource", "uri": "cup://{name}/data"}, None),
        ):
            out = ask(wire, "completion/complete", ref=ref, argument=argument)
            request = upstream(out)
            assert request["method"] == "completion/complete"
            assert request["params"]["ref"] == (own or ref)
            assert request["params"]["argument"] == argument
            result = {"completion": {"values": ["you"]}, "resultType": "complete"}
            _, (answer,) = wire.answer_upstream(out[1], result)
            assert answer["result"]["completion"] == {"values": ["you"]}
        for ref in ({"type": "ref/prompt", "name": "toast"}, {"type": "ref/resource"}, 5):
            out = ask(wire, "completion/complete", ref=ref, argument=argument)
            assert out["error"]["code"] == -32602
    finally:
        gw.close()


def test_changes_are_told_and_pages_stay_together():
    gw, wire = connected()
    try:
        answers = dict(ANSWERS)
        answers["prompts/list"] = {"prompts": [{"name": "new"}, PROMPTS[0]]}
        told = answer_lists(wire, wire.frame(b"c", b'"office"'), answers)
        assert told == ["notifications/prompts/list_changed"]
        names = [row["name"] for row in ask(wire, "prompts/list")["result"]["prompts"]]
        assert names == ["office_toast", "office_new"]
    finally:
        gw.close()


def test_caps():
    gw, wire = board(offers=("prompts",))
    try:
        gw.upstreams.others._max_rows = 2
        wire.hello()
        (out,) = wire.frame(b"s", b'{"office":true}')
        rows = [{"name": "p%d" % i} for i in range(5)]
        _, out = wire.answer_upstream(out[1], {"resultType": "complete", "prompts": rows})
        assert "3 prompts left out" in json.dumps(out)
        wire.message(INITIALIZE)
        assert len(ask(wire, "prompts/list")["result"]["prompts"]) == 2
    finally:
        gw.close()
