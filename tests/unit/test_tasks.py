"""Calls that become tasks: the form of 2025-11-25 and the extension of 2026-07-28."""

from peer import MODERN, Peer, text

from mcp_gw import Context, Gateway, Param, ProtocolError, ToolError
from mcp_gw.clock import iso_time
from mcp_gw.compat import sleep_ms

EXTENSION = "io.modelcontextprotocol/tasks"
ALL = {"extensions": {EXTENSION: {}}, "elicitation": {}}
FORM = {"action": "accept", "content": {"name": "Ada"}}


def gateway(**config):
    gw = Gateway("board", **config)
    gw.seen = []

    @gw.tool("", task="optional", ms=Param(int, default=20))
    async def slow(ms):
        try:
            await sleep_ms(ms)
        finally:
            gw.seen.append(ms)
        return {"slept": ms}

    @gw.tool("", task="required")
    def plain():
        return "done"

    @gw.tool("", task="required")
    async def fails():
        raise ToolError("no")

    @gw.tool("", task="required")
    async def breaks():
        raise ProtocolError(-32050, "broken")

    @gw.tool("", task="required", ctx=Context)
    async def asks(ctx):
        first = await ctx.elicit("one", {"name": Param(str)})
        ctx.progress(1)
        more = await ctx.ask(a=Context.elicitation("a", {}), b=Context.elicitation("b", {}))
        return [first["content"]["name"], more["a"]["action"], more["b"]["action"]]

    @gw.tool("", task="later", ctx=Context)
    async def begins(ctx):
        name = (await ctx.elicit("name", {"name": Param(str)}))["content"]["name"]
        await ctx.start_task()
        await sleep_ms(10)
        return "for " + name

    @gw.tool("")
    def never():
        return "at once"

    return gw


def finished(peer, id):
    """The task's last state."""
    while True:
        state = peer.ask("tasks/get", taskId=id)
        if state["status"] in ("completed", "failed", "cancelled"):
            return state
        assert state["status"] == "working", state
        peer.turn()


def test_the_extension():
    gw = gateway()
    peer = Peer(gw, MODERN, ALL)
    found = peer.ask("server/discover")["capabilities"]
    assert found["extensions"] == {EXTENSION: {}} and "tasks" not in found
    made = peer.call("slow", task={"ttl": 1})
    assert made["resultType"] == "task" and made["status"] == "working"
    assert made["ttlMs"] > 0 and made["pollIntervalMs"] > 0
    assert len(made["createdAt"]) == 20 and made["createdAt"] <= made["lastUpdatedAt"]
    assert not {"result", "error", "inputRequests", "requestState", "task"} & set(made)
    state = finished(peer, made["taskId"])
    assert state["resultType"] == "complete" and state["status"] == "completed"
    assert state["result"]["structuredContent"] == {"slept": 20}
    assert peer.ask("tasks/get", taskId=made["taskId"]) == state
    assert peer.call("never")["resultType"] == "complete"
    assert text(finished(peer, peer.call("plain")["taskId"])["result"]) == "done"
    state = finished(peer, peer.call("fails")["taskId"])
    assert state["status"] == "completed" and state["result"]["isError"]
    state = finished(peer, peer.call("breaks")["taskId"])
    assert state["status"] == "failed" and state["error"] == {"code": -32050, "message": "broken"}
    for method in ("tasks/get", "tasks/cancel", "tasks/update"):
        error = peer.ask(method, taskId="no", inputResponses={})
        assert error["code"] == -32602
    for method in ("tasks/list", "tasks/result"):
        assert peer.ask(method, taskId=made["taskId"])["code"] == -32601
        assert peer.status[peer.last] == 404
    made = peer.call("slow", {"ms": 60000})
    peer.turn()
    assert set(peer.ask("tasks/cancel", taskId=made["taskId"])) == {"resultType", "_meta"}
    assert finished(peer, made["taskId"])["status"] == "cancelled"
    peer.until(lambda: gw.seen[-1] == 60000)
    assert "code" not in peer.ask("tasks/cancel", taskId=made["taskId"])
    assert peer.call("slow", {"ms": "x"})["resultType"] == "task"


def test_a_client_without_the_extension():
    peer = Peer(gateway(), MODERN, {"elicitation": {}})
    assert peer.call("slow")["structuredContent"] == {"slept": 20}
    for method, params in (
        ("tools/call", {"name": "plain"}),
        ("tasks/get", {"taskId": "x"}),
        ("tasks/update", {"taskId": "x"}),
        ("tasks/cancel", {"taskId": "x"}),
    ):
        error = peer.ask(method, **params)
        assert error["code"] == -32021 and peer.status[peer.last] == 400
        assert error["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    first = peer.call("begins")
    more = {"inputResponses": {"input_1": FORM}, "requestState": first["requestState"]}
    assert peer.call("begins", **more)["code"] == -32021


def test_questions_within_a_task():
    gw = gateway()
    peer = Peer(gw, MODERN, ALL)
    id = peer.call("asks")["taskId"]
    listen = peer.begin("subscriptions/listen", notifications={"taskIds": [id, "other"]})
    assert peer.sent[0]["params"]["notifications"] == {"taskIds": [id]}

    def state():
        return peer.ask("tasks/get", taskId=id)

    peer.until(lambda: state()["status"] == "input_required")
    assert list(state()["inputRequests"]) == ["input_1"]
    ack = peer.ask("tasks/update", taskId=id, inputResponses={"x": {"y": 1}, "input_1": {"no": 1}})
    assert ack["resultType"] == "complete"
    assert list(state()["inputRequests"]) == ["input_1"]
    peer.ask("tasks/update", taskId=id, inputResponses={"input_1": FORM})
    peer.until(lambda: "a" in state().get("inputRequests", {}))
    peer.ask("tasks/update", taskId=id, inputResponses={"b": {"action": "cancel"}})
    assert list(state()["inputRequests"]) == ["a"] and state()["status"] == "input_required"
    peer.ask("tasks/update", taskId=id, inputResponses={"a": {"action": "decline"}})
    done = finished(peer, id)
    assert text(done["result"]) in ('["Ada","decline","cancel"]', '["Ada", "decline", "cancel"]')
    told = peer.heard("notifications/tasks")
    assert [m["params"]["status"] for m in told] == [
        "input_required",
        "working",
        "input_required",
        "working",
        "completed",
    ]
    assert told[-1]["params"]["result"] == done["result"]
    assert told[0]["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": listen}
    assert not peer.heard("notifications/progress")


def test_a_call_that_asks_and_then_becomes_a_task():
    peer = Peer(gateway(), MODERN, ALL)
    first = peer.call("begins")
    assert first["resultType"] == "input_required"
    more = {"inputResponses": {"input_1": FORM}, "requestState": first["requestState"]}
    made = peer.call("begins", **more)
    assert made["resultType"] == "task"
    assert text(finished(peer, made["taskId"])["result"]) == "for Ada"
    legacy = Peer(gateway(), capabilities={"elicitation": {}})
    id = legacy.begin("tools/call", name="begins")
    legacy.until(lambda: legacy.sent)
    legacy.reply(legacy.sent[0], FORM)
    assert text(legacy.wait(id)) == "for Ada"


def test_the_experimental_form():
    gw = gateway()
    peer = Peer(gw, capabilities={"elicitation": {}})
    assert peer.hello["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
    rows = {row["name"]: row for row in peer.ask("tools/list")["tools"]}
    assert rows["slow"]["execution"] == {"taskSupport": "optional"}
    assert "execution" not in rows["never"]
    assert peer.call("slow")["structuredContent"] == {"slept": 20}
    assert peer.call("plain")["code"] == -32601
    made = peer.call("slow", task={"ttl": 60000})["task"]
    assert made["status"] == "working" and made["ttl"] == 60000 and made["pollInterval"] > 0
    id = made["taskId"]
    result = peer.ask("tasks/result", taskId=id)
    assert result["structuredContent"] == {"slept": 20}
    assert result["_meta"] == {"io.modelcontextprotocol/related-task": {"taskId": id}}
    assert peer.ask("tasks/result", taskId=id) == result
    assert peer.ask("tasks/get", taskId=id)["status"] == "completed"
    assert [row["taskId"] for row in peer.ask("tasks/list")["tasks"]] == [id]
    assert Peer(gw).ask("tasks/list") == {"tasks": []}
    assert peer.ask("tasks/cancel", taskId=id)["code"] == -32602
    other = peer.call("slow", {"ms": 60000}, task={})["task"]["taskId"]
    waiting = peer.begin("tasks/result", taskId=other)
    peer.turn()
    assert peer.ask("tasks/cancel", taskId=other)["status"] == "cancelled"
    assert "cancelled" in peer.wait(waiting)["message"]
    error = peer.ask("tasks/result", taskId=peer.call("breaks", task={})["task"]["taskId"])
    assert error["code"] == -32050
    told = [m["params"]["status"] for m in peer.heard("notifications/tasks/status")]
    assert told == ["completed", "cancelled", "failed"]
    assert peer.ask("tasks/update", taskId=id)["code"] == -32601
    old = Peer(gw, "2025-06-18")
    assert "tasks" not in old.hello["capabilities"]
    assert old.ask("tasks/get", taskId=id)["code"] == -32601
    assert text(old.call("plain", task={})) == "done"

    asked = peer.call("asks", task={})["task"]["taskId"]
    peer.until(lambda: peer.ask("tasks/get", taskId=asked)["status"] == "input_required")
    assert not peer.heard("elicitation/create")
    waiting = peer.begin("tasks/result", taskId=asked)
    for count in (1, 3):
        peer.until(lambda: len(peer.heard("elicitation/create")) == count)  # noqa: B023
        for question in peer.heard("elicitation/create")[-(count - count // 3) :]:
            assert question["params"]["_meta"]["io.modelcontextprotocol/related-task"] == {
                "taskId": asked
            }
            peer.reply(question, FORM)
    assert "Ada" in text(peer.wait(waiting))


def test_tasks_are_bounded_and_end():
    gw = gateway(max_tasks=2, task_ttl_s=5)
    peer = Peer(gw, MODERN, ALL)
    first = peer.call("slow", {"ms": 60000})["taskId"]
    second = peer.call("slow", {"ms": 60000})["taskId"]
    peer.turn()
    assert peer.call("slow")["code"] == -32603
    peer.ask("tasks/cancel", taskId=first)
    third = peer.call("plain")["taskId"]
    assert peer.ask("tasks/get", taskId=first)["code"] == -32602
    stranger = Peer(gw, MODERN, ALL)
    stranger.session.principal = "eve"
    assert stranger.ask("tasks/get", taskId=third)["code"] == -32602
    gw.clock.uptime_s += 6
    gw.tasks().tick()
    assert peer.ask("tasks/get", taskId=second)["code"] == -32602
    peer.until(lambda: gw.seen.count(60000) == 2)


def test_times():
    for seconds, shown in (
        (0, "1970-01-01T00:00:00Z"),
        (951782399, "2000-02-28T23:59:59Z"),
        (951782400, "2000-02-29T00:00:00Z"),
        (1795219200, "2026-11-21T00:00:00Z"),
        (4107542399, "2100-02-28T23:59:59Z"),
        (4107542400, "2100-03-01T00:00:00Z"),
    ):
        assert iso_time(seconds) == shown
