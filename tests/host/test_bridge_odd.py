"""What no well-behaved client, board or upstream would say, and the message after it."""

import http.server
import json
import threading

import pytest
import serial
from bridge_rig import Bridge, FakeBoard
from mcpgw import UserError, ports
from mcpgw.bridge import command
from mcpgw.bridge.port import Port
from waiting import PATIENCE_S

# More digits than Python's int() takes from text.
LONG = "7" * 5000


class Odd(http.server.BaseHTTPRequestHandler):
    """A modern upstream whose every answer is valid JSON-RPC and odd inside; the tool's name is
    the result (JSON text).
    """

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body, parse_int=lambda text: int(text[:9]))
        self.server.bodies.append(body)
        if self.server.legacy:
            return self.legacy(message)
        if message["method"] == "initialize":
            return self.answer(400, '{"jsonrpc":"2.0","id":null,"error":{"code":-32600}}')
        if message["method"] == "server/discover":
            result = json.dumps(
                {
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "odd", "version": "1"},
                }
            )
        elif message["method"] == "tools/list":
            result = '{"tools":%s}' % self.server.tools
        elif message["params"]["name"] == "flood":
            return self.flood(message["id"])
        else:
            result = message["params"]["name"]
        reply = '{"jsonrpc":"2.0","id":%d,"result":%s}' % (message["id"], result)
        self.answer(200, reply)

    def flood(self, id):
        """500 times the news that the tools have changed, then an answer."""
        told = 'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n' * 500
        reply = {"jsonrpc": "2.0", "id": id, "result": {"content": []}}
        self.answer(200, told + f"data: {json.dumps(reply)}\n\n", kind="text/event-stream")

    def legacy(self, message):
        """As the official SDK's servers of before 2026: who has no session gets no further."""
        reply = {"jsonrpc": "2.0", "id": message.get("id")}
        if message["method"] == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            self.answer(200, json.dumps(reply | {"result": result}), "s1")
        elif self.headers["Mcp-Session-Id"] != "s1":
            error = {"code": -32600, "message": "Bad Request: Missing session ID"}
            self.answer(400, json.dumps(reply | {"id": "server-error", "error": error}))
        elif "id" not in message:
            self.answer(202, "")
        else:
            self.answer(200, json.dumps(reply | {"result": {"content": ["legacy"]}}))

    def answer(self, status, text, session=None, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        if session:
            self.send_header("Mcp-Session-Id", session)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def odd(tmp_path):
    """A board, its bridge and an odd upstream."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.tools, server.bodies, server.legacy = "[]", [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    board = FakeBoard(tmp_path / "board", rx=2048)
    url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    with Bridge(board.path, "--upstream", f"pi={url}") as bridge:
        board.wait_states({"pi": True})
        yield board, bridge, server
        assert bridge.close() == 0
        assert "Traceback" not in bridge.text()
    board.unplug()
    server.shutdown()


def test_results_of_any_form_are_answered(odd):
    board, bridge, _ = odd
    filler = "x" * 3000
    for content in (
        '"%s"' % filler,
        "7",
        '[7,"%s"]' % filler,
        '[{"type":"text"},{"text":8,"x":"%s"}]' % filler,
        '[{"type":"text","text":"%s"}]' % filler,
        LONG,
    ):
        answer = board.call("pi", '{"content":%s}' % content)
        if len(content) < 100:
            assert answer["result"]["content"] == json.loads(content)
        else:
            assert "was executed" in answer["result"]["content"][0]["text"], answer
    assert "internal error" not in bridge.text()


def test_a_result_that_is_no_object_is_an_error(odd):
    board, bridge, _ = odd
    assert "no JSON object" in board.call("pi", "7")["error"]["message"]
    assert "internal error" not in bridge.text()


def test_a_task_that_nobody_asked_for_is_no_result(odd):
    board, _, _ = odd
    task = '{"resultType":"task","taskId":"t","status":"working"}'
    assert "nobody asked for" in board.call("pi", task)["error"]["message"]


def test_a_flood_of_changes_does_not_become_one_on_the_line(odd):
    board, _, _ = odd
    assert "result" in board.call("pi", "flood")
    assert board.changes.get(timeout=PATIENCE_S) == "pi"
    assert "result" in board.call("pi", '{"content":[]}')
    assert board.changes.qsize() < 20


def test_a_server_replaced_by_one_of_the_other_era_between_two_calls(odd):
    board, bridge, server = odd
    assert board.call("pi", '{"content":[1]}')["result"]["content"] == [1]
    server.legacy = True
    assert board.call("pi", '{"content":[2]}')["result"]["content"] == ["legacy"]
    server.legacy = False
    assert board.call("pi", '{"content":[3]}')["result"]["content"] == [3]


def test_lists_of_any_form_are_answered(odd):
    board, bridge, server = odd
    for tools, names in (
        ('[{"name":"a","inputSchema":{"properties":{"n":{"maximum":%s}}}}]' % LONG[:1500], ["a"]),
        (
            '[{"name":"a","inputSchema":{"x":1e999},"outputSchema":{"x":"%s"}}]' % ("y" * 3000),
            ["a"],
        ),
        ('[{"name":"a","inputSchema":{"default":%s}}]' % LONG, []),  # more than fits
        ('[{"name":["a"]},7,{"name":"a","annotations":7}]', ["a"]),
    ):
        server.tools = tools
        answer = board.reply(board.ask("pi", "tools/list"))
        assert [tool["name"] for tool in answer["result"]["tools"]] == names
    server.tools = "{}"
    assert board.reply(board.ask("pi", "tools/list"))["error"]["code"] == -32603
    assert board.call("pi", '{"content":[]}')["result"]["content"] == []


def test_long_integers_go_through(odd):
    board, bridge, server = odd
    request = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"{}","arguments":{"n":%s},'
        '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}'
    )
    board.frame(b"u", b"pi " + (request % LONG).encode())
    assert "result" in board.reply(1)
    assert LONG.encode() in server.bodies[-1]


def test_a_cancellation_with_a_long_id_does_not_stop_what_follows(odd):
    board, bridge, _ = odd
    note = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}\n'
    ping = '{"jsonrpc":"2.0","id":%s,"method":"ping"}\n'
    bridge.write(((note % LONG[:1500]) + (ping % 5)).encode())
    assert bridge.get()["id"] == 5
    bridge.write(((note % LONG) + (ping % 6)).encode())
    assert bridge.get()["id"] == 6


def test_a_port_that_vanishes_while_it_is_opened_is_an_os_error(tmp_path, monkeypatch):
    termios = pytest.importorskip("termios")
    board = FakeBoard(tmp_path / "board")

    def vanished(self):
        raise termios.error(5, "Input/output error")

    monkeypatch.setattr(serial.Serial, "reset_input_buffer", vanished)
    with pytest.raises(OSError, match="Input/output error"):
        Port(str(board.path), None, print, print)
    board.unplug()


def test_a_board_may_be_plugged_in_later(monkeypatch):
    plugged = []
    monkeypatch.delenv("MCPGW_PORT", raising=False)
    monkeypatch.setattr(ports, "find_ports", lambda vids=None: plugged)
    find = command.finder(None)
    with pytest.raises(ports.NoBoard):
        find()
    plugged.append(ports.Port("COM7", "native", "Raspberry Pi", 0x2E8A, 5, "E66"))
    assert find() == "COM7"
    plugged[:] = [ports.Port("COM8", "native", "Raspberry Pi", 0x2E8A, 5, "other")]
    with pytest.raises(ports.PortError, match="E66"):
        find()
    plugged.append(ports.Port("COM9", "native", "Raspberry Pi", 0x2E8A, 5, "E66"))
    assert find() == "COM9"
    with pytest.raises(ports.PortError, match="several boards"):
        command.finder(None)


def test_urls_that_are_none_are_refused_in_one_line():
    for url in ("http://[::1", "http://h:99999/", "http://h:x/", "http://"):
        with pytest.raises(UserError, match="give NAME=URL"):
            command.parse_upstreams([f"a={url}"], [], {})


def test_escapes_become_characters_where_that_makes_an_answer_fit():
    from mcpgw.bridge.frames import unescaped

    for text in ("é😀\u2028x", 'a"\\\n\x01\x7f', "\\u00e9", "\ud800 lone", "\ud83d\ud83d😀"):
        raw = json.dumps({"text": text}).encode()
        assert json.loads(unescaped(raw)) == json.loads(raw), text
    assert (
        unescaped(b'"\\u00e9\\uD83D\\uDE00\\\\u00e9\\u0041"') == '"é😀\\\\u00e9\\u0041"'.encode()
    )
