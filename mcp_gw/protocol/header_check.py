"""What a modern request repeats in its HTTP header, held against its body: MCP-Protocol-Version,
Mcp-Method, Mcp-Name and Mcp-Param-*.

Clients repeat themselves, so the JSON text that the header makes us expect is prepared once and
compared as bytes; only what differs is decoded and looked at closely.
"""

from binascii import a2b_base64, b2a_base64

from ..errors import HEADER_MISMATCH, INVALID_PARAMS, UNSUPPORTED_VERSION, ProtocolError
from .framing import ARGUMENTS, ESCAPES, METHOD, NAME, PARAMS, REQUEST, VERSION, text
from .jsontext import loads, member, members
from .jsonvalue import dumps
from .revisions import BY_NAME, SUPPORTED
from .streamable import marks_of

# Which member of params is repeated in the Mcp-Name header.
_NAMED_BY = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_UNSEEN = object()


class HeaderCheck:
    """headers: of a request (dict as http.Parser has it); tools: dict-like of name -> tool with
    `descriptor`, its JSON text."""

    def __init__(self, headers, tools):
        self._headers = headers
        self._tools = tools
        self.version = _plain(headers.get(b"mcp-protocol-version"))
        self._method = _plain(headers.get(b"mcp-method"))
        self._name = decoded(headers.get(b"mcp-name"))
        # As they stand in a body that needs no second look.
        self._version_json = _quoted(self.version)
        self._method_json = _quoted(self._method)
        self._key = _NAMED_BY.get(self._method)
        self._name_json = _quoted(self._name) if self._key == "name" else None
        self._tool = _UNSEEN  # the tool of that name when its schema was last looked at
        self._marks = None  # its arguments that are repeated in header fields

    def check(self, kind, buf, spans):
        """For Session.check. Raises ProtocolError."""
        if kind != REQUEST:
            if self.version not in BY_NAME:
                data = {"supported": SUPPORTED, "requested": str(self.version)}
                raise ProtocolError(UNSUPPORTED_VERSION, "unsupported protocol version", data, 400)
            return
        at = spans[2 * VERSION]
        if (
            at >= 0
            and buf.startswith(self._version_json, at)
            and buf.startswith(self._method_json, spans[2 * METHOD])
        ):
            if self._key is None:
                return
            at = spans[2 * NAME]
            if at >= 0 and self._name_json and buf.startswith(self._name_json, at):
                if self._marks is None and self._tools.get(self._name) is self._tool:
                    return
        self._check(buf, spans)

    def _check(self, buf, spans):
        version = None
        if spans[2 * VERSION] >= 0 and buf[spans[2 * VERSION]] == 0x22:
            version = text(buf, spans, VERSION)
        _same("MCP-Protocol-Version", self.version, version)
        method = text(buf, spans, METHOD)
        _same("Mcp-Method", self._method, method)
        if self._key is None:
            return
        params = b"{}"
        if spans[2 * PARAMS] >= 0:
            params = bytes(memoryview(buf)[spans[2 * PARAMS] : spans[2 * PARAMS + 1]])
        name = _member(params, self._key) if params[:1] == b"{" else None
        if name is None and b"mcp-name" not in self._headers:
            return  # what is wrong with the body is told elsewhere
        _same("Mcp-Name", self._name, name)
        if method != "tools/call":
            self._tool = self._tools.get(name)
            return
        tool = self._tools.get(name)
        if tool is not self._tool:
            self._tool = tool
            found = marks_of(tool.descriptor) if tool is not None else None
            self._marks = found and found[1]
        if self._marks:
            lo = spans[2 * ARGUMENTS]
            given = None
            if lo >= 0:
                raw = bytes(memoryview(buf)[lo : spans[2 * ARGUMENTS + 1]])
                given = loads(raw, spans[ESCAPES] & (1 << ARGUMENTS))
            self._check_marks(given)

    def _check_marks(self, arguments):
        for path, token in self._marks:
            value = arguments
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            name = "Mcp-Param-" + token
            raw = self._headers.get(name.lower().encode())
            told = decoded(raw)
            if value is None and raw is None:
                continue
            if told is not None and type(value) in (int, float):
                if _number(told) == value:
                    continue
                told = None
            if value is True or value is False:
                value = "true" if value else "false"
            _same(name, told, value)


def _member(params, key):
    """The str that params (JSON text of an object) has under `key`, None: there is none."""
    if key == "name":  # the scanner has seen that it is there once
        raw = member(params, b"name")
        return loads(raw, True) if raw and raw[:1] == b'"' else None
    given = loads(params, b"\\" in params)
    if sum(1 for _ in members(params)) != len(given):
        # Which of the two is meant is seen in two ways: here, and where the request goes.
        raise ProtocolError(INVALID_PARAMS, "a key of params occurs twice", None, 400)
    name = given.get(key)
    return name if isinstance(name, str) else None


def _same(name, told, value):
    if told is None or told != value:
        raise ProtocolError(
            HEADER_MISMATCH,
            "header mismatch: %s is missing, malformed or differs from the body" % name,
            None,
            400,
        )


def _plain(raw):
    """A header value as str; None if it is absent or holds what no value may."""
    if raw is None or not all(0x20 <= c <= 0x7E or c == 9 for c in raw):
        return None
    return raw.decode()


def _quoted(value):
    """The usual JSON text of a str, bytes; of None something no JSON text is."""
    return b"\0" if value is None else dumps(value)


def decoded(raw):
    """The str that a header value stands for, which may be wrapped as =?base64?...?=; None if it
    is absent or malformed."""
    value = _plain(raw)
    if value is None or not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    data = value[9:-2].encode()
    try:
        out = a2b_base64(data)
        # Decoders are lenient, each in its own way; nothing but the canonical form is taken.
        return out.decode() if b2a_base64(out).strip() == data else None
    except ValueError:  # UnicodeError is one
        return None


def _number(text):
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None
