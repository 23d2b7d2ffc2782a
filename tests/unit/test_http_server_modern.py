"""Streamable HTTP for clients of 2026-07-28, in memory."""

import json

from http_gateway import VERSION, Server, call, code, modern, request, result, streamed, turn

from mcp_gw.protocol.http_connection import PENDING


def test_a_modern_call_and_what_it_needs_in_its_head():
    server = Server()
    message, fields = modern(call("add", a=2, b=3), "add", Mcp_Param_B="3")
    connection = server.connect()
    for _ in range(3):
        assert result(server.ask(message, connection, **fields))["content"][0]["text"] == "5"
    for name, value in (
        ("Mcp_Method", "tools/list"),
        ("Mcp_Method", None),
        ("Mcp_Name", "sub"),
        ("Mcp_Name", None),
        ("Mcp_Name", "=?base64?YWRk=?="),
        ("Mcp_Param_B", "4"),
        ("Mcp_Param_B", None),
        ("MCP_Protocol_Version", None),
        ("MCP_Protocol_Version", "2025-11-25"),
        ("MCP_Protocol_Version", "2099-01-01"),
    ):
        answer = server.ask(message, connection, **dict(fields, **{name: value}))
        assert code(answer) == (400, -32020), (name, value, answer)
        assert json.loads(answer[2])["id"] == 1
    for name, value in (
        ("Mcp_Name", "=?base64?YWRk?="),
        ("Mcp_Name", "  add "),
        ("Mcp_Param_B", "3.0"),
        ("Mcp_Session_Id", "whatever"),
        ("Last_Event_ID", "1-1"),
        ("Mcp_Param_Other", "x"),
    ):
        assert result(server.ask(message, connection, **dict(fields, **{name: value})))
    # The body is what counts, however it spells things.
    text = json.dumps(message).encode().replace(b'"add"', b'"\\u0061dd"')
    assert result(server.ask(text, connection, **fields))
    text = json.dumps(message).encode().replace(b'"add"', b'"\\u0061dx"')
    assert code(server.ask(text, connection, **fields)) == (400, -32020)


def test_modern_names_of_resources_and_unknown_things():
    server = Server()
    message, fields = modern(request("resources/read", {"uri": "a://b"}), "a://b")
    assert result(server.ask(message, **fields))["contents"][0]["text"] == "text"
    assert code(server.ask(message, **dict(fields, Mcp_Name="a://c"))) == (400, -32020)
    message, fields = modern(request("no/such"))
    assert code(server.ask(message, **fields)) == (404, -32601)
    message, fields = modern(request("tools/list"), MCP_Protocol_Version="2099-01-01")
    message["params"]["_meta"][VERSION] = "2099-01-01"
    assert code(server.ask(message, **fields)) == (400, -32022)
    for method in ("GET", "DELETE"):
        answer = server.ask(None, method=method, MCP_Protocol_Version="2026-07-28")
        assert answer[0] == 405 and b"POST" in answer[1][b"allow"]
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert server.ask(note, MCP_Protocol_Version="2026-07-28")[0] == 202
    assert server.ask(b"{", MCP_Protocol_Version="2026-07-28")[0] == 400


def test_a_modern_answer_becomes_a_stream_when_something_comes_before_it():
    server = Server()
    message, fields = modern(call("steps", n=3, token="t"), "steps")
    connection = server.connect()
    for _ in range(2):
        answer = server.ask(message, connection, **fields)
        assert answer[1][b"cache-control"] == b"no-cache"
        assert answer[1][b"x-accel-buffering"] == b"no"
        rows = streamed(answer)
        assert [row["params"]["progress"] for row in rows[:-1]] == [0, 1, 2]
        assert rows[-1]["result"]["content"][0]["text"] == "done"
        assert b"id:" not in answer[2]
    # A client that takes no streams gets the answer alone, one that takes nothing else a stream.
    assert result(server.ask(message, connection, **dict(fields, Accept="application/json")))
    message, fields = modern(call("add", a=1), "add", Accept="text/event-stream")
    assert streamed(server.ask(message, connection, **fields))[0]["result"]
    bad = server.ask(message, connection, **dict(fields, Mcp_Name="sub"))
    assert code(bad) == (400, -32020)


def test_closing_a_modern_stream_cancels():
    server = Server()
    message, fields = modern(call("wait"), "wait")
    connection = server.send(message, **fields)
    turn()
    assert len(server.running) == 1 and connection.phase == PENDING
    context = server.running[0]
    connection.close()
    assert not context.cancelled  # not in the middle of whatever runs
    server.app.tick(0)
    assert context.cancelled
    turn()
    assert not connection.session.under_way


def test_a_modern_listener_hears_of_changes_and_is_forgotten_with_its_connection():
    server = Server()
    filter = {"notifications": {"toolsListChanged": True}}
    message, fields = modern(request("subscriptions/listen", filter, 7))
    connection = server.send(message, **fields)
    server.gateway.tools_changed()
    rows = streamed(connection.answers()[0])
    assert [row["method"][14:] for row in rows] == [
        "subscriptions/acknowledged",
        "tools/list_changed",
    ]
    assert len(server.gateway.sessions) == 1
    connection.close()
    server.app.tick(0)
    assert not server.gateway.sessions
    server.gateway.tools_changed()
    assert not connection.sent


def test_a_modern_listener_is_told_that_the_gateway_stops():
    server = Server()
    filter = {"notifications": {"toolsListChanged": True}}
    message, fields = modern(request("subscriptions/listen", filter, 7))
    connection = server.send(message, **fields)
    assert len(streamed(connection.answers()[0])) == 1
    server.gateway.close()
    told = connection.take()
    assert b'"id":7' in told and b'"result"' in told and told.endswith(b"0\r\n\r\n")


def test_quiet_streams_show_signs_of_life():
    server = Server()
    message, fields = modern(call("wait"), "wait")
    connection = server.send(message, **fields)
    turn()
    assert not connection.sent
    connection.tick(16_000)
    status, headers, body, _ = connection.answers()[0]
    assert headers[b"content-type"] == b"text/event-stream" and body == b":\n\n"
    connection.tick(32_000)
    assert connection.take() == b"3\r\n:\n\n\r\n"
    server.running.pop()
    turn()
    assert b"waited" in connection.take()
