"""Whether a raw JSON Schema is well-formed and can be checked, asked once, when it is declared."""

from .errors import ConfigError
from .pattern import compiled

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

# What the value of a keyword has to be; the keywords that are not here are not looked at.
_SHAPES = {
    "a schema": (
        "items contains additionalProperties propertyNames not if then else contentSchema "
        "unevaluatedItems unevaluatedProperties"
    ),
    "a list of schemas": "allOf anyOf oneOf prefixItems",
    "schemas by name": "$defs definitions properties dependentSchemas",
    "schemas by pattern": "patternProperties",
    "a number": "minimum maximum exclusiveMinimum exclusiveMaximum",
    "a number above 0": "multipleOf",
    "an integer of 0 or more": (
        "minLength maxLength minItems maxItems minContains maxContains minProperties maxProperties"
    ),
    "true or false": "uniqueItems",
    "a list": "enum",
    "a list of strings": "required",
    "lists of strings by name": "dependentRequired",
    "a type or a list of types": "type",
    "a pattern": "pattern",
    "a reference into this schema (#...)": "$ref $dynamicRef",
}
# What holds values rather than schemas.
_VALUES = ("const", "enum", "default", "examples")


def supported(schema, where="schema"):
    """Raise ConfigError, naming the place, unless check() can apply all of `schema`."""
    shapes = {}
    for shape, names in _SHAPES.items():
        for name in names.split():
            shapes[name] = shape
    _look(schema, where, schema, shapes, [])


def _look(schema, where, root, shapes, refs):
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise ConfigError("%s: a schema is a dict, or True or False" % where)
    if schema.get("$schema", _DIALECT).rstrip("#") != _DIALECT:
        raise ConfigError("%s: only the dialect %s can be checked" % (where, _DIALECT))
    if "$id" in schema and schema is not root:
        raise ConfigError("%s: an $id within a schema cannot be checked" % where)
    for key, value in schema.items():
        place = "%s.%s" % (where, key)
        shape = shapes.get(key)
        if shape is not None:
            if not _has_shape(shape, value):
                raise ConfigError("%s must be %s" % (place, shape))
            for name, part in _within(shape, value):
                _look(part, place + name, root, shapes, refs)
        if key == "pattern":
            compiled(value)
        elif key in ("$ref", "$dynamicRef") and value not in refs:
            refs.append(value)
            _look(target(root, value), value, root, shapes, refs)


def _within(shape, value):
    """Yield (path, schema) of the schemas in a keyword's value."""
    if shape == "a schema":
        yield "", value
    elif shape == "a list of schemas":
        for i, part in enumerate(value):
            yield "[%d]" % i, part
    elif shape in ("schemas by name", "schemas by pattern"):
        for name, part in value.items():
            if shape == "schemas by pattern":
                compiled(name)
            yield "." + name, part


def _has_shape(shape, value):
    if shape == "a schema":
        return True  # seen to when it is looked at
    if shape == "a list of schemas":
        return isinstance(value, list) and value
    if shape in ("schemas by name", "schemas by pattern"):
        return isinstance(value, dict)
    if shape == "true or false":
        return isinstance(value, bool)
    if shape == "a list":
        return isinstance(value, list)
    if shape == "a list of strings":
        return _strings(value)
    if shape == "lists of strings by name":
        return isinstance(value, dict) and all(_strings(v) for v in value.values())
    if shape == "a type or a list of types":
        if isinstance(value, list):
            return value and all(v in _TYPES for v in value)
        return value in _TYPES
    if shape in ("a pattern", "a reference into this schema (#...)"):
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if shape == "a number":
        return True
    return value > 0 if shape == "a number above 0" else value >= 0 and value % 1 == 0


def _strings(value):
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def target(root, ref):
    """The schema that the reference `ref` in the schema `root` refers to; ConfigError if it is
    not within it."""
    if ref[:1] != "#":
        raise ConfigError("$ref %s: only references within the schema (#...) are followed" % ref)
    found = root
    if ref[:2] == "#/":
        for step in ref[2:].split("/"):
            if "%" in step:
                step = _decoded(step)
            step = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(step) if isinstance(found, list) else step]
            except (KeyError, IndexError, ValueError, TypeError):
                found = None
                break
    elif ref != "#":
        found = _anchored(root, ref[1:])
    if found is None:
        raise ConfigError("$ref %s leads nowhere" % ref)
    return found


def _anchored(node, name):
    """The schema in `node` with this $anchor, or None."""
    if isinstance(node, dict):
        if name in (node.get("$anchor"), node.get("$dynamicAnchor")):
            return node
        parts = [part for key, part in node.items() if key not in _VALUES]
    else:
        parts = node if isinstance(node, list) else ()
    for part in parts:
        found = _anchored(part, name)
        if found is not None:
            return found
    return None


def _decoded(text):
    """`text` with %HH (UTF-8) made into characters."""
    head, *rest = text.split("%")
    out = bytearray(head.encode())
    for part in rest:
        out.append(int(part[:2], 16))
        out.extend(part[2:].encode())
    return out.decode()
