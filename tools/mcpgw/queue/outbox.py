"""What the records of a queue mean (docs/queue-format.md, "Records of the outbox")."""

import json
import struct
from datetime import UTC, datetime

KINDS = {1: "request", 2: "outcome", 3: "dates"}
STATES = {2: "done", 3: "failed", 4: "expired", 5: "cancelled"}
_HEADS = {1: 12, 2: 24}
_FORMAT = 1


def meaning(record):
    """What a Record says, as a dict with a JSON form; "problem" where it says nothing."""
    said = {
        "seq": record.seq,
        "at": record.at,
        "kind": KINDS.get(record.kind, record.kind),
        "key": record.key.decode("latin-1"),
        "priority": record.priority,
        "marks": record.marks,
        "parts": len(record.parts),
    }
    payload = record.payload
    if payload is None:
        return said | {"problem": "damaged"}
    said["bytes"] = len(payload)
    try:
        if record.kind == 3:
            first, unix_s = struct.unpack_from("<II", payload)
            return said | {"dates_from": first, "began": _when(1, unix_s)}
        if record.kind in _HEADS:
            return said | _message(record.kind, payload)
    except (struct.error, ValueError) as e:
        return said | {"problem": f"not as the outbox writes it: {e}"}
    return said | {"problem": "of a kind that is not known"}


def _message(kind, payload):
    form, dated, upstream, tool, stored, expires = struct.unpack_from("<BBBBII", payload)
    if form != _FORMAT:
        raise ValueError(f"format {form}")
    at = _HEADS[kind]
    names = payload[at : at + upstream + tool]
    if len(names) < upstream + tool:
        raise ValueError("it ends in the middle")
    said = {
        "upstream": names[:upstream].decode(),
        "tool": names[upstream:].decode(),
        "stored": _when(dated, stored),
        "expires_s" if kind == 1 else "kept_s": expires,
    }
    if kind == 2:
        asked, limit, attempts, state = struct.unpack_from("<IIHB", payload, 12)
        said["state"] = STATES.get(state, state)
        said["attempts"] = attempts
        said["requested"] = _when(1, asked) if asked else None
        said["expired"] = _when(1, limit) if limit else None
    said["params" if kind == 1 else "result"] = json.loads(payload[at + upstream + tool :])
    return said


def _when(dated, seconds):
    """A time as ISO 8601, or as seconds since a start of the board."""
    if not dated:
        return f"start+{seconds}s"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
