"""Raw JSON Schemas (2020-12): check() a value against one, supported() for whoever declares one.

Loaded when a tool is declared with a raw schema. All keywords of validation are known; format and
what says nothing about validity (title, examples, contentEncoding ...) are annotations, and
unknown keywords are ignored. References stay within the schema; what would lead elsewhere (a
remote $ref, an $id within, another dialect) is refused by supported().
"""

from .errors import ToolError
from .params import kind_of
from .pattern import compiled
from .protocol.jsonvalue import dumps
from .rules import is_multiple, repeated, same
from .schema_shape import supported, target  # noqa: F401 (supported is for our callers)

MAX_DEPTH = 64  # schemas within schemas, references included
MAX_STEPS = 50_000  # schemas applied to values in one check

_LATE = ("oneOf", "not", "contains", "unevaluatedProperties", "unevaluatedItems")


def check(schema, value, what="argument"):
    """Raise ToolError, naming the place and the rule, unless `value` (parsed JSON) is valid.

    schema: a dict or bool that supported() has passed. what: how to call the value: members of
    "argument" are called "argument a.b[2]".
    """
    try:
        found = _fault(_Run(schema), schema, value, 0)
    except RuntimeError:  # the stack of a board is small
        raise ToolError("the %s is nested too deeply to be checked" % what) from None
    if found is not None:
        path, rule = found
        if path:
            raise ToolError("%s %s %s" % (what, path[path[0] == "." :], rule))
        raise ToolError("the %s %s" % ("arguments" if what == "argument" else what, rule))


class _Run:
    """One check: root is what references refer to, steps how many schemas were applied."""

    def __init__(self, root):
        self.root = root
        self.steps = 0


def _fault(run, schema, value, depth):
    """None if `value` is valid, else (path of what is not, rule it breaks)."""
    if schema is True:
        return None
    if schema is False:
        return "", "is not allowed"
    run.steps += 1
    if depth > MAX_DEPTH or run.steps > MAX_STEPS:
        raise ToolError("the values are nested too deeply or too many to be checked")
    depth += 1
    found = _own_fault(schema, value)
    if found is not None:
        return found
    for step, part, inner in _parts(run, schema, value, depth):
        found = _fault(run, part, inner, depth)
        if found is not None:
            return _joined(step, found[0]), found[1]
    options = schema.get("anyOf")
    if options is not None:
        why = []
        for option in options:
            found = _fault(run, option, value, depth)
            if found is None:
                break
            why.append((found[0] + " " + found[1]).strip())
        else:
            return "", "fits none of its forms (%s)" % "; ".join(why[:4])
    for key in _LATE:
        if key in schema:
            return _late_fault(run, schema, value, depth)
    return None


def _joined(step, path):
    if step is None:
        return path
    if isinstance(step, int):
        return "[%d]%s" % (step, path)
    if isinstance(step, tuple):
        return ".%s (its name)%s" % (step[0], path)
    return ".%s%s" % (step, path)


def _parts(run, schema, value, depth):
    """Yield (step, schema, value) of all that must be valid too. step: how the value is reached
    from this one: None (it is this one), an index, a name, or (name,) for the name itself."""
    get = schema.get
    # $dynamicRef differs where several schemas with an $id are joined, which supported() refuses.
    for key in ("$ref", "$dynamicRef"):
        if key in schema:
            yield None, target(run.root, schema[key]), value
    for part in get("allOf", ()):
        yield None, part, value
    part = get("if")
    if part is not None:
        part = get("then" if _fault(run, part, value, depth) is None else "else")
        if part is not None:
            yield None, part, value
    if isinstance(value, list):
        first = get("prefixItems", ())
        for i in range(min(len(first), len(value))):
            yield i, first[i], value[i]
        part = get("items", True)
        if part is not True:
            for i in range(len(first), len(value)):
                yield i, part, value[i]
    elif isinstance(value, dict):
        for key, part in get("dependentSchemas", {}).items():
            if key in value:
                yield None, part, value
        part = get("propertyNames")
        if part is not None:
            for key in value:
                yield (key,), part, key
        named = get("properties", {})
        patterns = get("patternProperties", {})
        rest = get("additionalProperties", True)
        for key, inner in value.items():
            is_rest = True
            if key in named:
                is_rest = False
                yield key, named[key], inner
            for pattern, part in patterns.items():
                if compiled(pattern).search(key):
                    is_rest = False
                    yield key, part, inner
            if is_rest and rest is not True:
                yield key, rest, inner


def _late_fault(run, schema, value, depth):
    """The rules for which it matters how many schemas, or items, fit; and those about what no
    other rule has looked at."""
    options = schema.get("oneOf")
    if options is not None:
        fit = 0
        for option in options:
            fit += _fault(run, option, value, depth) is None
        if fit != 1:
            return "", "must fit exactly one of its %d forms, not %d" % (len(options), fit)
    part = schema.get("not")
    if part is not None and _fault(run, part, value, depth) is None:
        return "", "has the form that is forbidden for it"
    part = schema.get("contains")
    if part is not None and isinstance(value, list):
        fit = 0
        for item in value:
            fit += _fault(run, part, item, depth) is None
        least = schema.get("minContains", 1)
        most = schema.get("maxContains")
        if fit < least:
            return "", "must contain %s or more items of the form due, not %d" % (least, fit)
        if most is not None and fit > most:
            return "", "must contain %s or fewer items of the form due, not %d" % (most, fit)
    for key, kind in (("unevaluatedProperties", dict), ("unevaluatedItems", list)):
        if key in schema and isinstance(value, kind):
            part = schema[key]
            seen = _evaluated(run, schema, value, depth, key)
            for step in value if kind is dict else range(len(value)):
                if step not in seen:
                    found = _fault(run, part, value[step], depth)
                    if found is not None:
                        return _joined(step, found[0]), found[1]
    return None


def _evaluated(run, schema, value, depth, asks=None):
    """Names or indexes (a set) of what some rule of `schema`, for which `value` is valid, has
    looked at. asks: the unevaluated... keyword on whose behalf this is."""
    seen = set()
    if isinstance(schema, bool):
        return seen
    for step, part, inner in _parts(run, schema, value, depth):
        if step is None:
            seen.update(_evaluated(run, part, inner, depth))
        elif not isinstance(step, tuple):
            seen.add(step)
    get = schema.get
    options = list(get("anyOf", ())) + list(get("oneOf", ()))
    if "if" in schema:
        options.append(schema["if"])
    for part in options:
        if _fault(run, part, value, depth) is None:
            seen.update(_evaluated(run, part, value, depth))
    if isinstance(value, dict):
        for key in ("additionalProperties", "unevaluatedProperties"):
            if key in schema and key != asks:
                seen.update(value)
    elif isinstance(value, list):
        part = get("contains")
        for i, item in enumerate(value):
            if part is not None and _fault(run, part, item, depth) is None:
                seen.add(i)
        for key in ("items", "unevaluatedItems"):
            if key in schema and key != asks:
                seen.update(range(len(value)))
    return seen


def _own_fault(schema, value):
    """The rules that concern this value alone."""
    get = schema.get
    rule = get("type")
    if rule is not None:
        names = (rule,) if isinstance(rule, str) else rule
        for name in names:
            if _is(value, name):
                break
        else:
            return "", "must be of type %s, not %s" % (" or ".join(names), kind_of(value))
    if "const" in schema and not same(value, schema["const"]):
        return "", "must be " + dumps(schema["const"]).decode()
    rule = get("enum")
    if rule is not None:
        for allowed in rule:
            if same(value, allowed):
                break
        else:
            return "", "must be one of " + ", ".join([dumps(v).decode() for v in rule])
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        found = _size_fault(get("minLength"), get("maxLength"), len(value), "characters")
        rule = get("pattern")
        if found is None and rule is not None and not compiled(rule).search(value):
            found = "", "must match the pattern " + rule
        return found
    if isinstance(value, list):
        found = _size_fault(get("minItems"), get("maxItems"), len(value), "items")
        if found is None and get("uniqueItems"):
            i = repeated(value)
            if i >= 0:
                found = "[%d]" % i, "is there twice"
        return found
    if isinstance(value, dict):
        return _members_fault(get, value)
    return _number_fault(get, value)


def _is(value, name):
    if name == "null":
        return value is None
    if name == "boolean":
        return isinstance(value, bool)
    if name == "string":
        return isinstance(value, str)
    if name == "array":
        return isinstance(value, list)
    if name == "object":
        return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return name == "number" or value % 1 == 0


def _size_fault(low, high, size, what):
    if low is not None and size < low:
        return "", "is below its minimum %s with its %d %s" % (low, size, what)
    if high is not None and size > high:
        return "", "is above its maximum %s with its %d %s" % (high, size, what)
    return None


def _number_fault(get, value):
    rule = get("minimum")
    if rule is not None and value < rule:
        return "", "is below its minimum %s but is %s" % (rule, value)
    rule = get("maximum")
    if rule is not None and value > rule:
        return "", "is above its maximum %s but is %s" % (rule, value)
    rule = get("exclusiveMinimum")
    if rule is not None and value <= rule:
        return "", "must be above %s but is %s" % (rule, value)
    rule = get("exclusiveMaximum")
    if rule is not None and value >= rule:
        return "", "must be below %s but is %s" % (rule, value)
    rule = get("multipleOf")
    if rule is not None and not is_multiple(value, rule):
        return "", "must be a multiple of %s but is %s" % (rule, value)
    return None


def _members_fault(get, value):
    for key in get("required", ()):
        if key not in value:
            return "." + key, "is missing"
    for key, needed in get("dependentRequired", {}).items():
        if key in value:
            for other in needed:
                if other not in value:
                    return "." + other, "is missing beside " + key
    return _size_fault(get("minProperties"), get("maxProperties"), len(value), "members")
