"""HTTP answers in JSON, as the parts of a gateway give them to the HTTP server."""

from .errors import INVALID_REQUEST
from .protocol.jsonvalue import dumps

# No cache may keep them: they are about now, or about who asked.
FIELDS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


def json_answer(status, value, *fields):
    """(status, fields, body) for a value with a JSON form; fields: further (name, value) pairs."""
    return status, FIELDS + fields, dumps(value)


def refusal(status, text, *fields):
    """(status, fields, body) for a request that goes no further: a JSON-RPC error, as every body
    is where MCP is spoken, which fits the other endpoints as well."""
    row = {"jsonrpc": "2.0", "error": {"code": INVALID_REQUEST, "message": text}}
    return json_answer(status, row, *fields)
