"""What this gateway offers itself: tools and resources, their descriptors serialised once."""

import json

from .compat import MICROPYTHON
from .errors import ConfigError, ToolError
from .params import Param
from .protocol.framing import new_spans, scan
from .protocol.jsontext import mended

_NAME_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
MAX_NAME = 64


def dumps(value):
    """Compact JSON as bytes. What has no JSON form raises, or gives text that is no JSON."""
    data = json.dumps(value, separators=(",", ":")).encode()
    return mended(data) if MICROPYTHON else data


_SCRATCH = new_spans()


def checked(value):
    """`value` as JSON bytes, or None where it has no JSON form (NaN, sets, unknown objects)."""
    try:
        data = dumps(value)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError: nested too deeply
        return None
    if type(value) is not int:
        whole = b'{"jsonrpc":"2.0","id":1,"result":' + data + b"}"
        if scan(whole, 0, len(whole), _SCRATCH, 64) < 0:
            return None
    return data


class Tool:
    """A tool of this gateway: its function, its parameters and its descriptor as JSON bytes."""

    def __init__(self, name, func, description, params, annotations=None):
        check_name(name)
        for key, param in params.items():
            if not isinstance(param, Param):
                raise ConfigError("tool %s: %s must be a Param" % (name, key))
        self.name = name
        self.func = func
        self.params = params
        schema = {
            "type": "object",
            "properties": {key: param.schema() for key, param in params.items()},
            "additionalProperties": False,
        }
        required = [key for key, param in params.items() if param.required]
        if required:
            schema["required"] = required
        row = described({"name": name, "inputSchema": schema}, description, annotations)
        self.descriptor = _descriptor("tool " + name, row)

    def arguments(self, given):
        """Check `given` (a dict) and fill in defaults; raises ToolError for the first rule
        broken."""
        out = {}
        for key, param in self.params.items():
            if key in given:
                out[key] = param.check(key, given[key])
            elif param.required:
                raise ToolError("argument %s is missing" % key)
            else:
                out[key] = param.default
        if len(given) > len(out) or any(key not in self.params for key in given):
            for key in given:
                if key not in self.params:
                    raise ToolError("argument %s is not known to this tool" % key)
        return out


class Resource:
    """A resource at a fixed URI, read by calling its function."""

    def __init__(self, uri, func, name, description, mime_type):
        if ":" not in uri:
            raise ConfigError("resource %r: a URI has a scheme, as in board://status" % uri)
        self.uri = uri
        self.func = func
        self.mime_type = mime_type
        row = described({"uri": uri, "name": name}, description, None)
        if mime_type:
            row["mimeType"] = mime_type
        self.descriptor = _descriptor("resource " + uri, row)


class Registry:
    """Tools by name and resources by URI, in the order they were registered."""

    def __init__(self):
        self.tools = {}
        self.resources = {}
        self.order = []  # names of tools: a MicroPython dict keeps no order
        self.uris = []

    def add_tool(self, tool):
        if tool.name in self.tools:
            raise ConfigError("tool %s is registered twice" % tool.name)
        self.tools[tool.name] = tool
        self.order.append(tool.name)

    def add_resource(self, resource):
        if resource.uri in self.resources:
            raise ConfigError("resource %s is registered twice" % resource.uri)
        self.resources[resource.uri] = resource
        self.uris.append(resource.uri)


def _descriptor(what, row):
    data = checked(row)
    if data is None:  # it would spoil the whole list
        raise ConfigError("%s: a default, bound or annotation has no JSON form" % what)
    return data


def described(row, description, annotations):
    """Add what is optional in a descriptor, where it is given."""
    if description:
        row["description"] = description
    if annotations:
        row["annotations"] = annotations
    return row


def check_name(name):
    """Raise ConfigError unless `name` is one that every client accepts."""
    if not 0 < len(name) <= MAX_NAME or any(c not in _NAME_CHARS for c in name):
        raise ConfigError("name %r: 1 to %d of A-Z a-z 0-9 _ -" % (name, MAX_NAME))


def joined_name(prefix, name, taken):
    """PREFIX_NAME in 64 characters of [A-Za-z0-9_-]; a hash where that alone is not unique.

    taken: container of the names in use. The hash is of the original name, so that it is the same
    after every restart.
    """
    plain = "%s_%s" % (prefix, name)
    out = "".join(c if c in _NAME_CHARS else "_" for c in plain)
    if out != plain or len(out) > MAX_NAME or out in taken:
        from binascii import crc32

        out = "%s_%08x" % (out[: MAX_NAME - 9], crc32(plain.encode()))
    return out
