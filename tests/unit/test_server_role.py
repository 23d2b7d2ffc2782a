"""What the server offers in each revision: lists and their pages, prompts, resources, templates,
completion, logging, content of all kinds, batches."""

import json

from peer import MODERN, Peer, text

from mcp_gw import Context, Gateway, Param, ProtocolError, content
from mcp_gw.protocol.revisions import LEGACY

PIXEL = b"\x89PNG\r\n\x1a\n"


def gateway(**config):
    gw = Gateway("board", "2", title="Board", website="https://example.org", **config)

    @gw.tool("Everything at once", title="All", annotations={"readOnlyHint": True})
    def kinds():
        return [
            content.text("hi", annotations={"priority": 1}),
            content.image(PIXEL, "image/png"),
            content.audio(b"RIFF", "audio/wav"),
            content.embedded("board://x", "inside", "text/plain"),
            content.embedded("board://y", b"\x00\x01"),
            content.link("board://z", "z", "text/plain", size=3),
            7,
        ]

    @gw.tool("Says what it does", a=Param(int), b=Param(int, default=1), ctx=Context)
    def add(ctx, a, b):
        ctx.log("info", "adding")
        ctx.log("debug", {"a": a}, "sums")
        ctx.progress(1, 2, "half")
        return {"sum": a + b}

    @gw.tool("", output_schema={"type": "object", "required": ["n"]}, meta={"x/y": 1})
    def structured():
        return {"n": 1}

    @gw.tool("", output_schema={"type": "object", "required": ["n"]})
    def broken():
        return {"m": 1}

    @gw.tool("")
    def result():
        return content.Result([1, "two"], {"n": 1}, meta=None)

    @gw.tool("")
    def refuses():
        raise ProtocolError(-32050, "not today", {"why": "rain"})

    @gw.tool("Raw", input_schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    def raw(given):
        return given

    @gw.resource("board://text", "a text", mime_type="text/plain", title="T", size=2)
    def plain():
        return "ab"

    @gw.resource("board://plot/{n}/moisture", "of a plot", n=Param(str, complete=["1", "2", "10"]))
    def moisture(n):
        return {"plot": n}

    @gw.resource("file:///{+path}", "a file")
    async def file(path):
        return path

    @gw.prompt(
        "Reviews code",
        language=Param(str, "which", complete=_languages),
        extra=Param(str, default=""),
    )
    def review(language, extra):
        return [
            content.message("user", "Review this " + language),
            content.image(PIXEL, "image/png"),
        ]

    @gw.prompt("", title="Plain")
    async def simple():
        return "just do it"

    return gw


def _languages(value, others):
    assert others == {"extra": "x"}
    return [name for name in ("python", "pascal", "c") if name.startswith(value)]


def test_every_revision_is_agreed_on():
    gw = gateway()
    for revision in LEGACY:
        peer = Peer(gw, revision)
        assert peer.hello["protocolVersion"] == revision
        assert peer.hello["serverInfo"] == {
            "name": "board",
            "version": "2",
            "title": "Board",
            "websiteUrl": "https://example.org",
        }
        assert ("completions" in peer.hello["capabilities"]) == (revision > "2024-11-05")
        assert peer.ask("ping") == {}
    assert Peer(gw, "1999-01-01").hello["protocolVersion"] == LEGACY[0]
    peer = Peer(gw, MODERN)
    found = peer.ask("server/discover")
    assert found["supportedVersions"] == [MODERN]
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "board"
    assert (found["resultType"], found["ttlMs"], found["cacheScope"]) == ("complete", 0, "private")
    for method in ("initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such"):
        assert peer.ask(method)["code"] == -32601
        assert peer.status[peer.last] == 404
    peer.meta["io.modelcontextprotocol/protocolVersion"] = "v9"
    error = peer.ask("tools/list")
    assert error["code"] == -32022
    assert error["data"] == {"requested": "v9", "supported": found["supportedVersions"]}
    assert peer.status[peer.last] == 400
    del peer.meta["io.modelcontextprotocol/protocolVersion"]
    assert peer.ask("tools/list")["code"] == -32602 and peer.status[peer.last] == 400
    peer.meta["io.modelcontextprotocol/protocolVersion"] = MODERN
    for odd in ([], {"{": 1}, None):
        peer.meta["io.modelcontextprotocol/clientCapabilities"] = odd
        peer.meta["x/y"] = {"io.modelcontextprotocol/clientCapabilities": {}, "}": "{{"}
        if odd:
            assert "tools" in peer.ask("tools/list")
            continue
        assert peer.ask("tools/list")["code"] == -32602 and peer.status[peer.last] == 400
    del peer.meta["io.modelcontextprotocol/clientCapabilities"]
    assert peer.ask("tools/list")["code"] == -32602 and peer.status[peer.last] == 400


def test_content_of_all_kinds():
    gw = gateway()
    expected = {
        "2024-11-05": ["text", "image", "text", "resource", "resource", "text", "text"],
        "2025-03-26": ["text", "image", "audio", "resource", "resource", "text", "text"],
        "2025-06-18": ["text", "image", "audio", "resource", "resource", "resource_link", "text"],
        MODERN: ["text", "image", "audio", "resource", "resource", "resource_link", "text"],
    }
    for revision, types in expected.items():
        rows = Peer(gw, revision).call("kinds")["content"]
        assert [row["type"] for row in rows] == types, revision
    assert rows[1] == {"type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png"}
    assert rows[3]["resource"] == {"uri": "board://x", "mimeType": "text/plain", "text": "inside"}
    assert rows[4]["resource"] == {"uri": "board://y", "blob": "AAE="}
    assert rows[6]["text"] == "7"


def test_structured_results():
    gw = gateway()
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        result = peer.call("structured")
        assert text(result) == '{"n":1}' or text(result) == '{"n": 1}'
        assert ("structuredContent" in result) == (revision >= "2025-06-18"), revision
        assert not result.get("isError")
    result = peer.call("broken")
    assert result["isError"] and "n" in text(result)
    result = peer.call("result")
    assert [row["text"] for row in result["content"]] == ["1", "two"]
    assert result["structuredContent"] == {"n": 1}
    error = peer.call("refuses")
    assert error == {"code": -32050, "message": "not today", "data": {"why": "rain"}}
    assert peer.call("raw", {"n": 1, "m": 2})["structuredContent"] == {"n": 1, "m": 2}
    result = peer.call("raw", {"n": "x"})
    assert result["isError"] and "n" in text(result)


def test_log_and_progress():
    gw = gateway()
    peer = Peer(gw)
    peer.call("add", {"a": 1}, token="t")
    (log,) = peer.heard("notifications/message")
    assert log["params"] == {"level": "info", "data": "adding"}
    (told,) = peer.heard("notifications/progress")
    assert told["params"] == {"progressToken": "t", "progress": 1, "total": 2, "message": "half"}
    assert peer.ask("logging/setLevel", level="debug") == {}
    peer.call("add", {"a": 1})
    assert len(peer.heard("notifications/message")) == 3
    assert peer.heard("notifications/message")[2]["params"]["logger"] == "sums"
    peer.ask("logging/setLevel", level="error")
    peer.call("add", {"a": 1})
    assert len(peer.heard("notifications/message")) == 3
    assert peer.ask("logging/setLevel", level="loud")["code"] == -32602
    quiet = Peer(gw, MODERN)
    quiet.call("add", {"a": 1})
    assert quiet.sent == []
    peer = Peer(gw, MODERN, log_level="debug")
    peer.call("add", {"a": 1})
    assert len(peer.heard("notifications/message")) == 2


def test_resources_and_templates():
    gw = gateway()
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        (row,) = peer.ask("resources/list")["resources"]
        assert (row["uri"], row["title"], row["size"]) == ("board://text", "T", 2)
        rows = peer.ask("resources/templates/list")["resourceTemplates"]
        assert [r["uriTemplate"] for r in rows] == ["board://plot/{n}/moisture", "file:///{+path}"]
        (found,) = peer.ask("resources/read", uri="board://plot/a%20b/moisture")["contents"]
        assert json.loads(found["text"]) == {"plot": "a b"}
        (found,) = peer.ask("resources/read", uri="file:///a/b%2Fc")["contents"]
        assert found["text"] == "a/b/c"
        for uri in ("board://plot//moisture", "board://plot/1/2/moisture", "board://plot/1"):
            error = peer.ask("resources/read", uri=uri)
            assert error["code"] == (-32602 if revision == MODERN else -32002), uri
            assert error["data"] == {"uri": uri}


def test_a_template_that_refuses_its_values_lets_the_next_one_try():
    gw = Gateway("templates")
    short = Param(str, "one letter", max=1)
    for uri, param in (("a://{x}", short), ("a://{y}", Param(str, max=3)), ("a://b{z}", short)):
        key = uri[-2]

        def made(uri=uri, **named):
            return [uri, named]

        gw.resource(uri, "A template", **{key: param})(made)
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        for uri, template, values in (
            ("a://1", "a://{x}", {"x": "1"}),
            ("a://123", "a://{y}", {"y": "123"}),
        ):
            (found,) = peer.ask("resources/read", uri=uri)["contents"]
            assert json.loads(found["text"]) == [template, values]
        # Nobody takes it: the first says why.
        error = peer.ask("resources/read", uri="a://1234")
        assert error["code"] == -32602 and "argument x" in error["message"]
        assert error["data"] == {"uri": "a://1234"}


def test_prompts():
    gw = gateway()
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        first, second = peer.ask("prompts/list")["prompts"]
        rows = sorted(first["arguments"], key=lambda row: row["name"])
        assert rows == [
            {"name": "extra", "required": False},
            {"name": "language", "required": True, "description": "which"},
        ]
        assert second["title"] == "Plain"
        got = peer.ask("prompts/get", name="review", arguments={"language": "c"})
        assert got["description"] == "Reviews code"
        assert got["messages"][0] == {
            "role": "user",
            "content": {"type": "text", "text": "Review this c"},
        }
        assert got["messages"][1]["content"]["type"] == "image"
        (row,) = peer.ask("prompts/get", name="simple")["messages"]
        assert row["content"]["text"] == "just do it"
        for params in (
            {"name": "no"},
            {"name": "review"},
            {"name": "review", "arguments": {"language": 1}},
        ):
            assert peer.ask("prompts/get", **params)["code"] == -32602


def test_completion():
    peer = Peer(gateway(), MODERN)

    def values(ref, name, value, **more):
        return peer.ask(
            "completion/complete", ref=ref, argument={"name": name, "value": value}, **more
        )

    plot = {"type": "ref/resource", "uri": "board://plot/{n}/moisture"}
    found = values(plot, "n", "1")["completion"]
    assert found == {"values": ["1", "10"], "total": 2, "hasMore": False}
    review = {"type": "ref/prompt", "name": "review"}
    found = values(review, "language", "p", context={"arguments": {"extra": "x"}})
    assert found["completion"]["values"] == ["python", "pascal"]
    assert values(review, "extra", "")["completion"]["values"] == []
    for ref in ({"type": "ref/prompt", "name": "no"}, {"type": "x"}, {}, plot):
        assert values(ref, "nothing", "")["code"] == -32602
    assert peer.ask("completion/complete", ref=review)["code"] == -32602


def names_of(peer, method, key):
    """All pages of a list, and how many there were."""
    names = []
    pages = 0
    more = {}
    while True:
        page = peer.ask(method, **more)
        names += [row["name"] for row in page[key]]
        pages += 1
        if "nextCursor" not in page:
            return names, pages
        more = {"cursor": page["nextCursor"]}


def test_pages_stay_right_under_change():
    gw = Gateway("board", page_size=3)

    def offer(name):
        gw.tool("", name=name)(lambda: name)

    for i in range(8):
        offer("t%d" % i)
    peer = Peer(gw, MODERN)
    assert names_of(peer, "tools/list", "tools") == (["t%d" % i for i in range(8)], 3)
    first = peer.ask("tools/list")
    gw.remove_tool("t1")
    gw.remove_tool("t2")  # the last of the page that was given out
    offer("t9")
    second = peer.ask("tools/list", cursor=first["nextCursor"])
    assert [row["name"] for row in second["tools"]] == ["t3", "t4", "t5"]
    third = peer.ask("tools/list", cursor=second["nextCursor"])
    assert [row["name"] for row in third["tools"]] == ["t6", "t7", "t9"]
    assert "nextCursor" not in third
    for cursor in ("", "x", "2-1", "0-", "0--1", 7, "0-zz", "9" * 50):
        assert peer.ask("tools/list", cursor=cursor)["code"] == -32602, cursor
    for i in (3, 4, 5, 6, 7):
        gw.remove_tool("t%d" % i)
    assert names_of(peer, "tools/list", "tools") == (["t0", "t9"], 1)
    assert names_of(peer, "prompts/list", "prompts") == ([], 1)


def test_batches_are_part_of_one_revision():
    gw = gateway()
    batch = json.dumps(
        [
            {"jsonrpc": "2.0", "id": 71, "method": "ping"},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            {
                "jsonrpc": "2.0",
                "id": 72,
                "method": "resources/read",
                "params": {"uri": "file:///x"},
            },
            {"jsonrpc": "2.0", "id": 73, "method": "nothing"},
            7,
        ]
    ).encode()
    for revision in LEGACY + (MODERN,):
        peer = Peer(gw, revision)
        assert peer.raw(batch) in (1, -5)
        if revision == "2025-03-26":
            peer.until(lambda: None in peer.answers)  # noqa: B023
            rows = peer.answers[None]
            assert len(rows) == 4
            by_id = {row.get("id"): row for row in rows}
            assert by_id[71]["result"] == {} and by_id[73]["error"]["code"] == -32601
            assert by_id[72]["result"]["contents"][0]["text"] == "x"
            assert by_id[None]["error"]["code"] == -32600
            assert peer.raw(b'[{"jsonrpc":"2.0","method":"x"}]') == 2
            assert peer.raw(b"[]") == 1 and peer.answers[None]["error"]["code"] == -32600
        else:
            assert peer.answers[None]["error"]["code"] == -32600


def test_tool_errors_name_the_argument():
    peer = Peer(gateway())
    for arguments, word in (({}, "a"), ({"a": "x"}, "a"), ({"a": 1, "c": 2}, "c")):
        result = peer.call("add", arguments)
        assert result["isError"] and "argument " + word in text(result)
