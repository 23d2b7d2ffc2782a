"""Queued calls as clients see them: tools, tasks, notifications; and as upstreams do: batches."""

import json
from binascii import a2b_base64

from peer import MODERN, Peer, text
from test_forward import HELLO, TOOLS, Wire, sleep_a_little

from mcp_gw import Gateway, Queueable
from mcp_gw.compat import run_until, sleep_ms, ticks_add, ticks_ms
from mcp_gw.errors import ConfigError, NoAnswer, Unavailable
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.route.upstream import Upstream

EXTENSION = "io.modelcontextprotocol/tasks"
SPEAKS_TASKS = {"extensions": {EXTENSION: {}}}
LIMIT = 1000


def board(device=None, queueable=("log",), overflow="refuse", **config):
    gw = Gateway("board", version="1", **config)
    gw.queue(device or RamNor(4), overflow)
    gw.upstream("office", queueable=queueable, expiry_s=60)
    return gw, Wire(gw)


def closing(test):
    """Decorator: the test gets a list for gateways, which are closed when it has ended."""

    def run():
        opened = []
        try:
            test(opened)
        finally:
            for gw in opened:
                gw.close()

    return run


def requests_to(wire, method, out, count=1):
    """Wait for `count` requests of the board to its upstream; their frames' payloads."""
    found = []
    for _ in range(LIMIT):
        found += [row[1] for row in out if row[0] == "u" and '"%s"' % method in row[1]]
        if len(found) >= count:
            return found
        sleep_a_little()
        out = wire.turn()
    raise AssertionError("it never asked")


def reachable(wire, tools=(), deliver=None):
    """The bridge says that the upstream is there; returns what the board sent then."""
    if deliver is not None:
        hello = dict(HELLO, deliver=deliver)
        wire.frame(b"h", json.dumps(hello).encode())
    else:
        wire.hello()
    out = wire.frame(b"s", b'{"office":true}')
    for row in list(out):
        if row[0] == "u" and "tools/list" in row[1]:
            out.remove(row)
            out += wire.answer_upstream(row[1], {"resultType": "complete", "tools": list(tools)})[
                1
            ]
    return out


def queued(peer, n=1, name="office_log"):
    """Call a tool whose upstream is away; the id."""
    result = peer.call(name, {"n": n})
    return result["_meta"]["mcp-gw/queued"]["id"]


DONE = {"content": [{"type": "text", "text": "noted"}], "resultType": "complete"}


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


def unpacked(params):
    """The calls of a mcp-gw/deliver request."""
    if "calls" in params:
        return params["calls"]
    packed = a2b_base64(params["deflate"])
    try:
        import zlib

        return json.loads(zlib.decompress(packed, -10))
    except ImportError:
        from io import BytesIO

        import deflate

        return json.loads(deflate.DeflateIO(BytesIO(packed), deflate.RAW, 10).read())


def outcome(id, **more):
    return dict({"key": id}, **more)


@closing
def test_batches(opened):
    for packed in (False, True):
        gw, wire = board(RamNor(8))
        opened.append(gw)
        gw.open(wire)
        peer = Peer(gw, MODERN)
        ids = [queued(peer, n) for n in range(8)]
        out = reachable(wire, TOOLS, {"calls": 5, "deflate": packed})
        (payload,) = requests_to(wire, "mcp-gw/deliver", out)
        request = json.loads(payload.partition(" ")[2])
        params = request["params"]
        assert ("deflate" in params) == packed
        assert 1000 < params["max_bytes"] < gw.config["max_message"]
        assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == MODERN
        calls = unpacked(params)
        assert [call["key"] for call in calls] == ids[:5]
        assert [call["params"]["arguments"] for call in calls] == [{"n": n} for n in range(5)]
        assert {call["params"]["name"] for call in calls} == {"log"}
        rows = [
            outcome(ids[0], result=DONE),
            outcome(ids[1], error={"code": -32602, "message": "no such plot"}),
            outcome(ids[3], retry_ms=100000),
            outcome(ids[4], error={"code": -32010, "message": "away"}),
            outcome("some other key", result=DONE),
        ]
        result = {"resultType": "complete", "outcomes": rows}
        _, out = wire.answer_upstream(payload, result)

        def state(id, peer=peer):
            return peer.call("queue_status", {"id": id})["structuredContent"]

        assert state(ids[0])["state"] == "done" and state(ids[0])["result"] == DONE
        assert state(ids[1])["state"] == "failed"
        assert "no such plot" in text(state(ids[1])["result"])
        # What had no room goes with the next; what is to wait waits.
        (payload,) = requests_to(wire, "mcp-gw/deliver", out)
        request = json.loads(payload.partition(" ")[2])
        assert [call["key"] for call in unpacked(request["params"])] == [ids[2]] + ids[5:]
        assert state(ids[3])["attempts"] == 1 and state(ids[3])["state"] == "queued"
        rows = [outcome(id, result=DONE) for id in ids[5:]]
        rows.append(outcome(ids[2], result=dict(DONE, resultType="input_required")))
        wire.answer_upstream(payload, {"resultType": "complete", "outcomes": rows})
        assert state(ids[7])["state"] == "done" and state(ids[2])["state"] == "failed"
        assert "asks for more input" in text(state(ids[2])["result"])
        assert gw.upstreams.forwarder.outbox.pending == 2
        gw.close()


@closing
def test_a_batch_that_is_not_taken_goes_one_by_one(opened):
    gw, wire = board(RamNor(8))
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)
    ids = [queued(peer, n) for n in range(4)]
    out = reachable(wire, TOOLS, {"calls": 3})
    (payload,) = requests_to(wire, "mcp-gw/deliver", out)
    # Nothing of it: the first is too large for such an answer.
    _, out = wire.answer_upstream(payload, {"resultType": "complete", "outcomes": []})
    (payload,) = requests_to(wire, "tools/call", out)
    assert ids[0] in payload
    _, out = wire.answer_upstream(payload, DONE)
    (payload,) = requests_to(wire, "mcp-gw/deliver", out)
    _, out = wire.answer_upstream(payload, error={"code": -32600, "message": "too long"})
    for id in ids[1:]:
        (payload,) = requests_to(wire, "tools/call", out)
        assert id in payload
        _, out = wire.answer_upstream(payload, DONE)
    # One that does not know the method is not asked again.
    wire.frame(b"s", b'{"office":false}')
    ids = [queued(peer, n) for n in range(3)]
    out = reachable(wire, TOOLS, {"calls": 3})
    (payload,) = requests_to(wire, "mcp-gw/deliver", out)
    _, out = wire.answer_upstream(payload, error={"code": -32601, "message": "unknown method"})
    for id in ids:
        (payload,) = requests_to(wire, "tools/call", out)
        assert id in payload
        _, out = wire.answer_upstream(payload, DONE)
    assert gw.upstreams.forwarder.outbox.pending == 0


@closing
def test_a_batch_that_is_lost_is_sent_again(opened):
    device = RamNor(8)
    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)
    ids = [queued(peer, n) for n in range(3)]
    requests_to(wire, "mcp-gw/deliver", reachable(wire, TOOLS, {"calls": 3}))
    # The power fails while it is on its way.
    gw.close()
    gw, wire = board(device)
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)
    status = peer.call("queue_status", {"id": ids[0]})["structuredContent"]
    assert status["state"] == "queued" and status["attempts"] == 1
    out = reachable(wire, TOOLS, {"calls": 3})
    (payload,) = requests_to(wire, "mcp-gw/deliver", out)
    request = json.loads(payload.partition(" ")[2])
    assert [call["key"] for call in unpacked(request["params"])] == ids
    # And the link while it is on its way again.
    wire.frame(b"s", b'{"office":false}')
    gw.ports[0].link._heard -= 11000
    wire.turn()
    status = peer.call("queue_status", {"id": ids[0]})["structuredContent"]
    assert status["state"] == "queued" and status["attempts"] == 2


@closing
def test_bad_answers_to_batches(opened):
    bad = (
        ([], "done"),
        ([{"key": 5}], "done"),
        (["ID"], "done"),
        ({"key": "ID", "result": DONE}, "done"),
        (None, "done"),
        ([{"key": "ID"}, {"result": DONE}], "done"),
        ([{"key": "ID", "result": [1]}], "failed"),
        ([{"key": "ID", "error": "no"}], "failed"),
        ([{"key": "ID", "retry_ms": "soon"}], "done"),
    )
    for rows, state in bad:
        gw, wire = board(max_message=8192)
        opened.append(gw)
        gw.open(wire)
        peer = Peer(gw, MODERN)
        ids = [queued(peer, n) for n in range(2)]
        out = reachable(wire, TOOLS, {"calls": 2})
        (payload,) = requests_to(wire, "mcp-gw/deliver", out)
        rows = json.loads(json.dumps(rows).replace("ID", ids[0]))
        _, out = wire.answer_upstream(payload, {"resultType": "complete", "outcomes": rows})
        outbox = gw.upstreams.forwarder.outbox
        for _ in range(LIMIT):
            # What it may not have executed is asked again, alone or with the other.
            for row in [row for row in out if row[0] == "u"]:
                request = json.loads(row[1].partition(" ")[2])
                result = DONE
                if request["method"] == "mcp-gw/deliver":
                    keys = [call["key"] for call in unpacked(request["params"])]
                    result = {"outcomes": [outcome(key, result=DONE) for key in keys]}
                _, more = wire.answer_upstream(row[1], dict(result, resultType="complete"))
                out += more
                out.remove(row)
            if not outbox.pending:
                break
            peer.call("queue_sync")
            out += wire.turn()
        states = [json.loads(outbox.status(id.encode()))["state"] for id in ids]
        assert states == [state, "done"], rows
        gw.close()


@closing
def test_where_requests_are_routed_queued_calls_are_the_same(opened):
    gw, wire = board(
        queueable=("log", Queueable("set", key="zone", policy="latest")), max_message=8192
    )
    gw.routing()
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw)
    task = peer.call("office_log", {"n": 1}, task={})["task"]
    first = queued(peer, 1, "office_set")
    modern = Peer(gw, MODERN, SPEAKS_TASKS)
    second = modern.call("office_log", {"n": 2})
    assert second["resultType"] == "task"
    set_one = modern.call("office_set", {"zone": "north", "to": 1})["taskId"]
    set_two = modern.call("office_set", {"zone": "north", "to": 2})["taskId"]
    assert modern.ask("tasks/get", taskId=set_one)["status"] == "cancelled"
    out = reachable(wire, TOOLS)
    keys = []
    for _ in range(4):
        (payload,) = requests_to(wire, "tools/call", out)
        request, out = wire.answer_upstream(payload, DONE)
        assert "task" not in request["params"]
        keys.append(request["params"]["_meta"]["mcp-gw/key"])
    assert keys == [task["taskId"], first, second["taskId"], set_two]
    # As a task it is durable first; about a thing for which others wait, too.
    third = peer.call("office_log", {"n": 3}, task={})["task"]["taskId"]
    (payload,) = requests_to(wire, "tools/call", wire.turn())
    assert third in payload
    wire.answer_upstream(payload, DONE)
    assert peer.ask("tasks/get", taskId=third)["status"] == "completed"
    places = gw.upstreams.routing.places.values()
    assert [place.requests for place in places] == [0]


@closing
def test_flash_is_erased_ahead_while_nobody_asks(opened):
    gw, wire = board()
    opened.append(gw)
    gw.open(wire)
    peer = Peer(gw, MODERN)
    for n in range(20):
        queued(peer, n)
    hub = gw.upstreams
    ring = hub.forwarder.outbox.ring
    ring.ahead = -1
    gw.heard = ticks_ms()
    hub.tick(ticks_ms(), True)
    assert ring.ahead == -1
    gw.heard = ticks_add(ticks_ms(), -3000)
    hub.tick(ticks_ms(), True)
    assert ring.ahead >= 0


class Far:
    """An upstream that is told of nothing, and does what the test says."""

    def __init__(self, upstream):
        self.asked = []
        self.fails = Unavailable("far away")
        upstream.request = self.request

    async def request(self, method, parts, *rest, **more):
        self.asked.append(method)
        if self.fails:
            raise self.fails
        return True, json.dumps(DONE).encode()


def far_board(count):
    gw = Gateway("board", max_message=8192)
    gw.queue(RamNor(6))
    upstream = Upstream("far")
    upstream.meta = lambda extra=b"", can=b"{}": b"{" + extra + b"}"
    gw.upstreams.add(upstream, ("log",), 3600)
    far = Far(upstream)
    outbox = gw.upstreams.forwarder.outbox
    for n in range(count):
        outbox.put(b"0123456789abcdef-%08d" % n, "far", "log", [b'{"name":"log"}'], 3600)
    return gw, far, outbox


def ticks(gw, seconds):
    """Let so many seconds pass for the queue."""
    forwarder = gw.upstreams.forwarder
    for _ in range(seconds):
        forwarder.outbox.times.uptime += 1
        forwarder.look(ticks_ms())
        forwarder.tick(ticks_ms())
        run_until(moment())


async def moment():
    await sleep_ms(1)


def test_an_upstream_that_is_not_there_is_left_alone():
    gw, far, outbox = far_board(60)
    ticks(gw, 100)
    # After 1 s, then 2, 4 ... 64, whichever call is tried; not once for each of them.
    assert 6 <= len(far.asked) <= 8
    far.fails = None
    ticks(gw, 64)
    assert outbox.pending < 60
    ticks(gw, 200)
    assert outbox.pending < 10
    # A call that has no answer is not taken for that: the others go on.
    gw, far, outbox = far_board(5)
    far.fails = NoAnswer("too slow")
    ticks(gw, 5)
    assert len(far.asked) == 5
    # And one who asks for it gets it at once.
    gw, far, outbox = far_board(5)
    ticks(gw, 20)
    before = len(far.asked)
    gw.upstreams.forwarder.hurry(ticks_ms())
    gw.upstreams.forwarder.tick(ticks_ms())
    run_until(moment())
    assert len(far.asked) == before + 1


def test_what_cannot_be_sent_is_not_forgotten():
    """Whatever goes wrong while a batch is put together, its calls are tried again."""
    gw, far, outbox = far_board(6)
    upstream = gw.upstreams.router.upstreams["far"]
    upstream.deliver = {"calls": 4, "deflate": True}

    def no_memory(*given):
        raise MemoryError

    meta, upstream.meta = upstream.meta, no_memory
    ticks(gw, 3)
    keys = list(outbox.keys())
    assert [json.loads(outbox.status(key))["state"] for key in keys] == ["queued"] * 6
    assert not gw.upstreams.forwarder.busy
    upstream.meta = meta
    upstream.deliver = None
    far.fails = None
    outbox.hurry(ticks_ms())
    ticks(gw, 20)
    assert outbox.pending == 0
