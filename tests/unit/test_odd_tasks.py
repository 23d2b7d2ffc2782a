"""Tasks at odd moments: no room, a clock that jumps, clients that come and go."""

import asyncio

from peer import MODERN, Peer, text
from test_tasks import ALL, EXTENSION, FORM

from mcp_gw import Context, Gateway, Param, ToolError
from mcp_gw.compat import sleep_ms

INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": ALL, "clientInfo": {"name": "x"}}
NAME = {"name": Param(str)}


def gateway(**config):
    gw = Gateway("odd", **config)
    gw.log = lambda text: None
    gw.ended = []

    @gw.tool("", task="optional", ctx=Context)
    async def slow(ctx):
        try:
            for i in range(1000):
                ctx.progress(i)
                await sleep_ms(5)
        finally:
            gw.ended.append("slow")

    @gw.tool("", task="later", ctx=Context)
    async def later(ctx):
        await ctx.start_task()
        await sleep_ms(60000)

    @gw.tool("", task="required", ctx=Context)
    async def gives_up(ctx):
        try:
            await ctx.elicit("who?", NAME)
        except BaseException as e:
            gw.ended.append(type(e).__name__)
            if not isinstance(e, ToolError):
                await ctx.elicit("really?", NAME)
        gw.ended.append("goes on")
        await sleep_ms(60000)

    return gw


def test_a_call_that_finds_no_room_for_its_task_is_answered():
    gw = gateway(max_tasks=1)
    peer = Peer(gw, MODERN, ALL)
    assert peer.call("later")["resultType"] == "task"
    assert peer.call("later")["code"] == -32603
    peer.turn()
    assert not peer.session.under_way


def test_extensions_of_the_wrong_type_are_none():
    gw = gateway()
    for extensions in (7, EXTENSION, [EXTENSION], None):
        peer = Peer(gw, MODERN, {"extensions": extensions})
        assert peer.ask("tasks/get", taskId="x")["code"] == -32021
        filter = {"taskIds": ["x"]}
        assert peer.ask("subscriptions/listen", notifications=filter)["code"] == -32021
        id = peer.begin("tools/call", name="slow")
        assert not peer.answers
        peer.notify("notifications/cancelled", requestId=id)


def test_the_clock_may_be_set_while_a_task_runs():
    gw = gateway(task_ttl_s=60)
    peer = Peer(gw, MODERN, ALL)
    id = peer.call("slow")["taskId"]
    peer.turn()
    gw.tasks().now = lambda: 4000000000
    gw.tasks().tick()
    assert peer.ask("tasks/get", taskId=id)["status"] == "working"
    gw.clock.uptime_s += 61
    gw.tasks().tick()
    assert peer.ask("tasks/get", taskId=id)["code"] == -32602
    peer.until(lambda: gw.ended == ["slow"])


def test_another_client_on_the_line_hears_nothing_of_older_tasks():
    gw = gateway()
    peer = Peer(gw, capabilities=ALL)
    id = peer.ask("tools/call", token=7, name="slow", task={})["task"]["taskId"]
    peer.until(lambda: peer.heard("notifications/progress"))
    assert "protocolVersion" in peer.ask("initialize", **INITIALIZE)
    peer.notify("notifications/initialized")
    peer.sent.clear()
    peer.turn(30)
    assert peer.ask("tasks/list") == {"tasks": []}
    assert peer.ask("tasks/cancel", taskId=id)["status"] == "cancelled"
    peer.turn()
    assert peer.sent == [] and gw.ended == ["slow"]


def test_a_cancelled_task_stays_cancelled_whatever_its_tool_does():
    gw = gateway()
    for revision in ("2025-11-25", MODERN):
        gw.ended = []
        peer = Peer(gw, revision, ALL)
        made = peer.call("gives_up", task={})
        id = made.get("task", made)["taskId"]
        peer.until(lambda: peer.ask("tasks/get", taskId=id)["status"] == "input_required")  # noqa: B023
        peer.ask("tasks/cancel", taskId=id)
        peer.until(lambda: gw.ended)
        peer.turn()
        state = peer.ask("tasks/get", taskId=id)
        assert state["status"] == "cancelled" and "inputRequests" not in state
        assert gw.ended == ["CancelledError"], gw.ended


def test_a_question_that_was_given_up_is_open_no_more():
    gw = Gateway("odd", ask_timeout_ms=100)
    late = asyncio.TimeoutError  # noqa: UP041 (MicroPython's has no other name)

    @gw.tool("", task="required", ctx=Context)
    async def asks(ctx):
        try:
            await asyncio.wait_for(ctx.elicit("who?", NAME), 0.1)
        except (late, ToolError):
            gw.gave_up = True
        while gw.gave_up:
            await sleep_ms(1)
        return (await ctx.elicit("well?", NAME))["content"]["name"]

    for revision in (MODERN, "2025-11-25"):
        gw.gave_up = False
        peer = Peer(gw, revision, ALL)
        made = peer.call("asks", task={})
        id = made.get("task", made)["taskId"]
        done = None
        if revision != MODERN:
            done = peer.begin("tasks/result", taskId=id)
        peer.until(lambda: gw.gave_up)
        state = peer.ask("tasks/get", taskId=id)
        assert state["status"] == "working" and "inputRequests" not in state, state
        peer.sent.clear()
        gw.gave_up = False
        if done:
            peer.until(lambda: peer.heard("elicitation/create"))  # noqa: B023
            peer.reply(peer.heard("elicitation/create")[0], FORM)
            assert text(peer.wait(done)) == "Ada"
            continue
        peer.until(lambda: "inputRequests" in peer.ask("tasks/get", taskId=id))  # noqa: B023
        (key,) = peer.ask("tasks/get", taskId=id)["inputRequests"]
        peer.ask("tasks/update", taskId=id, inputResponses={key: FORM})
        peer.until(lambda: peer.ask("tasks/get", taskId=id)["status"] == "completed")  # noqa: B023
        assert text(peer.ask("tasks/get", taskId=id)["result"]) == "Ada"


def test_tasks_end_with_the_gateway():
    gw = gateway()
    peer = Peer(gw, MODERN, ALL)
    id = peer.call("slow")["taskId"]
    peer.turn()
    gw.close()
    peer.until(lambda: gw.ended == ["slow"])
    assert Peer(gw, MODERN, ALL).ask("tasks/get", taskId=id)["status"] == "cancelled"


def test_a_tool_that_is_no_task_is_not_called_as_one():
    gw = gateway()
    gw.tool("", name="plain")(lambda: "done")
    gw.tool("", name="knows", ctx=Context)(lambda ctx: "done")
    for name in ("plain", "knows"):
        assert Peer(gw).call(name, task={})["code"] == -32601
        assert text(Peer(gw).call(name)) == "done"
        for revision in ("2025-06-18", MODERN):  # the first has no tasks
            assert text(Peer(gw, revision, ALL).call(name, task={})) == "done"


def test_who_asks_for_tasks_that_never_were_makes_none():
    gw = Gateway("odd")
    peer = Peer(gw, MODERN, ALL)
    peer.begin("subscriptions/listen", notifications={"taskIds": ["x"]})
    assert peer.sent[0]["params"]["notifications"] == {"taskIds": []}
    assert "extensions" not in peer.ask("server/discover")["capabilities"]
    assert peer.ask("tasks/get", taskId="x")["code"] == -32601


def test_a_task_with_one_of_two_answers_still_needs_input():
    gw = Gateway("odd")

    @gw.tool("", task="required", ctx=Context)
    async def asks(ctx):
        found = await asyncio.gather(ctx.elicit("a?", NAME), ctx.elicit("b?", NAME))
        return " ".join(row["content"]["name"] for row in found)

    def state():
        return peer.ask("tasks/get", taskId=id)["status"]

    peer = Peer(gw, "2025-11-25", ALL)
    id = peer.call("asks", task={})["task"]["taskId"]
    done = peer.begin("tasks/result", taskId=id)
    peer.until(lambda: len(peer.heard("elicitation/create")) == 2)
    first, second = peer.heard("elicitation/create")
    peer.reply(first, FORM)
    peer.turn()
    assert state() == "input_required"
    peer.reply(second, FORM)
    assert text(peer.wait(done)) == "Ada Ada" and state() == "completed"

    peer = Peer(gw, MODERN, ALL)
    id = peer.call("asks")["taskId"]
    peer.until(lambda: len(peer.ask("tasks/get", taskId=id).get("inputRequests", ())) == 2)
    for key in sorted(peer.ask("tasks/get", taskId=id)["inputRequests"]):
        assert state() == "input_required"
        peer.ask("tasks/update", taskId=id, inputResponses={key: FORM})
        peer.turn()
    assert state() == "completed"
