"""HTTP header fields that MCP's Streamable HTTP transport asks of a client."""

import base64
import re

from mcp_gw.protocol.revisions import LATEST_MODERN

ACCEPT = "application/json, text/event-stream"

_SAFE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_WRAPPED = re.compile(r"=\?base64\?.*\?=", re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def value(text):
    """Text as a header value: as it is, or in the =?base64?...?= form when HTTP would change
    it.
    """
    if _SAFE.fullmatch(text) and not _WRAPPED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def of_request(version, method, name=None, session=None):
    """Header fields of a request: version is the agreed revision, or None while it is not
    known.
    """
    fields = {"Accept": ACCEPT, "Content-Type": "application/json"}
    if version is not None:
        fields["MCP-Protocol-Version"] = version
    if version == LATEST_MODERN:
        fields["Mcp-Method"] = method
        if name is not None:
            fields["Mcp-Name"] = value(name)
    if session is not None:
        fields["Mcp-Session-Id"] = session
    return fields


def of_arguments(schema, arguments):
    """Mcp-Param-* fields: the arguments whose properties carry x-mcp-header in the input schema.

    schema: the tool's inputSchema; arguments: the call's. Nested objects are followed through
    `properties`.
    """
    fields = {}
    stack = [(schema, arguments)]
    while stack:
        part, values = stack.pop()
        properties = part.get("properties") if isinstance(part, dict) else None
        if not isinstance(properties, dict) or not isinstance(values, dict):
            continue
        for name, inner in properties.items():
            given = values.get(name)
            if given is None or not isinstance(inner, dict):
                continue
            token = inner.get("x-mcp-header")
            if isinstance(token, str) and _TOKEN.fullmatch(token):
                text = _scalar(given)
                if text is not None:
                    fields["Mcp-Param-" + token] = value(text)
            stack.append((inner, given))
    return fields


def _scalar(given):
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given) if isinstance(given, (str, int, float)) else None
