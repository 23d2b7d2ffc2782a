"""The JSON texts the outbox writes itself."""

import json

from ..compat import const

_SENT = const(2)  # see records.py


def about(known, attempts):
    """Status as JSON text without the closing brace: known is (key, state, tool, upstream, queued
    at, expires at).
    """
    key, state, tool, upstream, queued, expires = known
    text = json.dumps(
        {
            "id": key.decode(),
            "state": state,
            "tool": tool,
            "upstream": upstream,
            "queued_at": queued,
            "expires_at": expires,
            "attempts": attempts,
        }
    )
    return text[:-1].encode()


def pointer(text, key):
    """A tool result that refers to another call."""
    uri = "queue://" + key.decode()
    link = {"type": "resource_link", "uri": uri, "name": uri[8:], "mimeType": "application/json"}
    row = {"content": [{"type": "text", "text": text + uri}, link], "isError": False}
    return json.dumps(row).encode()


def result(text, error):
    """A tool result that is one text."""
    return json.dumps({"content": [{"type": "text", "text": text}], "isError": error}).encode()


def was_sent(box, handle):
    """Whether a request may have been carried out already."""
    return box.load(handle) and box.head[1] & _SENT or box.ring.marks(handle)


def ended(box, handle, what):
    """The result of a request that comes to an end without an answer."""
    how = " before it was delivered"
    if was_sent(box, handle):
        how = "; it was sent before, and may have been carried out"
    return result(what + how, True)


def shortened(outcome, room, error):
    """A tool result with the first part of `outcome` as text, in at most `room` bytes."""
    text = "The result has %d bytes, too large to be kept (%d at most). It begins: "
    text %= (len(outcome), room)
    keep = room
    while True:
        keep = keep * 3 // 4
        while keep and outcome[keep] & 0xC0 == 0x80:
            keep -= 1
        try:
            part = bytes(outcome[:keep]).decode()
        except UnicodeError:
            part = ""
        whole = result(text + part, error)
        if len(whole) <= room or not part:
            return whole
