"""Streamable HTTP for clients that begin with initialize, in memory: sessions, streams, coming
back."""

import json

from http_gateway import INITIALIZE, Server, call, code, modern, request, result, streamed, turn
from http_memory import events

from mcp_gw.protocol.http_connection import PENDING


def test_a_legacy_session_from_beginning_to_end():
    server = Server()
    fields = server.open()
    connection = server.connect()
    for _ in range(3):
        assert result(server.ask(call("add", a=1, b=1), connection, **fields))
    assert server.ask(None, connection, method="DELETE", **fields)[0] == 204
    assert not server.gateway.sessions
    for method in ("POST", "GET", "DELETE"):
        answer = server.ask(call("add", a=1, b=1), connection, method=method, **fields)
        assert answer[0] == 404, method


def test_what_a_legacy_request_needs():
    server = Server()
    fields = server.open()
    message = request("tools/list")
    assert code(server.ask(message)) == (400, -32602)  # neither session nor _meta
    assert code(server.ask(request("ping"))) == (400, -32600)
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert code(server.ask(note)) == (400, -32600)
    assert server.ask(message, **dict(fields, Mcp_Session_Id="session-9"))[0] == 404
    assert server.ask(message, **dict(fields, MCP_Protocol_Version=None))[0] == 200
    assert server.ask(message, **dict(fields, MCP_Protocol_Version="2025-06-18"))[0] == 200
    for version in ("2024-01-01", "x"):
        for row in (message, note):
            answer = server.ask(row, **dict(fields, MCP_Protocol_Version=version))
            assert answer[0] == 400, (version, row, answer)
        assert server.ask(None, method="GET", **dict(fields, MCP_Protocol_Version="x"))[0] == 400
    mixed, _ = modern(message)
    assert code(server.ask(mixed, **fields)) == (400, -32020)
    assert server.ask(request("initialize", {}))[0] == 200  # an error, and no session
    assert len(server.gateway.sessions) == 1


def test_all_legacy_revisions():
    server = Server()
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        fields = server.open(version)
        rows = streamed(server.ask(call("steps", n=1, token=1), **fields))
        assert len(rows) == 2
    fields = server.open("2025-03-26")
    batch = [request("ping", None, 1), call("add", 2, a=1, b=2)]
    status, _, body = server.ask(batch, **fields)
    assert status == 200 and [row["id"] for row in json.loads(body)] == [1, 2]
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert server.ask([note], **fields)[0] == 202
    assert server.ask([request("ping")], **server.open())[0] == 400


def test_the_session_stream_carries_what_belongs_to_no_request():
    server = Server()
    fields = server.open()
    server.gateway.tools_changed()  # nobody listens yet: kept
    stream = server.send(None, method="GET", **fields)
    server.gateway.resources_changed()
    rows = streamed(stream.answers()[0])
    assert [row["method"] for row in rows] == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
    ]
    assert server.ask(None, method="GET", **fields)[0] == 409
    other = server.send(None, method="GET", **fields)
    assert other.answers()[0][0] == 409
    stream.tick(16_000)
    assert b":\n\n" in stream.take()
    stream.close()
    server.gateway.prompts_changed()
    # The same head as a moment ago, and yet another answer.
    again = server.send(None, other, method="GET", **fields)
    assert [row["method"] for row in streamed(again.answers()[0])] == [
        "notifications/prompts/list_changed"
    ]
    assert server.ask(None, method="GET", **dict(fields, Accept="application/json"))[0] == 406
    assert server.ask(None, method="GET", **dict(fields, Mcp_Session_Id=None))[0] == 405
    assert server.ask(None, method="DELETE", **fields)[0] == 204
    assert again.take().endswith(b"0\r\n\r\n")  # it ended with its session


def test_what_a_request_cannot_carry_goes_to_the_session_stream():
    server = Server()
    fields = server.open()
    stream = server.send(None, method="GET", **fields)
    # A client that takes no events as an answer, and one that went away before the first.
    answer = server.ask(call("steps", n=1, token=1), **dict(fields, Accept="application/json"))
    assert result(answer)
    assert [row["params"]["progress"] for row in streamed(stream.answers()[0])] == [0]
    connection = server.send(call("wait", token=2), **fields)
    turn()
    connection.close()
    server.running[0].progress(7)
    assert b'"progress":7' in stream.take().replace(b" ", b"")
    server.running.pop()
    turn()
    assert not stream.sent  # an answer never goes there


def test_a_broken_session_stream_goes_on_where_it_was():
    server = Server()
    fields = server.open()
    stream = server.send(None, method="GET", **fields)
    for _ in range(4):
        server.gateway.tools_changed()
    ids = [id for id, data in events(stream.answers()[0][2]) if data]
    assert ids == [b"0-1", b"0-2", b"0-3", b"0-4"]
    # The old connection seems to be there still: the client knows better.
    again = server.send(None, method="GET", **dict(fields, Last_Event_ID="0-2"))
    assert [id for id, data in events(again.answers()[0][2]) if data] == ids[2:]
    assert stream.take() == b"0\r\n\r\n" and stream.phase != PENDING
    server.gateway.tools_changed()
    assert b"id: 0-5\n" in again.take() and not stream.sent
    for bad in ("7-1", "x", "0", "-1", "0-", "0-x", "1" * 30):
        assert server.ask(None, method="GET", **dict(fields, Last_Event_ID=bad))[0] == 400


def test_a_broken_answer_goes_on_where_it_was():
    server = Server()
    fields = server.open()
    connection = server.send(call("wait", token=1), **fields)
    turn()
    context = server.running[0]
    context.progress(1)
    body = connection.answers()[0][2]
    first, second = body.split(b"\n\n")[:2]
    assert first == b"id: 1-0\nretry: 1000\ndata: "
    assert second.startswith(b'id: 1-1\ndata: {"jsonrpc"')
    connection.close()
    server.app.tick(0)
    context.progress(2)
    assert not context.cancelled
    resumed = server.send(None, method="GET", **dict(fields, Last_Event_ID="1-1"))
    assert [row["params"]["progress"] for row in streamed(resumed.answers()[0])] == [2]
    resumed.sent.extend(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    resumed.sent.extend(b"Transfer-Encoding: chunked\r\n\r\n")
    context.progress(3)
    server.running.pop()
    turn()
    rows = streamed(resumed.answers()[0])
    assert rows[0]["params"]["progress"] == 3
    assert rows[1]["result"]["content"][0]["text"] == "waited"
    # It can be had again, from any event on.
    rows = streamed(server.ask(None, method="GET", **dict(fields, Last_Event_ID="1-2")))
    assert len(rows) == 2 and "result" in rows[1]


def test_a_stream_closed_by_the_tool_is_picked_up_later():
    server = Server()
    fields = server.open()
    connection = server.send(call("wait"), **fields)
    turn()
    server.running[0].close_stream()
    status, _, body = connection.answers()[0]
    assert body == b"id: 1-0\nretry: 1000\ndata: \n\n"
    assert result(server.ask(call("add", 2, a=1, b=1), connection, **fields))
    server.running.pop()
    turn()
    answer = server.ask(None, connection, method="GET", **dict(fields, Last_Event_ID="1-0"))
    assert streamed(answer)[-1]["result"]["content"][0]["text"] == "waited"
    # Older clients would take it for the end.
    fields = server.open("2025-06-18")
    connection = server.send(call("wait"), **fields)
    turn()
    server.running[0].close_stream()
    assert connection.phase == PENDING and not connection.sent
    server.running.pop()
    turn()
    assert result(connection.answers()[0])


def test_a_client_that_names_event_streams_first_gets_its_answers_as_events():
    server = Server()
    fields = server.open()
    both = "application/json, text/event-stream"
    for accept in (both, "*/*", "application/json;q=0.9, */*", "application/json", None):
        status, headers, body = server.ask(call("add", a=1, b=1), **dict(fields, Accept=accept))
        assert (status, headers[b"content-type"]) == (200, b"application/json"), accept
    fields["Accept"] = "text/event-stream, application/json"
    status, headers, body = server.ask(call("add", a=1, b=1), **fields)
    assert (status, headers[b"content-type"]) == (200, b"text/event-stream")
    # It may be asked for again, though nothing came before it.
    assert body.startswith(b"id: 1-0\nretry: 1000\ndata: \n\nid: 1-1\n")
    again = server.ask(None, method="GET", **dict(fields, Last_Event_ID="1-0"))
    assert streamed(again)[-1]["result"]["content"][0]["text"] == "2"
    assert streamed(server.ask(request("no/such"), **fields))[-1]["error"]["code"] == -32601


def test_what_is_kept_for_resuming_is_bounded():
    server = Server(replay=500)
    fields = server.open()
    one = list(server.app.sessions._table.values())[0]
    for i in range(50):
        connection = server.ask(call("steps", i, n=3, token=i), **fields)
        assert sum(len(data) for _, _, data in one.kept) <= 500
        assert len(one.streams) < 8, i
    server.gateway.tools_changed()
    stream = server.send(None, method="GET", **fields)
    assert len(streamed(stream.answers()[0])) == 1
    assert connection


def test_a_legacy_request_that_was_cancelled_does_not_hold_its_connection():
    server = Server()
    fields = server.open()
    connection = server.send(call("wait"), **fields)
    turn()
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    other = server.send(call("wait", 2, token=2), **fields)
    turn()
    server.running[-1].progress(1)
    assert server.ask(note, **fields)[0] == 202
    assert connection.answers()[0][0] == 204 and other.phase == PENDING
    note["params"]["requestId"] = 2
    assert server.ask(note, **fields)[0] == 202
    assert other.phase != PENDING and len(streamed(other.answers()[0])) == 1
    # So it is when the session ends.
    connection = server.send(call("wait", 3), **fields)
    turn()
    assert server.ask(None, method="DELETE", **fields)[0] == 204
    assert connection.answers()[0][0] == 204
    assert server.running[-1].cancelled


def test_an_initialize_that_is_refused_ends_nobodys_session():
    server = Server(sessions=1)
    fields = server.open()
    wrong = server.ask(request("initialize", {"capabilities": {}}))
    assert b"error" in wrong[2] and b"mcp-session-id" not in wrong[1]
    assert server.ask(request("ping"), **fields)[0] == 200
    # One that is not makes room for itself.
    server.open()
    assert server.ask(request("ping"), **fields)[0] == 404
    assert len(server.gateway.sessions) == 1


def test_sessions_are_bounded_and_idle_ones_go_first():
    server = Server(sessions=2)
    first, second = server.open(), server.open()
    server.app.tick(1000)
    stream = server.send(None, method="GET", **first)
    third = server.open()
    assert server.ask(request("ping"), **second)[0] == 404
    other = server.send(None, method="GET", **third)
    answer = server.ask(request("initialize", INITIALIZE))
    assert answer[0] == 503 and b"mcp-session-id" not in answer[1]
    stream.close()
    other.close()
    server.app.tick(30_000)
    assert server.ask(request("ping"), **third)[0] == 200
    server.app.tick(62_000)
    assert server.ask(request("ping"), **first)[0] == 404
    assert server.ask(request("ping"), **third)[0] == 200
    assert len(server.gateway.sessions) == 1
