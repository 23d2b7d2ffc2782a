"""check(), Param and patterns give the verdict of independent implementations: jsonschema's, and
CPython's re where its patterns mean the same as ECMA's."""

import json
import re

import jsonschema
import soak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_gw.errors import ConfigError, ToolError
from mcp_gw.params import Param
from mcp_gw.pattern import Pattern
from mcp_gw.schema import check, supported

EXAMPLES = settings(
    max_examples=soak.count(500, 5_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
NAMES = st.sampled_from(["a", "b", "ab", "x-1", ""])
NUMBERS = st.one_of(
    st.integers(-6, 6),
    st.sampled_from([0.0, 1.0, -2.0, 0.5, 1.5, 2.25, 10**17, 1e300, -0.0]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text("ab\u00e9\U0001f600-1", max_size=4))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)
    ),
    max_leaves=8,
)
PATTERNS = st.sampled_from(["^a", "b$", "a+b", "^[ab]{2}$", "^(a|\u00e9)*$", "-\\d", "^$", "."])
COUNTS = st.one_of(st.integers(0, 3), st.sampled_from([1.0, 2.0]))
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
PLAIN = {
    "type": st.one_of(
        st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, unique=True)
    ),
    "enum": st.lists(VALUES, min_size=1, max_size=4),
    "const": VALUES,
    "minimum": NUMBERS,
    "maximum": NUMBERS,
    "exclusiveMinimum": NUMBERS,
    "exclusiveMaximum": NUMBERS,
    "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25, 2.0]),
    "minLength": COUNTS,
    "maxLength": COUNTS,
    "pattern": PATTERNS,
    "minItems": COUNTS,
    "maxItems": COUNTS,
    "uniqueItems": st.booleans(),
    "required": st.lists(NAMES, max_size=2, unique=True),
    "minProperties": COUNTS,
    "maxProperties": COUNTS,
    "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True)),
    "format": st.sampled_from(["ipv4", "email"]),
    "minContains": COUNTS,
    "maxContains": COUNTS,
}


def some_of(keywords, max_size=3):
    """Dicts with a few of `keywords` (name -> strategy)."""
    return st.lists(st.sampled_from(sorted(keywords)), unique=True, max_size=max_size).flatmap(
        lambda names: st.fixed_dictionaries({name: keywords[name] for name in names})
    )


def nested(inner):
    members = st.dictionaries(NAMES, inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    return some_of(
        {
            **PLAIN,
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), several),
            **dict.fromkeys(("properties", "dependentSchemas"), members),
            **dict.fromkeys(("not", "if", "then", "else", "items", "contains"), inner),
            "additionalProperties": inner,
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "propertyNames": inner,
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "$ref": st.sampled_from(["#/$defs/one", "#/$defs/two", "#/$defs/a~1b", "#mark"]),
        },
        max_size=4,
    )


SCHEMAS = st.recursive(st.one_of(st.booleans(), some_of(PLAIN)), nested, max_leaves=6)
DEFINITIONS = st.fixed_dictionaries(
    {name: some_of(PLAIN) for name in ("one", "two", "a/b", "three")}
)


def verdict(schema, value):
    try:
        check(schema, value)
    except ToolError:
        return False
    return True


def expected(schema, value):
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def muddled(schema):
    """Whether jsonschema may miss a repetition in a list that mixes booleans with numbers, deep
    within: it sorts the items and compares neighbours only."""
    return '"uniqueItems": true' in json.dumps(schema)


@EXAMPLES
@given(SCHEMAS, DEFINITIONS, st.lists(VALUES, min_size=1, max_size=8))
def test_any_schema(schema, definitions, values):
    if isinstance(schema, dict):
        definitions["three"]["$anchor"] = "mark"
        schema = {**schema, "$defs": definitions}
    jsonschema.Draft202012Validator.check_schema(schema)
    try:
        supported(schema)
    except ConfigError as e:
        assert isinstance(schema, bool) and "$ref" in str(e)  # no $defs beside True and False
        return
    for value in values:
        if muddled(schema) and ("true" in json.dumps(value) or "false" in json.dumps(value)):
            continue
        assert verdict(schema, value) == expected(schema, value), (schema, value)


def test_generated_schemas_accept_and_refuse():
    """The test above would pass with schemas that say nothing: they say both often enough."""
    seen = {True: 0, False: 0}

    @settings(max_examples=200, deadline=None, database=None)
    @given(SCHEMAS, VALUES)
    def count(schema, value):
        if "$ref" not in json.dumps(schema):
            seen[verdict(schema, value)] += 1

    count()
    assert min(seen.values()) > 20, seen


TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "a": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "b": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "additionalProperties": {"type": "integer"},
        }
    },
    "$ref": "#/$defs/node",
}
TREES = st.recursive(
    st.one_of(st.none(), st.just({}), st.integers()),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"a": inner, "b": st.lists(inner, max_size=3), "x": inner}
    ),
)


@EXAMPLES
@given(TREES)
def test_a_recursive_schema(value):
    assert verdict(TREE, value) == expected(TREE, value)


def params(depth=2):
    bounds = st.fixed_dictionaries({}, optional={"min": NUMBERS, "max": NUMBERS})
    sizes = st.fixed_dictionaries(
        {}, optional={"min": st.integers(0, 3), "max": st.integers(0, 3)}
    )
    numbers = st.fixed_dictionaries(
        {},
        optional={
            "above": NUMBERS,
            "below": NUMBERS,
            "multiple_of": st.sampled_from([1, 2, 0.5]),
        },
    )
    texts = st.fixed_dictionaries({}, optional={"pattern": PATTERNS})
    choices = [
        st.builds(Param, st.just(bool)),
        st.builds(
            lambda k, b, n: Param(k, **b, **n), st.sampled_from([int, float]), bounds, numbers
        ),
        st.builds(lambda s, t: Param(str, **s, **t), sizes, texts),
        st.builds(
            lambda e: Param(str, enum=e), st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1)
        ),
        st.builds(lambda s: Param(list, **s), sizes),
        st.builds(Param, st.just(dict)),
    ]
    if depth:
        inner = params(depth - 1)
        choices += [
            st.builds(lambda s, i: Param(list, items=i, **s), sizes, inner),
            st.builds(
                lambda p: Param(dict, properties=p), st.dictionaries(NAMES, inner, max_size=3)
            ),
        ]
    return st.one_of(*choices)


@EXAMPLES
@given(params(), st.lists(VALUES, min_size=1, max_size=8))
def test_a_param_checks_what_its_schema_says(param, values):
    schema = json.loads(json.dumps(param.schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    for value in values:
        if "000000000" in json.dumps(value) or "e+300" in json.dumps(value):
            continue  # an int is taken from a float below 1e15 only: beyond, it is none exactly
        try:
            param.check("x", value)
            ours = True
        except ToolError:
            ours = False
        assert ours == expected(schema, value), (schema, value)


ATOMS = st.sampled_from(
    [
        "a",
        "b",
        ".",
        "\\d",
        "\\w",
        "\\D",
        "[ab]",
        "[^a]",
        "[a-c1]",
        "\\.",
        "\\b",
        "\\B",
        "^",
        "\u00e9",
    ]
)
COUNTERS = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])
SOURCES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, COUNTERS).map(lambda two: f"({two[0]}){two[1]}"),
    ),
    max_leaves=8,
)


@EXAMPLES
@given(
    SOURCES, st.booleans(), st.lists(st.text("ab1.\u00e9 ", min_size=1, max_size=8), min_size=1)
)
def test_patterns(source, whole, texts):
    ours = Pattern(f"^(?:{source})$" if whole else source)
    theirs = re.compile(rf"^(?:{source})\Z" if whole else source, re.ASCII)
    for text in texts:
        assert ours.search(text) == bool(theirs.search(text)), (source, whole, text)
