"""What an upstream says beside its answers, to the bridge: questions, and how many replies there
are at once. The bridge's own upstream, with a server in the place where httpx would connect."""

import asyncio
import io
import json

import httpx
from mcpgw.bridge.log import Log
from mcpgw.bridge.upstreams import HTTPUpstream

from mcp_gw.compat import run_until

CAP = 1000  # replies under way


class Server:
    """A legacy server behind an HTTPUpstream. What it answers to a call is `events`, a list of
    messages; its stream ends before `cut` of them, and goes on from the one before that."""

    def __init__(self):
        self.events = []
        self.cut = None
        self.replies = []
        self.gate = asyncio.Event()  # replies wait for it
        self.upstream = HTTPUpstream("up", "http://127.0.0.1:1/mcp", Log(io.StringIO()))
        transport = httpx.MockTransport(self.handle)
        self.upstream._http = httpx.AsyncClient(transport=transport)

    async def handle(self, request):
        if request.method == "GET":
            if "last-event-id" not in request.headers:
                return httpx.Response(405)
            return self.stream(max(0, self.cut - 1), None)
        message = json.loads(request.content) if request.content else {}
        method = message.get("method")
        if method == "server/discover":
            return self.json(message, error={"code": -32601, "message": "no"})
        if method == "initialize":
            found = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}
            return self.json(message, {"Mcp-Session-Id": "s"}, result=found)
        if method == "tools/call":
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}
            self.told = [*self.events, answer]
            return self.stream(0, self.cut)
        if method is None and "id" in message:
            self.replies.append(message)
            await self.gate.wait()
        return httpx.Response(202)

    def json(self, message, headers=None, **rest):
        row = {"jsonrpc": "2.0", "id": message["id"]} | rest
        return httpx.Response(200, json=row, headers=headers)

    def stream(self, begin, end):
        rows = list(enumerate(self.told))[begin:end]
        text = "".join(f"id: {n + 1}\nretry: 1\ndata: {json.dumps(row)}\n\n" for n, row in rows)
        return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})

    async def call(self):
        ok, raw = await self.upstream.request("tools/call", [b'{"name":"t"}'])
        assert (ok, json.loads(raw)) == (True, {"content": []})

    async def settle(self):
        """Let everything go on that can."""
        for _ in range(50):
            await asyncio.sleep(0)


def ask(id, method="ping"):
    return {"jsonrpc": "2.0", "id": id, "method": method}


def test_a_server_that_asks_for_more_replies_than_there_may_be_at_once_has_to_wait():
    async def run():
        server = Server()
        server.events = [ask(n) for n in range(CAP + 1)]
        await server.call()
        await server.settle()
        assert [row["id"] for row in server.replies] == list(range(CAP))
        # Those that were told make room again.
        server.gate.set()
        await server.settle()
        server.replies = []
        server.events = [ask("again")]
        await server.call()
        await server.settle()
        assert [row["id"] for row in server.replies] == ["again"]
        await server.upstream.close()

    run_until(run())


def test_a_question_that_is_repeated_after_a_break_is_answered_once():
    async def run():
        server = Server()
        server.gate.set()
        server.events = [ask("q", "roots/list"), ask("q2", "roots/list")]
        server.cut = 1  # behind q, which comes again
        await server.call()
        await server.settle()
        assert [(row["id"], row["error"]["code"]) for row in server.replies] == [
            ("q", -32601),
            ("q2", -32601),
        ]
        await server.upstream.close()

    run_until(run())
