"""HTTP answers in JSON, as the parts of a gateway give them to the HTTP server."""

from .protocol.jsonvalue import dumps

# No cache may keep them: they are about now, or about who asked.
FIELDS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def json_answer(status, value, *fields):
    """(status, fields, body) for a value with a JSON form; fields: further (name, value) pairs."""
    return status, FIELDS + fields, dumps(value)
