"""The scanner of c_modules/mcpscan in Python, for CPython and for firmware without C modules.

Both must agree on every input: kind or error code, error offset and every span. The rules of
precedence are written in mcpscan_core.h; tests/host/test_scan_fuzz.py compares the two.
"""

from ..compat import const
from .buffers import check_range, find, gather, move  # noqa: F401 (the rest of the C module)

DEPTH_LIMIT = const(128)

_SPANS_LEN = const(26)
_ESCAPES = const(24)
_ERROR_AT = const(25)

_JSONRPC = const(0)
_ID = const(1)
_METHOD = const(2)
_PARAMS = const(3)
_RESULT = const(4)
_ERROR = const(5)
_META = const(8)

_E_SYNTAX = const(-1)
_E_UTF8 = const(-2)
_E_DEPTH = const(-3)
_E_DUPLICATE = const(-4)
_E_BATCH = const(-5)
_E_NOT_OBJECT = const(-6)
_E_ENVELOPE = const(-7)

# The members that are looked for, by the depth of the object they are in.
_MEMBERS = (
    None,
    {b"jsonrpc": 0, b"id": 1, b"method": 2, b"params": 3, b"result": 4, b"error": 5},
    {b"name": 6, b"arguments": 7, b"_meta": 8},
    {
        b"progressToken": 9,
        b"io.modelcontextprotocol/protocolVersion": 10,
        b"mcp-gw/key": 11,
    },
)
_LONGEST_NAME = const(39)

_QUOTE = const(0x22)
_MINUS = const(0x2D)
_BACKSLASH = const(0x5C)

_SPACE = b" \t\n\r"
_DIGITS = b"0123456789"
_HEX = b"0123456789abcdefABCDEF"
_SIMPLE_ESCAPES = b'"\\/bfnrt'
_ENDS_VALUE = b" \t\n\r,]}"

# 1 where a byte of a string needs no second look.
_PLAIN = bytes(0x20 <= c < 0x80 and c not in b'"\\' for c in range(256))


class _Scanner:
    def __init__(self, buf, start, end, spans, max_depth):
        self.buf = buf
        self.end = end
        self.spans = spans
        self.max_depth = max_depth
        self.escape_end = start  # the place after the last backslash in a string
        self.error = 0
        self.error_at = -1
        self.seen = 0  # bit f: a member for field f has begun
        self.envelope = 0  # how many of the outermost open containers are message, params, _meta
        self.open = bytearray(max_depth)  # the bracket of each container open now
        self.depth = 0
        self.field = [-1] * 4  # per envelope depth: field of the member being read
        self.value_at = [-1] * 4  # and where its value begins

    # What reads a token takes the place of its first byte and returns the place after its last
    # one, or -1 after stop().

    def stop(self, error, at):
        if self.error != _E_DEPTH:
            self.error = error
            self.error_at = at
        return -1

    def note(self, error, at):
        if self.error == 0:
            self.error = error
            self.error_at = at

    def space(self, p):
        buf = self.buf
        end = self.end
        while p < end and buf[p] in _SPACE:
            p += 1
        return p

    def utf8_length(self, p):
        """Length of the UTF-8 sequence (RFC 3629) at p, whose lead is >= 0x80; 0 if ill-formed."""
        buf = self.buf
        lead = buf[p]
        n = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if lead < 0xC2 or lead > 0xF4 or self.end - p < n:
            return 0
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if not low <= buf[p + 1] <= high:
            return 0
        for i in range(p + 2, p + n):
            if buf[i] & 0xC0 != 0x80:
                return 0
        return n

    def escape(self, p):
        buf = self.buf
        end = self.end
        p += 1
        self.escape_end = p
        if p < end and buf[p] == 0x75:  # u
            for _ in range(4):
                p += 1
                if p == end or buf[p] not in _HEX:
                    return self.stop(_E_SYNTAX, p)
        elif p == end or buf[p] not in _SIMPLE_ESCAPES:
            return self.stop(_E_SYNTAX, p)
        return p + 1

    def string(self, p):
        buf = self.buf
        end = self.end
        plain = _PLAIN
        p += 1
        while p >= 0:
            while p < end and plain[buf[p]]:
                p += 1
            if p == end:
                return self.stop(_E_SYNTAX, p)
            c = buf[p]
            if c == _QUOTE:
                return p + 1
            if c == _BACKSLASH:
                p = self.escape(p)
            elif c < 0x20:
                return self.stop(_E_SYNTAX, p)
            else:
                n = self.utf8_length(p)
                if n == 0:
                    return self.stop(_E_UTF8, p)
                p += n
        return -1

    def digits(self, p):
        buf = self.buf
        end = self.end
        if p == end or buf[p] not in _DIGITS:
            return self.stop(_E_SYNTAX, p)
        while p < end and buf[p] in _DIGITS:
            p += 1
        return p

    def number(self, p):
        buf = self.buf
        end = self.end
        if buf[p] == _MINUS:
            p += 1
        p = p + 1 if p < end and buf[p] == 0x30 else self.digits(p)
        if 0 <= p < end and buf[p] == 0x2E:
            p = self.digits(p + 1)
        if 0 <= p < end and buf[p] in b"eE":
            p += 1
            if p < end and buf[p] in b"+-":
                p += 1
            p = self.digits(p)
        return p

    def bare(self, p):
        """A number or literal, and the byte after it must be one that can follow."""
        c = self.buf[p]
        if c == _MINUS or c in _DIGITS:
            p = self.number(p)
        else:
            for want in b"true" if c == 0x74 else b"false" if c == 0x66 else b"null":
                if p == self.end or self.buf[p] != want:
                    return self.stop(_E_SYNTAX, p)
                p += 1
        if p >= 0 and self.depth and (p == self.end or self.buf[p] not in _ENDS_VALUE):
            return self.stop(_E_SYNTAX, p)
        return p

    def skip_deep(self, p):
        """Skip a container nested too deeply, checking nothing inside but its strings."""
        buf = self.buf
        end = self.end
        count = 0
        self.stop(_E_DEPTH, p)
        while 0 <= p < end:
            c = buf[p]
            if c == _QUOTE:
                p = self.string(p)
                continue
            p += 1
            if c in b"[{":
                count += 1
            elif c in b"]}":
                count -= 1
                if count == 0:
                    return p
        return -1

    def enter_member(self, key, key_end):
        """Note which field the value belongs to that follows the key buf[key:key_end]."""
        envelope = self.envelope
        size = key_end - key - 2
        escaped = self.escape_end > key
        field = -1
        if size <= (6 * _LONGEST_NAME if escaped else _LONGEST_NAME):
            name = bytes(self.buf[key + 1 : key_end - 1])
            field = _MEMBERS[envelope].get(_unescape(name) if escaped else name, -1)
        if field >= 0:
            if self.seen >> field & 1:
                self.note(_E_DUPLICATE, key)
                field = -1
            else:
                self.seen |= 1 << field
        self.field[envelope] = field

    def key(self, p):
        """From the place where a member must begin to that of its value."""
        start = p
        if p == self.end or self.buf[p] != _QUOTE:
            return self.stop(_E_SYNTAX, p)
        p = self.string(p)
        if p < 0:
            return -1
        if self.envelope == self.depth:
            self.enter_member(start, p)
        p = self.space(p)
        if p == self.end or self.buf[p] != 0x3A:
            return self.stop(_E_SYNTAX, p)
        return self.space(p + 1)

    def push(self, bracket):
        depth = self.depth
        self.open[depth] = bracket
        if bracket == 0x7B and self.envelope == depth < 3:
            # The object is params or _meta only as that member's value.
            if depth == 0 or self.field[depth] == (_PARAMS if depth == 1 else _META):
                self.envelope += 1
        self.depth = depth + 1

    def pop(self):
        if self.envelope == self.depth:
            self.envelope -= 1
        self.depth -= 1

    def end_value(self, p):
        depth = self.depth
        if self.envelope != depth or depth == 0:
            return
        field = self.field[depth]
        if field >= 0:
            at = self.value_at[depth]
            self.spans[2 * field] = at
            self.spans[2 * field + 1] = p
            if self.escape_end > at:
                self.spans[_ESCAPES] |= 1 << field

    def text(self, p):
        """The outermost value and everything in it."""
        buf = self.buf
        end = self.end
        while p >= 0:
            if p == end:
                return self.stop(_E_SYNTAX, p)
            if self.envelope == self.depth:
                self.value_at[self.depth] = p
            c = buf[p]
            if c == _QUOTE:
                p = self.string(p)
            elif c not in b"[{":
                p = self.bare(p)
            elif self.depth == self.max_depth:
                p = self.skip_deep(p)
            else:
                self.push(c)
                p = self.space(p + 1)
                # ] and } lie two above their partners.
                if p == end or buf[p] != c + 2:
                    if c == 0x7B:
                        p = self.key(p)
                    continue
                self.pop()
                p += 1
            # One value has ended; close every container that ends with it.
            while True:
                if p < 0:
                    return -1
                self.end_value(p)
                if self.depth == 0:
                    return p
                p = self.space(p)
                c = self.open[self.depth - 1]
                if p < end and buf[p] == 0x2C:
                    break
                if p == end or buf[p] != c + 2:
                    return self.stop(_E_SYNTAX, p)
                self.pop()
                p += 1
            p = self.space(p + 1)
            if c == 0x7B:
                p = self.key(p)
        return -1

    def judge(self, top):
        """What kind of message the spans make; E_ENVELOPE is noted where they make none."""
        buf = self.buf
        spans = self.spans

        def first(field):
            return buf[spans[2 * field]] if spans[2 * field] >= 0 else -1

        if bytes(buf[spans[0] : spans[1]] if spans[1] - spans[0] == 5 else b"") != b'"2.0"':
            return self.note(_E_ENVELOPE, top if spans[0] < 0 else spans[0])
        id_at = spans[2 * _ID]
        id_first = first(_ID)
        has_id = id_at >= 0 and id_first != 0x6E  # null
        if has_id and id_first != _QUOTE:
            for p in range(id_at + (id_first == _MINUS), spans[2 * _ID + 1]):
                if buf[p] not in _DIGITS:
                    return self.note(_E_ENVELOPE, id_at)
        bad = -1
        method = first(_METHOD)
        error = first(_ERROR)
        if method >= 0:
            if method != _QUOTE:
                bad = spans[2 * _METHOD]
            elif spans[2 * _RESULT] >= 0 or error >= 0:
                bad = top
            elif first(_PARAMS) not in (-1, 0x7B):
                bad = spans[2 * _PARAMS]
            elif id_at >= 0 and not has_id:
                bad = id_at
            kind = 1 if id_at >= 0 else 2
        elif (spans[2 * _RESULT] >= 0) == (error >= 0):
            bad = top
            kind = 0
        elif error >= 0:
            if error != 0x7B:
                bad = spans[2 * _ERROR]
            kind = 4
        else:
            if not has_id:
                bad = id_at if id_at >= 0 else top
            kind = 3
        if bad >= 0:
            self.note(_E_ENVELOPE, bad)
        return kind

    def run(self, start):
        spans = self.spans
        for i in range(_SPANS_LEN):
            spans[i] = -1
        spans[_ESCAPES] = 0
        top = self.space(start)
        p = self.text(top)
        if p >= 0:
            p = self.space(p)
            if p != self.end:
                self.stop(_E_SYNTAX, p)
        kind = 0
        if self.error == 0:
            if self.buf[top] == 0x7B:
                kind = self.judge(top)
            else:
                self.note(_E_BATCH if self.buf[top] == 0x5B else _E_NOT_OBJECT, top)
        if self.error:
            spans[_ERROR_AT] = self.error_at
            return self.error
        return kind


def _unescape(name):
    """What a JSON string decodes to if it may be the name of a member, else b""."""
    out = bytearray()
    i = 0
    while i < len(name):
        c = name[i]
        i += 1
        if c == _BACKSLASH:
            c = name[i]
            i += 1
            if c == 0x75:
                c = int(str(name[i : i + 4], "ascii"), 16)
                i += 4
            elif c != 0x2F:
                return b""
            if c > 0x7F:
                return b""
        out.append(c)
    return bytes(out)


def scan(buf, start, end, spans, max_depth):
    """Validate the JSON text buf[start:end] and note where the parts of the message in it lie.

    `spans` is an array('i') of at least 26 numbers; 26 are written. Returns the kind of message
    (1..4) or an error code (-1..-7); field numbers and codes have names in framing.py. Raises
    ValueError for a range outside the buffer, a small array or max_depth outside 1..128.
    """
    check_range(buf, start, end)
    if len(spans) < _SPANS_LEN:
        raise ValueError("spans too small or not array('i')")
    if not 1 <= max_depth <= DEPTH_LIMIT:
        raise ValueError("max_depth")
    return _Scanner(buf, start, end, spans, max_depth).run(start)
