"""What is wrong with a message: codes, words and HTTP statuses."""

from ..errors import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    ProtocolError,
)
from .framing import (
    E_BATCH,
    E_DEPTH,
    E_DUPLICATE,
    E_ENVELOPE,
    E_NOT_OBJECT,
    E_SYNTAX,
    E_UTF8,
)

_WHY = {
    E_SYNTAX: (PARSE_ERROR, "not valid JSON"),
    E_UTF8: (PARSE_ERROR, "not valid UTF-8"),
    E_DEPTH: (INVALID_REQUEST, "nested too deeply"),
    E_DUPLICATE: (INVALID_REQUEST, "a key of the envelope occurs twice"),
    E_BATCH: (INVALID_REQUEST, "batches are not part of this revision"),
    E_NOT_OBJECT: (INVALID_REQUEST, "not a JSON object"),
    E_ENVELOPE: (INVALID_REQUEST, "not a JSON-RPC 2.0 message"),
}

# HTTP statuses of errors in answers of a stateless revision; all others go with 200.
STATUS = {
    METHOD_NOT_FOUND: 404,
    UNSUPPORTED_VERSION: 400,
    MISSING_CAPABILITY: 400,
    HEADER_MISMATCH: 400,
}


def malformed(kind, at):
    """The ProtocolError for what the scanner found. kind: one of framing's E_*; at: byte of the
    message, negative where none is to blame."""
    code, why = _WHY[kind]
    return ProtocolError(code, "%s (at byte %d)" % (why, at) if at >= 0 else why, None, 400)


def unknown(method):
    """The ProtocolError for a method (bytes) that the revision does not have."""
    return ProtocolError(METHOD_NOT_FOUND, "unknown method " + method.decode())
