"""What tools may return and clients may send beside the usual."""

import json

from peer import MODERN, Peer, text

from mcp_gw import Context, Gateway, Param, content
from mcp_gw.compat import sleep_ms
from mcp_gw.errors import ConfigError
from mcp_gw.offers import _decoded
from mcp_gw.protocol.revisions import LEGACY

RELATED = "io.modelcontextprotocol/related-task"
SERVER = "io.modelcontextprotocol/serverInfo"
NAN = float("nan")


def test_a_result_carries_its_meta():
    gw = Gateway("odd")
    gw.tool("", name="full", task="optional")(lambda: content.Result("x", meta={"x/y": 1}))
    gw.tool("", name="none")(lambda: content.Result("x", meta={}))
    gw.tool("", name="bad")(lambda: content.Result("x", meta=[1]))
    gw.tool("", name="nan")(lambda: content.Result("x", meta={"x/y": NAN}))
    for revision in LEGACY:
        peer = Peer(gw, revision)
        assert peer.call("full")["_meta"] == {"x/y": 1}
        assert "_meta" not in peer.call("none")
    id = Peer(gw).call("full", task={})["task"]["taskId"]
    assert Peer(gw).ask("tasks/result", taskId=id)["_meta"] == {"x/y": 1, RELATED: {"taskId": id}}
    peer = Peer(gw, MODERN)
    meta = peer.call("full")["_meta"]
    assert meta["x/y"] == 1 and meta[SERVER]["name"] == "odd"
    for name in ("bad", "nan"):
        result = peer.call(name)
        assert result["isError"] and "_meta" in text(result)


def test_blocks_that_have_no_json_form_are_refused_where_they_are_made():
    for make in (
        lambda: content.text("x", annotations={"priority": NAN}),
        lambda: content.image(b"x", "image/png", meta={"x/y": NAN}),
        lambda: content.link("a:b", "b", size=NAN),
    ):
        try:
            make()
        except ValueError as e:
            assert "JSON" in str(e)
        else:
            raise AssertionError


def test_questions_and_states_that_have_no_json_form_are_not_sent():
    gw = Gateway("odd")

    @gw.tool("", ctx=Context)
    async def hot(ctx):
        return await ctx.sample("x", temperature=NAN)

    @gw.tool("", ctx=Context)
    async def keeps(ctx):
        ctx.state = NAN
        return await ctx.sample("x")

    for revision in ("2025-11-25", MODERN):
        peer = Peer(gw, revision, {"sampling": {}})
        result = peer.call("hot")
        assert result["isError"] and "JSON" in text(result) and not peer.sent
    gw.log = lambda text: None
    assert peer.call("keeps")["code"] == -32603


def test_answers_mean_nothing_to_revisions_that_have_none():
    gw = Gateway("odd")
    gw.tool("", name="plain", ctx=Context)(lambda ctx: "done")
    stray = {"requestState": 5, "inputResponses": 7}
    assert text(Peer(gw).call("plain", **stray)) == "done"
    assert Peer(gw, MODERN).call("plain", **stray)["code"] == -32602


def test_output_schemas_that_older_clients_cannot_read_are_not_shown_to_them():
    gw = Gateway("odd")
    gw.tool("", name="rows", output_schema={"type": "array"})(lambda: [1])
    gw.tool("", name="row", output_schema={"type": "object"})(lambda: {"a": 1})
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        shown = {row["name"]: "outputSchema" in row for row in peer.ask("tools/list")["tools"]}
        assert shown == {"rows": revision == MODERN, "row": True}
        assert ("structuredContent" in peer.call("rows")) == (revision == MODERN)


def test_a_log_level_that_is_none_is_refused():
    gw = Gateway("odd")
    gw.tool("", name="plain")(lambda: "done")
    for level in ("loud", 3, ["info"], {"x": "info"}):
        peer = Peer(gw, MODERN, log_level=level)
        assert peer.call("plain")["code"] == -32602
    peer.meta["io.modelcontextprotocol/logLevel"] = "info"
    assert text(peer.call("plain")) == "done"


def test_completion_of_what_has_no_name():
    peer = Peer(Gateway("odd"))
    for ref in ({"type": "ref/prompt", "name": []}, {"type": "ref/resource", "uri": {}}):
        error = peer.ask("completion/complete", ref=ref, argument={"name": "x", "value": ""})
        assert error["code"] == -32602


def test_what_is_not_percent_encoded_stays_as_it_is():
    for given, plain in (
        ("a%1", "a%1"),
        ("%+f", "%+f"),
        ("% 1", "% 1"),
        ("%-1%", "%-1%"),
        ("%zz%41%c3%A9", "%zzA\u00e9"),
        ("%e4", "%e4"),
    ):
        assert _decoded(given) == plain, given


def test_parameters_that_no_uri_can_fill_are_refused():
    gw = Gateway("odd")
    for uri, declared in (
        ("a:{n}", {"n": Param(int)}),
        ("a:{n}", {"m": Param(str)}),
        ("a:{n}/{n}", {}),
        ("a:b", {"n": Param(str, default="")}),
    ):
        try:
            gw.resource(uri, "", name="odd", **declared)(len)
        except ConfigError as e:
            assert "a:" in str(e)
        else:
            raise AssertionError(uri)


def test_an_answer_that_is_too_long_is_no_request():
    gw = Gateway("odd")
    peer = Peer(gw)
    got = []
    id = peer.session.ask(lambda ok, raw: got.append((ok, json.loads(raw)["message"])))
    long = b'{"jsonrpc":"2.0","id":%d,"result":{"x":"%s' % (id, b"a" * 100)
    gw.dispatch.oversized(peer, long, 0, len(long))
    assert len(got) == 1 and not got[0][0] and "longer" in got[0][1]
    assert not peer.answers and not peer.session.asked


def test_a_default_is_new_for_every_call():
    gw = Gateway("odd")
    deep = Param(dict, properties={"b": Param(list, default=[])}, default={"b": []})

    @gw.tool("", a=Param(list, default=[[1]]), deep=deep)
    def grows(a, deep):
        a[0].append(2)
        deep["b"].append(3)
        return {"a": a, "b": deep["b"]}

    for given in ({}, {}, {"deep": {}}, {"deep": {}}):
        result = Peer(gw).call("grows", given)["structuredContent"]
        assert result == {"a": [[1, 2]], "b": [3]}, result


def test_a_result_is_held_against_the_schema_of_the_tool_that_was_called():
    gw = Gateway("odd")
    schema = {"type": "object", "required": ["old"]}

    @gw.tool("", output_schema=schema)
    async def changes():
        gw.remove_tool("changes")
        await sleep_ms(1)
        schema = {"type": "object", "required": ["new"]}
        gw.tool("", name="changes", output_schema=schema)(lambda: {"new": 1})
        return {"old": 1}

    peer = Peer(gw)
    for name in ("old", "new"):
        assert peer.call("changes")["structuredContent"] == {name: 1}
