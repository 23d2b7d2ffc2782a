"""The header fields with which Streamable HTTP repeats parts of a message."""

import json

from mcp_gw.protocol.client import READY, SEND, Client
from mcp_gw.protocol.jsontext import member
from mcp_gw.protocol.streamable import header_value, marks_of, request_fields


def client_of(modern):
    client = Client("gw", "1")
    id, _ = client.open()
    result = {"supportedVersions": ["2026-07-28"]}
    if not modern:
        assert client.rejected("no") == SEND
        id = client.out_id
        result = {"protocolVersion": "2025-06-18"}
    wire = json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()
    assert client.receive(wire, 0, len(wire)) == READY
    return client


def fields(client, method, params, session=None, marks=None):
    return b"".join(request_fields(client, session, method, [params], marks or {})).decode()


def test_header_values():
    for text, want in (
        ("add", "add"),
        ("a b", "a b"),
        ("a/b?c=d", "a/b?c=d"),
        ("", ""),
        (" a", "=?base64?IGE=?="),
        ("a\n", "=?base64?YQo=?="),
        ("\u00e9\u20ac", "=?base64?w6nigqw=?="),
        ("a\tb", "=?base64?YQli?="),
        ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ("=?base64?", "=?base64?"),
        ("x" * 100 + "\u00e9", "=?base64?" + "eHh4" * 33 + "eMOp?="),
    ):
        assert header_value(text) == want, (text, header_value(text))


def test_fields_of_each_era():
    modern, legacy, unopened = client_of(True), client_of(False), Client("gw", "1")
    call = b'{"arguments":{"name":"no"},"name":"t\\u00e9"}'
    start = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: "
    assert (
        fields(modern, "tools/call", call) == start + "tools/call\r\nMcp-Name: =?base64?dMOp?=\r\n"
    )
    got = fields(modern, "resources/read", b'{"uri":"queue://1"}')
    assert got == start + "resources/read\r\nMcp-Name: queue://1\r\n"
    assert fields(modern, "tools/list", b"{}") == start + "tools/list\r\n"
    assert fields(modern, None, b"{}") == "MCP-Protocol-Version: 2026-07-28\r\n"
    # Nothing that could be repeated: the server says what it thinks of it.
    for params in (b"{}", b'{"name":5}', b'{"name":null}'):
        assert fields(modern, "prompts/get", params) == start + "prompts/get\r\n"
    session = "MCP-Protocol-Version: 2025-06-18\r\nMcp-Session-Id: s1\r\n"
    assert fields(legacy, "tools/call", call, "s1") == session
    assert fields(unopened, "initialize", b"{}") == ""


def test_arguments_in_headers():
    schema = {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "n": {"type": "integer", "x-mcp-header": "N"},
            "on": {"type": "boolean", "x-mcp-header": "On"},
            "plain": {"type": "string"},
            "bad": {"type": "string", "x-mcp-header": "a b"},
            "worse": {"type": "string", "x-mcp-header": 5},
            "in": {"properties": {"deep": {"type": "string", "x-mcp-header": "Deep"}}},
        },
    }
    name, marks = marks_of(json.dumps({"name": "t", "inputSchema": schema}).encode())
    assert name == "t"
    assert sorted(marks) == [
        (("in", "deep"), "Deep"),
        (("n",), "N"),
        (("on",), "On"),
        (("region",), "Region"),
    ]
    client = client_of(True)
    for arguments, want in (
        (
            {"region": "eu", "n": 42, "on": True, "plain": "x"},
            {"Region": "eu", "N": "42", "On": "true"},
        ),
        ({"in": {"deep": "\u00e9"}, "on": False}, {"Deep": "=?base64?w6k=?=", "On": "false"}),
        ({"region": None, "n": [1], "in": 5}, {}),
        ([], {}),
        (None, {}),
    ):
        params = json.dumps({"name": "t", "arguments": arguments}).encode()
        lines = fields(client, "tools/call", params, None, {"t": marks}).split("\r\n")
        got = dict(line[10:].split(": ") for line in lines if line.startswith("Mcp-Param-"))
        assert got == want, (arguments, got)
    assert "Mcp-Param" not in fields(client, "tools/call", b'{"name":"t"}', None, {"t": marks})


def test_schemas_without_marks():
    deep = {"x-mcp-header": "A"}
    for _ in range(12):
        deep = {"properties": {"p": deep}}
    for schema in (
        {},
        [],
        "x-mcp-header",
        {"properties": []},
        {"properties": {"x-mcp-header": 1}},
        deep,
    ):
        assert marks_of(json.dumps({"name": "t", "inputSchema": schema}).encode()) is None, schema
    assert marks_of(b'{"description":"x-mcp-header"}') is None


def test_member():
    assert member(b'{"a":{"b":1}, "b" : [2] }', b"b") == b"[2]"
    assert member(b'{"a":{"b":1}}', b"b") is None
    assert member(b"{}", b"b") is None
