"""What Streamable HTTP adds to HTTP, for clients: the header fields that repeat parts of the
message.
"""

from binascii import b2a_base64

from .http import TOKEN_CHARS, field
from .jsontext import joined, loads, member

# Which member of params is repeated in the Mcp-Name header.
_NAMED_BY = {"tools/call": b"name", "prompts/get": b"name", "resources/read": b"uri"}

_MAX_MARKS = 16  # arguments of one tool that are repeated in headers
_MAX_PATH = 8  # how deep in the arguments they may lie


def header_value(text):
    """A str as a header value: as it is where that is safe, else in the form =?base64?...?=."""
    safe = text == text.strip() and all(" " <= c <= "~" for c in text)
    if safe and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    return "=?base64?%s?=" % b2a_base64(text.encode()).decode().strip()


def request_fields(client, session, method, params_parts, marks):
    """Header lines (list of bytes) of one POST.

    client: the Client that speaks (its revision decides); session: Mcp-Session-Id (str) or None;
    method: of the request, None for other messages; params_parts: list of bytes-like that make the
    JSON text of params;
    marks: dict of tool name -> its marks (see marks_of).
    """
    out = []
    if client.version is not None:
        out.append(field("MCP-Protocol-Version", client.version))
    if session is not None:
        out.append(field("Mcp-Session-Id", session))
    if method is None or client.version is None or client.modern is False:
        return out
    out.append(field("Mcp-Method", method))
    key = _NAMED_BY.get(method)
    if key is None:
        return out
    params = bytes(joined(params_parts))
    name = _string(params, key)
    if name is None:
        return out
    out.append(field("Mcp-Name", header_value(name)))
    if method == "tools/call" and name in marks:
        given = member(params, b"arguments")
        out.extend(_param_fields(marks[name], loads(given, True) if given else None))
    return out


def _string(data, key):
    raw = member(data, key)
    value = loads(raw, True) if raw else None
    return value if isinstance(value, str) else None


def marks_of(raw):
    """(name, marks) of a tool whose input schema marks arguments with x-mcp-header; None for all
    others.

    raw: the descriptor's JSON text. marks: list of (path, token): the argument at `path` (tuple of
    str) is repeated in the header Mcp-Param-token.
    """
    if b"x-mcp-header" not in raw:
        return None
    tool = loads(raw, b"\\" in raw)
    found = []
    _walk(tool.get("inputSchema"), (), found)
    name = tool.get("name")
    return (name, found) if found and isinstance(name, str) else None


def _walk(schema, path, found):
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) == _MAX_PATH:
        return
    for name in properties:
        inner = properties[name]
        token = inner.get("x-mcp-header") if isinstance(inner, dict) else None
        if isinstance(token, str) and token and all(c in TOKEN_CHARS for c in token):
            if len(found) < _MAX_MARKS:
                found.append((path + (name,), token))
        _walk(inner, path + (name,), found)


def _param_fields(marks, arguments):
    for path, token in marks:
        value = arguments
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is True or value is False:
            value = "true" if value else "false"
        elif isinstance(value, int):
            value = str(value)
        if isinstance(value, str):
            yield field("Mcp-Param-" + token, header_value(value))
