"""A gateway with a choice, seen from the other end of its serial line: client and bridge."""

import json

from serial_line import SerialLine

from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.gateway import Gateway
from mcp_gw.registry import Param
from mcp_gw.transports.link import decode

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}},
}
DONE = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


def tool(name, **annotations):
    row = {"name": name, "inputSchema": {"type": "object"}}
    if annotations:
        row["annotations"] = annotations
    return row


TOOLS = {
    "pi": [tool("log"), tool("level", idempotentHint=True), tool("look", readOnlyHint=True)],
    "cloud": [tool("log"), tool("level", idempotentHint=True), tool("only_here")],
}


class Board(SerialLine):
    """A gateway on one end of a line in memory; this is the other end, client and bridge.

    up: upstreams that can be reached; got: (upstream, request) of calls and reads that came;
    answers: what came for the client."""

    def __init__(self, up=("pi", "cloud"), routing=None, queueable=(), **settings):
        super().__init__()
        self.got = []
        self.answers = []
        self.up = list(up)
        self.last = 0
        self.gw = gw = Gateway("board", version="1", **settings)
        offers = ("tools", "prompts", "resources")
        gw.upstream("pi", queueable=queueable, offers=offers)
        gw.upstream("cloud", same_as="pi", offers=offers)
        if routing is not None:
            gw.routing(**routing)
        self.ran = []

        @gw.tool("Continues a text", text=Param(str, "to continue"))
        def complete(text):
            self.ran.append(text)
            return "local: " + text

    def __enter__(self):
        hello = {"v": 1, "id": "00112233445566aa", "time_ms": 1795175147000, "rx": 65536}
        hello.update({"upstreams": ["pi", "cloud"], "by": "test"})
        self.frame(b"h", json.dumps(hello).encode())
        self.turn()
        self.states()
        return self

    def __exit__(self, *exc):
        self.gw.close()

    def states(self):
        row = {name: name in self.up for name in ("pi", "cloud")}
        self.frame(b"s", json.dumps(row).encode())
        self.turn()

    def turn(self, times=4):
        async def nap():
            await sleep_ms(3)

        for _ in range(times):
            self.gw.poll(self)
            run_until(nap())
            self._take()

    def _take(self):
        while b"\n" in bytes(self.from_board):
            line, _, rest = bytes(self.from_board).partition(b"\n")
            self.from_board = bytearray(rest)
            if line[:1] == b"{":
                self.answers.append(json.loads(line))
            elif line[:1] == b"\x1e":
                channel, lo, hi = decode(line, 0, len(line))
                if channel == 0x75:
                    name, _, text = line[lo:hi].decode().partition(" ")
                    self._asked(name, json.loads(text))

    def _asked(self, name, request):
        """The board asks an upstream; lists are answered at once."""
        method = request["method"]
        if method == "tools/list":
            self.reply(name, request, {"resultType": "complete", "tools": TOOLS[name]})
        elif method == "resources/list":
            row = {"uri": "note:a", "name": "a"}
            self.reply(name, request, {"resultType": "complete", "resources": [row]})
        elif method == "prompts/list":
            row = {"name": "greet"}
            self.reply(name, request, {"resultType": "complete", "prompts": [row]})
        elif method == "resources/templates/list":
            self.reply(name, request, {"resultType": "complete", "resourceTemplates": []})
        else:
            self.got.append((name, request))

    def reply(self, name, request, result=None, error=None):
        raw = error or result
        if not isinstance(raw, bytes):
            raw = json.dumps(raw).encode()
        head = '%s {"jsonrpc":"2.0","id":%d,"%s":'
        head = head % (name, request["id"], "error" if error else "result")
        self.frame(b"u", head.encode(), raw, b"}")

    def send(self, method, _token=None, **params):
        self.last += 1
        params["_meta"] = dict(META, progressToken=_token) if _token else META
        row = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.to_board.extend(json.dumps(row).encode() + b"\n")
        self.turn()
        return self.last

    def call(self, name, _token=None, **arguments):
        return self.send("tools/call", _token, name=name, arguments=arguments)

    def taken(self):
        """The one call or read that has come: (upstream, request)."""
        for _ in range(300):
            if self.got:
                break
            self.turn(1)
        assert len(self.got) == 1, self.got
        return self.got.pop()

    def answered(self, result=DONE, error=None):
        """Answer the one call that has come; returns the upstream's name and the request."""
        name, request = self.taken()
        self.reply(name, request, result, error)
        self.turn()
        return name, request

    def answer(self, id):
        for _ in range(300):
            for row in self.answers:
                if row.get("id") == id:
                    return row.get("result") or row["error"]
            self.turn(1)
        raise AssertionError((id, self.answers, self.got))

    def routes(self):
        row = self.answer(self.send("resources/read", uri="gateway://routes"))
        return json.loads(row["contents"][0]["text"])


LOST = {"code": -32011, "message": "pi did not answer"}
AWAY = {"code": -32010, "message": "pi is not there"}
