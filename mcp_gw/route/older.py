"""What clients of older revisions cannot read in an upstream's result, in a form that they can."""

from ..protocol.jsontext import loads
from ..protocol.jsonvalue import dumps
from ..protocol.revisions import AUDIO, LINKS


def readable(revision, raw):
    """JSON text (bytes) of a result, of a tool or a prompt, less what `revision` has not: audio
    and links become texts, structured content that is no object is left out."""
    result = loads(raw, b"\\" in raw)
    if not isinstance(result.get("structuredContent"), dict):
        result.pop("structuredContent", None)
    content = result.get("content")
    if isinstance(content, list):
        result["content"] = [_block(revision, block) for block in content]
    messages = result.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            message["content"] = _block(revision, message.get("content"))
    return dumps(result)


def _block(revision, block):
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "audio" and not revision.features & AUDIO:
        return {"type": "text", "text": "(audio of type %s)" % block.get("mimeType")}
    if kind == "resource_link" and not revision.features & LINKS:
        return {"type": "text", "text": str(block.get("uri"))}
    return block
