import json

from mcp_gw.errors import ToolError
from mcp_gw.gateway import Gateway
from mcp_gw.registry import Param


def make():
    gw = Gateway("greenhouse", version="1.0")

    @gw.tool("Soil moisture of one plot, percent", plot=Param(int, "plot number", min=0, max=7))
    def moisture(plot):
        return 10 * plot

    @gw.tool("Greet", name=Param(str, "who"))
    def greet(name):
        return "hello " + name

    @gw.tool("Status")
    def state():
        return {"ok": True, "list": [1, 2]}

    @gw.tool("Fails")
    def fails():
        raise ToolError("the pump is dry")

    @gw.tool("Has no JSON form")
    def strange():
        return [float("nan")]

    @gw.tool("Counts", n=Param(int, default=3))
    def count(n):
        for i in range(n):
            yield i, n
        return "counted %d" % n

    @gw.tool("Waits")
    async def waits():
        from mcp_gw.compat import sleep_ms

        await sleep_ms(1)
        return "waited"

    @gw.resource("board://status", "State")
    def status():
        return {"uptime_s": 1}

    @gw.resource("board://blob")
    def blob():
        return b"\x00\xff"

    return gw


def ask(gw, method, params=None, id=1):
    message = {"jsonrpc": "2.0", "id": id, "method": method}
    if params is not None:
        message["params"] = params
    answer = json.loads(gw.process(json.dumps(message).encode()))
    assert answer["jsonrpc"] == "2.0" and answer["id"] == id
    return answer


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(gw, tool_, **arguments):
    return ask(gw, "tools/call", {"name": tool_, "arguments": arguments})["result"]


def text(result):
    return result["content"][0]["text"]


def test_initialize():
    gw = make()
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}}
    result = ask(gw, "initialize", asked)["result"]
    assert result["protocolVersion"] == "2025-11-25"
    assert result["serverInfo"] == {"name": "greenhouse", "version": "1.0"}
    asked["protocolVersion"] = "1999-01-01"
    assert ask(gw, "initialize", asked)["result"]["protocolVersion"] == "2025-11-25"
    assert ask(gw, "initialize", {})["error"]["code"] == -32602


def test_discover():
    gw = make()
    result = ask(gw, "server/discover", {"_meta": META})["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["resultType"] == "complete" and result["ttlMs"] == 0
    stamp = result["_meta"]["io.modelcontextprotocol/serverInfo"]
    assert stamp == {"name": "greenhouse", "version": "1.0"}
    wrong = dict(META)
    wrong["io.modelcontextprotocol/protocolVersion"] = "2031-01-01"
    error = ask(gw, "server/discover", {"_meta": wrong})["error"]
    assert error["code"] == -32022 and error["data"]["requested"] == "2031-01-01"
    assert "2026-07-28" in error["data"]["supported"]
    del wrong["io.modelcontextprotocol/clientCapabilities"]
    wrong["io.modelcontextprotocol/protocolVersion"] = "2026-07-28"
    assert ask(gw, "tools/list", {"_meta": wrong})["error"]["code"] == -32602
    assert ask(gw, "ping", {"_meta": META})["error"]["code"] == -32601


def test_lists():
    gw = make()
    tools = {t["name"]: t for t in ask(gw, "tools/list")["result"]["tools"]}
    assert set(tools) == {"moisture", "greet", "state", "fails", "strange", "count", "waits"}
    assert tools["moisture"]["inputSchema"] == {
        "type": "object",
        "properties": {
            "plot": {"type": "integer", "description": "plot number", "minimum": 0, "maximum": 7}
        },
        "required": ["plot"],
        "additionalProperties": False,
    }
    assert ask(gw, "tools/list", {"cursor": "x"})["error"]["code"] == -32602
    result = ask(gw, "resources/list", {"_meta": META})["result"]
    assert {r["uri"] for r in result["resources"]} == {"board://status", "board://blob"}
    assert result["cacheScope"] == "private"
    assert ask(gw, "resources/templates/list")["result"]["resourceTemplates"] == []


def test_calls():
    gw = make()
    assert text(call(gw, "moisture", plot=3)) == "30"
    assert text(call(gw, "moisture", plot=3.0)) == "30"
    assert text(call(gw, "greet", name="Zo\u00eb \U0001f600")) == "hello Zo\u00eb \U0001f600"
    result = call(gw, "state")
    assert result["structuredContent"] == {"ok": True, "list": [1, 2]}
    assert json.loads(text(result)) == {"ok": True, "list": [1, 2]}
    assert text(call(gw, "waits")) == "waited"
    assert text(call(gw, "count", n=4)) == "counted 4"
    result = call(gw, "fails")
    assert result["isError"] and text(result) == "the pump is dry"
    assert call(gw, "strange")["isError"]
    modern = ask(gw, "tools/call", {"name": "moisture", "arguments": {"plot": 1}, "_meta": META})
    assert modern["result"]["resultType"] == "complete"


def test_bad_arguments_are_tool_errors_that_name_them():
    gw = make()
    for given, told in (
        ({}, "argument plot is missing"),
        ({"plot": "3"}, "argument plot must be of type integer, not string"),
        ({"plot": True}, "argument plot must be of type integer, not boolean"),
        ({"plot": 2.5}, "argument plot must be of type integer, not number"),
        ({"plot": 8}, "argument plot is above its maximum 7 but is 8"),
        ({"plot": 1, "x": 2}, "argument x is not known to this tool"),
    ):
        result = call(gw, "moisture", **given)
        assert result["isError"] and text(result) == told, text(result)
    assert ask(gw, "tools/call", {"name": "nothing"})["error"]["code"] == -32602
    assert ask(gw, "tools/call", {"name": 5})["error"]["code"] == -32602
    assert ask(gw, "tools/call", {"name": "greet", "arguments": []})["error"]["code"] == -32602


def test_resources():
    gw = make()
    contents = ask(gw, "resources/read", {"uri": "board://status"})["result"]["contents"]
    assert contents[0]["mimeType"] == "application/json"
    assert json.loads(contents[0]["text"]) == {"uptime_s": 1}
    contents = ask(gw, "resources/read", {"uri": "board://blob"})["result"]["contents"]
    assert contents[0]["blob"] == "AP8="
    error = ask(gw, "resources/read", {"uri": "board://x"})["error"]
    assert error["code"] == -32002
    error = ask(gw, "resources/read", {"uri": "board://x", "_meta": META})["error"]
    assert error["code"] == -32602


def test_malformed_messages_are_answered():
    gw = make()
    for message, code, id in (
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"', -32700, 1),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":"\xff"}}', -32700, "a"),
        (
            b'{"jsonrpc":"2.0","id":7,"method":"ping","params":'
            + b'{"a":' * 40
            + b"1"
            + b"}" * 41,
            -32600,
            7,
        ),
        (b'{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}', -32600, 7),
        (b'[{"jsonrpc":"2.0","id":7,"method":"ping"}]', -32600, None),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', -32600, 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"no/such"}', -32601, 7),
    ):
        answer = json.loads(gw.process(message))
        assert answer["error"]["code"] == code, (message, answer)
        assert answer.get("id") == id, (message, answer)
    assert gw.process(b'{"jsonrpc":"2.0","method":"notifications/initialized"}') == b""
    assert gw.process(b'{"jsonrpc":"2.0","id":5,"result":{}}') == b""


def test_before_a_handshake():
    from mcp_gw.protocol.session import Session

    gw = make()
    session = Session()
    message = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    answer = json.loads(b"".join(gw.server.receive(session, message, 0, len(message))))
    assert answer["error"]["code"] == -32602 and "initialize" in answer["error"]["message"]
    message = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    answer = json.loads(b"".join(gw.server.receive(session, message, 0, len(message))))
    assert answer["result"] == {}
