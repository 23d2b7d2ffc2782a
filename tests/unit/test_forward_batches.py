"""Queued calls as upstreams see them: batches, upstreams that are away."""

import json
from binascii import a2b_base64

from peer import MODERN, Peer, text
from queue_peer import (
    DONE,
    LIMIT,
    SPEAKS_TASKS,
    board,
    closing,
    queued,
    reachable,
    requests_to,
)
from test_forward import TOOLS

from mcp_gw import Gateway, Queueable
from mcp_gw.compat import run_until, sleep_ms, ticks_add, ticks_ms
from mcp_gw.errors import NoAnswer, Unavailable
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.route.upstream import Upstream


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
