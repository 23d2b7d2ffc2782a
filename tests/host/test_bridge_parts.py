"""The bridge's parts that do no I/O: the client's session, texts."""

import io
import json
import random

import pytest
from mcpgw import UserError
from mcpgw.bridge import headers
from mcpgw.bridge.command import parse_upstreams
from mcpgw.bridge.frames import compact, with_result_type
from mcpgw.bridge.log import LineJoiner, Log
from mcpgw.bridge.session import REPLAY_ID, Session


class Client:
    """A Session with both its ends in lists."""

    def __init__(self, wait_s=10):
        self.board, self.out, self.log = [], [], io.StringIO()
        self.session = Session(self.board.append, self.out.append, Log(self.log), wait_s)

    def up(self, restarted=False, rx=1000, now=0):
        self.session.board_up(rx, restarted, now)

    def say(self, message, now=0):
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.session.client_line(line, now)
        return line

    def request(self, id, method="ping", now=0, **params):
        return self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params}, now)

    def answer(self, id, result=None):
        line = json.dumps({"jsonrpc": "2.0", "id": id, "result": result or {}}).encode()
        self.session.board_line(line)
        return line

    def heard(self):
        """What the client got since the last call, parsed."""
        out, self.out[:] = [json.loads(line) for line in self.out], []
        return out


def test_messages_pass_unchanged():
    client = Client()
    client.up()
    odd = (
        b'{ "jsonrpc" : "2.0",\t"id":"\\u0061\xc3\xa9", "method":"x/y", "params":{"a":[1e400,-0]}}'
    )
    client.say(odd)
    assert client.board == [odd]
    line = b'{"result":{"n":1.50},"id":"\\u0061\xc3\xa9","jsonrpc":"2.0"}'
    client.session.board_line(line)
    note = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"x":[]}}'
    client.session.board_line(note)
    ask = b'{"jsonrpc":"2.0","id":1,"method":"roots/list"}'
    client.session.board_line(ask)
    assert client.out == [line, note, ask]


def test_carriage_returns_become_spaces_between_tokens_only():
    client = Client()
    client.up()
    client.say(b'{"jsonrpc":"2.0",\r"id":1,"method":"ping"}\r')
    assert client.board == [b'{"jsonrpc":"2.0", "id":1,"method":"ping"}']
    client.say(b'{"jsonrpc":"2.0","id":2,"method":"pi\rng"}')
    assert len(client.board) == 1
    assert client.heard()[0]["error"]["code"] == -32700


def test_bytes_that_are_commands_on_a_console_never_reach_the_board():
    client = Client()
    client.up()
    for byte in [b for b in range(0x20) if b not in (9, 10, 13)]:
        client.say(b'{"jsonrpc":"2.0","id":1,"method":"a%sb"}' % bytes([byte]))
    client.say(b"\x1eh 2 00000000 {}")
    client.say(b"import machine")
    assert client.board == []
    answers = client.heard()
    assert len(answers) == 31
    assert {a["error"]["code"] for a in answers} == {-32700}
    client.say(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]')
    assert client.heard()[0]["error"]["code"] == -32600


def test_requests_wait_for_the_board_and_time_out_one_by_one():
    client = Client(wait_s=10)
    client.request(1, now=0)
    client.request(2, now=4)
    client.session.tick(9.9)
    assert client.heard() == []
    client.session.tick(10.1)
    (answer,) = client.heard()
    assert (answer["id"], answer["error"]["code"]) == (1, -32013)
    client.up(now=11)
    assert [json.loads(line)["id"] for line in client.board] == [2]
    client.answer(2)
    assert client.heard()[0]["id"] == 2
    assert client.session.idle


def test_board_lost_fails_what_was_under_way_but_not_the_handshake():
    client = Client()
    client.up()
    client.request(0, "initialize")
    client.request("a", "tools/call", name="x")
    client.board.clear()
    client.session.board_down("unplugged", 5)
    (answer,) = client.heard()
    assert (answer["id"], answer["error"]["code"]) == ("a", -32013)
    assert "unplugged" in answer["error"]["message"]
    client.up(restarted=True, now=6)
    assert [json.loads(line)["id"] for line in client.board] == [0]
    client.answer("a")  # of another life
    assert client.heard() == []
    client.answer(0, {"protocolVersion": "2025-11-25"})
    assert client.heard()[0]["id"] == 0


def initialized(wait_s=10):
    client = Client(wait_s)
    client.up()
    client.request(0, "initialize", capabilities={})
    client.answer(0)
    client.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    client.heard()
    client.board.clear()
    return client


def test_restart_replays_initialize_before_anything_else():
    client = initialized()
    client.session.board_down("the board restarted", 1)
    client.request(5, now=1)
    client.up(restarted=True, now=1)
    (replayed,) = client.board
    assert json.loads(replayed)["id"] == json.loads(REPLAY_ID)
    assert json.loads(replayed)["params"] == {"capabilities": {}}
    client.request(6, now=1)
    assert len(client.board) == 1
    client.session.board_line(b'{"jsonrpc":"2.0","id":%s,"result":{}}' % REPLAY_ID)
    methods = [json.loads(line).get("method") for line in client.board[1:]]
    assert methods == ["notifications/initialized", "ping", "ping"]
    assert client.heard() == []
    assert json.loads(client.board[2])["id"] == 5


def test_an_answer_of_a_board_that_restarted_unnoticed_is_not_passed_on():
    client = initialized()
    asked = []
    client.session._doubt = lambda: asked.append(1)
    refusal = (
        b'{"jsonrpc":"2.0","id":5,"error":{"code":-32602,"message":"","data":{"supported":[]}}}'
    )
    client.request(5)
    client.session.board_line(refusal)
    assert (asked, client.heard()) == ([1], [])
    client.session.board_same()  # it meant it
    assert client.heard()[0]["error"]["code"] == -32602
    client.request(5)
    client.session.board_line(refusal)
    client.session.board_down("the board restarted", 1)
    client.board.clear()
    client.up(restarted=True, now=1)
    client.session.board_line(b'{"jsonrpc":"2.0","id":%s,"result":{}}' % REPLAY_ID)
    assert [json.loads(line).get("id") for line in client.board][1:] == [None, 5]
    client.answer(5)
    assert "result" in client.heard()[0]
    assert client.session.idle


def test_replay_without_answer_does_not_block_for_ever():
    client = initialized()
    client.session.board_down("x", 1)
    client.up(restarted=True, now=1)
    client.request(5, now=2)
    client.session.tick(6.1)
    assert [json.loads(line)["id"] for line in client.board[1:]] == [5]


def test_same_board_again_needs_no_replay():
    client = initialized()
    client.session.board_down("unplugged", 1)
    client.up(restarted=False, now=2)
    assert client.board == []


def test_message_of_exactly_the_boards_size_passes_and_one_more_byte_does_not():
    client = Client()
    line = client.request(1, text="x" * 50)
    client.up(rx=len(line))
    assert client.board == [line]
    client.say(line.replace(b"xx", b"xxx", 1).replace(b'"id": 1', b'"id": 7'))
    (answer,) = client.heard()
    assert (answer["id"], answer["error"]["code"]) == (7, -32600)
    assert str(len(line)) in answer["error"]["message"]
    client.session.oversize(b'{"jsonrpc":"2.0","id":"q","method":"x","par', 43)
    assert client.heard()[0]["id"] == "q"


def test_only_answers_to_what_was_asked_reach_the_client():
    client = Client()
    client.up()
    client.answer(1)
    client.session.board_line(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}')
    client.session.board_line(b'{"jsonrpc":"2.0","id":1,"resu')
    assert client.heard() == []
    client.request(1)
    client.request("1")
    client.answer("1")
    client.answer("1")
    assert [m["id"] for m in client.heard()] == ["1"]
    client.session.board_line(b'{"jsonrpc":"2.0","id":1,"result":{"x\xff')
    assert client.heard()[0]["error"]["code"] == -32603
    client.say(b'{"jsonrpc":"2.0","id":3')
    client.session.board_line(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}')
    assert client.heard()[0]["error"]["code"] == -32700


def test_an_id_used_twice_gets_both_answers():
    client = Client()
    client.up()
    client.request(1)
    client.request(1)
    client.answer(1)
    client.session.board_line(
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"twice"}}'
    )
    client.answer(1)
    assert ["error" in m for m in client.heard()] == [False, True]


def test_batches_are_taken_apart_and_answered_as_one():
    client = Client()
    client.up()

    def call(id, method="ping"):
        return {"jsonrpc": "2.0", "id": id, "method": method}

    note = {"jsonrpc": "2.0", "method": "notifications/x"}
    # Only where the revision has them.
    for version, batches in (("2025-06-18", False), ("2025-03-26", True)):
        client.say(json.dumps([call(1), call(2)]).encode())
        assert client.heard()[0]["error"]["code"] == -32600
        client.request(0, "initialize")
        client.answer(0, {"protocolVersion": version})
        client.heard()
        client.board.clear()
        if not batches:
            continue
        client.say(json.dumps([call(1), note, call(2), 5, call(3)]).encode())
        assert [json.loads(line).get("id") for line in client.board] == [1, None, 2, 3]
        client.answer(2)
        client.answer(1)
        assert client.heard() == []
        client.answer(3)
        ((first, *rest),) = client.heard()
        assert first["error"]["code"] == -32600
        assert [row["id"] for row in rest] == [2, 1, 3]
        # Nothing but notifications is not answered; nonsense is.
        client.say(json.dumps([note, note]).encode())
        assert client.heard() == []
        for odd in (b"[]", b"[1", b"[" + b"1," * 40 + b"1]", b"[" * 5000):
            client.say(odd)
            assert client.heard()[0]["error"]["code"] == -32600
        # One that is cancelled is not waited for; one under way when the board is lost is failed.
        client.say(json.dumps([call(4), call(5)]).encode())
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
        client.say(cancel | {"params": {"requestId": 4}})
        client.answer(5)
        (rows,) = client.heard()
        assert [row["id"] for row in rows] == [5]
        client.say(json.dumps([call(6), call(7)]).encode())
        client.answer(6)
        client.session.board_down("gone", 1)
        (rows,) = client.heard()
        assert [row["id"] for row in rows] == [6, 7]
        assert rows[1]["error"]["code"] == -32013


def test_cancelled_requests():
    client = Client()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    client.request(1)
    client.request(True and "1")
    client.say(cancel | {"params": {"requestId": 1}})
    client.up()
    assert [json.loads(line)["id"] for line in client.board] == ["1"]
    client.say(cancel | {"params": {"requestId": "1"}})
    assert json.loads(client.board[-1])["method"] == "notifications/cancelled"
    assert client.session.idle
    client.answer("1")
    assert client.heard() == []


def test_messages_as_deep_as_any_board_takes():
    client = Client()
    client.up()
    deep = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":%s}}'
    client.say(deep % (b"[" * 126 + b"]" * 126))
    client.session.board_line(
        b'{"jsonrpc":"2.0","id":1,"result":{"a":%s}}' % (b"[" * 126 + b"]" * 126)
    )
    assert client.heard()[0]["id"] == 1
    client.say(deep % (b"[" * 127 + b"]" * 127))  # for the board to refuse
    assert len(client.board) == 2
    refusal = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"nested too deeply"}}'
    client.session.board_line(refusal)
    assert client.heard()[0]["error"]["code"] == -32600


def test_a_listening_client_does_not_hold_up_the_end():
    client = Client()
    client.up()
    client.request(1, "subscriptions/listen")
    assert client.session.idle
    client.request(2)
    assert not client.session.idle


# -- texts


def test_compact_keeps_the_value_and_leaves_nothing_that_a_frame_cannot_carry(seed):
    rng = random.Random(seed)
    alphabet = 'ab \t\n\r\x7f"\\/é€\U0001d11e:,{}[]'
    for _ in range(300):
        word = "".join(rng.choice(alphabet) for _ in range(rng.randrange(12)))
        value = {word: [word, {"k": word}, 1, -2.5e30, None, True]}
        raw = json.dumps(
            value, indent=rng.choice([None, 1, "\t"]), ensure_ascii=rng.random() < 0.5
        ).encode()
        small = compact(raw)
        assert json.loads(small) == value, seed
        assert not any(b < 0x20 or b == 0x7F for b in small), seed
    assert compact(b'{"n":\n1e999}') == b'{"n":1e999}'


def test_result_type_is_added_once():
    assert with_result_type(b"{ }") == b'{"resultType":"complete" }'
    assert with_result_type(b'{"a":1}') == b'{"resultType":"complete","a":1}'
    inner = b'{"a":{"resultType":"x"}}'
    assert json.loads(with_result_type(inner))["resultType"] == "complete"
    done = b'{"content":[],"resultType":"input_required"}'
    assert with_result_type(done) == done


def test_header_values():
    assert headers.value("add") == "add"
    assert headers.value("a b") == "a b"
    for text in ("é", " a", "a\n", "", "=?base64?YQ==?="):
        assert headers.value(text).startswith("=?base64?")
    schema = {
        "properties": {
            "area": {"type": "string", "x-mcp-header": "Area"},
            "in": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "bad": {"type": "string", "x-mcp-header": "not a token"},
            "b": {"type": "boolean", "x-mcp-header": "B"},
        }
    }
    arguments = {"area": "ü", "in": {"n": 5}, "bad": "x", "b": True}
    assert headers.of_arguments(schema, arguments) == {
        "Mcp-Param-Area": "=?base64?w7w=?=",
        "Mcp-Param-N": "5",
        "Mcp-Param-B": "true",
    }
    assert headers.of_arguments(schema, None) == {}
    assert headers.of_arguments(None, arguments) == {}


def test_log_lines_are_whole_and_hold_no_terminal_commands():
    out = io.StringIO()
    joiner = LineJoiner(Log(out), "board")
    joiner.add("one\ntw")
    joiner.add("o\x1b[31m\x07 three\r\n")
    joiner.add("rest")
    assert out.getvalue() == "board: one\nboard: two three\n"
    joiner.flush()
    assert out.getvalue().endswith("board: rest\n")
    joiner.add("y" * 3000)
    assert out.getvalue().count("y") == 3000


def test_options_of_upstreams():
    found = parse_upstreams(
        ["pi=http://h:1/mcp", "c=https://x/mcp?a=b"],
        ["pi:Authorization=env:T", "pi:X-A=b=c"],
        {"T": "Bearer q"},
    )
    assert found["pi"] == ("http://h:1/mcp", {"Authorization": "Bearer q", "X-A": "b=c"})
    assert found["c"] == ("https://x/mcp?a=b", {})
    for upstreams, fields in (
        (["pi"], []),
        (["pi=ftp://x"], []),
        (["p i=http://x"], []),
        (["pi=http://x", "pi=http://y"], []),
        (["pi=http://x"], ["no:A=b"]),
        (["pi=http://x"], ["pi:A"]),
        (["pi=http://x"], ["pi:A=env:MISSING"]),
        (["pi=http://x"], ["pi:A=b\nc"]),
    ):
        with pytest.raises(UserError) as e:
            parse_upstreams(upstreams, fields, {})
        assert e.value.exit_code == 2
