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
# The options of Param and the kinds they are for; None: all.
_FOR = {
    "min": (int, float, str, list),
    "max": (int, float, str, list),
    "above": (int, float),
    "below": (int, float),
    "multiple_of": (int, float),
    "pattern": (str,),
    "format": (str,),
    "enum": None,
    "titles": (str,),
    "items": (list,),
    "unique": (list,),
    "properties": (dict,),
    "title": None,
    "examples": None,
    "header": (int, str, bool),
    "complete": None,
}
_USUAL = ("min", "max", "enum")
_RARE = ("above", "below", "multiple_of", "pattern", "format", "items", "unique", "properties")
_TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Param:
    """The type of one argument: makes its JSON Schema and checks values.

    kind: int, float, bool, str, list or dict.
    description: for the model that reads the schema.
    default: passed to the function when the argument is absent; without one it is required.
    min, max: bounds of a number, of the length of a str (characters) or of a list (items).
    enum: the only values allowed.
    items: a Param for every item of a list.

    By name only:

    optional: may be absent without a default; the function is then passed None.
    above, below: bounds of a number that it must not reach.
    multiple_of: a number > 0.
    pattern: regular expression of which some part of a str must match (see pattern.py).
    format: of a str. Those of rules.FORMATS are checked, all others only told to the client.
    unique: no two items of a list are equal.
    properties: name -> Param of the members of a dict, which then has no others.
    title: for people. titles: of the values in `enum`, in the same order.
    examples: list of values.
    header: name of the HTTP header Mcp-Param-NAME in which clients repeat the value.
    complete: of prompts and templates: the values to suggest, as a list or as
        function(value, others) -> list.

    Raises ConfigError for what cannot be checked or contradicts itself.
    """

    # What is not given is not stored: a board has many of these.
    required = True
    default = min = max = above = below = multiple_of = pattern = format = enum = items = None
    unique = properties = title = titles = examples = header = complete = None
    _more = False  # whether there is more to check than the type
    _rare = False  # and more than _USUAL

    def __init__(
        self,
        kind,
        description="",
        default=_MISSING,
        min=None,
        max=None,
        enum=None,
        items=None,
        optional=False,
        **options,
    ):
        if kind not in _TYPES:
            raise ConfigError("Param: type must be one of int, float, bool, str, list, dict")
        self.kind = kind
        self.description = description
        options.update({"min": min, "max": max, "enum": enum, "items": items})
        for name, value in options.items():
            if value is not None and value is not False:
                self._set(name, value)
        if self.titles and (not self.enum or len(self.titles) != len(self.enum)):
            raise ConfigError("Param: titles has one for each value in enum")
        for value in self.enum or ():
            self._declared("enum", value)
        if default is not _MISSING or optional:
            self.required = False
        if default is not _MISSING and default is not None:
            self.default = self._declared("default", default)

    def _set(self, name, value):
        if name not in _FOR:
            raise ConfigError("Param: there is no option %s" % name)
        if _FOR[name] is not None and self.kind not in _FOR[name]:
            raise ConfigError("Param: %s means nothing for %s" % (name, _TYPES[self.kind]))
        if name in _RARE:
            self._more = self._rare = True
        elif name in _USUAL:
            self._more = True
        if name in ("enum", "titles"):
            value = tuple(value)
        elif name == "items" and not isinstance(value, Param):
            raise ConfigError("Param: items must be a Param")
        elif name == "items" and headers_of({"": value}):
            raise ConfigError("Param: header is not for what is in a list")
        elif name == "properties" and any(not isinstance(v, Param) for v in value.values()):
            raise ConfigError("Param: properties must be Params by name")
        elif name == "pattern":
            from .pattern import compiled

            compiled(value)
        elif name == "multiple_of" and value <= 0:
            raise ConfigError("Param: multiple_of must be above 0")
        elif name == "header" and (not value or any(c not in _TOKEN for c in value)):
            raise ConfigError("Param: header %r is no HTTP token" % (value,))
        setattr(self, name, value)

    def _declared(self, name, value):
        try:
            return self.check(name, value)
        except ToolError as e:
            raise ConfigError("Param: " + str(e)) from e

    def schema(self):
        """This parameter's JSON Schema (2020-12) as a dict."""
        out = {"type": _TYPES[self.kind]}
        if self.description:
            out["description"] = self.description
        suffix = {str: "Length", list: "Items"}.get(self.kind, "imum")
        for key, value in (
            ("title", self.title),
            ("min" + suffix, self.min),
            ("max" + suffix, self.max),
            ("exclusiveMinimum", self.above),
            ("exclusiveMaximum", self.below),
            ("multipleOf", self.multiple_of),
            ("pattern", self.pattern),
            ("format", self.format),
            ("uniqueItems", self.unique),
            ("default", self.default),
            ("examples", self.examples),
            ("x-mcp-header", self.header),
        ):
            if value is not None:
                out[key] = value
        if self.titles:
            out["oneOf"] = [
                {"const": value, "title": self.titles[i]} for i, value in enumerate(self.enum)
            ]
        elif self.enum is not None:
            out["enum"] = list(self.enum)
        if self.items is not None:
            out["items"] = self.items.schema()
        if self.properties is not None:
            out.update(object_schema(self.properties))
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
                "argument %s must be of type %s, not %s" % (name, _TYPES[kind], kind_of(value))
            )
        return self._check_more(name, value) if self._more else value

    def _check_more(self, name, value):
        kind = self.kind
        size = len(value) if kind is str or kind is list else value
        if self.min is not None and size < self.min or self.max is not None and size > self.max:
            self._out_of_bounds(name, size)
        if self.enum is not None and not self._is_allowed(value):
            from .protocol.jsonvalue import dumps

            allowed = ", ".join(dumps(v).decode() for v in self.enum)
            raise ToolError("argument %s must be one of %s" % (name, allowed))
        if not self._rare:
            return value
        if kind is int or kind is float:
            self._check_number(name, value)
        elif kind is str:
            self._check_text(name, value)
        elif self.items is not None:
            value = self._each(name, value)
        elif self.properties is not None:
            value = check_object(self.properties, name, value)
        if self.unique:
            from .rules import repeated

            i = repeated(value)
            if i >= 0:
                raise ToolError("argument %s[%d] is there twice" % (name, i))
        return value

    def _is_allowed(self, value):
        if self.kind is not list and self.kind is not dict:
            return value in self.enum
        from .rules import same

        return any(same(value, allowed) for allowed in self.enum)

    def _each(self, name, value):
        item = self.items
        out = []
        for v in value:
            try:
                out.append(item.check(name, v))
            except ToolError:
                item.check("%s[%d]" % (name, len(out)), v)  # raises, with its full name
        return out

    def _out_of_bounds(self, name, size):
        what = {str: "characters", list: "items"}.get(self.kind)
        what = " with its %d %s" % (size, what) if what else " but is %s" % (size,)
        if self.min is not None and size < self.min:
            raise ToolError("argument %s is below its minimum %s%s" % (name, self.min, what))
        raise ToolError("argument %s is above its maximum %s%s" % (name, self.max, what))

    def _check_number(self, name, value):
        if self.above is not None and value <= self.above:
            raise ToolError("argument %s must be above %s but is %s" % (name, self.above, value))
        if self.below is not None and value >= self.below:
            raise ToolError("argument %s must be below %s but is %s" % (name, self.below, value))
        if self.multiple_of is not None:
            from .rules import is_multiple

            if not is_multiple(value, self.multiple_of):
                raise ToolError(
                    "argument %s must be a multiple of %s but is %s"
                    % (name, self.multiple_of, value)
                )

    def _check_text(self, name, value):
        if self.pattern is not None:
            from .pattern import compiled

            if not compiled(self.pattern).search(value):
                raise ToolError("argument %s must match the pattern %s" % (name, self.pattern))
        if self.format is not None:
            from .rules import FORMATS

            rule = FORMATS.get(self.format)
            if rule and not rule[0](value):
                raise ToolError(
                    "argument %s must be of format %s, as in %s" % (name, self.format, rule[1])
                )


def object_schema(params):
    """The JSON Schema of an object with these members (name -> Param) and no others."""
    out = {
        "type": "object",
        "properties": {key: param.schema() for key, param in params.items()},
        "additionalProperties": False,
    }
    required = [key for key, param in params.items() if param.required]
    if required:
        out["required"] = required
    return out


def headers_of(params):
    """The header names, in lower case, of these (name -> Param) and of their members."""
    out = []
    for param in params.values():
        if param.header is not None:
            out.append(param.header.lower())
        if param.properties is not None:
            out += headers_of(param.properties)
    return out


def check_object(params, name, given):
    """The members of `given` (a dict) checked, with defaults filled in; ToolError for the first
    rule broken. name: of the argument that `given` is; "": its members are the arguments."""
    out = {}
    for key, param in params.items():
        if key in given:
            try:
                out[key] = param.check(name, given[key])
            except ToolError:
                param.check(_member(name, key), given[key])  # raises, with its full name
        elif param.required:
            raise ToolError("argument %s is missing" % _member(name, key))
        else:
            out[key] = fresh(param.default)
    for key in given:
        if key not in params:
            raise ToolError("argument %s is not known" % _member(name, key))
    return out


def fresh(default):
    """A default as a function gets it, which may change a list or dict as it likes."""
    if isinstance(default, list):
        return [fresh(value) for value in default]
    if isinstance(default, dict):
        return {key: fresh(value) for key, value in default.items()}
    return default


def _member(name, key):
    return "%s.%s" % (name, key) if name else key


def kind_of(value):
    """The JSON type of a value, for messages."""
    return "null" if value is None else _TYPES.get(type(value), "unknown")
