"""The envelope scanner: what it accepts, refuses and finds. Where the firmware has the C module it
is run beside the Python twin on every text, and both must say the same."""

from array import array

from mcp_gw.protocol import framing as f
from mcp_gw.protocol import scan as twin

try:
    import _mcpscan as native
except ImportError:
    native = None

MODULES = (twin,) if native is None else (twin, native)


def run(text, max_depth=16):
    """(result, spans) of a text (bytes), the same from every scanner and kind of buffer."""
    answers = []
    for module in MODULES:
        for buf in (text, bytearray(text), memoryview(text)):
            spans = array("i", [99] * f.SPANS_LEN)
            answers.append((module.scan(buf, 0, len(text), spans, max_depth), list(spans)))
        # The same text in the middle of other text: everything is shifted, nothing else changes.
        spans = array("i", [99] * f.SPANS_LEN)
        result = module.scan(b'{"a"' + text + b'"]}', 4, 4 + len(text), spans, max_depth)
        shifted = [n - 4 if n >= 0 and i != f.ESCAPES else n for i, n in enumerate(spans)]
        answers.append((result, shifted))
    for answer in answers:
        assert answer == answers[0], (text, answers)
    return answers[0]


def fields(text, max_depth=16):
    """(result, {field: its text})."""
    result, spans = run(text, max_depth)
    found = {}
    for i in range(12):
        if spans[2 * i] >= 0:
            found[i] = text[spans[2 * i] : spans[2 * i + 1]]
        else:
            assert spans[2 * i + 1] == -1
    return result, found


def expect(text, result, at=-1, max_depth=16):
    got, spans = run(text, max_depth)
    assert (got, spans[f.ERROR_AT]) == (result, at), (text, got, spans[f.ERROR_AT])


VALID = (
    b"0", b"-0", b"1", b"-1", b"10", b"0.5", b"-0.0", b"1e5", b"1E+2", b"1e-2", b"0e0", b"1.5E10",
    b"123456789012345678901234567890", b"1" * 400, b"true", b"false", b"null", b'""', b'"a"',
    b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\u0000\\uFFff"', b'"\\ud83d\\ude00"', b'"\\ud83d"',
    b'"\\ude00x"', b'"\x7f"', b'"\xc2\x80\xdf\xbf"',
    b'"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"', b'"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"',
    b"[]", b"{}", b"[ ]", b"{ }", b"[1,2]", b"[[],[]]", b'{"a":1,"a":2}', b'{"":""}',
    b' [ 1 , { "b" : [ ] } ] ', b"\t\r\n 1\n", b'"/"', b'"]}"',
)  # fmt: skip

# (value, code, offset of the error in it)
INVALID = (
    (b"", -1, 0), (b"01", -1, 1), (b"-01", -1, 2), (b"00", -1, 1), (b"-", -1, 1), (b"+1", -1, 0),
    (b"1.", -1, 2), (b".5", -1, 0), (b"1.e5", -1, 2), (b"1e", -1, 2), (b"1e+", -1, 3),
    (b"1e5.", -1, 3), (b"1.5.5", -1, 3), (b"0x1", -1, 1), (b"1_0", -1, 1), (b"1a", -1, 1),
    (b"- 1", -1, 1), (b"--1", -1, 1), (b"NaN", -1, 0), (b"nan", -1, 1), (b"Infinity", -1, 0),
    (b"-Infinity", -1, 1), (b"True", -1, 0), (b"tru", -1, 3), (b"truth", -1, 3), (b"trues", -1, 4),
    (b"falsy", -1, 4), (b"nul", -1, 3), (b"nullx", -1, 4), (b"undefined", -1, 0), (b"'a'", -1, 0),
    (b"a", -1, 0), (b"\x00", -1, 0), (b'"\x00"', -1, 1), (b'"\x1f"', -1, 1), (b'"a\nb"', -1, 2),
    (b'"\t"', -1, 1), (b'"\\x"', -1, 2), (b'"\\a"', -1, 2), (b'"\\\x00"', -1, 2),
    (b'"\\\x80"', -1, 2), (b'"\\\n"', -1, 2), (b'"\\U0041"', -1, 2), (b'"\\u"', -1, 3),
    (b'"\\u123"', -1, 6), (b'"\\u12g4"', -1, 5), (b'"\\u+123"', -1, 3), (b'"\\u 123"', -1, 3),
    (b'"\\u00\xff0"', -1, 5), (b'"a"b', -1, 3), (b'"a""b"', -1, 3), (b"1 2", -1, 2),
    (b"[1", -1, 2), (b"[1,]", -1, 3), (b"[,1]", -1, 1), (b"[1 2]", -1, 3), (b"[1}", -1, 2),
    (b"[,]", -1, 1), (b"[1,,2]", -1, 3), (b"]", -1, 0), (b"{]", -1, 1), (b'{"a"}', -1, 4),
    (b'{"a":}', -1, 5), (b'{"a":1,}', -1, 7), (b"{,}", -1, 1), (b'{"a" 1}', -1, 5),
    (b'{"a"::1}', -1, 5), (b"{a:1}", -1, 1), (b"{1:1}", -1, 1), (b'{"a":1 "b":2}', -1, 7),
    (b'{"a":1]', -1, 6), (b'{"a":1;}', -1, 6), (b"/**/1", -1, 0), (b"1//", -1, 1),
    (b"\xef\xbb\xbf1", -1, 0), (b"\xc2\xa01", -1, 0), (b"\x0c1", -1, 0), (b"\x0b1", -1, 0),
    (b"\xff", -1, 0), (b'"\x80"', -2, 1), (b'"\xbf"', -2, 1), (b'"\xc0\xaf"', -2, 1),
    (b'"\xc1\xbf"', -2, 1), (b'"a\xc2"', -2, 2), (b'"\xc2\xc2\x80"', -2, 1),
    (b'"\xe0\x9f\xbf"', -2, 1), (b'"\xe2\x82"', -2, 1), (b'"\xe2\x28\xa1"', -2, 1),
    (b'"\xed\xa0\x80"', -2, 1), (b'"\xed\xbf\xbf"', -2, 1), (b'"\xf0\x8f\xbf\xbf"', -2, 1),
    (b'"\xf0\x90\x80"', -2, 1), (b'"\xf0\x90\x80\xc0"', -2, 1), (b'"\xf4\x90\x80\x80"', -2, 1),
    (b'"\xf5\x80\x80\x80"', -2, 1), (b'"\xfe"', -2, 1), (b'"\xff"', -2, 1),
    (b'"ok\xc3\xa9\xa9"', -2, 5), (b'{"\xff":1}', -2, 2),
)  # fmt: skip

HEAD = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"x":'
TAIL = b"}}"


def test_valid_values():
    for value in VALID:
        expect(HEAD + value + TAIL, f.REQUEST)
        for i, wrapped in enumerate(
            (b"[" + value + b"]", b"[0 ,\t" + value + b"\n]", b'{"k":' + value + b"}")
        ):
            expect(HEAD + wrapped + TAIL, f.REQUEST, max_depth=8 + i)


def test_invalid_values():
    for value, code, at in INVALID:
        expect(HEAD + value + TAIL, code, len(HEAD) + at)
        # The same as a whole text, where what follows is the end instead of a bracket.
        result, spans = run(value)
        assert result in (f.E_SYNTAX, f.E_UTF8) and spans[f.ERROR_AT] <= max(at, len(value)), value


def test_texts_that_are_no_object():
    for text, result, at in (
        (b"", f.E_SYNTAX, 0),
        (b" \n", f.E_SYNTAX, 2),
        (b"[]", f.E_BATCH, 0),
        (b' [{"jsonrpc":"2.0","method":"x"}]', f.E_BATCH, 1),
        (b"[1,2", f.E_SYNTAX, 4),
        (b"1", f.E_NOT_OBJECT, 0),
        (b" null ", f.E_NOT_OBJECT, 1),
        (b'"{}"', f.E_NOT_OBJECT, 0),
        (b"-1.5e3", f.E_NOT_OBJECT, 0),
        (b"1,", f.E_SYNTAX, 1),
        (b"[] []", f.E_SYNTAX, 3),
        (b"\xef\xbb\xbf{}", f.E_SYNTAX, 0),
    ):
        expect(text, result, at)
        assert fields(text)[1] == {}


def test_trailing_bytes():
    text = b'{"jsonrpc":"2.0","method":"m"}'
    expect(text + b" \r\n\t", f.NOTIFICATION)
    for tail in (b"}", b",", b"{}", b"x", b"\x00", b"\xff", b'"'):
        expect(text + tail, f.E_SYNTAX, len(text))


def test_kinds_and_spans():
    text = (
        b'{ "method" : "tools/call" , "params" : {"name":"t\\u0031","arguments":{"a":[1,"\\n"]}'
        b',"_meta":{"progressToken":"p","x":{"progressToken":3},"mcp-gw/key":"k",'
        b'"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"id":5},"jsonrpc":"2.0",'
        b'"id":-12 }'
    )
    result, found = fields(text)
    assert result == f.REQUEST
    meta = text[text.index(b'{"progressToken":"p"') : text.index(b',"id":5')]
    assert found == {
        f.JSONRPC: b'"2.0"',
        f.ID: b"-12",
        f.METHOD: b'"tools/call"',
        f.PARAMS: text[text.index(b'{"name"') : text.index(b',"jsonrpc"')],
        f.NAME: b'"t\\u0031"',
        f.ARGUMENTS: b'{"a":[1,"\\n"]}',
        f.META: meta,
        f.TOKEN: b'"p"',
        f.VERSION: b'"2026-07-28"',
        f.KEY: b'"k"',
    }
    assert run(text)[1][f.ESCAPES] == 1 << f.PARAMS | 1 << f.NAME | 1 << f.ARGUMENTS
    result, found = fields(b'{"jsonrpc":"2.0","result":{"params":1,"_meta":{}},"id":"x"}')
    assert result == f.RESPONSE
    assert found == {
        f.JSONRPC: b'"2.0"',
        f.RESULT: b'{"params":1,"_meta":{}}',
        f.ID: b'"x"',
    }


def test_fields_are_only_found_where_they_belong():
    text = (
        b'{"jsonrpc":"2.0","name":"no","_meta":{"progressToken":1},"x":{"name":"no"},"method":"m",'
        b'"params":{"jsonrpc":1,"a":{"name":"no","_meta":{"progressToken":1}},"b":[{"name":"no"}],'
        b'"_meta":[{"progressToken":1}]}}'
    )
    result, found = fields(text)
    assert result == f.NOTIFICATION
    assert sorted(found) == [f.JSONRPC, f.METHOD, f.PARAMS, f.META]
    assert found[f.META] == b'[{"progressToken":1}]'
    # A name that only begins like a member, or goes on.
    for key in (
        b"",
        b"i",
        b"idx",
        b"ID",
        b"\\u0069",
        b"id\\u0000",
        b"\\u0169d",
        b"\\nid",
        b"\\u0069\\u0064x",
    ):
        result, found = fields(b'{"jsonrpc":"2.0","method":"m","' + key + b'":{}}')
        assert result == f.NOTIFICATION and f.ID not in found, key


def test_keys_compare_decoded():
    for key in (b"\\u0069d", b"i\\u0064", b"\\u0069\\u0064"):
        result, found = fields(b'{"jsonrpc":"2.0","method":"m","' + key + b'":7}')
        assert (result, found[f.ID]) == (f.REQUEST, b"7")
    every = b"".join(b"\\u%04X" % c for c in b"io.modelcontextprotocol/protocolVersion")
    for key in (b"io.modelcontextprotocol\\/protocolVersion", every):
        result, found = fields(
            b'{"jsonrpc":"2.0","method":"m","params":{"\\u005fmeta":{"' + key + b'":"v"}}}'
        )
        assert (result, found[f.VERSION]) == (f.NOTIFICATION, b'"v"')


# (members after jsonrpc, result or text the error offset points at; {} is the outer object)
ENVELOPES = (
    (b'"method":"m"', f.NOTIFICATION),
    (b'"method":"m","id":1', f.REQUEST),
    (b'"method":"m","id":"a","params":{}', f.REQUEST),
    (b'"method":"m","id":""', f.REQUEST),
    (b'"method":"m","id":-0', f.REQUEST),
    (b'"method":"m","id":123456789012345678901234567890', f.REQUEST),
    (b'"method":"m","id":1,"params":[]', b"[]"),
    (b'"method":"m","params":null', b"null"),
    (b'"method":"m","params":"{}"', b'"{}"'),
    (b'"method":7,"id":1', b"7"),
    (b'"method":null', b"null"),
    (b'"method":"m","id":null', b"null"),
    (b'"method":"m","id":1.0', b"1.0"),
    (b'"method":"m","id":1e5', b"1e5"),
    (b'"method":"m","id":1E0', b"1E0"),
    (b'"method":"m","id":true', b"true"),
    (b'"method":"m","id":{}', b"{}"),
    (b'"method":"m","id":[1]', b"[1]"),
    (b'"method":"m","id":1,"result":{}', b""),
    (b'"method":"m","id":1,"error":{}', b""),
    (b'"id":1,"result":{}', f.RESPONSE),
    (b'"id":"a","result":null', f.RESPONSE),
    (b'"id":1,"result":{},"params":[]', f.RESPONSE),
    (b'"id":null,"result":{}', b"null"),
    (b'"result":{}', b""),
    (b'"id":1.5,"result":{}', b"1.5"),
    (b'"id":1,"error":{"code":-32600,"message":"x"}', f.ERROR_RESPONSE),
    (b'"id":null,"error":{}', f.ERROR_RESPONSE),
    (b'"error":{}', f.ERROR_RESPONSE),
    (b'"id":false,"error":{}', b"false"),
    (b'"id":1,"error":"x"', b'"x"'),
    (b'"id":1,"error":null', b"null"),
    (b'"id":1,"result":{},"error":{}', b""),
    (b'"id":1', b""),
    (b'"params":{}', b""),
)


def test_envelopes():
    for members, outcome in ENVELOPES:
        for text in (
            b'{"jsonrpc":"2.0",' + members + b"}",
            b" {" + members + b',"jsonrpc":"2.0"}',
        ):
            if isinstance(outcome, int):
                expect(text, outcome)
            elif outcome:
                expect(text, f.E_ENVELOPE, text.index(b":" + outcome) + 1)
            else:
                expect(text, f.E_ENVELOPE, text.index(b"{"))


def test_version_of_json_rpc():
    for value in (
        b'"2.1"',
        b'"1.0"',
        b'"2.00"',
        b"2.0",
        b"2",
        b"null",
        b'"2\\u002e0"',
        b"{}",
        b'""',
    ):
        expect(b'{"jsonrpc":' + value + b',"id":1,"method":"m"}', f.E_ENVELOPE, 11)
    expect(b'  {"id":1,"method":"m"}', f.E_ENVELOPE, 2)
    expect(b"{}", f.E_ENVELOPE, 0)


def test_duplicates():
    base = b'{"jsonrpc":"2.0","id":1,"method":"m"'
    for again in (b"jsonrpc", b"id", b"method", b"\\u0069d", b"metho\\u0064"):
        expect(base + b',"' + again + b'":1}', f.E_DUPLICATE, len(base) + 1)
    for known in (b"params", b"result", b"error"):
        text = base + b',"' + known + b'":{},"'
        expect(text + known + b'":{}}', f.E_DUPLICATE, len(text) - 1)
    for known in (b"name", b"arguments", b"_meta"):
        text = base + b',"params":{"x":1,"' + known + b'":{},"'
        expect(text + known + b'":{}}}', f.E_DUPLICATE, len(text) - 1)
    for known in (b"progressToken", b"io.modelcontextprotocol/protocolVersion", b"mcp-gw/key"):
        text = base + b',"params":{"_meta":{"' + known + b'":{},"'
        expect(text + known + b'":{}}}}', f.E_DUPLICATE, len(text) - 1)
        # What is not read may come twice.
    expect(base + b',"x":1,"x":1,"params":{"id":1,"id":2,"a":{"name":1,"name":2}}}', f.REQUEST)
    # The first value is kept, and what follows is found; the second params is not looked into.
    result, found = fields(
        b'{"params":{"name":"a"},"params":{"arguments":1},"jsonrpc":"2.0","method":"m","id":3}'
    )
    assert result == f.E_DUPLICATE
    assert (found[f.PARAMS], found[f.ID]) == (b'{"name":"a"}', b"3") and f.ARGUMENTS not in found
    # Broken syntax behind it is the graver error.
    expect(base + b',"id":1,}', f.E_SYNTAX, len(base) + 8)


def test_depth():
    for limit in (1, 2, 3, 8, 31, 32, 33, 64, 128):
        base = b'{"jsonrpc":"2.0","id":1,"method":"m","x":'
        fits = limit - 1
        for open_, close in ((b"[", b"]"), (b'{"a":', b"}")):
            text = base + open_ * fits + b"1" + close * fits + b"}"
            expect(text, f.REQUEST, max_depth=limit)
            text = base + open_ * (fits + 1) + b"1" + close * (fits + 1) + b"}"
            expect(text, f.E_DEPTH, len(base) + fits * len(open_), max_depth=limit)
    # Closing and opening again does not add up.
    expect(base + b"[" + b"[[]]," * 200 + b"0]}", f.REQUEST, max_depth=4)
    expect(b"[" * 1000, f.E_DEPTH, 5, max_depth=5)
    expect(b"[" * 4 + b"]" * 4, f.E_BATCH, 0, max_depth=4)


def test_too_deep_still_finds_the_id():
    for inner in (b"[[]]", b'[{"}]":"\\"]"},[]]', b"[[{]}]", b"{}"):
        limit = 2 if inner != b"{}" else 1
        text = b'{"method":"m","params":' + (b"[" + inner + b"]" if limit == 2 else inner)
        text += b',"jsonrpc":"2.0","id":"last"}'
        result, found = fields(text, limit)
        assert result == f.E_DEPTH, text
        assert found[f.ID] == b'"last"' and f.PARAMS in found
    # Other errors around it do not hide it.
    expect(b'{"id":1,"id":1,"a":[[[]]]}', f.E_DEPTH, 20, max_depth=2)
    expect(b'{"id":1,"a":[[[]]],]', f.E_DEPTH, 13, max_depth=2)
    expect(b'{"id":1,"a":[["\xff', f.E_DEPTH, 13, max_depth=2)


def test_what_was_found_before_an_error():
    head = b'{"jsonrpc":"2.0","id":42,"method":"tools/call","params":{"name":"t","arguments":'
    for broken in (b"{]", b"tru}", b'"\xff"', b'{"a":1', b""):
        result, found = fields(head + broken)
        assert result < 0
        assert (found[f.ID], found[f.METHOD], found[f.NAME]) == (b"42", b'"tools/call"', b'"t"')
        assert f.ARGUMENTS not in found and f.PARAMS not in found
    # Cut at any place, a part is either whole or not there.
    for i in range(len(head)):
        _, found = fields(head[:i])
        assert found.get(f.ID, b"42") == b"42"
        assert found.get(f.METHOD, b'"tools/call"') == b'"tools/call"'


def test_scanners_agree_on_noise():
    seeds = (
        HEAD + b'[1.5e3,"\\u00e9\xc3\xa9",{"k":null}],"_meta":{"progressToken":1}' + TAIL,
        b'{"result":{"content":[{"type":"text","text":"\\n"}]},"jsonrpc":"2.0","id":"a"}',
    )
    x = 12345
    seen = {}
    for i in range(400):
        text = bytearray(seeds[i % 2])
        for _ in range(1 + i % 3):
            x = (x * 1103515245 + 12345) & 0x3FFFFFFF
            at = (x >> 8) % len(text)
            x = (x * 1103515245 + 12345) & 0x3FFFFFFF
            text[at] = b'{}[]:,"\\ 0-1e.tn\x00\x80\xc3\xff'[(x >> 8) % 20]
        seen[run(bytes(text), 4)[0]] = i
    assert len(seen) >= 5, seen
