"""What a modern request repeats in its head, against its body."""

from mcp_gw.errors import ProtocolError
from mcp_gw.protocol.framing import NOTIFICATION, REQUEST, new_spans, scan
from mcp_gw.protocol.header_check import HeaderCheck, decoded

SCHEMA = (
    b'{"name":"t","inputSchema":{"type":"object","properties":{'
    b'"s":{"type":"string","x-mcp-header":"Text"},"n":{"type":"integer","x-mcp-header":"Count"},'
    b'"y":{"type":"boolean","x-mcp-header":"Yes"},"o":{"type":"object","properties":{'
    b'"deep":{"type":"string","x-mcp-header":"Deep"}}}}}}'
)


class Tool:
    def __init__(self, descriptor):
        self.descriptor = descriptor


def told(body, kind=REQUEST, tools=None, **fields):
    """The error code of a body (bytes) with header fields, None if they agree."""
    headers = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    check = HeaderCheck(headers, tools or {"t": Tool(SCHEMA)})
    spans = new_spans()
    body = bytearray(body)
    assert scan(body, 0, len(body), spans, 32) > 0, body
    answers = set()
    for _ in range(2):  # the second time it may know better where to look
        try:
            check.check(kind, body, spans)
            answers.add(None)
        except ProtocolError as e:
            assert e.status == 400
            answers.add(e.code)
    assert len(answers) == 1
    return answers.pop()


STANDARD = {"mcp_protocol_version": b"2026-07-28", "mcp_method": b"tools/call", "mcp_name": b"t"}


def call(arguments="{}", name='"t"', method='"tools/call"', version='"2026-07-28"', key="name"):
    text = (
        '{"jsonrpc":"2.0","id":1,"method":%s,"params":{"%s":%s,"arguments":%s,"_meta":'
        '{"io.modelcontextprotocol/protocolVersion":%s}}}'
    )
    return (text % (method, key, name, arguments, version)).encode()


def test_standard_headers():
    assert told(call(), **STANDARD) is None
    for name in STANDARD:
        for value in (None, b"", b"T", b"t ools", b"2026-07-2", b"t\x80", b"t\x01", b"tt"):
            fields = dict(STANDARD)
            fields.pop(name)
            if value is not None:
                fields[name] = value
            assert told(call(), **fields) == -32020, (name, value)
    for body in (
        call(name='"T"'),
        call(name='"tt"'),
        call(name='""'),
        call(name="1"),
        call(method='"tools/list"'),
        call(method='"tools/cal"'),
        call(version='"2026-07-29"'),
        call(version="7"),
        call(key="uri"),
    ):
        assert told(body, **STANDARD) == -32020, body
    assert told(call(name='"\\u0074"', method='"tools\\/call"'), **STANDARD) is None


def test_which_member_names_the_request():
    for method, key, named in (
        ("tools/call", "name", True),
        ("prompts/get", "name", True),
        ("resources/read", "uri", True),
        ("tasks/get", "taskId", True),
        ("tasks/update", "taskId", True),
        ("tasks/cancel", "taskId", True),
        ("tools/list", "name", False),
        ("completion/complete", "name", False),
    ):
        body = call(method='"%s"' % method, key=key, name='"t"')
        fields = dict(STANDARD, mcp_method=method.encode())
        assert told(body, **fields) is None
        assert told(body, **dict(fields, mcp_name=b"u")) == (-32020 if named else None)
        fields.pop("mcp_name")
        assert told(body, **fields) == (-32020 if named else None)


def test_what_names_the_request_is_said_once():
    # Readers differ in which of two they take: the one we compare must be the one that is used.
    text = (
        '{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{%s,"_meta":'
        '{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}'
    )
    fields = dict(STANDARD, mcp_method=b"resources/read", mcp_name=b"a://b")
    assert told((text % '"uri":"a://b"').encode(), **fields) is None
    assert told((text % '"ur\\u0069":"a://b"').encode(), **fields) is None
    assert told((text % '"ur\\u0069":"c://d"').encode(), **fields) == -32020
    for rows in (
        '"uri":"a://b","uri":"c://d"',
        '"uri":"c://d","uri":"a://b"',
        '"uri":"a://b","ur\\u0069":"c://d"',
        '"ur\\u0069":"c://d","uri":"a://b"',
    ):
        assert told((text % rows).encode(), **fields) == -32602, rows


def test_parameters_in_headers():
    good = (
        ("{}", {}),
        ('{"s":null}', {}),
        ('{"s":"x y"}', {"mcp_param_text": b"x y"}),
        ('{"s":" x"}', {"mcp_param_text": b"=?base64?IHg=?="}),
        ('{"s":"\\u00fc"}', {"mcp_param_text": b"=?base64?w7w=?="}),
        ('{"s":"=?base64?eA=="}', {"mcp_param_text": b"=?base64?eA=="}),
        ('{"s":""}', {"mcp_param_text": b""}),
        ('{"n":42}', {"mcp_param_count": b"42"}),
        ('{"n":42}', {"mcp_param_count": b"42.0"}),
        ('{"n":-7}', {"mcp_param_count": b"-7"}),
        ('{"y":true}', {"mcp_param_yes": b"true"}),
        ('{"y":false}', {"mcp_param_yes": b"false"}),
        ('{"o":{"deep":"d"}}', {"mcp_param_deep": b"d"}),
        ('{"o":{"deep":"d","s":"x"}}', {"mcp_param_deep": b"d"}),
    )
    for arguments, fields in good:
        assert told(call(arguments), **dict(STANDARD, **fields)) is None, arguments
        for name in fields:
            assert told(call(arguments), **STANDARD) == -32020, (arguments, name)
    for arguments, fields in (
        ("{}", {"mcp_param_text": b"x"}),
        ('{"s":"x"}', {"mcp_param_text": b"X"}),
        ('{"s":"Hello"}', {"mcp_param_text": b"=?base64?SGVsbG8?="}),
        ('{"s":"Hello"}', {"mcp_param_text": b"=?base64?SGVs!!!bG8=?="}),
        ('{"s":"Hello"}', {"mcp_param_text": b"=?base64?SGVsbG8= ?="}),
        ('{"s":"\\u00fc"}', {"mcp_param_text": b"\xc3\xbc"}),
        ('{"s":"\\u00fc"}', {"mcp_param_text": b"=?base64?/A==?="}),
        ('{"n":42}', {"mcp_param_count": b"43"}),
        ('{"n":42}', {"mcp_param_count": b"forty-two"}),
        ('{"y":true}', {"mcp_param_yes": b"True"}),
        ('{"y":true}', {"mcp_param_yes": b"1"}),
        ('{"o":{"deep":"d"}}', {"mcp_param_deep": b"e"}),
    ):
        assert told(call(arguments), **dict(STANDARD, **fields)) == -32020, (arguments, fields)


def test_a_tool_that_changes_is_looked_at_again():
    tools = {"t": Tool(b'{"name":"t"}')}
    headers = {name.replace("_", "-").encode(): value for name, value in STANDARD.items()}
    check = HeaderCheck(headers, tools)
    spans = new_spans()
    body = bytearray(call('{"s":"x"}'))
    scan(body, 0, len(body), spans, 32)
    check.check(REQUEST, body, spans)
    tools["t"] = Tool(SCHEMA)
    try:
        check.check(REQUEST, body, spans)
    except ProtocolError as e:
        assert e.code == -32020
    else:
        raise AssertionError("the new tool wants a header")


def test_notifications_need_no_more_than_a_known_version():
    note = b'{"jsonrpc":"2.0","method":"notifications/x"}'
    assert told(note, NOTIFICATION, mcp_protocol_version=b"2026-07-28") is None
    assert told(note, NOTIFICATION, mcp_protocol_version=b"2099-01-01") == -32022


def test_decoding():
    for raw, value in (
        (None, None),
        (b"", ""),
        (b"plain", "plain"),
        (b"a\tb", "a\tb"),
        (b"=?base64?SGVsbG8=?=", "Hello"),
        (b"=?base64??=", ""),
        (b"=?BASE64?SGVsbG8=?=", "=?BASE64?SGVsbG8=?="),
        (b"=?base64?SGVsbG8=", "=?base64?SGVsbG8="),
        (b"SGVsbG8=?=", "SGVsbG8=?="),
        (b"=?base64?SGVsbG8?=", None),
        (b"=?base64?S?=", None),
        (b"=?base64?/w==?=", None),
        (b"\x7f", None),
    ):
        assert decoded(raw) == value, raw
