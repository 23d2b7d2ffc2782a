"""The board's requests to servers made with the official SDK, of both eras, through the bridge."""

import contextlib
import http.server
import json
import os
import queue
import socket
import threading
import time
from typing import ClassVar

import pytest
from bridge_rig import Bridge, FakeBoard, Upstream
from waiting import until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripted board needs a pty")

SERVERS = {
    "modern": [],
    "modern-json": ["--json"],
    "legacy": ["--legacy"],
    "legacy-json": ["--legacy", "--json"],
    "legacy-stateless": ["--legacy", "--stateless"],
}


@pytest.fixture
def board(tmp_path):
    board = FakeBoard(tmp_path / "board")
    yield board
    board.unplug()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with Upstream(folder, *SERVERS[request.param], "--tools", "60") as upstream:
        upstream.kind = request.param
        yield upstream


@pytest.fixture
def joined(board, server):
    with Bridge(board.path, "--upstream", f"pi={server.url}") as bridge:
        board.wait_states({"pi": True})
        yield board
        assert bridge.close() == 0
        assert "Traceback" not in bridge.text()
        assert "internal error" not in bridge.text()


def text_of(answer):
    (content,) = answer["result"]["content"]
    return content["text"]


def test_calls_and_errors(joined):
    answer = joined.call("pi", "add", {"a": 2, "b": 3})
    assert text_of(answer) == "5"
    assert answer["result"]["structuredContent"] == {"result": 5}
    assert answer["result"]["resultType"] == "complete"
    failed = joined.call("pi", "fails")
    assert failed["result"]["isError"] is True
    assert text_of(joined.call("pi", "odd")) == 'é€𝄞 "\\" \x7f tab\t end'
    joined.ask("pi", "resources/subscribe", id=7)
    assert joined.reply(7)["error"]["code"] == -32601
    joined.ask("pi", "tools/call", {"arguments": {}}, id="x")
    assert joined.reply("x")["error"]["code"] == -32602
    joined.ask("nobody", "tools/call", {"name": "add"}, id=8)
    answer = joined.reply(8)
    assert answer["error"]["code"] == -32010
    assert "--upstream nobody=" in answer["error"]["message"]


def test_meta_goes_through_and_the_boards_envelope_does_not(joined, server):
    got = text_of(joined.call("pi", "meta", key="0123456789abcdef", trace={"a": 1}))
    assert '"mcp-gw/key": "0123456789abcdef"' in got
    assert '"trace": {"a": 1}' in got
    assert ("2026-07-28" in got) == server.kind.startswith("modern")


def test_arguments_that_belong_into_headers(joined):
    assert text_of(joined.call("pi", "region", {"area": "nörd "})) == "in nörd "


def test_progress_carries_the_boards_own_token(joined, server):
    answer = joined.call("pi", "steps", {"count": 3}, progressToken="board-7")
    assert text_of(answer) == "stepped"
    if server.kind not in ("modern-json", "legacy-json"):  # JSON answers leave no way for it
        assert [m["params"]["progress"] for m in joined.progress] == [1, 2, 3]
        assert {m["params"]["progressToken"] for m in joined.progress} == {"board-7"}
    joined.call("pi", "steps", {"count": 3})
    assert joined.progress == []


def test_long_lists_come_in_pages_that_fit_the_board(joined):
    names, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        before = len(joined.raw)
        params = {"cursor": cursor} if cursor else {}
        result = joined.reply(joined.ask("pi", "tools/list", params))["result"]
        longest = max(len(line) for line in bytes(joined.raw[before:]).split(b"\n"))
        assert longest <= joined.rx
        assert result["resultType"] == "complete"
        assert result["ttlMs"] == 0
        names += [tool["name"] for tool in result["tools"]]
        cursor = result.get("nextCursor")
        pages += 1
    assert len(names) == len(set(names))
    assert {"add", "slow", "region"} | {f"extra_{i:03}" for i in range(60)} <= set(names)
    assert pages < 8
    stale = joined.reply(joined.ask("pi", "tools/list", {"cursor": "99:1"}))
    assert stale["error"]["code"] == -32602


def test_answer_larger_than_the_board_takes(joined):
    before = len(joined.raw)
    answer = joined.call("pi", "text", {"size": 20000})
    assert answer["result"]["isError"] is True
    assert "was executed" in text_of(answer)
    assert "xxxxxxxx" in text_of(answer)
    assert max(len(line) for line in bytes(joined.raw[before:]).split(b"\n")) <= joined.rx


def test_cancelling_a_call_cancels_it_upstream(joined, server):
    server.ledger.write_text("")
    id = joined.ask("pi", "tools/call", {"name": "slow", "arguments": {"seconds": 1000}})
    server.wait_executed("slow 1000.0")
    joined.frame(
        b"u",
        b'pi {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}' % id,
    )
    # In these two forms this server cannot learn of it: no session, or no look at the socket.
    if server.kind not in ("legacy-stateless", "modern-json"):
        server.wait_executed("slow cancelled")
    assert text_of(joined.call("pi", "add", {"a": 1, "b": 1})) == "2"


@pytest.mark.parametrize("server", ["modern", "legacy"], indirect=True)
def test_slow_calls_block_nobody(board, server, tmp_path):
    with (
        Upstream(tmp_path) as other,
        Bridge(
            board.path, "--upstream", f"pi={server.url}", "--upstream", f"b={other.url}"
        ) as bridge,
    ):
        board.wait_states({"pi": True, "b": True})
        slow = board.ask("pi", "tools/call", {"name": "held", "arguments": {}})
        server.wait_executed("held")
        assert text_of(board.call("b", "add", {"a": 1, "b": 2})) == "3"
        assert text_of(board.call("pi", "add", {"a": 1, "b": 2})) == "3"
        bridge.request(1, "ping")
        assert bridge.get()["id"] == 1
        assert board.progress == []  # and the slow one is still under way
        server.release()
        assert text_of(board.reply(slow)) == "done"


@pytest.mark.parametrize("server", ["modern", "legacy"], indirect=True)
def test_time_out(board, server):
    with Bridge(board.path, "--timeout", "2", "--upstream", f"pi={server.url}"):
        board.wait_states({"pi": True})
        answer = board.call("pi", "slow", {"seconds": 1000})
        assert answer["error"]["code"] == -32011
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1})) == "2"


@pytest.mark.parametrize("kind", ["modern", "legacy"])
def test_server_that_goes_and_comes_back(board, tmp_path, kind):
    with (
        Upstream(tmp_path, *SERVERS[kind], start=False) as upstream,
        Bridge(board.path, "--upstream", f"pi={upstream.url}"),
    ):
        board.wait_states({"pi": False})
        assert board.call("pi", "add", {"a": 1, "b": 1})["error"]["code"] == -32010
        upstream.start()
        board.wait_states({"pi": True})
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1})) == "2"
        upstream.stop()
        assert board.call("pi", "add", {"a": 1, "b": 1})["error"]["code"] == -32010
        board.wait_states({"pi": False})


@pytest.mark.parametrize("kind", ["modern", "legacy"])
def test_the_board_hears_that_tools_have_changed(board, tmp_path, kind):
    with (
        Upstream(tmp_path, *SERVERS[kind]) as upstream,
        Bridge(board.path, "--upstream", f"pi={upstream.url}"),
    ):
        board.wait_states({"pi": True})
        names = []

        def heard():
            # The stream opens some time after the state is told.
            names.append(f"fresh_{len(names)}")
            assert text_of(board.call("pi", "grow", {"name": names[-1]})) == "grown"
            with contextlib.suppress(queue.Empty):
                return board.changes.get(timeout=1)

        assert until(heard) == "pi"
        tools = board.reply(board.ask("pi", "tools/list"))["result"]["tools"]
        assert names[-1] in [tool["name"] for tool in tools]


@pytest.mark.parametrize("kind", ["modern", "legacy"])
def test_a_server_that_dies_while_nobody_asks_is_noticed(board, tmp_path, kind):
    with (
        Upstream(tmp_path, *SERVERS[kind]) as upstream,
        Bridge(board.path, "--upstream", f"pi={upstream.url}"),
    ):
        board.wait_states({"pi": True})
        time.sleep(0.5)  # opening the stream of notifications, or waiting on it
        upstream.stop()
        board.wait_states({"pi": False})
        upstream.start()
        board.wait_states({"pi": True})


def test_server_that_dies_during_a_call(board, tmp_path):
    with Upstream(tmp_path) as upstream, Bridge(board.path, "--upstream", f"pi={upstream.url}"):
        board.wait_states({"pi": True})
        id = board.ask("pi", "tools/call", {"name": "held", "arguments": {}})
        upstream.wait_executed("held")
        upstream.stop()
        assert board.reply(id)["error"]["code"] == -32011


class Forgetful(http.server.BaseHTTPRequestHandler):
    """A legacy server that forgets each session after one request, and asks things in between."""

    protocol_version = "HTTP/1.1"
    sessions = 0
    seen: ClassVar[list] = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(405)

    def do_DELETE(self):
        self.reply(200)

    def reply(self, status, body=b"", kind="application/json", **fields):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        cls = type(self)
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cls.seen.append(message)
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
        answer = {"jsonrpc": "2.0", "id": message.get("id")}
        if message.get("method") == "server/discover":
            self.reply(400)
        elif message.get("method") == "initialize":
            cls.sessions += 1
            body = json.dumps(answer | {"result": result}).encode()
            self.reply(200, body, Mcp_Session_Id=f"s{cls.sessions}")
        elif "id" not in message or "method" not in message:
            self.reply(202)
        elif self.headers["Mcp-Session-Id"] != f"s{cls.sessions}" or cls.sessions == 1:
            self.reply(404)
        else:
            ask = {"jsonrpc": "2.0", "id": "q1", "method": "roots/list"}
            content = [{"type": "text", "text": self.headers["Mcp-Session-Id"]}]
            events = [ask, answer | {"result": {"content": content}}]
            body = "".join(f": x\r\nid: 7\r\ndata: {json.dumps(e)}\r\n\r\n" for e in events)
            self.reply(200, body.encode(), "text/event-stream")


def test_a_server_that_forgets_its_sessions_and_asks_back(board):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    with Bridge(board.path, "--upstream", f"pi={url}") as bridge:
        board.wait_states({"pi": True})
        assert text_of(board.call("pi", "x")) == "s2"
        until(lambda: [m for m in Forgetful.seen if "method" not in m])
        assert bridge.close() == 0
    methods = [m.get("method") for m in Forgetful.seen]
    assert methods.count("initialize") == 2
    assert methods.count("tools/call") == 2
    (refusal,) = [m for m in Forgetful.seen if "method" not in m]
    assert (refusal["id"], refusal["error"]["code"]) == ("q1", -32601)
    server.shutdown()


@pytest.mark.parametrize(
    ("answer", "state", "code"),
    [
        (b"", False, -32010),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", False, -32010),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            False,
            -32010,
        ),
        (b"SSH-2.0-x\r\n", False, -32010),
    ],
)
def test_what_is_no_mcp_server_counts_as_down(board, answer, state, code):
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/mcp"
    with Bridge(board.path, "--upstream", f"pi={url}") as bridge:
        bridge.wait_text("upstream pi is not reachable")
        board.wait_states({"pi": state})
        assert board.call("pi", "add")["error"]["code"] == code
        bridge.request(1, "ping")
        assert bridge.get()["id"] == 1
        assert bridge.close() == 0
        assert "Traceback" not in bridge.text()
    server.close()


def test_answers_wait_for_a_board_that_was_away_and_has_not_restarted(board, tmp_path):
    with Upstream(tmp_path) as upstream, Bridge(board.path, "--upstream", f"pi={upstream.url}"):
        board.wait_states({"pi": True})
        id = board.ask("pi", "tools/call", {"name": "held", "arguments": {}})
        upstream.wait_executed("held")
        board.unplug()
        upstream.release()
        upstream.wait_executed("held done")
        time.sleep(0.3)  # for the answer to reach the bridge; if it is later, so much the better
        board.plug()
        assert text_of(board.reply(id)) == "done"


def test_a_restarted_board_gets_no_answers_to_what_it_has_forgotten(board, tmp_path):
    with Upstream(tmp_path) as upstream, Bridge(board.path, "--upstream", f"pi={upstream.url}"):
        board.wait_states({"pi": True})
        board.ask("pi", "tools/call", {"name": "held", "arguments": {}})
        upstream.wait_executed("held")
        board.restart()
        upstream.wait_executed("held cancelled")
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1})) == "2"
        assert board.progress == []  # nothing came before that answer
