"""The client's state machine: tables of messages that come back -> events and what is sent."""

import json

from client_talk import (
    DISCOVERED,
    INITIALIZED,
    MODERN,
    answer,
    discover,
    initialize,
    initialized,
    joined,
    opened,
    receive,
    refusal,
    sent,
    unsupported,
)

from mcp_gw.errors import Unavailable
from mcp_gw.protocol.client import (
    ANSWER,
    ASKED,
    CHANGED,
    FAILURE,
    INVALID,
    NOTHING,
    NOTICE,
    PROGRESS,
    READY,
    REFUSED,
    REPLY,
    SEND,
    Client,
)
from mcp_gw.route.upstream import asks

UNKNOWN = discover(None, refusal(-32601))
LATEST = initialized("2025-11-25")
OLDER = initialized("2025-06-18")

# The steps of an opening (method that the client must have sent, result, error); the last event,
# and the agreed revision or a word of the reason.
OPENINGS = (
    ([discover(DISCOVERED)], READY, MODERN),
    ([discover({"supportedVersions": ["2025-11-25", MODERN, "2030"]})], READY, MODERN),
    # A server that answers discover but names only legacy revisions, or none that is known.
    ([discover({"supportedVersions": ["2025-11-25"]}), initialize(LATEST)], READY, "2025-11-25"),
    ([discover({}), initialize(LATEST)], READY, "2025-11-25"),
    # -32022: worth a handshake when a revision with one is named, or none at all.
    ([discover(None, unsupported("2025-06-18")), initialize(OLDER)], READY, "2025-06-18"),
    ([discover(None, refusal(-32022)), initialize(OLDER)], READY, "2025-06-18"),
    ([discover(None, unsupported("2030-01-01"))], REFUSED, "2030-01-01"),
    # A modern server that first refused discover for another reason; one that goes on refusing.
    (
        [
            discover(None, refusal(-32603)),
            initialize(None, unsupported(MODERN)),
            discover(DISCOVERED),
        ],
        READY,
        MODERN,
    ),
    (
        [
            discover(None, refusal(-32603)),
            initialize(None, unsupported(MODERN)),
            discover(None, refusal(-32603)),
        ],
        REFUSED,
        "neither",
    ),
    ([UNKNOWN, initialize(None, refusal(-32603))], REFUSED, "no"),
    ([UNKNOWN, initialize(initialized("1999-01-01"))], REFUSED, "1999"),
    ([UNKNOWN, initialize(initialized(MODERN))], REFUSED, MODERN),
    ([UNKNOWN, initialize({})], REFUSED, "None"),
    ([UNKNOWN, initialize([])], REFUSED, "None"),
    ([UNKNOWN, initialize({"protocolVersion": ["x"]})], REFUSED, "x"),
    # Members of wrong types.
    (
        [discover({"supportedVersions": [MODERN, 5, None], "capabilities": [], "_meta": 3})],
        READY,
        MODERN,
    ),
    (
        [
            discover({"supportedVersions": MODERN}),
            initialize({"protocolVersion": "2025-11-25", "capabilities": 5, "serverInfo": "x"}),
        ],
        READY,
        "2025-11-25",
    ),
    (
        [
            discover(None, {"code": "-32022", "data": [1]}),
            initialize(None, {"code": -32022, "data": {"supported": 7}, "message": 5}),
        ],
        REFUSED,
        "5",
    ),
)

# How legacy servers turn an unknown method down, and the revision they then name.
LEGACY = (
    (-32601, "2025-11-25"),
    (-32600, "2025-06-18"),
    (-32602, "2025-03-26"),
    (-32000, "2024-11-05"),
    (0, "2025-11-25"),
)


def test_legacy_openings():
    for code, version in LEGACY:
        steps = [discover(None, refusal(code)), initialize(initialized(version))]
        _open(steps, READY, version)


def test_openings():
    for steps, last, word in OPENINGS:
        _open(steps, last, word)


def _open(steps, last, word):
    client = Client("gw", "1")
    id, parts = client.open()
    for n, (method, result, error) in enumerate(steps):
        message = sent(parts)
        assert message["jsonrpc"] == "2.0" and message["id"] == id
        assert message["method"] == method, (steps, n)
        assert not client.ready
        if method == "initialize":
            assert client.version is None
            assert message["params"]["protocolVersion"] == "2025-11-25"
            assert message["params"]["clientInfo"] == {"name": "gw", "version": "1"}
            assert message["params"]["capabilities"] == {}
        else:
            assert client.version == MODERN
            assert message["params"]["_meta"] == {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "gw", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        event, _ = receive(client, answer(id, result, error))
        if n + 1 < len(steps):
            assert event == SEND, (steps, n, event)
            id, parts = client.out_id, client.out
    assert event == last, (steps, event)
    if last == REFUSED:
        assert word in client.why and not client.ready, (steps, client.why)
        return
    assert client.ready and client.version == word
    assert client.modern is (word == MODERN)
    assert isinstance(client.capabilities, dict) and isinstance(client.server, dict)
    if client.modern:
        assert client.out is None
    else:
        assert joined(client.out) == INITIALIZED


def test_opening_rejected_by_the_transport():
    client = Client("gw", "1")
    first, _ = client.open()
    assert client.rejected("HTTP status 405") == SEND
    assert sent(client.out)["method"] == "initialize"
    assert receive(client, answer(first, DISCOVERED))[0] == NOTHING
    assert client.rejected("HTTP status 404") == REFUSED
    assert client.why == "HTTP status 404" and not client.ready
    client.open()
    assert receive(client, answer(client.out_id, DISCOVERED))[0] == READY


def test_error_without_id_during_opening():
    for id in (None, "server-error", 99999):
        for carrier in (False, True):
            client = Client("gw", "1")
            mine, _ = client.open()
            event, _ = receive(
                client, answer(id, error=refusal(-32600)), mine if carrier else None
            )
            assert event == (SEND if carrier else NOTHING), (id, carrier)
            assert not client.exact


def test_requests_pass_params_through():
    client = opened()
    odd = (
        b'{ "name" : "x\\u0041", "arguments":{"n":1e400,"n":-0.0}, "_meta":'
        + client.meta()
        + b" }"
    )
    id, parts = client.request("tools/call", [odd[:9], memoryview(odd)[9:20], bytearray(odd[20:])])
    wire = joined(parts)
    assert wire == b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":' % id + odd + b"}"
    second, _ = client.request("tools/call", [b"{}"])
    assert second != id


def test_giving_a_request_up():
    for modern in (True, False):
        client = opened(modern)
        id, _ = client.request("tools/call", [b"{}"])
        row = sent(client.cancelled(id))
        assert row["method"] == "notifications/cancelled" and "id" not in row
        assert row["params"]["requestId"] == id
        assert (len(row["params"]["_meta"]) == 3) is modern


def test_capabilities_are_declared_in_each_era():
    can = '{"elicitation":{},"roots":{}}'
    client = Client("gw", "1", capabilities=can)
    client.open()
    client.rejected("HTTP status 405")
    assert sent(client.out)["params"]["capabilities"] == json.loads(can)
    client = opened()
    key = "io.modelcontextprotocol/clientCapabilities"
    for extra in (b"", b'"progressToken":1'):
        meta = json.loads(client.meta(extra, can.encode()))
        assert meta[key] == json.loads(can) and len(meta) == 3 + bool(extra)
    assert opened(False).meta(b"", can.encode()) == b"{}"


def test_meta_of_each_era():
    for client in (Client('g"w', "1"), opened(), Client("gw", "1", True)):
        for extra in (b"", b'"progressToken":7', b'"mcp-gw/key":"a","progressToken":"x"'):
            meta = json.loads(client.meta(extra))
            assert meta["io.modelcontextprotocol/protocolVersion"] == MODERN
            assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
            assert meta["io.modelcontextprotocol/clientInfo"]["version"] == "1"
            assert len(meta) == 3 + extra.count(b":")
    client = opened(False)
    assert client.meta() == b"{}"
    assert client.meta(b'"progressToken":7') == b'{"progressToken":7}'


def test_answers():
    for modern in (True, False):
        client = opened(modern)
        ids = [client.request("tools/call", [b"{}"])[0] for _ in range(3)]
        # In any order; each id once.
        event, raw = receive(client, answer(ids[1], {"content": []}))
        assert (event, client.id, json.loads(raw)) == (ANSWER, ids[1], {"content": []})
        assert client.exact
        assert receive(client, answer(ids[1], {}))[0] == NOTHING
        event, raw = receive(client, answer(ids[0], error=refusal(-32602)))
        assert (event, client.id, json.loads(raw)) == (FAILURE, ids[0], refusal(-32602))
        client.forget(ids[2])
        assert receive(client, answer(ids[2], {}))[0] == NOTHING
        for wire in (
            answer(987654, {}),
            answer(-1, {}),
            answer(str(ids[2]), {}),
            answer(99999999999999999999, {}),
            answer("x" * 300, {}),
            b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}',
            b'{"jsonrpc":"2.0","error":{"code":1,"message":""}}',
        ):
            assert receive(client, wire)[0] == NOTHING, wire


def test_answers_where_only_one_is_expected():
    client = opened()
    mine, _ = client.request("tools/call", [b"{}"])
    other, _ = client.request("tools/call", [b"{}"])
    # Another request's answer on this carrier is not taken, and does not settle that request.
    assert receive(client, answer(other, {}), mine)[0] == NOTHING
    assert receive(client, answer(other, {}), other)[0] == ANSWER
    for id in (None, "server-error", 424242):
        mine, _ = client.request("tools/call", [b"{}"])
        assert receive(client, answer(id, {}), mine)[0] in (NOTHING, INVALID), id
        event, raw = receive(client, answer(id, error=refusal(-32000)), mine)
        assert (event, client.id, client.exact) == (FAILURE, mine, False)
        assert receive(client, answer(mine, {}), mine)[0] == NOTHING


def test_server_requests_and_notifications():
    for modern in (True, False):
        client = opened(modern)
        for id in (b"1", b'"a\\u0041"', b"-5"):
            ask = b'{"jsonrpc":"2.0","id":' + id + b',"method":"'
            event, _ = receive(client, ask + b'ping"}')
            if modern:
                # There is no way to answer on this revision, and nothing to ask.
                assert event == NOTHING
                continue
            assert event == REPLY
            assert joined(client.out) == b'{"jsonrpc":"2.0","id":' + id + b',"result":{}}'
            for method in ("roots/list", "sampling/createMessage", "elicitation/create"):
                event, raw = receive(client, ask + method.encode() + b'","params":{"a":[1]}}')
                assert (event, client.method) == (ASKED, method)
                assert (client.asked, raw) == (id, b'{"a":[1]}')
                assert receive(client, ask + method.encode() + b'"}') == (ASKED, b"")
                reply = sent(client.reply(client.asked, True, b'{"roots":[]}'))
                assert reply == {"jsonrpc": "2.0", "id": json.loads(id), "result": {"roots": []}}
                reply = sent(client.reply(client.asked, False, b'{"code":1,"message":""}'))
                assert reply["error"]["code"] == 1
            assert receive(client, ask + b'ping2","params":{}}')[0] == REPLY
            reply = sent(client.out)
            assert reply["error"]["code"] == -32601
            assert json.loads(id) == reply["id"]
        long = b'{"jsonrpc":"2.0","id":"' + b"x" * 200 + b'","method":"ping"}'
        assert receive(client, long)[0] == NOTHING

        tell = b'{"jsonrpc":"2.0","method":"notifications/'
        event, raw = receive(
            client, tell + b'progress","params":{"progress":1,"progressToken":"a"}}'
        )
        assert (event, raw) == (PROGRESS, b'{"progress":1,"progressToken":"a"}')
        for params, token in (
            (b'{"progressToken":5,"progress":-0.5,"total":null}', b"5"),
            (b'{"message":"","progress":1,"progressToken":"p"}', b'"p"'),
        ):
            wire = tell + b'progress","params":' + params + b"}"
            assert client.receive(wire, 0, len(wire)) == PROGRESS
            assert client.progress_token(wire) == token
        for params in (
            b"",
            b',"params":{}',
            b',"params":{"progressToken":5}',
            b',"params":{"progress":5}',
            b',"params":{"progressToken":5,"progress":"5"}',
            b',"params":{"progressToken":[5],"progress":5}',
            b',"params":{"progressToken":null,"progress":5}',
        ):
            assert receive(client, tell + b'progress"' + params + b"}")[0] == NOTHING, params
        for kind in ("tools", "resources", "prompts"):
            assert receive(client, tell + kind.encode() + b'/list_changed"}')[0] == CHANGED
            assert client.method == kind
        event, raw = receive(client, tell + b'message","params":{"level":"info"}}')
        assert (event, client.method) == (NOTICE, "notifications/message")
        assert raw == b'{"level":"info"}'
        assert receive(client, b'{"jsonrpc":"2.0","method":"other"}') == (NOTICE, b"")


def test_a_ping_in_the_middle_of_the_opening():
    client = Client("gw", "1")
    client.open()
    client.rejected("HTTP status 400")
    id = client.out_id
    assert receive(client, b'{"jsonrpc":"2.0","id":0,"method":"ping"}')[0] == REPLY
    assert client.out_id == id
    assert receive(client, answer(id, initialized("2025-11-25")))[0] == READY


def test_what_is_no_message():
    client = opened()
    id, _ = client.request("tools/call", [b"{}"])
    good = answer(id, {"content": []})
    for wire in (
        b"",
        b"null",
        b"[]",
        b"[" + good + b"]",
        b"<html></html>",
        good[:-1],
        good + good,
        good.replace(b'"2.0"', b'"1.0"'),
        b'{"jsonrpc":"2.0","id":%d,"result":1,"error":{}}' % id,
        b'{"jsonrpc":"2.0","id":%d,"error":"a string"}' % id,
        b'{"jsonrpc":"2.0","id":%d,"id":%d,"result":1}' % (id, id),
        b'{"jsonrpc":"2.0","id":%d.0,"result":1}' % id,
        b'{"jsonrpc":"2.0","id":%d,"result":"\xff"}' % id,
        b'{"jsonrpc":"2.0","id":%d,"result":' % id + b"[" * 64 + b"]" * 64 + b"}",
    ):
        assert receive(client, wire)[0] == INVALID, wire
        assert client.why
    assert receive(client, good)[0] == ANSWER


def test_results_that_ask_for_input():
    for raw, ask in (
        (b'{"content":[],"resultType":"complete"}', False),
        (b'{"content":[{"type":"text","text":"input_required"}],"resultType":"complete"}', False),
        (b'{"content":[{"resultType":"input_required"}]}', False),
        (b'"input_required"', False),
        (b'{"inputRequests":{},"resultType":"input_required"}', True),
        (b'{ "resultType" : "input_required" }', True),
    ):
        assert asks(raw) is ask, raw


def test_too_many_requests_under_way():
    client = opened()
    ids = [client.request("tools/call", [b"{}"])[0] for _ in range(client.MAX_PENDING)]
    try:
        client.request("tools/call", [b"{}"])
    except Unavailable:
        pass
    else:
        raise AssertionError("no cap")
    client.forget(ids[5])
    client.request("tools/call", [b"{}"])


def test_reopening_keeps_what_is_under_way():
    client = opened()
    id, _ = client.request("tools/call", [b"{}"])
    client.open()
    assert receive(client, answer(client.out_id, DISCOVERED))[0] == READY
    assert receive(client, answer(id, {}))[0] == ANSWER
    id, _ = client.request("tools/call", [b"{}"])
    client.reset()
    assert receive(client, answer(id, {}))[0] == NOTHING


def test_ids_stay_small():
    client = opened()
    client._last_id = 0x3FFFFFFE
    ids = [client.request("ping", [b"{}"])[0] for _ in range(3)]
    assert ids == [0x3FFFFFFF, 1, 2]
    assert receive(client, answer(0x3FFFFFFF, {}))[0] == ANSWER
