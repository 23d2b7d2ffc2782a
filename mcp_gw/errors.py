"""Error types, and the JSON-RPC codes this gateway sends."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Legacy revisions have a code of their own for an unknown resource; 2026-07-28 uses -32602.
RESOURCE_NOT_FOUND = -32002
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
# Implementation-defined range of the specification (-32000..-32019).
UPSTREAM_UNAVAILABLE = -32010
UPSTREAM_TIMEOUT = -32011
QUEUE_FULL = -32012
BOARD_RESET = -32013


class GatewayError(Exception):
    """Base of every error this package raises on purpose."""


class ToolError(GatewayError):
    """Raised by a tool: its text reaches the client as a tool result with isError."""


class ConfigError(GatewayError):
    """A setting is unknown, of the wrong type or out of range; the text names it."""


class ProtocolError(GatewayError):
    """A JSON-RPC error: what a peer did wrong, or what a tool wants to be answered with.

    code: of errors.py or one of the user's; data: None or anything with a JSON form; status: the
    HTTP status it goes with, None: the one the revision says for this code."""

    def __init__(self, code, message, data=None, status=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.status = status


class Unavailable(GatewayError):
    """The upstream cannot be reached and the request was certainly not sent: safe to queue or
    retry."""


class NoAnswer(GatewayError):
    """The request was sent and no answer came: it may or may not have been executed."""


class QueueFull(GatewayError):
    """The queue has no room for the record, or the record is larger than it can ever hold."""
