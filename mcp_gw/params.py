"""The type of an argument: its JSON Schema, and the check of what a client gives."""

from .errors import ConfigError, ToolError

_MISSING = object()
_TYPES = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    list: "array",
    dict: "object",
}


class Param:
    """The type of one argument of a tool: makes its JSON Schema and checks values.

    kind: int, float, bool, str, list or dict.
    description: for the model that reads the schema.
    default: passed to the tool when the argument is absent; without one the argument is required.
    min, max: bounds of a number, of the length of a str (characters) or of a list (items).
    enum: the only values allowed.
    items: a Param for every item of a list.
    """

    def __init__(
        self, kind, description="", default=_MISSING, min=None, max=None, enum=None, items=None
    ):
        if kind not in _TYPES:
            raise ConfigError("Param: type must be one of int, float, bool, str, list, dict")
        if (min is not None or max is not None) and kind in (bool, dict):
            raise ConfigError("Param: min and max mean nothing for %s" % _TYPES[kind])
        if items is not None and kind is not list:
            raise ConfigError("Param: items is for a list")
        self.kind = kind
        self.description = description
        self.default = default
        self.required = default is _MISSING
        self.min = min
        self.max = max
        self.enum = tuple(enum) if enum is not None else None
        self.items = items
        if default is not _MISSING and default is not None:
            self.check("default", default)

    def schema(self):
        """This parameter's JSON Schema (2020-12) as a dict."""
        out = {"type": _TYPES[self.kind]}
        if self.description:
            out["description"] = self.description
        suffix = {str: "Length", list: "Items"}.get(self.kind)
        if self.min is not None:
            out["min" + suffix if suffix else "minimum"] = self.min
        if self.max is not None:
            out["max" + suffix if suffix else "maximum"] = self.max
        if self.enum is not None:
            out["enum"] = list(self.enum)
        if self.items is not None:
            out["items"] = self.items.schema()
        if self.default is not _MISSING and self.default is not None:
            out["default"] = self.default
        return out

    def check(self, name, value):
        """Return `value` as this parameter's type, or raise ToolError naming the rule it broke."""
        kind = self.kind
        if kind is float and type(value) is int:
            value = float(value)
        elif kind is int and type(value) is float and -1e15 < value < 1e15 and value % 1 == 0:
            value = int(value)  # JSON Schema: 3.0 is an integer
        if type(value) is not kind:
            raise ToolError(
                "argument %s must be of type %s, not %s" % (name, _TYPES[kind], _kind_of(value))
            )
        if self.min is not None or self.max is not None:
            self._check_bounds(name, value)
        if self.enum is not None and value not in self.enum:
            from .registry import dumps

            allowed = ", ".join(dumps(v).decode() for v in self.enum)
            raise ToolError("argument %s must be one of %s" % (name, allowed))
        if self.items is not None:
            value = [self.items.check("%s[%d]" % (name, i), v) for i, v in enumerate(value)]
        return value

    def _check_bounds(self, name, value):
        what = ""
        if self.kind is str or self.kind is list:
            value = len(value)
            what = "characters" if self.kind is str else "items"
            what = " with its %d %s" % (value, what)
        else:
            what = " but is %s" % (value,)
        if self.min is not None and value < self.min:
            raise ToolError("argument %s is below its minimum %s%s" % (name, self.min, what))
        if self.max is not None and value > self.max:
            raise ToolError("argument %s is above its maximum %s%s" % (name, self.max, what))


def _kind_of(value):
    return "null" if value is None else _TYPES.get(type(value), "unknown")
