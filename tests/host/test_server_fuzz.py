"""Mutated JSON-RPC messages against the server's core: whatever comes, nothing escapes, each
request gets at most one answer, what is sent is JSON, nothing is kept, the next one is served."""

import asyncio
import json
import random
import sys
from pathlib import Path

import pytest
import soak

from mcp_gw import Context, Gateway, Param, content
from mcp_gw.protocol.framing import REQUEST
from mcp_gw.protocol.revisions import LEGACY
from mcp_gw.protocol.session import Session

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))
import mutate  # noqa: E402

MESSAGES = soak.count(100_000, 1_000_000)
PORTION = 500  # messages of one client
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {
        "elicitation": {},
        "sampling": {},
        "roots": {},
        "extensions": {"io.modelcontextprotocol/tasks": {}},
    },
}


def gateway():
    gw = Gateway("fuzzed", max_tasks=8, page_size=3)

    @gw.tool("", a=Param(int, min=0), b=Param(str, default="x", pattern="^[a-z]*$"))
    def plain(a, b):
        return {"a": a, "b": b}

    @gw.tool("", ctx=Context, q=Param(str, default="?"))
    async def asks(ctx, q):
        ctx.progress(1)
        ctx.log("info", q)
        return (await ctx.elicit(q, {"name": Param(str)}))["action"]

    @gw.tool("", task="optional", ctx=Context)
    async def task(ctx):
        return await ctx.roots()

    @gw.tool("", input_schema={"type": "object", "required": ["n"], "$defs": {"x": True}})
    def raw(given):
        return [content.text("t"), content.image(b"png", "image/png")]

    @gw.tool("")
    def steps():
        yield 1
        yield 2, 3, "m"
        return "stepped"

    @gw.resource("board://{name}/{+rest}", "", name=Param(str, complete=["a", "b"]))
    async def template(name, rest):
        return name + rest

    @gw.resource("board://x", "")
    def fixed():
        return b"\x00"

    @gw.prompt("", word=Param(str, enum=("one", "two"), default="one"))
    def prompt(word):
        return word

    return gw


PARAMS = [
    ("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}),
    ("initialize", {"protocolVersion": "2025-03-26", "capabilities": {"roots": {}}}),
    ("ping", {}),
    ("server/discover", {}),
    ("tools/list", {"cursor": "0-1"}),
    ("tools/call", {"name": "plain", "arguments": {"a": 1, "b": "z"}}),
    ("tools/call", {"name": "asks", "arguments": {"q": "é"}}),
    ("tools/call", {"name": "asks", "inputResponses": {"input_1": {"action": "decline"}}}),
    ("tools/call", {"name": "task", "task": {"ttl": 5}, "requestState": "AAAA"}),
    ("tools/call", {"name": "raw", "arguments": {"n": [1, {"m": None}]}}),
    ("tools/call", {"name": "steps", "_meta": {"progressToken": "t"}}),
    ("resources/list", {}),
    ("resources/read", {"uri": "board://a/b%20c"}),
    ("resources/read", {"uri": "board://x"}),
    ("resources/templates/list", {}),
    ("resources/subscribe", {"uri": "board://x"}),
    ("resources/unsubscribe", {"uri": "board://x"}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "prompt", "arguments": {"word": "two"}}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "prompt"}}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "board://{name}/{+rest}"},
            "argument": {"name": "name", "value": "a"},
        },
    ),
    ("logging/setLevel", {"level": "debug"}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "taskIds": ["x"]}}),
    ("tasks/get", {"taskId": "x"}),
    ("tasks/result", {"taskId": "x"}),
    ("tasks/list", {}),
    ("tasks/cancel", {"taskId": "x"}),
    ("tasks/update", {"taskId": "x", "inputResponses": {"a": {}}}),
    ("notifications/cancelled", {"requestId": 1}),
    ("notifications/initialized", {}),
    ("notifications/roots/list_changed", {}),
]


class Client:
    """Takes a port's place; counts answers by id."""

    def __init__(self, gw, revision):
        self.gw = gw
        self.link = self
        self.settling = False
        self.session = Session()
        self.session.out = self.send
        self.answers = []
        gw.join(self.session)
        if revision:
            params = {"protocolVersion": revision, "clientInfo": {"name": "f", "version": "1"}}
            params["capabilities"] = {"elicitation": {}, "roots": {}}
            row = {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": params}
            self.take(json.dumps(row).encode())

    def send(self, parts):
        message = json.loads(b"".join(bytes(part) for part in parts))
        assert message["jsonrpc"] == "2.0" and "method" in message

    def answer(self, parts, status=200):
        assert 200 <= status < 600
        self.answers.append(json.loads(b"".join(bytes(part) for part in parts)))

    def close_stream(self):
        pass

    def take(self, data):
        before = len(self.answers)
        kind = self.gw.dispatch.take(self, data, 0, len(data))
        came = len(self.answers) - before
        assert came <= 1 and (kind == REQUEST or kind < 0 or not came), data
        assert came or kind >= 0, data  # what is malformed is answered at once
        return kind


def messages(r):
    """Endless messages: valid ones of every method, with mutations."""
    while True:
        kind = r.randrange(10)
        if kind == 0:
            data = mutate.message(r)
        elif kind == 1:
            row = {"jsonrpc": "2.0", "id": r.randrange(4), "result": {"action": "accept"}}
            data = json.dumps(row).encode()
        else:
            method, params = r.choice(PARAMS)
            params = json.loads(json.dumps(params))
            if r.randrange(2):
                params.setdefault("_meta", {}).update(MODERN)
            row = {"jsonrpc": "2.0", "method": method, "params": params}
            if not method.startswith("notifications/"):
                row["id"] = r.choice((1, 2, "a", r.randrange(10**6)))
            data = json.dumps(row).encode()
            if r.randrange(20) == 0:
                data = b"[" + data + b"," + data + b"]"
        yield mutate.once(r, data, mutate.message(r)) if r.randrange(3) else data


@pytest.mark.timeout(soak.count(900, 7200))
def test_mutated_messages():
    r = random.Random(soak.seed("server fuzz"))
    gw = gateway()
    escaped = []
    gw.log_exception = escaped.append
    stream = messages(r)

    async def all_of_them():
        for n in range(MESSAGES // PORTION):
            client = Client(gw, r.choice((None, *LEGACY)))
            for i in range(PORTION):
                data = next(stream)
                client.take(data)
                assert not escaped, (data, escaped)
                if i % 20 == 0:
                    await asyncio.sleep(0)
            # A client of its own is served as the first was.
            fresh = Client(gw, LEGACY[n % len(LEGACY)])
            fresh.take(b'{"jsonrpc":"2.0","id":9,"method":"ping"}')
            assert fresh.answers[-1] == {"jsonrpc": "2.0", "id": 9, "result": {}}
            gw.leave(client.session)
            gw.leave(fresh.session)
            for _ in range(5):
                await asyncio.sleep(0)
            assert not client.session.under_way and not client.session.asked
            assert not gw.sessions
            for task in list(gw.tasks()._tasks.values()):
                task.cancel()

    asyncio.run(all_of_them())
    assert not escaped, escaped
