"""A gateway that serves through what goes wrong around it."""

import asyncio
import json

from test_forward import HELLO, INITIALIZE, LOG, META, TOOLS, Wire, board, connect

from mcp_gw import sketch
from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.errors import ConfigError
from mcp_gw.gateway import Gateway
from mcp_gw.route.upstream import Upstream
from mcp_gw.transports.serial import Uart

LIST = {"jsonrpc": "2.0", "id": 3, "method": "resources/list"}


def test_a_bridge_that_was_silent_finds_its_client_still_known():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        gw.ports[0].link._heard -= 11000
        wire.turn()
        assert not gw.ports[0].link.up
        wire.hello()
        assert "result" in wire.message(LIST)[0]
        # Another bridge brings another client.
        other = dict(HELLO)
        other["id"] = "ffeeddccbbaa0099"
        wire.frame(b"h", json.dumps(other).encode())
        assert "error" in wire.message(LIST)[0]
    finally:
        gw.close()


def test_a_board_that_was_busy_does_not_take_its_bridge_for_gone():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        link = gw.ports[0].link
        link._heard -= 30000
        link._ticked -= 28000
        wire.turn()
        assert link.up
        link._heard -= 11000
        wire.turn()
        assert not link.up
    finally:
        gw.close()


def test_frames_with_impossible_values_are_refused():
    gw, wire = board()
    try:
        wire.hello()
        for member, value in (("rx", "1e999"), ("time_ms", "1e999"), ("upstreams", "7")):
            row = json.dumps(HELLO)
            row = row.replace('"%s": %s' % (member, json.dumps(HELLO[member])), '"%s":%s')
            assert "%s" in row
            out = wire.frame(b"h", (row % (member, value)).encode())
            assert [r[0] for r in out] == ["e"], out
        wire.hello()
    finally:
        gw.close()


class Remote(Upstream):
    """An upstream that carries its messages itself."""

    modern = True

    def __init__(self, name, descriptors, raw=b'{"content":[]}'):
        super().__init__(name)
        self.descriptors = descriptors
        self.raw = raw

    def meta(self, extra=b"", can=b"{}"):
        return b"{" + extra + b"}"

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        for _ in range(3):
            await sleep_ms(1)
        if method == "tools/list":
            # Written over several lines, as some servers do.
            return True, json.dumps({"tools": self.descriptors}).replace(",", ",\n").encode()
        if on_progress:
            on_progress(b'{"progress":1e999}')
            on_progress(b'{"progress":1,"total":2}')
        return True, self.raw


def remote_board(*upstreams):
    gw = Gateway("board")
    gw.log = lambda text: None
    hub = gw._hub()
    for upstream in upstreams:
        hub.add(upstream, (), 60)
    return gw, Wire(gw)


def until(wire, count=1):
    out = []
    for _ in range(200):
        out += wire.turn(1)
        if len(out) >= count:
            break
        run_until(nap())
    return out


async def nap():
    await sleep_ms(1)


def test_poll_carries_calls_of_upstreams_on_the_network():
    listed = [
        {"inputSchema": {"type": "object"}},
        {"name": 5, "inputSchema": {"type": "object"}},
        {"name": "x"},
        {"name": "ask", "inputSchema": {"type": "object"}},
    ]
    gw, wire = remote_board(Remote("far", listed))
    try:
        wire.message(INITIALIZE)
        out = []
        for _ in range(100):
            out = wire.message({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}) or until(wire)
            if out[0]["result"]["tools"]:
                break
        assert [t["name"] for t in out[0]["result"]["tools"]] == ["far_ask"]
        for _ in range(20):  # nothing else is under way
            wire.turn()
            run_until(nap())
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
        call["params"] = {"name": "far_ask", "_meta": {"progressToken": 7}}
        out = wire.message(call)
        out += until(wire, 2 - len(out))
        assert [row.get("id") for row in out] == [None, 2], out
        assert out[0]["params"] == {"progressToken": 7, "progress": 1, "total": 2}
    finally:
        gw.close()


def test_results_of_any_shape_stay_one_valid_message():
    for raw, modern, expected in (
        (b'{\r\n "content": [\n]\n}', True, {"content": []}),
        (b'{\r\n "content": [\n]\n}', False, {"resultType": "complete", "content": []}),
        (b"{ \n}", False, {"resultType": "complete"}),
        (b"null", False, None),
        (b"[1]", True, None),
    ):
        far = Remote("far", [{"name": "ask", "inputSchema": {"type": "object"}}], raw)
        far.modern = modern
        gw, wire = remote_board(far)
        try:
            wire.message(INITIALIZE)
            for _ in range(30):
                wire.turn()
                run_until(nap())
            call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
            call["params"] = {"name": "far_ask", "_meta": META}
            wire.to_board.extend(json.dumps(call).encode() + b"\n")
            for _ in range(30):
                gw.poll(wire)
                run_until(nap())
            lines = bytes(wire.from_board).split(b"\n")
            assert len(lines) == 2 and lines[1] == b"" and b"\r" not in lines[0], lines
            answer = json.loads(lines[0])
            assert answer["id"] == 2 and answer.get("result") == expected, (raw, answer)
        finally:
            gw.close()


def test_a_second_run_serves_as_the_first():
    gw = Gateway("board")

    go = []

    @gw.tool("Waits")
    async def waits():
        while not go:
            await sleep_ms(1)
        return "waited"

    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "waits"}}
    for _ in range(3):
        wire = Wire(gw)
        try:
            go.clear()
            wire.message(INITIALIZE)
            assert wire.message(call) == []
            gw.close()  # the call is left behind
            wire = Wire(gw)
            wire.message(INITIALIZE)
            assert wire.message(call) == []
            go.append(1)
            out = until(wire)
            assert [row["id"] for row in out] == [2], out
            gw._tick()
            assert not gw._work
        finally:
            gw.close()


def test_a_queue_that_fails_is_answered_and_the_board_serves_on():
    from mcp_gw.queue.nor_kept import RamNor

    gw = Gateway("board", version="1")
    gw.queue(RamNor(3))
    gw.upstream("office", queueable=("log",))
    wire = Wire(gw)
    told = []
    gw.log = told.append
    try:
        wire.hello()

        def broken(*args):
            raise OSError(5)

        box = gw.upstreams.forwarder.outbox
        put, box.put = box.put, broken
        answer = wire.message(LOG)[0]
        assert answer["id"] == 5 and answer["error"]["code"] == -32603
        box.put = put
        assert "result" in wire.message(LOG)[0]
        box.next = broken
        gw.upstreams.forwarder._looked -= 1000
        wire.turn()
        assert len(told) == 1, told
        assert "result" in wire.message({"jsonrpc": "2.0", "id": 1, "method": "ping"})[0]
    finally:
        gw.close()


def test_names_that_collide_lead_to_different_upstreams():
    gw = Gateway("board")
    gw.upstream("a", queueable=("b_c",))
    gw.upstream("a_b", queueable=("c",))
    routes = gw.upstreams.router._routes
    found = sorted((route.upstream.name, route.name) for route in routes.values())
    assert found == [("a", b'"b_c"'), ("a_b", b'"c"')]
    try:
        gw.upstream("a")
    except ConfigError as e:
        assert "twice" in str(e)
    else:
        raise AssertionError


def test_two_bridges_do_not_tear_an_upstream_apart():
    gw, first = board()
    second = Wire(gw)
    try:
        gw.open(first, second)
        connect(gw, first, TOOLS)
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call"}
        call["params"] = {"name": "office_forecast"}
        asked = first.message(call)[0][1]
        second.hello()
        out = first.answer_upstream(asked, {"content": []})[1]
        assert out and out[0]["id"] == 5 and "result" in out[0], out
        gw.ports[0].link._heard -= 11000
        first.turn()
        second.hello()
        assert gw.upstreams.router.upstreams["office"].link is gw.ports[1].link
    finally:
        gw.close()


def test_print_takes_what_it_always_took():
    gw, wire = board()
    try:
        wire.hello()
        print("a", "b", sep=None, end=None)
        assert ("l", '"a b\\n"') in wire.turn()
    finally:
        gw.close()


class Stuck:
    def any(self):
        return 0

    def write(self, data):
        return None


def test_a_uart_whose_other_end_does_not_read_does_not_stop_the_board():
    assert Uart(Stuck()).write(b"abc", 0, 3) == 0


def test_serve_takes_streams_in_memory():
    gw = Gateway("board")
    wire = Wire(gw)

    async def client():
        serving = asyncio.create_task(gw.serve(wire))
        wire.to_board.extend(json.dumps(INITIALIZE).encode() + b"\n")
        for _ in range(300):
            await sleep_ms(5)
            if b"\n" in bytes(wire.from_board):
                break
        gw.stop()
        await serving

    run_until(client())
    assert json.loads(bytes(wire.from_board))["id"] == 0


class Piped(Wire):
    """Ends once all is read."""

    def read(self, buf, start, end):
        return super().read(buf, start, end) or -1


def test_a_sketch_answers_what_came_before_the_end():
    piped = Piped(None)
    for id in range(20):
        ask = {"jsonrpc": "2.0", "id": id, "method": "server/discover", "params": {"_meta": META}}
        piped.to_board.extend(json.dumps(ask).encode() + b"\n")

    def setup():
        sketch.begin("sketch", transport=piped)

    def loop():
        if sketch.has_request():
            sketch.send_response(sketch.process(sketch.get_request()))

    sketch.run(setup, loop)
    rows = [json.loads(line) for line in bytes(piped.from_board).split(b"\n") if line]
    assert [row["id"] for row in rows] == list(range(20))
