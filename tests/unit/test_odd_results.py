"""Answers of upstreams that the client at hand cannot read as they are."""

import json

from test_forward import INITIALIZE, META, board, connect
from test_forward_asks import CALL, asking, legacy, modern_call, reply, upstream

from mcp_gw.route.upstream import unasked_type

ROWS = [
    {"name": "forecast", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array"}},
    {"name": "b", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
]
TEXT = {"type": "text", "text": "t"}
AUDIO = {"type": "audio", "data": "", "mimeType": "audio/wav"}
LINK = {"type": "resource_link", "uri": "cup://1", "name": "one"}


def connected(revision, rows=ROWS):
    gw, wire = board()
    params = dict(INITIALIZE["params"], protocolVersion=revision)
    connect(gw, wire, rows, dict(INITIALIZE, params=params))
    return gw, wire


def answered(wire, result=None, error=None, call=CALL):
    """What the client gets for what the upstream answers."""
    out = wire.message(call)[0]
    (answer,) = wire.answer_upstream(out[1], result, error)[1]
    assert answer["id"] == call["id"]
    return answer


def test_output_schemas_that_are_no_objects_are_for_the_newest_revision():
    gw, wire = connected("2025-06-18")
    try:
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        rows = wire.message(request)[0]["result"]["tools"][1:]
        assert [row.get("outputSchema") for row in rows] == [None, {"type": "object"}]
        rows = wire.message(dict(request, params={"_meta": META}))[0]["result"]["tools"][1:]
        assert [row["outputSchema"]["type"] for row in rows] == ["array", "object"]
    finally:
        gw.close()


def test_content_that_older_revisions_do_not_know():
    content = [TEXT, AUDIO, LINK]
    for revision, kinds in (
        ("2024-11-05", ["text", "text", "text"]),
        ("2025-03-26", ["text", "audio", "text"]),
        ("2025-06-18", ["text", "audio", "resource_link"]),
    ):
        gw, wire = connected(revision)
        try:
            result = answered(wire, {"resultType": "complete", "content": content})["result"]
            assert [row["type"] for row in result["content"]] == kinds
            assert result["content"][0] == TEXT
            if kinds[2] == "text":
                assert result["content"][2]["text"] == "cup://1"
        finally:
            gw.close()


def test_structured_content_that_is_no_object():
    result = {"resultType": "complete", "content": [TEXT], "structuredContent": [1, 2]}
    gw, wire = connected("2025-11-25")
    try:
        found = answered(wire, result)["result"]
        assert found["content"] == [TEXT] and "structuredContent" not in found
        found = answered(wire, result, call=modern_call({}))["result"]
        assert found["structuredContent"] == [1, 2]
        result["structuredContent"] = {"a": 1}
        assert answered(wire, result)["result"]["structuredContent"] == {"a": 1}
    finally:
        gw.close()


def test_errors_that_are_none():
    gw, wire = connected("2025-11-25")
    try:
        for error in ({"message": "m"}, {"code": 5}, {"code": "5", "message": []}):
            found = answered(wire, error=error)["error"]
            assert type(found["code"]) is int and isinstance(found["message"], str), found
        whole = {"code": -7, "message": "m", "data": [1]}
        assert answered(wire, error=whole)["error"] == whole
    finally:
        gw.close()


def test_a_legacy_client_never_gets_a_result_that_asks():
    gw, wire = legacy({})
    try:
        out = reply(wire, upstream(wire.message(CALL)[0]), asking())
        answer = [row for row in out if isinstance(row, dict)][0]
        assert "asked again" in answer["error"]["message"]
    finally:
        gw.close()


def test_types_of_results():
    for row in ({}, {"resultType": "complete"}, {"resultType": "input_required"}):
        for raw in (json.dumps(row), json.dumps(row).replace(" ", "")):
            assert unasked_type(raw.encode()) is None
    for row in ({"resultType": "task", "task": {}}, {"resultType": None}, {"resultType": "x"}):
        assert unasked_type(json.dumps(row).encode())
