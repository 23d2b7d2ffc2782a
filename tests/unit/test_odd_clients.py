"""Clients and tools that do things in an odd order, or at an odd time."""

import asyncio
import json

from peer import MODERN, Peer, text

from mcp_gw import Context, Gateway, Param
from mcp_gw.compat import run_until, sleep_ms

ALL = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
FORM = {"action": "accept", "content": {"name": "Ada"}}
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": ALL, "clientInfo": {"name": "x"}}
NAME = {"name": Param(str)}


def gateway(**config):
    gw = Gateway("odd", **config)
    gw.log = lambda text: None
    gw.ended = []

    @gw.tool("")
    async def waits():
        try:
            await sleep_ms(60000)
        finally:
            gw.ended.append("waits")

    @gw.tool("", ctx=Context)
    async def stubborn(ctx):
        """Asks again when it is told to stop."""
        for _ in range(3):
            try:
                await ctx.elicit("who?", NAME)
            except BaseException as e:
                gw.ended.append(type(e).__name__)

    return gw


def test_a_call_cancelled_before_its_first_step_leaves_nothing():
    gw = gateway()
    peer = Peer(gw)
    for _ in range(3):
        id = peer.begin("tools/call", name="waits")
        peer.notify("notifications/cancelled", requestId=id)
    peer.turn()
    gw._tick()
    assert not gw._work and not peer.session.under_way and not peer.answers


def test_a_client_that_begins_anew_ends_what_it_had_begun():
    gw = gateway()
    peer = Peer(gw)
    id = peer.begin("tools/call", name="waits")
    peer.turn()
    peer.last = id - 1  # the ids begin anew as well
    assert "protocolVersion" in peer.ask("initialize", **INITIALIZE)
    peer.until(lambda: gw.ended == ["waits"])
    assert not peer.answers and not peer.session.under_way


def test_nobody_else_is_asked_what_a_client_was_asked_that_is_gone():
    gw = gateway()
    for leave in (
        lambda peer, id: peer.ask("initialize", **INITIALIZE),
        lambda peer, id: peer.notify("notifications/cancelled", requestId=id),
    ):
        gw.ended = []
        peer = Peer(gw, capabilities=ALL)
        id = peer.begin("tools/call", name="stubborn")
        peer.until(lambda: peer.heard("elicitation/create"))  # noqa: B023
        leave(peer, id)
        peer.until(lambda: len(gw.ended) == 3)
        assert gw.ended[1:] == ["ToolError", "ToolError"], gw.ended
        assert len(peer.heard("elicitation/create")) == 1 and not peer.session.asked


def test_a_context_is_silent_once_its_call_is_over():
    gw = Gateway("odd")
    kept = []

    @gw.tool("", ctx=Context)
    def plain(ctx):
        kept.append(ctx)

    @gw.tool("", ctx=Context)
    def fails(ctx):
        kept.append(ctx)
        raise OSError

    @gw.tool("", ctx=Context)
    async def waits(ctx):
        kept.append(ctx)
        ctx.progress(0)

    gw.log = lambda text: None
    peer = Peer(gw, capabilities=ALL)
    for name in ("plain", "fails", "waits"):
        peer.ask("tools/call", token=name, name=name)
    assert len(peer.sent) == 1 and len(kept) == 3
    for ctx in kept:
        assert ctx.cancelled
        ctx.progress(1)
        ctx.log("error", "x")
        try:
            run_until(ctx.elicit("who?", NAME))
        except Exception as e:
            assert type(e).__name__ == "ToolError"
        else:
            raise AssertionError
    assert len(peer.sent) == 1


def test_questions_in_tasks_of_the_tools_own():
    gw = Gateway("odd")

    @gw.tool("", ctx=Context)
    async def in_time(ctx):
        return (await asyncio.wait_for(ctx.elicit("who?", NAME), 5))["content"]["name"]

    @gw.tool("", ctx=Context)
    async def at_once(ctx):
        found = await asyncio.gather(ctx.elicit("who?", NAME), ctx.elicit("and?", NAME))
        return " ".join(row["content"]["name"] for row in found)

    peer = Peer(gw, MODERN, ALL)
    for name, said in (("in_time", "Ada"), ("at_once", "Ada Ada")):
        result = peer.call(name)
        while "inputRequests" in result:
            answers = dict.fromkeys(result["inputRequests"], FORM)
            state = result["requestState"]
            result = peer.call(name, inputResponses=answers, requestState=state)
        assert text(result) == said


def test_asking_nothing_takes_no_time():
    gw = Gateway("odd", ask_timeout_ms=60000)

    @gw.tool("", ctx=Context)
    async def asks(ctx):
        return await ctx.ask()

    for revision in ("2025-11-25", MODERN):
        assert text(Peer(gw, revision, ALL).call("asks")) == "{}"


def test_a_tool_may_use_process_while_it_is_called():
    gw = Gateway("odd")
    gw.tool("", name="nests")(lambda: len(gw.process(b'{"jsonrpc":"2.0","method":"x"}')))
    peer = Peer(gw)
    asked = b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"nests"}}'
    assert peer.raw(asked) == 1 and text(peer.wait(9)) == "0"


def listen_text():
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"notifications": {"toolsListChanged": True}, "_meta": meta}
    row = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}
    return json.dumps(row).encode()


def test_process_does_not_wait_for_a_stream_of_changes():
    gw = Gateway("odd")
    assert gw.process(listen_text()) == b""
    assert not gw.sessions


def test_the_end_of_input_ends_a_stream_of_changes():
    from test_serving import Piped

    gw = Gateway("odd")
    wire = Piped(None)
    wire.to_board.extend(listen_text() + b"\n")
    counts = [gw.poll(wire) for _ in range(5)]
    assert counts[0] == 1 and counts[-1] == -1
    assert b"acknowledged" in bytes(wire.from_board)
    gw.close()


def batch(peer, *rows):
    """The answer to a batch, if there is one now."""
    peer.raw(json.dumps([dict(row, jsonrpc="2.0") for row in rows]).encode())
    return peer.answers.pop(None, None)


def test_a_batch_is_answered_without_what_was_cancelled_of_it():
    gw = gateway()
    ping = {"id": 71, "method": "ping"}
    call = {"id": 72, "method": "tools/call", "params": {"name": "waits"}}
    cancel = {"method": "notifications/cancelled", "params": {"requestId": 72}}
    for together in (False, True):
        peer = Peer(gw, "2025-03-26")
        if together:
            rows = batch(peer, ping, call, cancel)
        else:
            assert batch(peer, ping, call) is None
            peer.turn()
            peer.notify(cancel["method"], **cancel["params"])
            rows = peer.answers.pop(None)
        assert rows == [{"jsonrpc": "2.0", "id": 71, "result": {}}], rows
        assert batch(peer, call, cancel) is None
        assert batch(peer, ping, call) is None
        gw.leave(peer.session)
        peer.turn()
        assert not peer.answers


def test_what_is_no_part_of_a_batch_is_refused_alone():
    gw = gateway()
    peer = Peer(gw, "2025-03-26")
    listen = json.loads(listen_text())
    begin = {"id": 5, "method": "initialize", "params": INITIALIZE}
    rows = batch(peer, begin, listen, {"id": 6, "method": "ping"})
    assert [(row["id"], "error" in row) for row in rows] == [(5, True), (1, True), (6, False)]
    assert peer.session.revision.name == "2025-03-26" and peer.session.check is None
    peer.raw(b'[{"jsonrpc":"2.0","id":7,"method":"ping"},[{"jsonrpc":"2.0","id":8}]]')
    rows = peer.answers.pop(None)
    assert [row.get("id") for row in rows] == [7, None] and rows[1]["error"]["code"] == -32600


def test_a_sketch_hears_the_answers_to_its_questions():
    from test_serving import Wire

    from mcp_gw import sketch

    wire = Wire(None)
    gw = sketch.begin("sketch", transport=wire)

    @gw.tool("", ctx=Context)
    async def greet(ctx):
        spawned = asyncio.create_task(client())
        name = (await ctx.elicit("who?", NAME))["content"]["name"]
        await spawned
        return name

    async def client():
        while b"elicitation/create" not in bytes(wire.from_board):
            await sleep_ms(1)
        asked = json.loads(bytes(wire.from_board).split(b"\n")[-2])
        give({"id": asked["id"], "result": FORM})

    def give(row):
        wire.to_board.extend(json.dumps(dict(row, jsonrpc="2.0")).encode() + b"\n")

    try:
        give({"id": 0, "method": "initialize", "params": INITIALIZE})
        wire.to_board.extend(listen_text() + b"\n")
        give({"id": 2, "method": "tools/call", "params": {"name": "greet"}})
        answers = []
        while len(answers) < 3:
            assert sketch.has_request()
            answers.append(sketch.process(sketch.get_request()))
            sketch.send_response(answers[-1])
        assert answers[1] == b"" and text(json.loads(answers[2])["result"]) == "Ada"
    finally:
        gw.close()
