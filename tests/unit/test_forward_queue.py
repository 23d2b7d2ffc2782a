"""Queued calls as clients see them: tools, tasks, notifications."""

import json

from peer import MODERN, Peer, text
from queue_peer import (
    DONE,
    EXTENSION,
    SPEAKS_TASKS,
    board,
    closing,
    queued,
    reachable,
    requests_to,
)
from test_forward import TOOLS

from mcp_gw import Gateway, Queueable
from mcp_gw.errors import ConfigError
from mcp_gw.queue.nor_kept import RamNor


@closing
def test_a_queueable_tool_that_the_server_has_not_is_told(opened):
    """Once: it is known when the list has come, and what waits for it cannot be executed."""
    gw, wire = board(queueable=("forecast", "log_reeding"))
    opened.append(gw)
    gw.open(wire)

    def told(out):
        return [json.loads(row[1]) for row in out if row[0] == "l" and "queueable" in row[1]]

    def listed(tools):
        payload = requests_to(wire, "tools/list", wire.frame(b"c", b'"office"'))[0]
        return wire.answer_upstream(payload, {"resultType": "complete", "tools": tools})[1]

    (line,) = told(reachable(wire, TOOLS))
    assert line.startswith("office has no tool log_reeding, but it is queueable here")
    assert told(listed(TOOLS)) == []
    # It comes, and goes again.
    more = [{"name": "log_reeding", "inputSchema": {"type": "object"}}]
    assert told(listed(TOOLS + more)) == []
    assert len(told(listed(TOOLS))) == 1


@closing
def test_the_queues_tools(opened):
    gw, wire = board()
    opened.append(gw)
    gw.open(wire)
    for revision in ("2024-11-05", "2025-11-25", MODERN):
        peer = Peer(gw, revision)
        names = [tool["name"] for tool in peer.ask("tools/list")["tools"]]
        assert names == ["queue_status", "queue_sync", "queue_cancel"]
    status = peer.call("queue_status")["structuredContent"]
    assert status["pending"] == 0 and status["ids"] == [] and status["overflow"] == "refuse"
    ids = [queued(peer, n) for n in range(3)]
    status = peer.call("queue_status")["structuredContent"]
    assert status["pending"] == 3 and status["ids"] == ids
    one = peer.call("queue_status", {"id": ids[1]})["structuredContent"]
    assert one["state"] == "queued" and one["tool"] == "log"
    one = peer.call("queue_cancel", {"id": ids[1]})["structuredContent"]
    assert one["state"] == "cancelled"
    for name, arguments, told in (
        ("queue_cancel", {"id": ids[1]}, "cancelled already"),
        ("queue_cancel", {"id": "nothing"}, "nothing is known"),
        ("queue_cancel", {}, "id is missing"),
        ("queue_cancel", {"id": 3}, "must be a string"),
        ("queue_status", {"id": [1]}, "must be a string"),
        ("queue_status", {"di": "x"}, "di is not known"),
        ("queue_sync", {"id": ids[0]}, "id is not known"),
    ):
        result = peer.call(name, arguments)
        assert result["isError"] and told in text(result), (name, arguments, result)
    # On a busy machine, too, what backs off is not due before the test is there.
    gw.upstreams.forwarder.outbox.tries.FIRST_MS = 300_000
    payload = requests_to(wire, "tools/call", reachable(wire, TOOLS))[0]
    assert "it is on its way" in text(peer.call("queue_cancel", {"id": ids[0]}))
    for id in (ids[0], ids[2]):
        assert id in payload
        error = {"code": -32010, "message": "not now"}
        _, out = wire.answer_upstream(payload, error=error)
        if id == ids[0]:
            (payload,) = requests_to(wire, "tools/call", out)
    assert wire.turn() == []
    assert peer.call("queue_sync")["structuredContent"] == {"pending": 2}
    (payload,) = requests_to(wire, "tools/call", wire.turn())
    assert ids[0] in payload
    # A client that is authenticated sees its own calls, and those of nobody.
    stranger = Peer(gw, MODERN)
    stranger.session.principal = "eve"
    peer.session.principal = "adam"
    wire.frame(b"s", b'{"office":false}')
    own = queued(peer, 9)
    assert own in peer.call("queue_status")["structuredContent"]["ids"]
    assert own not in stranger.call("queue_status")["structuredContent"]["ids"]
    assert stranger.call("queue_cancel", {"id": own})["isError"]


@closing
def test_names_of_the_queues_tools_that_are_taken(opened):
    gw = Gateway("board")
    gw.queue(RamNor(4))

    @gw.tool("Its own")
    def queue_sync():
        return "mine"

    gw.upstream("queue", queueable=("status",))
    opened.append(gw)
    peer = Peer(gw)
    names = [tool["name"] for tool in peer.ask("tools/list")["tools"]]
    assert names == ["queue_sync", "queue_cancel"]
    assert text(peer.call("queue_sync")) == "mine"
    assert "queued as" in text(peer.call("queue_status"))


@closing
def test_a_queued_call_is_a_task_of_the_extension(opened):
    device = RamNor(4)
    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN, SPEAKS_TASKS)
    found = peer.ask("server/discover")["capabilities"]
    assert EXTENSION in found["extensions"]
    task = peer.call("office_log", {"n": 1})
    assert task["resultType"] == "task" and task["status"] == "working"
    assert task["pollIntervalMs"] == 1000
    id = task["taskId"]
    assert task["_meta"]["mcp-gw/queued"]["id"] == id
    got = peer.ask("tasks/get", taskId=id)
    assert got["status"] == "working" and "waits for office" in got["statusMessage"]
    assert got["ttlMs"] == (60 + gw.config["outcome_ttl_s"]) * 1000
    # A client that does not speak it, and one that is somebody else.
    plain = Peer(gw, MODERN)
    assert "mcp-gw/queued" in plain.call("office_log", {"n": 2})["_meta"]
    assert plain.ask("tasks/get", taskId=id)["code"] == -32021
    other = Peer(gw, MODERN, SPEAKS_TASKS)
    other.session.principal = "eve"
    for method in ("tasks/get", "tasks/cancel"):
        assert other.ask(method, taskId=id)["code"] == -32602
    second = peer.call("office_log", {"n": 3})["taskId"]
    assert peer.ask("tasks/update", taskId=second, inputResponses={}) == peer.ask(
        "tasks/cancel", taskId=second
    )
    got = peer.ask("tasks/get", taskId=second)
    assert got["status"] == "cancelled" and "before it was delivered" in got["statusMessage"]
    peer.ask("tasks/cancel", taskId=second)
    gw.close()

    # Only the flash is left.
    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN, SPEAKS_TASKS)
    assert peer.ask("tasks/get", taskId=id)["status"] == "working"
    peer.begin(
        "subscriptions/listen",
        notifications={"taskIds": [id, "other"], "resourceSubscriptions": ["queue://" + id]},
    )
    (acknowledged,) = peer.heard("notifications/subscriptions/acknowledged")
    assert acknowledged["params"]["notifications"]["taskIds"] == [id]
    (payload,) = requests_to(wire, "tools/call", reachable(wire, TOOLS))
    assert "on its way" in peer.ask("tasks/get", taskId=id)["statusMessage"]
    wire.answer_upstream(payload, dict(DONE, isError=True))
    got = peer.ask("tasks/get", taskId=id)
    assert got["status"] == "completed" and got["result"] == dict(DONE, isError=True)
    (told,) = peer.heard("notifications/tasks")
    assert told["params"]["taskId"] == id and told["params"]["status"] == "completed"
    assert told["params"]["result"]["content"] == DONE["content"]
    (told,) = peer.heard("notifications/resources/updated")
    assert told["params"]["uri"] == "queue://" + id


@closing
def test_a_queued_call_is_an_experimental_task(opened):
    device = RamNor(4)
    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    out = reachable(wire, TOOLS + [{"name": "log", "inputSchema": {"type": "object"}}])
    peer = Peer(gw)
    assert peer.hello["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
    tools = {tool["name"]: tool for tool in peer.ask("tools/list")["tools"]}
    assert tools["office_log"]["execution"] == {"taskSupport": "optional"}
    assert "execution" not in tools["office_forecast"]
    # Though the upstream is there: it is durable before the client has its handle.
    result = peer.call("office_log", {"n": 1}, task={"ttl": 1000})
    task = result["task"]
    id = task["taskId"]
    assert task["status"] == "working" and task["ttl"] > 60000
    told = result["_meta"]["io.modelcontextprotocol/model-immediate-response"]
    assert told.endswith("queue://" + id)
    (payload,) = requests_to(wire, "tools/call", out)
    request = json.loads(payload.partition(" ")[2])["params"]
    assert "task" not in request and request["_meta"]["mcp-gw/key"] == id
    waiting = peer.begin("tasks/result", taskId=id)
    wire.answer_upstream(payload, DONE)
    result = peer.wait(waiting)
    assert result["content"] == DONE["content"]
    assert result["_meta"]["io.modelcontextprotocol/related-task"] == {"taskId": id}
    (told,) = peer.heard("notifications/tasks/status")
    assert told["params"]["taskId"] == id and told["params"]["status"] == "completed"
    assert peer.ask("tasks/get", taskId=id)["status"] == "completed"
    assert peer.ask("tasks/cancel", taskId=id)["code"] == -32602
    # One on its way can be cancelled; what its outcome says is what is known.
    other = peer.call("office_log", {"n": 2}, task={})["task"]["taskId"]
    (payload,) = requests_to(wire, "tools/call", [])
    assert peer.ask("tasks/cancel", taskId=other)["status"] == "cancelled"
    wire.answer_upstream(payload, DONE)
    got = peer.ask("tasks/get", taskId=other)
    assert got["status"] == "cancelled" and "may have been carried out" in got["statusMessage"]
    assert peer.ask("tasks/result", taskId=other)["code"] == -32603
    wire.frame(b"s", b'{"office":false}')
    third = queued(peer, 3)
    gw.close()

    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw)
    rows = peer.ask("tasks/list")
    assert [row["taskId"] for row in rows["tasks"]] == [id, other, third]
    assert "nextCursor" not in rows
    assert peer.ask("tasks/result", taskId=id)["content"] == DONE["content"]
    # One given up waiting for does not keep the others from it.
    waiting = [peer.begin("tasks/result", taskId=third) for _ in range(2)]
    peer.notify("notifications/cancelled", requestId=waiting[0])
    peer.ask("resources/subscribe", uri="queue://" + third)
    gw.upstreams.forwarder.outbox.cancel(third.encode())
    gw.poll(wire)
    assert peer.wait(waiting[1])["code"] == -32603 and waiting[0] not in peer.answers
    (told,) = peer.heard("notifications/resources/updated")
    assert told["params"]["uri"] == "queue://" + third


@closing
def test_tasks_of_a_long_queue_come_in_pages(opened):
    gw, wire = board(RamNor(16))
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw)
    ids = [queued(peer, n) for n in range(80)]
    found = []
    cursor = {}
    pages = 0
    while True:
        page = peer.ask("tasks/list", **cursor)
        found += [row["taskId"] for row in page["tasks"]]
        pages += 1
        if "nextCursor" not in page:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert found == ids and pages == 3
    assert peer.ask("tasks/list", cursor="none such")["code"] == -32602


@closing
def test_an_expired_task_failed(opened):
    gw, wire = board()
    opened.append(gw)
    gw.open(wire)
    modern = Peer(gw, MODERN, SPEAKS_TASKS)
    legacy = Peer(gw)
    id = modern.call("office_log")["taskId"]
    outbox = gw.upstreams.forwarder.outbox
    outbox.look_at = 0
    outbox.expire(outbox.times.tick() + 1000)
    got = modern.ask("tasks/get", taskId=id)
    assert got["status"] == "failed" and "expired" in got["error"]["message"]
    assert legacy.ask("tasks/get", taskId=id)["status"] == "failed"
    assert "expired" in legacy.ask("tasks/result", taskId=id)["message"]


@closing
def test_queueables_with_a_key(opened):
    gw, wire = board(
        queueable=(
            Queueable("set", key="zone", policy="latest", priority=2, expiry_s=30),
            Queueable(
                "add",
                key=lambda given: given["zone"],
                policy="merge",
                merge=lambda old, new: {"zone": new["zone"], "n": old["n"] + new["n"]},
            ),
            Queueable("log", priority=0),
            "plain",
        )
    )
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)

    def call(tool, **arguments):
        told = peer.call("office_" + tool, arguments)["_meta"]["mcp-gw/queued"]
        return told["id"]

    def state(id):
        return peer.call("queue_status", {"id": id})["structuredContent"]

    log = call("log", text="a")
    plain = call("plain")
    first = call("set", zone="north", to=1)
    add = call("add", zone="north", n=1)
    second = call("set", zone="south", to=2)
    third = call("set", zone="north", to=3)
    more = call("add", zone="north", n=41)
    assert state(first)["state"] == "superseded" and state(add)["state"] == "merged"
    assert state(third)["expires_at"] - state(third)["queued_at"] == 30
    assert state(plain)["expires_at"] - state(plain)["queued_at"] == 60
    out = reachable(wire, TOOLS)
    order = []
    for _ in range(5):
        (payload,) = requests_to(wire, "tools/call", out)
        request, out = wire.answer_upstream(payload, DONE)
        params = request["params"]
        order.append((params["_meta"]["mcp-gw/key"], params["name"], params["arguments"]))
    assert order == [
        (second, "set", {"zone": "south", "to": 2}),
        (third, "set", {"zone": "north", "to": 3}),
        (plain, "plain", {}),
        (more, "add", {"zone": "north", "n": 42}),
        (log, "log", {"text": "a"}),
    ]
    # While one waits, others about the same thing wait behind it though the upstream is there.
    wire.frame(b"s", b'{"office":false}')
    first = call("set", zone="north", to=4)
    out = reachable(wire, TOOLS)
    (payload,) = requests_to(wire, "tools/call", out)
    second = call("set", zone="north", to=5)
    assert state(first)["state"] == "sending" and state(second)["state"] == "queued"
    other = peer.begin("tools/call", name="office_set", arguments={"zone": "south", "to": 6})
    (direct,) = requests_to(wire, "tools/call", wire.turn())
    assert '"south"' in direct
    wire.answer_upstream(direct, DONE)
    assert peer.wait(other)["content"] == DONE["content"]
    _, out = wire.answer_upstream(payload, DONE)
    (payload,) = requests_to(wire, "tools/call", out)
    assert second in payload


@closing
def test_a_merge_that_fails_leaves_both(opened):
    def broken(old, new):
        raise KeyError("n")

    gw, wire = board(
        queueable=(
            Queueable("add", key="zone", policy="merge", merge=broken),
            Queueable("odd", key="zone", policy="merge", merge=lambda old, new: {1j}),
            Queueable("not", key="zone", policy="merge", merge=lambda old, new: None),
        )
    )
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)
    for name in ("add", "odd", "not"):
        for _ in range(2):
            assert "queued as" in text(peer.call("office_" + name, {"zone": "north"}))
    assert peer.call("queue_status")["structuredContent"]["pending"] == 6
    # Without the argument there is no thing to be about.
    assert "queued as" in text(peer.call("office_add", {}))


def test_queueables_that_make_no_sense():
    for options, told in (
        ({"priority": 3}, "priority is"),
        ({"policy": "last", "key": "x"}, "policy is"),
        ({"policy": "latest"}, "needs a key"),
        ({"policy": "merge", "key": "x"}, "merge="),
        ({"key": "x", "merge": max}, "merge="),
        ({"expiry_s": 0}, "expiry_s"),
    ):
        try:
            Queueable("set", **options)
        except ConfigError as e:
            assert told in str(e) and "queueable set" in str(e)
        else:
            raise AssertionError("took %r" % options)
    try:
        Gateway("board").queue(RamNor(4), "forget")
    except ConfigError as e:
        assert "refuse or drop" in str(e)
    else:
        raise AssertionError("took it")
