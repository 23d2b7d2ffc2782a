import json

from serial_line import SerialLine

from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.gateway import Gateway
from mcp_gw.registry import Param
from mcp_gw.transports.link import decode, encode

HELLO = {
    "v": 1,
    "id": "00112233445566aa",
    "time_ms": 1795175147000,
    "rx": 65536,
    "upstreams": ["office"],
    "by": "test",
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def _nap():
    await sleep_ms(3)


class Wire(SerialLine):
    """The other end of a board's serial line: what a client and a bridge see, in memory."""

    def __init__(self, gw):
        super().__init__()
        self.gw = gw
        self.seen = []

    def message(self, row):
        self.to_board.extend(json.dumps(row).encode() + b"\n")
        return self.turn()

    def frame(self, channel, *parts):
        super().frame(channel, *parts)
        return self.turn()

    def turn(self, times=5):
        """Let the board work; returns what it sent: dicts, and frames as (channel, payload)."""
        for _ in range(times):
            self.gw.poll(self)
        # What waits looks every 2 ms whether it has come.
        run_until(_nap())
        self.gw.poll(self)
        out = []
        while b"\n" in bytes(self.from_board):
            line, _, rest = bytes(self.from_board).partition(b"\n")
            self.from_board = bytearray(rest)
            if line[:1] == b"{":
                out.append(json.loads(line))
            elif line[:1] == b"\x1e":
                channel, lo, hi = decode(line, 0, len(line))
                out.append((chr(channel), line[lo:hi].decode()))
            elif line:
                out.append(line)
        return out

    def hello(self):
        out = self.frame(b"h", json.dumps(HELLO).encode())
        assert out[0][0] == "h", out
        return json.loads(out[0][1]), out[1:]

    def answer_upstream(self, payload, result=None, error=None):
        """Answer a request of the board on channel u; returns the request and what comes of it."""
        name, _, text = payload.partition(" ")
        request = json.loads(text)
        row = {"jsonrpc": "2.0", "id": request["id"]}
        if error:
            row["error"] = error
        else:
            row["result"] = result
        return request, self.frame(b"u", name.encode() + b" ", json.dumps(row).encode())


def board(queueable=(), queue=None, **options):
    gw = Gateway("board", version="1")
    if queue:
        gw.queue(queue)
    gw.upstream("office", queueable=queueable, **options)

    @gw.tool("Local", n=Param(int))
    def local(n):
        return n + 1

    wire = Wire(gw)
    return gw, wire


def connect(gw, wire, tools, initialize=INITIALIZE):
    """Hello, upstream reachable, tools listed, client initialised."""
    said, _ = wire.hello()
    assert said["name"] == "board" and said["v"] == 1 and said["id"] == HELLO["id"]
    out = wire.frame(b"s", b'{"office":true}')
    assert out and out[0][0] == "u", out
    request, out = wire.answer_upstream(out[0][1], {"resultType": "complete", "tools": tools})
    assert request["method"] == "tools/list"
    assert wire.message(initialize)[0]["id"] == 0
    wire.message({"jsonrpc": "2.0", "method": "notifications/initialized"})


TOOLS = [
    {"name": "forecast", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
    {"name": "log.reading", "inputSchema": {"type": "object"}},
    {"name": "log reading", "inputSchema": {"type": "object"}},
    {"name": "x" * 80, "inputSchema": {"type": "object"}},
]


def test_upstream_tools_are_listed_under_valid_unique_names():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        out = wire.message({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        names = [t["name"] for t in out[0]["result"]["tools"]]
        assert len(names) == len(set(names)) == 5
        assert "local" in names and "office_forecast" in names
        for name in names:
            assert len(name) <= 64
            assert all(c.isalpha() or c.isdigit() or c in "_-" for c in name), name
        # Every name leads to the tool it was made from.
        called = set()
        for i, name in enumerate(names):
            if name == "local":
                continue
            call = {"jsonrpc": "2.0", "id": 10 + i, "method": "tools/call"}
            call["params"] = {"name": name, "arguments": {"a": 1}}
            out = wire.message(call)
            result = {"resultType": "complete", "content": []}
            request, out = wire.answer_upstream(out[0][1], result)
            called.add(request["params"]["name"])
            assert request["params"]["arguments"] == {"a": 1}
            assert out[0]["id"] == 10 + i and out[0]["result"]["content"] == []
        assert called == {t["name"] for t in TOOLS}
    finally:
        gw.close()


def test_what_passes_through_is_not_touched():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        arguments = b'{"a": 1.10, "b":"\\u00e9\\ud83d\\ude00", "c":12345678901234567890}'
        line = (
            b'{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"office_forecast",'
            b'"_meta":{"progressToken":"p1","other":1},"arguments":' + arguments + b"}}\n"
        )
        wire.to_board.extend(line)
        out = wire.turn()
        payload = out[0][1]
        assert arguments.decode() in payload
        request = json.loads(payload.partition(" ")[2])
        assert request["params"]["name"] == "forecast"
        meta = request["params"]["_meta"]
        assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
        assert "mcp-gw/key" not in meta  # not queueable: sent once at most
        # Progress comes back under the client's own token.
        note = {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": meta["progressToken"], "progress": 1, "total": 2},
        }
        out = wire.frame(b"u", b"office ", json.dumps(note).encode())
        assert out[0]["params"] == {"progressToken": "p1", "progress": 1, "total": 2}
        raw = b'{"resultType":"complete","content":[],"x":1.10}'
        answer = b'{"jsonrpc":"2.0","id":%d,"result":' % request["id"] + raw + b"}"
        for part in encode(b"u", [b"office ", answer]):
            wire.to_board.extend(part)
        for _ in range(5):
            gw.poll(wire)
        assert bytes(wire.from_board) == b'{"jsonrpc":"2.0","id":"x","result":' + raw + b"}\n"
    finally:
        gw.close()


def test_errors_of_the_upstream_and_of_the_link():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        call = {
            "jsonrpc": "2.0",
            "id": 5,
            "method": "tools/call",
            "params": {"name": "office_forecast"},
        }
        out = wire.message(call)
        _, out = wire.answer_upstream(out[0][1], error={"code": -32602, "message": "no place"})
        assert out[0]["error"] == {"code": -32602, "message": "no place"}
        out = wire.message(call)
        _, out = wire.answer_upstream(out[0][1], error={"code": -32010, "message": "away"})
        assert out[0]["error"]["code"] == -32010
        assert wire.frame(b"s", b'{"office":false}') == []
        assert wire.message(call)[0]["error"]["code"] == -32010
        out = wire.frame(b"s", b'{"office":true}')
        wire.answer_upstream(out[0][1], {"resultType": "complete", "tools": TOOLS})
        # A bridge that falls silent in the middle of a call: the client is told.
        assert wire.message(call)[0][0] == "u"
        gw.ports[0].link._heard -= 11000
        assert wire.turn()[0]["error"]["code"] == -32011
        # A new bridge brings a new client, which did not ask what the old one had asked.
        wire.hello()
        out = wire.frame(b"s", b'{"office":true}')
        wire.answer_upstream(out[0][1], {"resultType": "complete", "tools": TOOLS})
        assert wire.message(INITIALIZE)[0]["id"] == 0
        assert wire.message(call)[0][0] == "u"
        HELLO["id"] = "ffeeddccbbaa0099"
        out = wire.frame(b"h", json.dumps(HELLO).encode())
        HELLO["id"] = "00112233445566aa"
        assert [row[0] for row in out] == ["h"]
        assert wire.message({"jsonrpc": "2.0", "id": 9, "method": "ping"})[0]["result"] == {}
    finally:
        gw.close()


def test_a_bad_frame_is_reported_and_the_next_is_taken():
    gw, wire = board()
    try:
        wire.hello()
        for bad in (
            b"\x1eh 1 00000000 x\n",
            b"\x1e\n",
            b"\x1eq 2 zzzz {}\n",
            b"\x1e" + b"x" * 300000 + b"\n",
        ):
            wire.to_board.extend(bad)
            out = wire.turn(20)
            assert [row[0] for row in out] == ["e"], (bad[:20], out)
        wire.hello()
        assert wire.message({"jsonrpc": "2.0", "id": 9, "method": "ping"})[0]["result"] == {}
    finally:
        gw.close()


def test_prints_go_to_the_log_frame():
    gw, wire = board()

    @gw.tool("Prints")
    def chatty():
        print("half a line", end="")
        return "said"

    try:
        wire.hello()
        wire.message(INITIALIZE)
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "chatty"}}
        out = wire.message(call)
        assert ("l", '"half a line"') in out
        assert [row for row in out if isinstance(row, dict)][0]["result"]["content"]
    finally:
        gw.close()


def test_a_client_that_speaks_2026_gets_what_that_revision_demands():
    gw, wire = board()
    try:
        connect(gw, wire, TOOLS)
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call"}
        call["params"] = {"name": "office_forecast", "_meta": META}
        out = wire.message(call)
        _, out = wire.answer_upstream(out[0][1], {"resultType": "complete", "content": []})
        assert out[0]["result"]["resultType"] == "complete"
    finally:
        gw.close()


def sleep_a_little():
    from time import sleep

    sleep(0.01)


LOG = {
    "jsonrpc": "2.0",
    "id": 5,
    "method": "tools/call",
    "params": {"name": "office_log", "arguments": {"n": 1}, "_meta": META},
}


def test_a_queueable_call_waits_and_is_delivered_once_the_upstream_is_back():
    from mcp_gw.queue.nor_kept import RamNor

    device = RamNor(4)
    gw = Gateway("board", version="1")
    gw.queue(device)
    gw.upstream("office", queueable=("log",), expiry_s=60)
    wire = Wire(gw)
    try:
        said, _ = wire.hello()
        assert said["pending"] == 0
        out = wire.message(LOG)
        result = out[0]["result"]
        told = result["_meta"]["mcp-gw/queued"]
        assert told["uri"] == "queue://" + told["id"] and told["expires_s"] == 60
        assert result["content"][0]["text"].endswith("read " + told["uri"])
        assert result["content"][1]["type"] == "resource_link"
        assert result["content"][1]["uri"] == told["uri"]
        read = {"jsonrpc": "2.0", "id": 6, "method": "resources/read"}
        read["params"] = {"uri": told["uri"], "_meta": META}
        state = json.loads(wire.message(read)[0]["result"]["contents"][0]["text"])
        assert state["state"] == "queued" and state["tool"] == "log"
    finally:
        gw.close()
    # The board restarts: only the flash is left.
    gw = Gateway("board", version="1")
    gw.queue(device)
    gw.upstream("office", queueable=("log",), expiry_s=60)
    wire = Wire(gw)
    try:
        said, _ = wire.hello()
        assert said["pending"] == 1
        out = wire.frame(b"s", b'{"office":true}')
        payloads = []
        for _ in range(1000):
            payloads += [row[1] for row in out if row[0] == "u" and '"tools/call"' in row[1]]
            if payloads:
                break
            sleep_a_little()
            out = wire.turn()
        request = json.loads(payloads[0].partition(" ")[2])
        assert request["params"]["name"] == "log" and request["params"]["arguments"] == {"n": 1}
        assert request["params"]["_meta"]["mcp-gw/key"] == told["id"]
        assert (
            request["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
        )
        noted = {"resultType": "complete", "content": [{"type": "text", "text": "noted"}]}
        wire.answer_upstream(payloads[0], noted)
        state = json.loads(wire.message(read)[0]["result"]["contents"][0]["text"])
        assert state["state"] == "done" and state["result"] == noted
        unknown = dict(read)
        unknown["params"] = {"uri": "queue://nothing-0", "_meta": META}
        assert wire.message(unknown)[0]["error"]["code"] == -32602
    finally:
        gw.close()


def test_a_queue_that_is_full_says_so():
    from mcp_gw.queue.nor_kept import RamNor

    gw = Gateway("board", version="1")
    gw.queue(RamNor(3))
    gw.upstream("office", queueable=("log",))
    wire = Wire(gw)
    try:
        wire.hello()
        call = json.loads(json.dumps(LOG))
        call["params"]["arguments"]["text"] = "x" * 900
        answers = [wire.message(call)[0] for _ in range(12)]
        full = [a["error"] for a in answers if "error" in a]
        assert 3 <= len(answers) - len(full) < 12
        assert full and full[0]["code"] == -32012 and "bytes" in full[0]["message"]
        call["params"]["arguments"]["text"] = "x" * 6000
        error = wire.message(call)[0]["error"]
        assert error["code"] == -32012 and "6" in error["message"]
    finally:
        gw.close()
