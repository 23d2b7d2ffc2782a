"""What tools and prompts return beside plain values: content blocks, results, messages.

return [text("the plot today"), image(png, "image/png")]
"""

from binascii import b2a_base64

from .protocol.jsonvalue import checked, dumps
from .protocol.revisions import AUDIO, LINKS


class Block:
    """One content block; `row` is it as a dict."""

    def __init__(self, row):
        self.row = row

    def json(self, revision):
        """JSON text (bytes) in a form that `revision` knows."""
        row = self.row
        kind = row["type"]
        if kind == "audio" and not revision.features & AUDIO:
            row = {"type": "text", "text": "(audio of type %s)" % row["mimeType"]}
        elif kind == "resource_link" and not revision.features & LINKS:
            row = {"type": "text", "text": row["uri"]}
        return dumps(row)


class Result:
    """The whole result of a tool.

    content: None, a value or a list of values and blocks; structured: dict for structuredContent;
    meta: dict for _meta.
    """

    def __init__(self, content=None, structured=None, is_error=False, meta=None):
        self.content = content
        self.structured = structured
        self.is_error = is_error
        self.meta = meta


class Message:
    """One message of a prompt: role "user" or "assistant", content: str or a block."""

    def __init__(self, role, content):
        if role not in ("user", "assistant"):
            raise ValueError("a message's role is user or assistant")
        self.role = role
        self.content = content if isinstance(content, Block) else text(content)


message = Message


def _block(row, annotations, meta):
    for key, value in (("annotations", annotations), ("_meta", meta)):
        if value is not None:
            _sound(key, value)
            row[key] = value
    return Block(row)


def _sound(key, value):
    """Raise where `value` would spoil the whole answer."""
    if checked(value) is None:
        raise ValueError("%s of a content block has no JSON form" % key)


def text(text, annotations=None, meta=None):
    """A text block. annotations: dict with audience, priority, lastModified, as for all blocks."""
    return _block({"type": "text", "text": str(text)}, annotations, meta)


def image(data, mime_type, annotations=None, meta=None):
    """data: bytes of the image."""
    return _block(_media("image", data, mime_type), annotations, meta)


def audio(data, mime_type, annotations=None, meta=None):
    """data: bytes of the sound. Clients before 2025-03-26 get a text in its place."""
    return _block(_media("audio", data, mime_type), annotations, meta)


def embedded(uri, data, mime_type=None, annotations=None, meta=None):
    """A resource's content: data is str or bytes."""
    return _block(
        {"type": "resource", "resource": contents(uri, data, mime_type)}, annotations, meta
    )


def link(uri, name, mime_type=None, description=None, annotations=None, meta=None, **more):
    """A link to a resource; more: title, size, icons. Clients before 2025-06-18 get the URI."""
    row = {"type": "resource_link", "uri": uri, "name": name}
    for key, value in (("mimeType", mime_type), ("description", description)):
        if value is not None:
            row[key] = value
    _sound("link", more)
    row.update(more)
    return _block(row, annotations, meta)


def contents(uri, data, mime_type=None):
    """The dict that describes a resource's content: data is str or bytes."""
    row = {"uri": uri}
    if mime_type:
        row["mimeType"] = mime_type
    if isinstance(data, str):
        row["text"] = data
    else:
        row["blob"] = base64(data)
    return row


def base64(data):
    return b2a_base64(data).decode().strip()


def _media(kind, data, mime_type):
    return {"type": kind, "data": base64(data), "mimeType": mime_type}
