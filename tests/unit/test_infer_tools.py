"""The tools that a gateway offers by itself once it has models or streams."""

import json
from binascii import b2a_base64

from peer import MODERN, Peer
from small_models import dense

from mcp_gw import Context, Gateway
from mcp_gw.errors import ConfigError
from mcp_gw.infer.stream import Stream

ROWS = [[64, -64, 0], [0, 64, 64], [-64, 0, 0]]
BIAS = [0, 128, -64]
LABELS = ("left", "middle", "right")
SAME = [[64, 0], [0, 64]]


def tools(peer):
    return {tool["name"]: tool for tool in peer.ask("tools/list")["tools"]}


def test_classify():
    gw = Gateway("x")
    peer = Peer(gw)
    assert "classify" not in tools(peer) and gw.models is None
    peer.sent.clear()
    model = gw.model("turn", dense(ROWS, BIAS, LABELS))
    assert model.name == "turn" and not model.loaded
    assert [m["method"] for m in peer.sent] == ["notifications/tools/list_changed"]
    schema = tools(peer)["classify"]["inputSchema"]
    assert schema["properties"]["model"]["enum"] == ["turn"] and "required" not in schema
    assert "analyze" not in tools(peer)
    found = peer.call("classify", {"input": [2.0, 0.5, 4.0]})
    assert not found.get("isError")
    top = [
        {"label": "middle", "score": 5.5},
        {"label": "left", "score": 1.5},
        {"label": "right", "score": -2.5},
    ]
    row = {"model": "turn", "label": "middle", "score": 5.5, "top": top}
    assert found["structuredContent"] == row
    raw = b2a_base64(bytes([7, 4, 11])).decode().strip()
    found = peer.call("classify", {"model": "turn", "data": raw, "top": 1})
    assert found["structuredContent"]["top"] == top[:1]
    assert gw.models.memory_stats()["models"]["turn"]["runs"] == 2


def test_what_classify_refuses():
    gw = Gateway("x")
    peer = Peer(gw)
    gw.model("turn", dense(ROWS, BIAS, LABELS))
    for arguments, told in (
        ({}, "give either input or data"),
        ({"input": [1, 2, 3], "data": "AAAA"}, "give either input or data"),
        ({"input": [1, 2]}, "turn: 2 values in, not 3 (1 x 3)"),
        ({"input": [1, 2, "3"]}, "str where a whole number belongs"),
        ({"input": [[1, 2, [3, "4"]]]}, "str where a number belongs"),
        ({"input": []}, "turn: 0 values in, not 3"),
        ({"input": [1, 2, 1000]}, "input value 2: 1000 is not within"),
        ({"input": [[1, [2]], [3, 4]]}, "4 values in"),
        ({"input": [0] * 5000}, "above its maximum 4096"),
        ({"data": "AAAAAAAA"}, "turn: input of 6 bytes, not 3"),
        ({"data": "A"}, "base64"),
        ({"model": "other", "input": [1, 2, 3]}, "must be one of"),
    ):
        found = peer.call("classify", arguments)
        assert found["isError"] and told in found["content"][0]["text"], found
    assert not peer.call("classify", {"input": [1, 2, 3]}).get("isError")


def test_several_models():
    gw = Gateway("x")
    peer = Peer(gw)
    gw.model("turn", dense(ROWS, BIAS, LABELS))
    gw.model("side", dense(SAME, [0, 0], ("a", "b")))
    gw.model("same", dense(SAME, [0, 0]))
    listed = tools(peer)
    schema = listed["classify"]["inputSchema"]
    assert schema["properties"]["model"]["enum"] == ["side", "turn"]
    assert schema["required"] == ["model"]
    assert "stream" not in listed["analyze"]["inputSchema"]["properties"]
    found = peer.call("classify", {"model": "side", "input": [1.0, 2.0]})
    assert found["structuredContent"]["label"] == "b"
    for call, told in (
        (lambda: gw.model("turn", dense(ROWS, BIAS)), "there already"),
        (lambda: gw.model("a b", dense(ROWS, BIAS)), "name 'a b'"),
        (lambda: gw.model("x", b"nonsense"), "x: not a model"),
        (lambda: gw.model("x", "/no/such.mgm"), "x: /no/such.mgm cannot be read: "),
    ):
        try:
            call()
        except ConfigError as e:
            assert told in str(e), str(e)
        else:
            raise AssertionError(told)
    damaged = bytearray(dense(ROWS, BIAS))
    damaged[-1] ^= 1
    try:
        gw.model("x", damaged)
    except ConfigError as e:
        assert "checksum" in str(e)
    else:
        raise AssertionError("damaged")
    gw.model("x", damaged, verify=False)


def test_tools_of_ones_own_stay():
    gw = Gateway("x")
    peer = Peer(gw)

    @gw.tool("mine")
    def classify():
        return "mine"

    gw.model("turn", dense(ROWS, BIAS, LABELS))
    gw.model("side", dense(SAME, [0, 0], ("a", "b")))
    assert peer.call("classify")["content"][0]["text"] == "mine"


def test_a_tool_that_was_taken_away_stays_away():
    gw = Gateway("x")
    peer = Peer(gw)
    gw.model("turn", dense(ROWS, BIAS, LABELS))
    gw.remove_tool("classify")
    gw.model("side", dense(SAME, [0, 0], ("a", "b")))
    assert "classify" not in tools(peer)


def test_ram_is_lent_within_the_setting():
    gw = Gateway("x", model_ram=256)
    peer = Peer(gw)
    rows = [[1] * 130, [2] * 130]
    gw.model("a", dense(rows, [0, 0], ("x", "y")))
    gw.model("b", dense(rows, [0, 0], ("x", "y")))
    for name in ("a", "b", "a"):
        found = peer.call("classify", {"model": name, "input": [4] * 130})
        assert found["structuredContent"]["label"] == "y"
    stats = gw.models.memory_stats()
    assert stats["used"] == 144 and stats["evicted"] == 2
    try:
        gw.model("c", dense([[1] * 300], [0]))
    except ConfigError as e:
        assert "takes 312 bytes of RAM" in str(e), str(e)
    else:
        raise AssertionError


def test_analyze_values():
    gw = Gateway("x")
    peer = Peer(gw)
    Stream(gw, "pump", window=4, typecode="f")
    found = peer.call("analyze", {"values": [2, 4, 4, 4, 5, 5, 7, [9]]})
    row = found["structuredContent"]
    assert row["count"] == 8 and row["mean"] == 5 and row["std"] == 2
    assert row["min"] == 2 and row["max"] == 9 and row["anomaly"] == row["outlier"]
    for arguments, told in (
        ({}, "give either values or stream"),
        ({"values": [1], "stream": "pump"}, "give either values or stream"),
        ({"values": []}, "there are no values"),
        ({"values": [[]]}, "there are no values"),
        ({"values": ["x"]}, "str where a number belongs"),
        ({"stream": "pump"}, "there are no values yet"),
        ({"stream": "fan"}, "must be one of"),
    ):
        found = peer.call("analyze", arguments)
        assert found["isError"] and told in found["content"][0]["text"], found


def test_analyze_a_stream():
    gw = Gateway("x")
    peer = Peer(gw)
    stream = Stream(gw, "pump", window=4, score=lambda values: max(values) - min(values), high=9)
    stream.feed([1, 2, 3, 4])
    stream.look()
    stream.feed(20)
    row = peer.call("analyze", {"stream": "pump"})["structuredContent"]
    assert row["stream"] == "pump" and row["count"] == 4 and row["max"] == 20
    assert row["anomaly"] == 3 and row["latest"]["look"] == 1 and row["latest"]["alert"] is False


def test_analyze_with_a_model():
    gw = Gateway("x")
    peer = Peer(gw)
    gw.model("same", dense(SAME, [0, 128]))
    found = peer.call("analyze", {"values": [1.0, 2.0], "model": "same"})
    assert found["structuredContent"]["anomaly"] == 0.5
    found = peer.call("analyze", {"values": [1.0], "model": "same"})
    assert found["isError"] and "1 values in, not 2" in found["content"][0]["text"]


def test_sampling_is_done_here_where_the_client_cannot():
    gw = Gateway("x")
    seen = []

    @gw.tool("Writes", ctx=Context)
    async def write(ctx):
        answer = await ctx.sample("Once", max_tokens=5)
        return "%s: %s" % (answer["model"], answer["content"]["text"])

    @gw.tool("Asks two things", ctx=Context)
    async def both(ctx):
        found = await ctx.ask(a=Context.sampling("A"), b=Context.sampling("B", temperature=1))
        return [found["a"]["content"]["text"], found["b"]["role"]]

    for revision in ("2025-11-25", MODERN):
        plain = Peer(gw, revision)
        if revision == MODERN:
            assert plain.call("write")["data"]["requiredCapabilities"] == {"sampling": {}}
        else:
            assert "does not support sampling" in plain.call("write")["content"][0]["text"]

    async def sampler(params):
        seen.append(params)
        return " upon a time"

    gw.dispatch.sampler = sampler
    for revision in ("2025-11-25", MODERN):
        plain = Peer(gw, revision)
        assert plain.call("write")["content"][0]["text"] == "local:  upon a time"
        assert seen[-1]["messages"][0]["content"]["text"] == "Once" and seen[-1]["maxTokens"] == 5
        assert plain.call("both")["content"][0]["text"] == '[" upon a time","assistant"]'
        assert seen[-1]["temperature"] == 1
    # A client that can is asked.
    able = Peer(gw, capabilities={"sampling": {}})
    id = able.begin("tools/call", name="write", arguments={})
    able.until(lambda: able.sent)
    able.reply(
        able.sent[0],
        {"role": "assistant", "model": "big", "content": {"type": "text", "text": "theirs"}},
    )
    assert able.wait(id)["content"][0]["text"] == "big: theirs"


def test_plain_calls():
    """POST /v1/mcp/completions reaches them too."""
    from test_endpoints import Asked

    gw = Gateway("x")
    gw.model("turn", dense(ROWS, BIAS, LABELS))
    body = json.dumps({"tool": "classify", "arguments": {"input": [2.0, 0.5, 4.0]}}).encode()
    asked = Asked(gw, "POST", "/v1/mcp/completions", "", body)
    peer = Peer(gw)
    peer.until(lambda: asked.status is not None)
    assert asked.status == 200 and asked.row["structuredContent"]["label"] == "middle"
