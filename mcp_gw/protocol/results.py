"""What tools, resources and prompts returned, as parts of an answer; and the notifications that
come before it."""

from ..errors import INTERNAL_ERROR, ProtocolError
from .jsonvalue import checked, dumps
from .revisions import ANY_STRUCTURE, STRUCTURED

# Severity of log messages (RFC 5424), least first.
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def is_rich(value):
    """Whether `value` is made of what mcp_gw.content offers, rather than plain data."""
    if isinstance(value, list):
        return any(hasattr(item, "json") for item in value)
    return hasattr(value, "json")


def tool_members(revision, value, is_error=False, any_structure=False):
    """Members of a tool's result (list of JSON bytes) from what the tool returned.

    any_structure: a value that is no dict becomes structured content too, where the revision
    allows that. Raises ValueError for what has no JSON form.
    """
    if isinstance(value, str):
        members = [b'"content":[{"type":"text","text":', dumps(value), b"}]"]
    elif value is None:
        members = [b'"content":[]']
    elif is_rich(value):
        members = [b'"content":[', _blocks(revision, value), b"]"]
    else:
        data = checked(value)
        if data is None:
            raise ValueError("a %s that has no JSON form" % type(value).__name__)
        members = [b'"content":[{"type":"text","text":', dumps(data.decode()), b"}]"]
        if _fits(revision, value, any_structure):
            members.append(b',"structuredContent":')
            members.append(data)
    if is_error:
        members.append(b',"isError":true')
    return members


def result_members(revision, result):
    """(members, members of _meta or None) of what a tool returned as a content.Result."""
    value = result.content
    if not isinstance(value, list):
        value = [] if value is None else [value]
    members = [b'"content":[', _blocks(revision, value), b"]"]
    if result.structured is not None and _fits(revision, result.structured, True):
        data = checked(result.structured)
        if data is None:
            raise ValueError("structured content that has no JSON form")
        members += [b',"structuredContent":', data]
    if result.is_error:
        members.append(b',"isError":true')
    meta = None
    if result.meta:
        meta = checked(result.meta) if isinstance(result.meta, dict) else None
        if meta is None:
            raise ValueError("a _meta that is no JSON object")
        meta = meta[1:-1]
    return members, meta


def _fits(revision, value, any_structure):
    if isinstance(value, dict):
        return revision.features & STRUCTURED
    return any_structure and revision.features & ANY_STRUCTURE


def _blocks(revision, value):
    out = bytearray()
    for item in value if isinstance(value, list) else (value,):
        if out:
            out.extend(b",")
        if hasattr(item, "json"):
            out.extend(item.json(revision))
        else:
            data = checked(item)
            if data is None:
                raise ValueError("a %s that has no JSON form" % type(item).__name__)
            out.extend(b'{"type":"text","text":')
            out.extend(dumps(item if isinstance(item, str) else data.decode()))
            out.extend(b"}")
    return out


def read_members(uri, value, mime_type):
    """Members of a resources/read result from what the resource's function returned: str, bytes,
    or what has a JSON form."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        from binascii import b2a_base64

        field = b'"blob":'
        data = dumps(b2a_base64(value).decode().strip())
    elif isinstance(value, str):
        field = b'"text":'
        data = dumps(value)
    else:
        field = b'"text":'
        data = checked(value)
        if data is None:
            raise ProtocolError(INTERNAL_ERROR, "the resource's value has no JSON form")
        data = dumps(data.decode())
        mime_type = mime_type or "application/json"
    members = [b'"contents":[{"uri":', dumps(uri), b","]
    if mime_type:
        members.extend((b'"mimeType":', dumps(mime_type), b","))
    members.extend((field, data, b"}]"))
    return members


def prompt_members(revision, value, description):
    """Members of a prompts/get result: value is str, a content.Message or a list of them."""
    members = []
    if description:
        members = [b'"description":', dumps(description), b","]
    members.append(b'"messages":[')
    for i, item in enumerate(value if isinstance(value, list) else [value]):
        if i:
            members.append(b",")
        role, content = "user", None
        if hasattr(item, "role"):
            role, content = item.role, item.content.json(revision)
        elif hasattr(item, "json"):
            content = item.json(revision)
        else:
            content = dumps({"type": "text", "text": item if isinstance(item, str) else str(item)})
        members += [b'{"role":"', role.encode(), b'","content":', content, b"}"]
    members.append(b"]")
    return members


def progress(request, progress, total=None, message=None):
    """A progress notification as parts, or None for a request without a token.

    progress, total: finite numbers; message: str. Raises ValueError where they are not.
    """
    if not _finite(progress) or not (total is None or _finite(total)):
        raise ValueError("progress is a number, or a tuple: progress, total, message")
    if message is not None and not isinstance(message, str):
        raise ValueError("the message of a progress report is a str")
    if request.token is None:
        return None
    row = {"progress": progress}
    if total is not None:
        row["total"] = total
    if message is not None:
        row["message"] = message
    return [
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":',
        request.token,
        b",",
        dumps(row)[1:],
        b"}",
    ]


def notification(method, params=None):
    """A notification as parts. params: None or JSON text (bytes)."""
    head = '{"jsonrpc":"2.0","method":"%s"' % method
    if params is None:
        return [(head + "}").encode()]
    return [(head + ',"params":').encode(), params, b"}"]


def error(id, code, message, data=None):
    """An error answer as parts. id: raw JSON bytes; None where it could not be read: such an
    answer carries none, as MCP's schemas have it."""
    row = {"code": code, "message": message}
    if data is not None:
        row["data"] = data
    if id is None:
        return [b'{"jsonrpc":"2.0","error":', dumps(row), b"}"]
    return [b'{"jsonrpc":"2.0","id":', id, b',"error":', dumps(row), b"}"]


def _finite(value):
    return type(value) in (int, float) and value - value == 0
