"""Changes that clients are told of, streams of them, and cancellation."""

from peer import MODERN, Peer

from mcp_gw import Gateway


def gateway():
    gw = Gateway("board")
    gw.resource("board://text", "a text")(plain)
    gw.resource("file:///{+path}", "a file")(plain)
    gw.prompt("")(plain)
    return gw


def plain(**named):
    return "ab"


def test_changes_are_told():
    gw = gateway()
    peer = Peer(gw)
    gw.tool("", name="later")(lambda: 1)
    gw.remove_tool("later")
    gw.prompt("", name="later")(lambda: "x")
    gw.resource("board://later", "")(lambda: "x")
    gw.remove_resource("file:///{+path}")
    assert [m["method"][14:] for m in peer.sent] == [
        "tools/list_changed",
        "tools/list_changed",
        "prompts/list_changed",
        "resources/list_changed",
        "resources/list_changed",
    ]
    peer.sent = []
    gw.resource_updated("board://text")
    assert peer.sent == []
    assert peer.ask("resources/subscribe", uri="board://text") == {}
    gw.resource_updated("board://other")
    gw.resource_updated("board://text")
    assert [m["params"] for m in peer.sent] == [{"uri": "board://text"}]

    def broken(parts):
        raise OSError(32)

    for gone in (Peer(gw), Peer(gw)):
        gone.session.out = broken
    gw.tools_changed()
    assert peer.sent.pop()["method"] == "notifications/tools/list_changed"
    assert peer.ask("resources/unsubscribe", uri="board://text") == {}
    gw.resource_updated("board://text")
    assert len(peer.sent) == 1


def test_streams_of_changes():
    gw = gateway()
    peer = Peer(gw, MODERN)
    id = peer.begin(
        "subscriptions/listen",
        notifications={
            "toolsListChanged": True,
            "promptsListChanged": False,
            "resourceSubscriptions": ["board://text"],
            "unheardOf": True,
        },
    )
    (told,) = peer.sent
    assert told["method"] == "notifications/subscriptions/acknowledged"
    assert told["params"] == {
        "_meta": {"io.modelcontextprotocol/subscriptionId": id},
        "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["board://text"]},
    }
    gw.tools_changed()
    gw.prompts_changed()
    gw.resource_updated("board://text")
    gw.resource_updated("board://other")
    assert [m["method"] for m in peer.sent[1:]] == [
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    assert all(
        m["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": id} for m in peer.sent
    )
    other = peer.begin("subscriptions/listen", notifications={"toolsListChanged": True})
    gw.tools_changed()
    assert len(peer.sent) == 6
    peer.notify("notifications/cancelled", requestId=id)
    gw.tools_changed()
    assert len(peer.sent) == 7
    gw.listening().close(peer.session)
    result = peer.wait(other)
    assert result["_meta"]["io.modelcontextprotocol/subscriptionId"] == other
    gw.tools_changed()
    assert len(peer.sent) == 7
    for filter in (None, [], {"resourceSubscriptions": "x"}, {"resourceSubscriptions": [1]}):
        assert peer.ask("subscriptions/listen", notifications=filter)["code"] == -32602
    error = peer.ask("subscriptions/listen", notifications={"taskIds": ["x"]})
    assert error["code"] == -32021 and peer.status[peer.last] == 400


def test_cancelling_stops_the_work():
    gw = Gateway("board")
    seen = []

    @gw.tool("")
    async def waits():
        from mcp_gw.compat import sleep_ms

        try:
            await sleep_ms(60000)
        finally:
            seen.append("waits")

    @gw.tool("")
    def steps():
        try:
            while True:
                yield 1
        finally:
            seen.append("steps")

    for name in ("waits", "steps"):
        for revision in ("2025-11-25", MODERN):
            peer = Peer(gw, revision)
            id = peer.begin("tools/call", name=name)
            peer.turn()
            assert peer.session.under_way
            peer.notify("notifications/cancelled", requestId=id + 1, reason="another's")
            peer.turn()
            assert seen == []
            peer.notify("notifications/cancelled", requestId=id, reason="enough")
            peer.until(lambda: seen == [name])  # noqa: B023
            peer.turn()
            assert not peer.answers and not peer.session.under_way
            seen.clear()
    id = peer.begin("tools/call", name="waits")
    peer.turn()
    gw.leave(peer.session)
    peer.until(lambda: seen == ["waits"])
    assert not peer.answers
