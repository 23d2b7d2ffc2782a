"""What the records of a queue mean (docs/queue-format.md, "Records of the outbox")."""

import json
import struct
from datetime import UTC, datetime

KINDS = {1: "request", 2: "outcome", 3: "start"}
STATES = dict(
    enumerate(
        ("done", "failed", "expired", "cancelled", "dropped", "superseded", "merged"), start=2
    )
)
# Flags of a request.
_DATED, _UPDATE = 1, 8
_FLAGS = {2: "sent", 4: "behind", 8: "update", 16: "merge"}


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
            return said | _start(payload)
        if record.kind in (1, 2):
            return said | _message(record.kind, payload)
    except (struct.error, ValueError) as e:
        return said | {"problem": f"not as the outbox writes it: {e}"}
    return said | {"problem": "of a kind that is not known"}


def _start(payload):
    if len(payload) == 8:  # format 1
        first, unix_s = struct.unpack("<II", payload)
        return {"start": first, "began": _when(1, unix_s)}
    first, unix_s, lasted, after = struct.unpack("<IIII", payload)
    said = {"start": first, "lasted_s": lasted}
    if unix_s:
        said["began"] = _when(1, unix_s)
    if after:
        said["not_before"] = _when(1, after)
    return said


def _message(kind, payload):
    form, flags, upstream, tool, stored, expires = struct.unpack_from("<BBBBII", payload)
    if form not in (1, 2):
        raise ValueError(f"format {form}")
    said = {}
    at = 12
    if form == 2:
        start, owner = struct.unpack_from("<II", payload, at)
        at = 20
        if start:
            said["start"] = start
        if owner:
            said["owner"] = f"{owner:08x}"
        if kind == 1:
            said["flags"] = [name for bit, name in _FLAGS.items() if flags & bit]
        if kind == 1 and flags & _UPDATE:
            replaces, thing = struct.unpack_from("<I8s", payload, at)
            at += 12
            said["replaces"] = replaces or None
            said["thing"] = thing.hex()
    if kind == 2:
        asked, limit, attempts, state = struct.unpack_from("<IIHB", payload, at)
        at += 12
        said["state"] = STATES.get(state, state)
        said["attempts"] = attempts
        said["requested"] = _when(1, asked) if asked else None
        said["expired"] = _when(1, limit) if limit else None
    names = payload[at : at + upstream + tool]
    if len(names) < upstream + tool:
        raise ValueError("it ends in the middle")
    return {
        "upstream": names[:upstream].decode(),
        "tool": names[upstream:].decode(),
        "stored": _when(flags & _DATED, stored),
        "expires_s" if kind == 1 else "kept_s": expires,
        **said,
        "params" if kind == 1 else "result": json.loads(payload[at + upstream + tool :]),
    }


def _when(dated, seconds):
    """A time as ISO 8601, or as seconds since a start of the board."""
    if not dated:
        return f"start+{seconds}s"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
