"""What this gateway offers itself: tools, resources, templates and prompts; their descriptors are
serialised once."""

from .errors import ConfigError, ToolError
from .params import Param, fresh, headers_of, object_schema
from .protocol.jsonvalue import checked

_NAME_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
MAX_NAME = 64
_MUTABLE = (list, dict)


class Item:
    """What all kinds of offer have in common: the function, its parameters, the descriptor.

    params: name -> Param; context: the keyword under which the function wants the call's Context,
    or None; row: (number, descriptor as JSON bytes), the number grows with every registration.
    """

    what = "item"
    older = None  # the descriptor for revisions with a handshake, where it differs

    def __init__(self, name, func, declared):
        self.name = name
        self.func = func
        self.context = None
        self.params = {}
        for key, value in declared.items():
            if isinstance(value, Param):
                self.params[key] = value
            elif getattr(value, "is_context", False):
                self.context = key
            else:
                raise ConfigError(
                    "%s %s: %s is neither a Param nor an option" % (self.what, name, key)
                )

    def _describe(self, row, options):
        """Serialise the descriptor `row` with what `options` (dict) adds where it is given."""
        for key, value in options.items():
            if value is not None and value != "":
                row["_meta" if key == "meta" else key] = value
        descriptor = checked(row)
        if descriptor is None:  # it would spoil the whole list
            raise ConfigError(
                "%s %s: a default, bound or annotation has no JSON form" % (self.what, self.name)
            )
        self.row = 0, descriptor

    @property
    def descriptor(self):
        """JSON bytes."""
        return self.row[1]

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
                out[key] = fresh(param.default) if param.kind in _MUTABLE else param.default
        for key in given:
            if key not in self.params:
                raise ToolError("argument %s is not known to this %s" % (key, self.what))
        return out


class Tool(Item):
    """A tool: input_schema, output_schema: JSON Schemas (dicts) or None; task: whether a call may
    run as a task: "forbidden", "optional", "required", or "later", when it says so itself."""

    what = "tool"

    def __init__(
        self, name, func, declared, input_schema=None, output_schema=None, task=None, **options
    ):
        check_name(name)
        super().__init__(name, func, declared)
        if task not in (None, "forbidden", "optional", "required", "later"):
            raise ConfigError("tool %s: task is forbidden, optional, required or later" % name)
        self.task = None if task == "forbidden" else task
        self.schema = input_schema
        self.output_schema = output_schema
        if input_schema is not None:
            if self.params:
                raise ConfigError("tool %s: either Params or input_schema" % name)
            if input_schema.get("type") != "object":
                raise ConfigError('tool %s: an input schema has "type": "object"' % name)
        if input_schema is not None or output_schema is not None:
            from .schema import supported

            for schema in (input_schema, output_schema):
                if schema is not None:
                    supported(schema)
        if input_schema is None:
            input_schema = object_schema(self.params)
            headers = headers_of(self.params)
            if len(set(headers)) < len(headers):
                raise ConfigError("tool %s: two parameters with one header" % name)
        row = {"name": name, "inputSchema": input_schema}
        if output_schema is not None:
            row["outputSchema"] = output_schema
        if self.task:
            row["execution"] = {"taskSupport": "optional" if task == "later" else task}
        self._describe(row, options)
        if output_schema is not None and output_schema.get("type") != "object":
            del row["outputSchema"]
            self.older = checked(row)


class Resource(Item):
    """A resource at a fixed URI, read by calling its function."""

    what = "resource"

    def __init__(self, uri, func, declared, name, mime_type=None, **options):
        if ":" not in uri:
            raise ConfigError("resource %r: a URI has a scheme, as in board://status" % uri)
        super().__init__(uri, func, declared)
        for key in self.params:
            raise ConfigError("resource %s: %s is no variable of the URI" % (uri, key))
        self.mime_type = mime_type
        self._describe({"uri": uri, "name": name}, dict(options, mimeType=mime_type))


class Listing:
    """Items by name, in the order they were registered. changed: None or a function called after
    every change."""

    def __init__(self):
        self._items = {}
        self._order = []  # a MicroPython dict keeps no order
        self._last = 0
        self.changed = None

    def __len__(self):
        return len(self._order)

    def __iter__(self):
        return iter(self._order)

    def __contains__(self, name):
        return name in self._items

    def get(self, name):
        """The item of this name, or None."""
        return self._items.get(name)

    def add(self, item):
        """Raises ConfigError for a name that is taken."""
        if item.name in self._items:
            raise ConfigError("%s %s is registered twice" % (item.what, item.name))
        self._last += 1
        item.row = self._last, item.row[1]
        self._items[item.name] = item
        self._order.append(item.name)
        if self.changed:
            self.changed()

    def remove(self, name):
        """Raises ConfigError for a name that is not there."""
        if name not in self._items:
            raise ConfigError("%s is not registered" % name)
        del self._items[name]
        self._order.remove(name)
        if self.changed:
            self.changed()

    def rows(self, after=0):
        """Yield the row of every item registered after number `after`."""
        for name in self._order:
            row = self._items[name].row
            if row[0] > after:
                yield row

    def older_rows(self, after=0):
        """rows() for revisions with a handshake."""
        for name in self._order:
            item = self._items[name]
            if item.row[0] > after:
                yield item.row if item.older is None else (item.row[0], item.older)


class Registry:
    """tools by name, resources and templates by URI, prompts by name."""

    def __init__(self):
        self.tools = Listing()
        self.resources = Listing()
        self.templates = Listing()
        self.prompts = Listing()


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
