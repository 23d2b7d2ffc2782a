"""Questions to the client in the middle of a call, in both eras."""

import json

from peer import MODERN, Peer, text

from mcp_gw import Context, Gateway, Param
from mcp_gw.asking import Seal
from mcp_gw.content import message

ALL = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}}
FORM = {"action": "accept", "content": {"name": "Ada"}}
SAMPLE = {"role": "assistant", "content": {"type": "text", "text": "42"}, "model": "m"}
ROOTS = {"roots": [{"uri": "file:///a"}]}


def gateway(**config):
    gw = Gateway("board", **config)
    gw.runs = []

    @gw.tool("", ctx=Context, greeting=Param(str, default="Hello"))
    async def greet(ctx, greeting):
        gw.runs.append(greeting)
        answer = await ctx.elicit("Who are you?", {"name": Param(str, "your name", min=1)})
        if answer["action"] != "accept":
            return "nobody"
        return "%s %s" % (greeting, answer["content"]["name"])

    @gw.tool("", ctx=Context)
    async def two_rounds(ctx):
        first = await ctx.sample([message("user", "6 x 7"), "please"], max_tokens=5)
        second = await ctx.roots()
        return [first["content"]["text"], second[0]["uri"], ctx.capabilities == ALL]

    @gw.tool("", ctx=Context)
    async def at_once(ctx):
        ctx.state = {"n": (ctx.state or {"n": 0})["n"] + 1}
        found = await ctx.ask(
            who=Context.elicitation("Who?", {"type": "object", "properties": {}}),
            what=Context.sampling("What?"),
        )
        return {"n": ctx.state["n"], "who": found["who"], "what": found["what"]["role"]}

    @gw.tool("", ctx=Context)
    async def page(ctx):
        return (await ctx.elicit_url("Pay", "https://example.org/pay", "p1"))["action"]

    @gw.prompt("", ctx=Context, topic=Param(str, default=""))
    async def asks(ctx, topic):
        return topic + (await ctx.elicit("Which?", {"name": Param(str)}))["content"]["name"]

    @gw.resource("board://asks", "", ctx=Context)
    async def read(ctx):
        return (await ctx.roots())[0]["uri"]

    return gw


def test_a_legacy_client_is_asked_while_the_tool_waits():
    gw = gateway()
    peer = Peer(gw, capabilities=ALL)
    id = peer.begin("tools/call", name="greet", arguments={})
    peer.until(lambda: peer.sent)
    (asked,) = peer.sent
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Who are you?"
    assert asked["params"]["requestedSchema"] == {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "your name", "minLength": 1}},
        "required": ["name"],
    }
    assert peer.ask("ping") == {}  # others are served meanwhile
    peer.reply(asked, FORM)
    assert text(peer.wait(id)) == "Hello Ada" and gw.runs == ["Hello"]
    peer.sent.clear()
    id = peer.begin("tools/call", name="two_rounds")
    peer.until(lambda: peer.sent)
    assert peer.sent[0]["method"] == "sampling/createMessage"
    assert peer.sent[0]["params"]["maxTokens"] == 5
    assert [m["role"] for m in peer.sent[0]["params"]["messages"]] == ["user", "user"]
    peer.reply(peer.sent[0], SAMPLE)
    peer.until(lambda: len(peer.sent) == 2)
    peer.reply(peer.sent[1], ROOTS)
    assert json.loads(text(peer.wait(id))) == ["42", "file:///a", True]
    peer.sent.clear()
    id = peer.begin("tools/call", name="page")
    peer.until(lambda: peer.sent)
    assert peer.sent[0]["params"]["elicitationId"] == "p1"
    peer.reply(peer.sent[0], {"action": "decline"})
    assert text(peer.wait(id)) == "decline"


def test_a_legacy_client_may_refuse_or_stay_silent():
    gw = gateway(ask_timeout_ms=200)
    peer = Peer(gw, capabilities=ALL)
    for answer in ({"error": {"code": -1, "message": "no way"}}, {"result": {"action": "maybe"}}):
        id = peer.begin("tools/call", name="greet")
        peer.until(lambda: peer.sent)
        peer.reply(peer.sent.pop(), **answer)
        result = peer.wait(id)
        assert result["isError"]
        assert ("no way" if "error" in answer else "elicitation/create") in text(result)
    result = peer.call("greet")
    assert result["isError"] and "in time" in text(result)
    asked, told = peer.sent
    assert told["method"] == "notifications/cancelled"
    assert told["params"]["requestId"] == asked["id"]
    peer.reply(asked, FORM)  # too late: nothing happens
    assert not peer.session.asked
    id = peer.begin("tools/call", name="greet")
    peer.until(lambda: len(peer.sent) == 3)
    peer.notify("notifications/cancelled", requestId=id)
    peer.until(lambda: not peer.session.asked)
    assert id not in peer.answers
    bare = Peer(gw)
    result = bare.call("greet")
    assert result["isError"] and "does not support elicitation" in text(result)
    id = peer.begin("tools/call", name="greet")
    peer.until(lambda: peer.session.asked)
    gw.leave(peer.session)
    peer.until(lambda: not peer.session.asked)


def again(peer, name, result, **answers):
    """The same call with answers."""
    return peer.call(name, inputResponses=answers, requestState=result["requestState"])


def test_a_modern_client_comes_back_with_answers():
    gw = gateway()
    peer = Peer(gw, MODERN, ALL)
    result = peer.call("greet")
    assert result["resultType"] == "input_required" and not peer.sent
    (key,) = result["inputRequests"]
    assert result["inputRequests"][key]["method"] == "elicitation/create"
    assert again(peer, "greet", result, **{key: FORM})["content"][0]["text"] == "Hello Ada"
    assert gw.runs == ["Hello", "Hello"]
    # Not what was asked for: asked again.
    for answers in ({}, {"other": FORM}, {key: {"action": "maybe"}}, {key: {}}):
        more = again(peer, "greet", result, **answers)
        assert list(more["inputRequests"]) == [key]
    for answers in ({key: 12345}, [], 7):
        error = peer.call("greet", inputResponses=answers)
        assert error["code"] == -32602
    # Without a state, when there is nothing to remember.
    assert text(peer.call("greet", inputResponses={key: FORM, "more": {}})) == "Hello Ada"

    first = peer.call("two_rounds")
    assert list(first["inputRequests"]) == ["input_1"]
    second = again(peer, "two_rounds", first, input_1=SAMPLE)
    assert list(second["inputRequests"]) == ["input_2"]
    assert second["inputRequests"]["input_2"]["method"] == "roots/list"
    assert second["requestState"] != first["requestState"]
    done = again(peer, "two_rounds", second, input_2=ROOTS)
    assert json.loads(text(done)) == ["42", "file:///a", True]

    result = peer.call("at_once")
    assert sorted(result["inputRequests"]) == ["what", "who"]
    part = again(peer, "at_once", result, what=SAMPLE)
    assert list(part["inputRequests"]) == ["who"]
    done = again(peer, "at_once", part, who={"action": "cancel"})
    assert json.loads(text(done)) == {"n": 3, "who": {"action": "cancel"}, "what": "assistant"}


def test_prompts_and_resources_ask_too():
    peer = Peer(gateway(), MODERN, ALL)
    first = peer.ask("prompts/get", name="asks", arguments={"topic": "x"})
    more = {"inputResponses": {"input_1": FORM}, "requestState": first["requestState"]}
    got = peer.ask("prompts/get", name="asks", arguments={"topic": "x"}, **more)
    assert got["messages"][0]["content"]["text"] == "xAda"
    assert peer.ask("prompts/get", name="asks", arguments={"topic": "y"}, **more)["code"] == -32602
    first = peer.ask("resources/read", uri="board://asks")
    more = {"inputResponses": {"input_1": ROOTS}, "requestState": first["requestState"]}
    got = peer.ask("resources/read", uri="board://asks", **more)
    assert got["contents"][0]["text"] == "file:///a"


def test_only_what_the_client_can_do_is_asked():
    gw = gateway()
    for capabilities, name, lacks in (
        ({}, "greet", {"elicitation": {}}),
        ({"elicitation": {}}, "two_rounds", {"sampling": {}}),
        ({"elicitation": {"form": {}}}, "page", {"elicitation": {"url": {}}}),
        ({"elicitation": {"url": {}}}, "greet", {"elicitation": {"form": {}}}),
    ):
        peer = Peer(gw, MODERN, capabilities)
        error = peer.call(name)
        assert error["code"] == -32021 and error["data"] == {"requiredCapabilities": lacks}
        assert peer.status[peer.last] == 400
    assert "inputRequests" in Peer(gw, MODERN, {"elicitation": {}}).call("greet")


def test_a_state_is_good_for_one_request_of_one_client():
    gw = gateway(ask_ttl_s=5)
    peer = Peer(gw, MODERN, ALL)
    result = peer.call("two_rounds")
    state = result["requestState"]
    answers = {"input_1": SAMPLE}
    for bad in (state + "x", state[:-4] + "AAAA", "A" * 60, "", "é", state[1:], 7):
        error = peer.call("two_rounds", inputResponses=answers, requestState=bad)
        assert error["code"] == -32602, bad
    assert peer.call("greet", requestState=state)["code"] == -32602
    assert peer.call("two_rounds", {"x": 1}, requestState=state)["code"] == -32602
    other = Peer(gw, MODERN, ALL)
    other.session.principal = "eve"
    assert other.call("two_rounds", requestState=state)["code"] == -32602
    gw.clock.uptime_s += 6
    error = peer.call("two_rounds", inputResponses=answers, requestState=state)
    assert error["code"] == -32602 and "expired" in error["message"]


def test_a_seal_of_another_key_does_not_open():
    from mcp_gw.protocol.revisions import BY_NAME
    from mcp_gw.protocol.session import Request, Session

    request = Request(1, Session(), BY_NAME[MODERN], b"1")
    request.name = "x"
    state = Seal(b"one", 10).close(request, b"{}", 0, {"a": {}}, [1])
    assert Seal(b"one", 10).open(state, request, b"{}", 10) == ({"a": {}}, [1])
    for key, arguments, now in ((b"two", b"{}", 0), (b"one", b"{ }", 0), (b"one", b"{}", 11)):
        try:
            Seal(key, 10).open(state, request, arguments, now)
        except Exception as e:
            assert type(e).__name__ == "ProtocolError"
        else:
            raise AssertionError("opened")


def test_a_function_sees_the_meta_of_its_request_in_both_eras():
    gw = gateway()

    @gw.tool("", ctx=Context)
    async def seen(ctx):
        return sorted(ctx.meta)

    for revision in ("2025-11-25", MODERN):
        peer = Peer(gw, revision)
        assert json.loads(text(peer.call("seen"))) == sorted(peer.meta or {})
        names = json.loads(text(peer.call("seen", token="a")))
        assert names == sorted(list(peer.meta or ()) + ["progressToken"])
    peer = Peer(gw)
    peer.raw(b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"seen","_meta":7}}')
    assert text(peer.wait(9)) == "[]"
