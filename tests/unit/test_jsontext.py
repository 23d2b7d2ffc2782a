import json

from mcp_gw.protocol.jsontext import loads, members, skip_value, without_member

TEXTS = [
    b"{}",
    b'{"a":1}',
    b' { "a" : [1, {"b": "]}"}] , "c" : "x\\"y\\\\" , "d":null } ',
    b'{"a":"\\\\","b":{"c":{}},"e":-1.5e3,"f":true}',
]


def test_members_cover_the_object():
    for text in TEXTS:
        got = {key.decode(): json.loads(text[v:e]) for key, _, v, e in members(text)}
        assert got == json.loads(text), text


def test_without_member():
    for text in TEXTS:
        for key in ("a", "c", "nothing"):
            expected = json.loads(text)
            expected.pop(key, None)
            assert json.loads(without_member(text, key.encode())) == expected


def test_skip_value():
    for value in (b"1", b'"a\\"b"', b"[[],{}]", b'{"x":["]"]}', b"null"):
        assert skip_value(value + b",2]", 0, len(value) + 3) == len(value)


def test_surrogates():
    assert loads(b'"\\ud83d\\ude00"', True) == "\U0001f600"
    assert loads(b'"\\uD83D\\uDE00 \\u00e9 \\\\ud83d"', True) == "\U0001f600 \u00e9 \\ud83d"
    assert loads(b'"\\ud83d x \\ude00"', True) == "\ufffd x \ufffd"
    assert loads(b'"\\ud83d\\u0041"', True) == "\ufffdA"
    assert loads(b'"\\ud83d\\ud83d\\ude00"', True) == "\ufffd\U0001f600"


def test_a_part_of_a_buffer():
    for text in TEXTS:
        buf = bytearray(b'"' + text + b'"')
        got = loads(memoryview(buf)[1:-1], b"\\" in text)
        buf[:] = bytes(len(buf))  # nothing of it is a view of what the next message overwrites
        assert got == json.loads(text)
    assert loads(memoryview(b'"\\ud83d\\ude00"'), True) == "\U0001f600"
