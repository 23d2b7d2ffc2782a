"""Seeded mutation of MCP messages: most stay close to valid, some are noise."""

import json

METHODS = (
    "initialize", "server/discover", "ping", "tools/list", "tools/call", "resources/list",
    "resources/read", "notifications/initialized", "notifications/progress",
    "notifications/cancelled",
)  # fmt: skip
# Put in place of whole tokens.
TOKENS = (
    b"0", b"-0", b"01", b"-", b"1.", b".5", b"1.0", b"1e5", b"1E+2", b"1e", b"1e+", b"-1", b"+1",
    b"0x10", b"9007199254740993", b"1" * 400, b"true", b"false", b"null", b"nul", b"True", b"NaN",
    b"Infinity", b"-Infinity", b'""', b'"2.0"', b'"2\\u002e0"', b'"2.1"', b"2.0", b"{}", b"[]",
    b"[[]]", b'"id"', b'"\\u0069d"', b'"i\\u0064"', b'"jsonrpc"', b'"method"', b'"params"',
    b'"result"', b'"error"', b'"name"', b'"arguments"', b'"_meta"', b'"\\u005Fmeta"',
    b'"progressToken"', b'"io.modelcontextprotocol/protocolVersion"',
    b'"io.modelcontextprotocol\\/protocolVersion"', b'"mcp-gw/key"', b'"mcp-gw\\u002fkey"',
    b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\u12g4"', b'"\\x"', b'"\\u00', b'"\xc3\xa9"',
    b'"\xf0\x9f\x98\x80"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf4\x90\x80\x80"',
    b'"\xe0\x9f\xbf"', b'"\xf0\x8f\xbf\xbf"', b'"\xff"', b'"\xf5\x80\x80\x80"', b'"\xe2\x82"',
    b'"\x7f"', b'"\x1f"', b'"\t"',
)  # fmt: skip
BYTES = b'{}[]:,"\\\n\r\t \x00\x1f\x7f\x80\xbf\xc2\xe0\xed\xf0\xf4\xff0123456789-+.eEtfnuaz/'
PUNCTUATION = frozenset(b'{}[]:,"')


def _text(r):
    return r.choice(
        (
            "",
            "a",
            "greenhouse",
            "Grüße",
            "温度",
            "😀",
            'q"uote',
            "back\\slash",
            "line\nfeed",
            "\x7f",
            "/",
        )
    ) * r.choice((1, 1, 1, 3))


def _value(r, depth):
    kind = r.randrange(9 if depth > 0 else 7)
    if kind == 7:
        return [_value(r, depth - 1) for _ in range(r.randrange(4))]
    if kind == 8:
        return {_text(r) + str(i): _value(r, depth - 1) for i in range(r.randrange(4))}
    return (_text(r), _text(r), r.randrange(-9, 10**9), r.random() * 100, True, False, None)[kind]


def message(r):
    """One valid message, bytes."""
    m = {"jsonrpc": "2.0"}
    kind = r.randrange(6)
    if kind < 5 or r.randrange(3) == 0:
        m["id"] = r.choice((0, 1, r.randrange(10**12), "a", "5f0c-9a3e", -7))
    if kind < 4:
        m["method"] = r.choice(METHODS)
        if r.randrange(5):
            m["params"] = _params(r)
    elif r.randrange(2):
        m["result"] = _value(r, 4)
    else:
        m["error"] = {"code": -32601, "message": _text(r)}
    if kind == 3:
        m.pop("id", None)
    items = list(m.items())
    if r.randrange(2):
        r.shuffle(items)
    space = r.choice(((",", ":"), (", ", ": "), (" ,\t", " :\r\n")))
    return json.dumps(dict(items), ensure_ascii=r.randrange(2) == 0, separators=space).encode()


def _params(r):
    p = {}
    if r.randrange(4):
        p["name"] = "tool_" + _text(r)
    if r.randrange(3):
        p["arguments"] = {"plot": r.randrange(9), "x": _value(r, r.randrange(6))}
    if r.randrange(3):
        p["_meta"] = meta = {}
        if r.randrange(2):
            meta["progressToken"] = r.choice((1, "tok", 7.5))
        if r.randrange(2):
            meta["io.modelcontextprotocol/protocolVersion"] = "2026-07-28"
        if r.randrange(3) == 0:
            meta["mcp-gw/key"] = "5f0c9a3e-11d2b847"
        if r.randrange(3) == 0:
            meta[_text(r)] = _value(r, 3)
    if r.randrange(4) == 0:
        p[_text(r)] = _value(r, 5)
    items = list(p.items())
    r.shuffle(items)
    return dict(items)


def _token(r, text):
    """Bounds of a string, number or word at a random place, or of one byte."""
    i = r.randrange(len(text))
    if text[i] in PUNCTUATION and text[i] != 0x22:
        return i, i + 1
    lo = i
    while lo > 0 and text[lo - 1] not in PUNCTUATION:
        lo -= 1
    hi = i + 1
    while hi < len(text) and text[hi] not in PUNCTUATION:
        hi += 1
    if text[lo - 1 : lo] == b'"' and text[hi : hi + 1] == b'"':
        return lo - 1, hi + 1
    return lo, hi


def once(r, text, other):
    """`text` with one mutation; `other`: another message that parts are taken from."""
    if not text:
        return other
    kind = r.randrange(15)
    i = r.randrange(len(text))
    if kind == 0:
        return text[:i] + bytes([text[i] ^ 1 << r.randrange(8)]) + text[i + 1 :]
    if kind == 1:
        return text[:i] + bytes([r.choice(BYTES)]) + text[i:]
    if kind == 2:
        return text[:i] + text[i + r.randrange(1, 4) :]
    if kind == 3:
        return text[:i]
    if kind == 4:
        j = min(len(text), i + r.randrange(1, 40))
        return text[:j] + text[i:j] + text[j:]
    if kind == 5:
        return text[:i] + other[r.randrange(len(other)) :]
    if kind == 6:
        n = r.choice((1, 2, 3, 5, 9, 30, 140))
        open_, close = r.choice(((b"[", b"]"), (b'{"a":', b"}")))
        lo, hi = _token(r, text)
        return text[:lo] + open_ * n + text[lo:hi] + close * n + text[hi:]
    if kind == 7:
        return text[:i] + bytes(r.choice(BYTES) for _ in range(r.randrange(1, 6))) + text[i:]
    if kind == 8:
        return (
            r.choice((b"\xef\xbb\xbf", b" ", b"[", b"\n"))
            + text
            + r.choice((b"", b" ", b"]", b"x"))
        )
    if kind == 9:
        return _member_again(r, text)
    if kind == 10:
        return r.choice((r.choice(TOKENS), b"[" + text + b" , " + other + b"]", text + other))
    lo, hi = _token(r, text)
    return text[:lo] + r.choice(TOKENS) + text[hi:]


def _member_again(r, text):
    """Repeat a member by its key, perhaps spelled with an escape."""
    at = text.find(b'":', r.randrange(len(text)))
    lo = text.rfind(b'"', 0, at)
    if at < 0 or lo < 0:
        return text
    key = text[lo + 1 : at]
    if key and r.randrange(2):
        i = r.randrange(len(key))
        key = key[:i] + b"\\u%04x" % key[i] + key[i + 1 :]
    return text[:lo] + b'"' + key + b'":' + r.choice(TOKENS) + b"," + text[lo:]


def mutated(r):
    """One message with no to many mutations, bytes."""
    text = message(r)
    for _ in range(r.choice((0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 8))):
        text = once(r, text, message(r))
    return text
