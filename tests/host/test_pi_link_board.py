"""The client's side of MCP over the serial link (pi/link_board.py), against a scripted board that
answers as none should."""

import asyncio
import contextlib
import json

import pytest
from bridge_rig import FakeBoard
from mcpgw.bridge.board import Board
from mcpgw.bridge.log import Log
from mcpgw.pi import link_board
from mcpgw.pi.link_board import LinkBoard
from waiting import PATIENCE_S

from mcp_gw.errors import NoAnswer, Unavailable

DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {"listChanged": True}, "resources": {}},
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "fake", "version": "1"}},
}
TEXT = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


class Rig:
    """A LinkBoard that is joined to a FakeBoard. answers: method -> function(request)."""

    def __init__(self, folder, rx=8192):
        self.fake = FakeBoard(folder / "board", rx)
        self.answers = {"server/discover": lambda request: DISCOVERED}
        self.fake.answer = lambda request: self.answers.get(request["method"], lambda _: None)(
            request
        )
        self.text = open(folder / "log", "w+")  # noqa: SIM115 (closed with the rest)
        log = Log(self.text)
        self.states = []
        self.board = LinkBoard("kiln", log, lambda one: self.states.append(one.up))
        self.board.board = Board(lambda: str(self.fake.path), self.board, log, ["pi"])
        self.work = None

    async def __aenter__(self):
        self.work = asyncio.ensure_future(self.board.board.run())
        return self

    async def __aexit__(self, *_):
        self.work.cancel()
        await asyncio.gather(self.work, return_exceptions=True)
        self.fake.unplug()
        self.text.close()

    async def up(self, up=True):
        await self.until(lambda: self.board.up == up)

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.01)

    def call(self, tool="work", timeout_ms=PATIENCE_S * 1000, on_progress=None, **arguments):
        extra = b""
        if on_progress:
            extra = b'"progressToken":%d' % self.board.next_token()
        row = json.dumps({"name": tool, "arguments": arguments})
        params = [b'{"_meta":', self.board.meta(extra), b",", row[1:].encode()]
        return self.board.request("tools/call", params, timeout_ms, on_progress)

    def said(self, method):
        """What the board has been sent with this method."""
        return [row for row in list(self.fake.messages.queue) if row.get("method") == method]

    def log(self):
        self.text.flush()
        return (self.fake.path.parent / "log").read_text()


def run(folder, scenario, **options):
    async def main():
        async with Rig(folder, **options) as rig:
            await scenario(rig)

    asyncio.run(main())


def test_opening_and_what_it_listens_to(tmp_path):
    async def scenario(rig):
        await rig.up()
        assert rig.board.modern and rig.board.capabilities["tools"]
        await rig.until(lambda: rig.said("subscriptions/listen"))
        (row,) = rig.said("subscriptions/listen")
        assert row["params"]["notifications"] == {"toolsListChanged": True}
        heard = []
        rig.board.on_change = heard.append
        for kind in ("tools", "furniture", "resources"):
            rig.fake.send({"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"})
        await rig.until(lambda: len(heard) == 2)
        assert heard == ["tools", "resources"]
        rig.answers["tools/call"] = lambda request: TEXT
        assert await rig.call() == (True, json.dumps(TEXT).encode())

    run(tmp_path, scenario)


def test_a_board_of_before_2026(tmp_path):
    async def scenario(rig):
        def refuse(request):
            error = {"code": -32601, "message": "no such method"}
            rig.fake.send({"jsonrpc": "2.0", "id": request["id"], "error": error})

        old = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        rig.answers["server/discover"] = refuse
        rig.answers["initialize"] = lambda request: {
            **old,
            "serverInfo": {"name": "old", "version": "1"},
        }
        rig.answers["tools/call"] = lambda request: {"content": []}
        await rig.up()
        assert rig.board.modern is False and rig.board.meta() == b"{}"
        await rig.until(lambda: rig.said("notifications/initialized"))
        assert (await rig.call())[0]
        # It asks its client, who cannot be asked here.
        rig.fake.send({"jsonrpc": "2.0", "id": "q", "method": "roots/list"})
        rig.fake.send({"jsonrpc": "2.0", "id": "p", "method": "ping"})
        found = {}

        def answered():
            for row in list(rig.fake.messages.queue):
                if row.get("id") in ("q", "p"):
                    found[row["id"]] = row
            return len(found) == 2

        await rig.until(answered)
        assert found["q"]["error"]["code"] == -32601 and found["p"]["result"] == {}

    run(tmp_path, scenario)


def test_a_board_that_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(link_board, "_OPEN_S", 0.3)

    async def scenario(rig):
        rig.answers["server/discover"] = lambda request: {"supportedVersions": ["2031-01-01"]}
        await rig.until(lambda: "initialize" in rig.board.why)
        with pytest.raises(Unavailable, match="board kiln is not reachable"):
            await rig.call()
        # With the next hello it is tried again.
        rig.answers["server/discover"] = lambda request: DISCOVERED
        await rig.up()

    run(tmp_path, scenario)


def test_answers_that_are_none(tmp_path):
    async def scenario(rig):
        await rig.up()

        async def outcome(result):
            rig.answers["tools/call"] = lambda request: result
            return await rig.call()

        ok, raw = await outcome({"resultType": "task", "task": {"taskId": "1"}})
        assert not ok and b"a type that nobody asked for" in raw
        # What is no message, and answers to what was not asked, are passed over.
        rig.fake.write(b'{"jsonrpc":"2.0","id":\n{"jsonrpc"}\n\x1exyz\n{}\n[]\n')
        rig.fake.write(b'{"jsonrpc":"2.0","id":999999,"result":{}}\n')
        rig.fake.write(b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"?"}}\n')
        rig.fake.write(b'{"jsonrpc":"2.0","id":"7","result":{}}\n')
        assert (await outcome(TEXT))[0]
        assert "dropped a line that is not MCP" in rig.log()
        # A question goes to whoever asked.
        asks = {"resultType": "input_required", "inputRequests": {}, "requestState": "s"}
        ok, raw = await outcome(asks)
        assert ok and rig.board.asks(raw)

    run(tmp_path, scenario)


def test_progress_goes_to_its_call(tmp_path):
    async def scenario(rig):
        await rig.up()
        held = []
        rig.answers["tools/call"] = lambda request: held.append(request)
        heard = {"one": [], "two": []}
        calls = [
            asyncio.ensure_future(rig.call(tool, on_progress=heard[tool].append)) for tool in heard
        ]
        await rig.until(lambda: len(held) == 2)
        tokens = {row["params"]["name"]: row["params"]["_meta"]["progressToken"] for row in held}
        assert tokens["one"] != tokens["two"]
        for token, n in ((tokens["two"], 1), (tokens["one"], 2), (tokens["two"], 3), (999, 4)):
            params = {"progressToken": token, "progress": n}
            rig.fake.send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
        for row in held:
            rig.fake.send({"jsonrpc": "2.0", "id": row["id"], "result": TEXT})
        await asyncio.gather(*calls)
        assert [json.loads(raw)["progress"] for raw in heard["one"]] == [2]
        assert [json.loads(raw)["progress"] for raw in heard["two"]] == [1, 3]
        assert rig.board.pending == 0 and not rig.board._tokens

    run(tmp_path, scenario)


def test_what_does_not_fit_and_what_is_no_json(tmp_path):
    async def scenario(rig):
        await rig.up()
        rig.answers["tools/call"] = lambda request: TEXT
        ok, raw = await rig.call(text="x" * 2000)
        assert not ok and b"kiln takes 1024" in raw
        params = [b'{"_meta":', rig.board.meta(), b',"name":"work","arguments":{"a":"\x03"}}']
        ok, raw = await rig.board.request("tools/call", params)
        assert not ok and b"not valid JSON" in raw
        # White space that a client wrote does not end the line.
        params = [b'{\n"_meta":', rig.board.meta(), b',\r\n"name":"work",\n"arguments":{}}']
        assert (await rig.board.request("tools/call", params))[0]
        assert all(b"\x03" not in row for row in [bytes(rig.fake.raw)])

    run(tmp_path, scenario, rx=1024)


def test_late_answers_and_calls_that_are_given_up(tmp_path):
    async def scenario(rig):
        await rig.up()
        held = []
        rig.answers["tools/call"] = lambda request: held.append(request)
        with pytest.raises(NoAnswer, match="kiln did not answer in time"):
            await rig.call(timeout_ms=50)
        await rig.until(lambda: len(rig.said("notifications/cancelled")) == 1)
        call = asyncio.ensure_future(rig.call())
        await rig.until(lambda: len(held) == 2)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        await rig.until(lambda: len(rig.said("notifications/cancelled")) == 2)
        cancelled = [row["params"]["requestId"] for row in rig.said("notifications/cancelled")]
        assert cancelled == [row["id"] for row in held]
        for row in held:
            rig.fake.send({"jsonrpc": "2.0", "id": row["id"], "result": TEXT})
        rig.answers["tools/call"] = lambda request: TEXT
        assert (await rig.call())[0] and rig.board.pending == 0

    run(tmp_path, scenario)


def test_restart_and_unplugging_under_calls(tmp_path):
    async def scenario(rig):
        await rig.up()
        held = []
        rig.answers["tools/call"] = lambda request: held.append(request)
        call = asyncio.ensure_future(rig.call())
        await rig.until(lambda: held)
        rig.fake.restart()
        with pytest.raises(NoAnswer, match="the board restarted; the request may have been"):
            await call
        await rig.up()
        call = asyncio.ensure_future(rig.call())
        await rig.until(lambda: len(held) == 2)
        rig.fake.unplug()
        with pytest.raises(NoAnswer, match="may have been executed"):
            await call
        await rig.up(False)
        with pytest.raises(Unavailable):
            await rig.call()
        rig.fake.plug()
        rig.answers["tools/call"] = lambda request: TEXT
        await rig.up()
        assert (await rig.call())[0]
        assert rig.states == [True, False, True, False, True]

    run(tmp_path, scenario)


def test_as_many_requests_as_there_may_be(tmp_path):
    async def scenario(rig):
        await rig.up()
        held = []
        rig.answers["tools/call"] = lambda request: held.append(request)
        most = link_board._MAX_PENDING - 1  # one is the stream of changes
        calls = [asyncio.ensure_future(rig.call()) for _ in range(most)]
        await rig.until(lambda: len(held) == most)
        with pytest.raises(Unavailable, match="requests are under way"):
            await rig.call()
        for row in held:
            rig.fake.send({"jsonrpc": "2.0", "id": row["id"], "result": TEXT})
        assert all(ok for ok, _ in await asyncio.gather(*calls))

    run(tmp_path, scenario)


def test_a_hello_of_odd_values(tmp_path):
    async def scenario(rig):
        await rig.up()
        good = {"v": 1, "id": rig.board.board._id, "boot": rig.fake.boot, "rx": 8192}
        for more in ({"rx": "x"}, {"boot": None, "rx": None}, {"v": 2}, {"pending": [1] * 99}):
            rig.fake.frame(b"h", json.dumps(good | more).encode())
        rig.fake.frame(b"h", json.dumps(good).replace("8192", "1e999").encode())
        rig.fake.frame(b"h", b"[" * 5000)
        rig.fake.frame(b"h", b"[]")
        rig.fake.frame(b"u", b"pi")
        rig.fake.frame(b"u", b"\xff {}")
        rig.answers["tools/call"] = lambda request: TEXT
        assert (await rig.call())[0]

    run(tmp_path, scenario)
