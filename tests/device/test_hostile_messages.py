"""What no client should send, straight to the real firmware: the right error each time, and the
next message is served."""

import json
import random

import pytest
import rig
import soak
import targets
from waiting import PATIENCE_S

TARGETS = ["unix", "cortex-m3", "pico"]
WORKBENCH = rig.APPS / "workbench.py"
PARSE, REQUEST, METHOD, PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
# Nesting that a gateway takes by default; the outer object is depth 1.
MAX_DEPTH = 32
MAX_CALLS = {"unix": 64, "cortex-m3": 8, "pico": 8}
CAP = {"unix": 262144, "cortex-m3": 8192, "pico": 8192}


@pytest.fixture(scope="module", params=TARGETS)
def gateway(request, tmp_path_factory):
    """(target, wire): the workbench served by each target, for the whole module."""
    folder = tmp_path_factory.mktemp(request.param)
    target = targets.make_target(request.param, folder)
    try:
        with rig.serving(target, WORKBENCH) as wire:
            yield target, wire
    finally:
        target.close()


@pytest.fixture
def wire(gateway):
    """The wire; afterwards the gateway must serve on, and all that came must have been valid."""
    wire = gateway[1]
    yield wire
    alive(wire)
    wire.quiet(0.05)
    wire.check()


def alive(wire):
    assert text(wire.call("echo", text="still there")) == "still there"


def text(result):
    return result["content"][0]["text"]


def call(tool, arguments, id=1):
    """The bytes of a tools/call, without LF. arguments: a dict, or JSON text."""
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    head = f'{{"jsonrpc":"2.0","id":{json.dumps(id)},"method":"tools/call","params":'
    return f'{head}{{"name":"{tool}","arguments":{arguments}}}}}'.encode()


def ask(wire, line, id):
    """Send raw bytes and an LF; returns the answer, which must be for `id` and come first."""
    wire.write(line + b"\n")
    answer = wire.message()
    assert answer.get("id") == id, answer
    return answer


def check_error(wire, line, id, code, words=""):
    error = ask(wire, line, id)["error"]
    assert error["code"] == code and words in error["message"], error


def test_a_message_of_exactly_the_cap_and_one_byte_over(gateway, wire):
    cap = CAP[gateway[0].name]
    room = cap - len(call("echo", {"text": ""}))
    line = call("echo", {"text": "x" * room})
    assert len(line) == cap
    assert text(ask(wire, line, 1)["result"]) == "x" * room
    alive(wire)
    line = call("echo", {"text": "x" * (room + 1)})
    check_error(wire, line, 1, REQUEST, f"longer than {cap} bytes")
    alive(wire)
    check_error(wire, line + b"y" * 3 * cap, 1, REQUEST, f"longer than {cap} bytes")
    # CR LF ends a line as LF does, at the cap too.
    assert text(ask(wire, call("echo", {"text": "x" * room}) + b"\r", 1)["result"]) == "x" * room
    # So long that the id lies beyond what was kept.
    late = b'{"jsonrpc":"2.0","params":{"x":"' + b"x" * cap + b'"},"method":"ping","id":9}'
    check_error(wire, late, None, REQUEST, f"longer than {cap} bytes")


@pytest.mark.parametrize(
    "damage",
    [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82"],
)
def test_broken_utf8(wire, damage):
    check_error(wire, call("echo", {"text": "@"}).replace(b"@", damage), 1, PARSE, "UTF-8")


def test_nesting_at_the_limit_and_beyond(wire):
    # Three objects lie around the argument.
    for depth in (MAX_DEPTH - 3, MAX_DEPTH - 2, 1000):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            inner = opening * depth + ("0" if closing == "}" else "") + closing * depth
            line = call("echo", '{"text":%s}' % inner)
            if depth == MAX_DEPTH - 3:
                result = ask(wire, line, 1)["result"]
                assert result["isError"] and "argument text must be of type string" in text(result)
            else:
                check_error(wire, line, 1, REQUEST, "nested too deeply")


def test_half_a_message_and_a_newline(wire):
    whole = call("echo", {"text": "whole"})
    for length in (1, 5, 20, 30, 60, len(whole) - 1):
        id = 1 if length > 20 else None
        check_error(wire, whole[:length], id, PARSE, "not valid JSON")
    assert text(ask(wire, whole, 1)["result"]) == "whole"


def test_half_a_message_and_its_other_half(wire):
    whole = call("echo", {"text": "é€𝄞"}) + b"\n"
    for cut in range(1, len(whole), 7):
        wire.write(whole[:cut])
        wire.quiet(0.01)
        wire.write(whole[cut:])
        assert text(wire.answer(1)["result"]) == "é€𝄞"


def test_an_id_that_is_in_use(wire):
    for id in ("same", 77):
        wire.send("tools/call", {"name": "slow", "arguments": {"ms": 400}}, id)
        check_error(wire, call("echo", {"text": "x"}, id), id, REQUEST, "in use")
        # The first one is carried out all the same, and then its id is free again.
        assert text(wire.answer(id)["result"]) == "waited"
        assert text(ask(wire, call("echo", {"text": "x"}, id), id)["result"]) == "x"


def test_more_calls_than_may_be_under_way(gateway, wire):
    most = MAX_CALLS[gateway[0].name]
    ids = [
        wire.send("tools/call", {"name": "slow", "arguments": {"ms": 1500}}, f"call {i}")
        for i in range(most + 1)
    ]
    assert wire.answer(ids.pop())["error"]["code"] == INTERNAL
    for id in ids:
        assert text(wire.answer(id)["result"]) == "waited"


BAD = [
    # bytes, id of the answer, code, what the message says
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', 1, REQUEST, "twice"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}', 1, REQUEST, "twice"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","m\\u0065thod":"x"}', 1, REQUEST, "twice"),
    (b'{"jsonrpc":"2.0","id":1,"method":"no/such"}', 1, METHOD, "no/such"),
    (b'{"jsonrpc":"2.0","id":1,"method":"p\\u0069ng"}', 1, None, None),
    (b'{"jsonrpc":"2.0","id":"\\u00e9\\n","method":"no/such"}', "é\n", METHOD, "no/such"),
    (b'{"jsonrpc":"2.0","id":-5,"method":"no/such"}', -5, METHOD, ""),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 1, REQUEST, ""),
    (b'{"id":1,"method":"ping"}', 1, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', None, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', 1, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}', 1, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', 1, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1}', 1, REQUEST, ""),
    (b"{}", None, REQUEST, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping"} x', 1, PARSE, "at byte"),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping",}', 1, PARSE, ""),
    (b'{"jsonrpc":"2.0","id":01,"method":"ping"}', None, PARSE, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\x00"}}', 1, PARSE, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\t"}}', 1, PARSE, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":nan}}', 1, PARSE, ""),
    (b"{not json", None, PARSE, ""),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', 1, PARAMS, "name"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}', 1, PARAMS, "name"),
    (call("echo", "[1]"), 1, PARAMS, "arguments"),
    (call("nothing", "{}"), 1, PARAMS, "nothing"),
    (b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{}}', 1, PARAMS, "uri"),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"x:y"}}',
        1,
        -32002,
        "not found",
    ),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}',
        1,
        PARAMS,
        "cursor",
    ),
    (b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}', 1, PARAMS, "clientInfo"),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":'
        b'{"io.modelcontextprotocol/protocolVersion":"2031-01-01"}}}',
        1,
        -32022,
        "version",
    ),
]


def test_what_is_no_valid_request(wire):
    for line, id, code, words in BAD:
        if code is None:
            wire.write(line + b"\n")
            assert wire.answer(id)["result"] == {}
        else:
            check_error(wire, line, id, code, words)


WRONG = [
    # tool, arguments as JSON, which argument the text names
    ("add", "{}", "a"),
    ("add", '{"a":"1"}', "a"),
    ("add", '{"a":1.5}', "a"),
    ("add", '{"a":true}', "a"),
    ("add", '{"a":null}', "a"),
    ("add", '{"a":[1]}', "a"),
    ("add", '{"a":1,"b":1001}', "b"),
    ("add", '{"a":1,"b":-1}', "b"),
    ("add", '{"a":1,"c":1}', "c"),
    ("echo", '{"text":{"text":"x"}}', "text"),
    ("reset", '{"how":"sideways"}', "how"),
]


def test_wrong_arguments_are_tool_errors(wire):
    for tool, arguments, named in WRONG:
        result = ask(wire, call(tool, arguments), 1)["result"]
        assert result["isError"] and f"argument {named} " in text(result), (arguments, result)
    assert ask(wire, call("add", '{"a":3.0}'), 1)["result"]["structuredContent"] == {"sum": 4}
    big = str(1 << 100)
    answer = ask(wire, call("add", '{"a":%s}' % big), 1)["result"]
    assert answer["structuredContent"] == {"sum": (1 << 100) + 1}


def test_what_is_no_message_at_all(gateway, wire):
    """Noise gets no answer; a batch gets one where the line is not shared with other traffic."""
    for line in (
        b"",
        b"\r",
        b"   ",
        b"hello",
        b'"text"',
        b"12",
        b"null",
        b"}{",
        b"\xef\xbb\xbf{}",
    ):
        wire.write(line + b"\n")
    wire.write(b"x" * (2 * CAP[gateway[0].name]) + b"\n")
    wire.quiet(0.1)
    wire.write(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n')
    if gateway[0].is_board:
        wire.quiet(0.1)
    else:
        error = wire.message()["error"]
        assert error["code"] == REQUEST and "batch" in error["message"]


def test_notifications_and_answers_get_no_answer(wire):
    for line in (
        b'{"jsonrpc":"2.0","method":"no/such"}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"fails","arguments":{}}}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}',
    ):
        wire.write(line + b"\n")
    wire.quiet(0.2)


def test_frames_that_are_not_valid(gateway, wire):
    """Without a bridge's hello a board says nothing about them."""
    for line in (b"\x1e", b"\x1eh", b"\x1eh 2 00000000 {}", b"\x1eu 0 deadbeef ", b"\x1e" * 50):
        wire.write(line + b"\n")
    wire.write(b"\x1e" + b"x" * CAP[gateway[0].name] + b"\n")
    wire.quiet(0.2)


def test_mutated_messages(gateway, wire, seed):
    """Random damage: every line that comes back is valid, and the gateway serves on."""
    rng = random.Random(seed)
    corpus = [line for line, *_ in BAD] + [call(*row[:2]) for row in WRONG]
    corpus.append(call("steps", {"n": 2}, "s"))
    meta = json.dumps({"_meta": {**rig.META, "progressToken": 5}, "name": "steps"}).encode()
    corpus.append(b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":%s}' % meta)
    wire.recorder.mutated = True
    before = len(wire.lines)
    for n in range(soak.count(10, 400)):
        for _ in range(15):
            wire.write(mutated(rng, rng.choice(corpus)) + b"\n")
        id = f"sync {n}"
        wire.write(b'{"jsonrpc":"2.0","id":"%s","method":"ping"}\n' % id.encode())
        wire.answer(id)
    print(len(wire.lines) - before, "answers")
    wire.recorder.mutated = False


def mutated(rng, line):
    data = bytearray(line)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = rng.choice((b'"', b"{", b"}", b"[", b"\\", b"\\ud800", b"1e99", b","))
        elif kind == 3:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other : other + rng.randrange(1, 40)]
        else:
            del data[at:]
        if not data:
            data = bytearray(b"{")
    # A line of its own; and Ctrl-C is not a message but an order.
    return bytes(data).replace(b"\n", b" ").replace(b"\x03", b" ")


def test_half_a_message_and_a_reset(gateway, tmp_path):
    """The half that was sent before must not spoil the first message after."""
    target, wire = gateway
    half = call("echo", {"text": "never"})[:40]
    wire.write(half)
    if not target.is_board:
        with rig.serving(target, WORKBENCH) as other:
            other.write(half)
            other.process.stdin.close()
            assert other.process.wait(PATIENCE_S) == 0
            assert other._read(0.5) == b""
    elif target.name == "pico":
        target.sim.reset()
        wire.port.close()
        wire.port = target.sim.open(timeout=0.2)
    else:
        # The prompt is waited for: what comes behind a Ctrl-C at once, the gateway may still read.
        wire.write(b"\x03")
        seen = b""
        while b">>> " not in seen:
            data = wire._read(PATIENCE_S)
            assert data, seen
            seen += data
        wire.write(b"\x04")
    if target.is_board:
        wire.recorder.cut()
        wire.strict = False
        wire.wait_serving()
    else:
        wire.write(b"\n")
        assert wire.answer(1)["error"]["code"] == PARSE
    alive(wire)
