"""check() and supported(): raw JSON Schemas, keyword by keyword, the same on every port."""

from mcp_gw.errors import ConfigError, ToolError
from mcp_gw.schema import MAX_DEPTH, MAX_STEPS, check, supported

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "v": {"type": "number"},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["v"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}

# schema, values that are valid, values that are not.
TABLE = (
    (True, (1, None, []), ()),
    ({}, (1, None, []), ()),
    (False, (), (1, None, [])),
    ({"type": "null"}, (None,), (0, False, "")),
    ({"type": "boolean"}, (True, False), (0, None, "true")),
    ({"type": "integer"}, (0, -1, 3.0, 10**30), (1.5, True, "1")),
    ({"type": "number"}, (0, 1.5), (False, "1", None)),
    ({"type": "string"}, ("", "\u00e9"), (1, None)),
    ({"type": "array"}, ([], [1]), ({}, "")),
    ({"type": "object"}, ({}, {"a": 1}), ([], None)),
    ({"type": ["string", "null"]}, ("", None), (0, [])),
    (
        {"enum": [1, "a", None, [1], {"a": 0}]},
        (1.0, "a", None, [1], {"a": 0}),
        (True, "b", [True]),
    ),
    ({"enum": []}, (), (None, 0)),
    ({"const": 0}, (0, 0.0), (False, None, "")),
    ({"const": None}, (None,), (0, False)),
    ({"const": {"a": [False]}}, ({"a": [False]},), ({"a": [0]}, {})),
    ({"minimum": 1.5}, (1.5, 2, "x", True), (1, -1)),
    ({"maximum": 3}, (3, 3.0, None), (3.5, 4)),
    ({"exclusiveMinimum": 0}, (1, 0.5, ""), (0, -1)),
    ({"exclusiveMaximum": 0}, (-1, []), (0, 1)),
    ({"multipleOf": 2}, (0, 4, 4.0, "x"), (3, 4.5)),
    ({"multipleOf": 0.5}, (1.5, 2), (1.25,)),
    ({"minLength": 2}, ("ab", "\U0001f600\u00e9", 1, []), ("", "a", "\U0001f600")),
    ({"maxLength": 1}, ("", "\U0001f600", {}), ("ab",)),
    ({"pattern": "^a{2}"}, ("aab", 1), ("ab", "baa")),
    ({"minItems": 1}, ([0], "", {}), ([],)),
    ({"maxItems": 1.0}, ([0], "ab"), ([0, 0],)),
    ({"uniqueItems": True}, ([], [1, True, "1"], [[1], [True]], "aa"), ([1, 1.0], [{}, {}])),
    ({"uniqueItems": False}, ([1, 1],), ()),
    ({"items": {"type": "integer"}}, ([], [1, 2], {"a": "b"}), ([1, "2"],)),
    ({"items": False}, ([], {}), ([1],)),
    ({"prefixItems": [{"type": "string"}, True]}, ([], ["a"], ["a", 1, 2]), ([1],)),
    ({"prefixItems": [True], "items": {"const": 0}}, ([5], [5, 0]), ([5, 0, 1],)),
    ({"contains": {"const": 1}}, ([1], [0, 1, 1], {}, 0), ([], [0])),
    ({"contains": {"const": 1}, "minContains": 2}, ([1, 1],), ([1], [])),
    ({"contains": {"const": 1}, "maxContains": 1}, ([1, 2],), ([1, 1], [2])),
    ({"contains": {"const": 1}, "minContains": 0}, ([], [2]), ()),
    ({"minContains": 2}, ([],), ()),
    ({"properties": {"a": {"type": "integer"}}}, ({}, {"a": 1, "b": 2}, []), ({"a": "1"},)),
    ({"properties": {"a": False}}, ({}, {"b": 1}), ({"a": 1},)),
    ({"required": ["a", "b"]}, ({"a": 1, "b": None, "c": 0}, []), ({"a": 1}, {})),
    ({"additionalProperties": False}, ({}, []), ({"a": 1},)),
    (
        {"properties": {"a": True}, "additionalProperties": {"type": "string"}},
        ({"a": 1, "b": "c"},),
        ({"a": "c", "b": 1},),
    ),
    (
        {"patternProperties": {"^x-": {"type": "integer"}, "y$": {"minimum": 0}}},
        ({"x-a": 1, "a": "b"}, {"x-y": 0}),
        ({"x-a": "1"}, {"x-y": -1}, {"ay": -1}),
    ),
    (
        {"patternProperties": {"^x-": True}, "additionalProperties": False},
        ({"x-1": 1},),
        ({"x": 1},),
    ),
    ({"propertyNames": {"maxLength": 1}}, ({}, {"a": 1}, ["ab"]), ({"ab": 1},)),
    ({"minProperties": 1}, ({"a": 1}, []), ({},)),
    ({"maxProperties": 1}, ({"a": 1}, {}), ({"a": 1, "b": 2},)),
    (
        {"dependentRequired": {"a": ["b", "c"]}},
        ({}, {"b": 1}, {"a": 1, "b": 1, "c": 1}, []),
        ({"a": 1}, {"a": 1, "b": 1}),
    ),
    (
        {"dependentSchemas": {"a": {"required": ["b"]}}},
        ({}, {"a": 1, "b": 1}, ["a"]),
        ({"a": 1},),
    ),
    ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, (1, 3, ""), (0, 4)),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ("", 3, None), (0, 2)),
    ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, (2, 3, 9), (1, 6, "")),
    ({"not": {"type": "string"}}, (1, None), ("",)),
    ({"not": True}, (), (1, None)),
    (
        {"if": {"type": "integer"}, "then": {"minimum": 0}, "else": {"type": "string"}},
        (0, "x", 5),
        (-1, None, -2.0),
    ),
    ({"if": {"const": 1}, "else": {"const": 2}}, (1, 2), (3,)),
    ({"if": {"const": 1}, "then": False}, (2, "1"), (1,)),
    ({"then": False, "else": False}, (1,), ()),
    (TREE, ({"v": 1}, {"v": 1, "kids": [{"v": 2, "kids": []}]}), ({}, {"v": 1, "kids": [{}]})),
    (
        {"properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
        ({"a": {"a": {}}},),
        ({"a": {"b": 1}},),
    ),
    ({"$defs": {"a/b~c%": {"const": 1}}, "$ref": "#/$defs/a~1b~0c%25"}, (1,), (2,)),
    ({"allOf": [{"const": 1}, {"$ref": "#/allOf/0"}]}, (1,), (2,)),
    ({"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a", "minimum": 0}, (1,), (2,)),
    ({"format": "ipv4", "title": "x", "unknown": {"type": 5}, "default": 3}, ("x", 1), ()),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "a:b"}, (1,), ()),
    ({"properties": {"items": {"type": "array"}, "$ref": {"const": 1}}}, ({"$ref": 1},), ()),
    (
        {"$defs": {"a": {"$anchor": "x", "const": 1}}, "properties": {"p": {"$ref": "#x"}}},
        ({"p": 1}, {}),
        ({"p": 2},),
    ),
    (
        {"$dynamicAnchor": "n", "properties": {"n": {"$dynamicRef": "#n"}}, "type": "object"},
        ({"n": {"n": {}}},),
        ({"n": {"n": 1}}, 1),
    ),
    (
        {"properties": {"a": True}, "unevaluatedProperties": False},
        ({}, {"a": 1}, [1]),
        ({"b": 1}, {"a": 1, "b": 2}),
    ),
    (
        {
            "allOf": [{"properties": {"a": True}}, {"$ref": "#/$defs/b"}],
            "$defs": {"b": {"patternProperties": {"^b": True}}},
            "unevaluatedProperties": {"type": "integer"},
        },
        ({"a": "x", "bx": "y", "c": 1},),
        ({"c": "x"},),
    ),
    (
        {
            "anyOf": [
                {"properties": {"k": {"const": 1}, "a": True}, "required": ["k"]},
                {"properties": {"k": {"const": 2}, "b": True}, "required": ["k"]},
            ],
            "unevaluatedProperties": False,
        },
        ({"k": 1, "a": 0}, {"k": 2, "b": 0}),
        ({"k": 1, "b": 0}, {"k": 2, "a": 0}, {"k": 3}),
    ),
    (
        {
            "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"properties": {"b": True}},
            "else": {"properties": {"c": True}},
            "unevaluatedProperties": False,
        },
        ({"a": 1, "b": 0}, {"c": 0}),
        ({"a": 1, "c": 0}, {"a": 2}, {"b": 0}),
    ),
    (
        {"allOf": [{"additionalProperties": True}], "unevaluatedProperties": False},
        ({"a": 1},),
        (),
    ),
    (
        {"prefixItems": [True], "contains": {"const": 5}, "unevaluatedItems": False},
        ([1, 5], [5], {}),
        ([1, 5, 2],),
    ),
    ({"allOf": [{"items": True}], "unevaluatedItems": False}, ([1, 2],), ()),
    ({"unevaluatedItems": {"const": 1}}, ([1, 1], []), ([2],)),
    ({"const": "\U0001f600"}, ("\U0001f600",), ("\U0001f601",)),
)


def fault(schema, value, *what):
    try:
        check(schema, value, *what)
    except ToolError as e:
        return str(e)
    return None


def test_table():
    for schema, good, bad in TABLE:
        supported(schema)
        for value in good:
            assert fault(schema, value) is None, (schema, value, fault(schema, value))
        for value in bad:
            assert fault(schema, value), (schema, value)


def test_messages_name_the_place_and_the_rule():
    inner = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "object", "properties": {"b": inner}, "required": ["b"]},
            "n": {"anyOf": [{"type": "null"}, {"type": "integer", "maximum": 3}]},
            "u": {"type": "array", "uniqueItems": True},
            "k": {"enum": ["x", 1, None]},
            "m": {"type": ["integer", "null"]},
            "p": {"propertyNames": {"pattern": "^[a-z]+$"}},
            "s": {"type": "string", "minLength": 3, "maxLength": 4},
            "o": {"oneOf": [{"minimum": 1}, {"minimum": 2}]},
            "d": {"dependentRequired": {"x": ["y"]}},
            "c": {"contains": {"const": 0}, "maxContains": 1},
            "f": {"exclusiveMinimum": 0, "multipleOf": 2},
            "not": {"not": {"const": 1}},
        },
        "required": ["a"],
        "additionalProperties": False,
    }
    supported(schema)
    for extra, why in (
        ({"a": {"b": [1, 2, -1]}}, "argument a.b[2] is below its minimum 0 but is -1"),
        ({"a": {"b": ["1"]}}, "argument a.b[0] must be of type integer, not string"),
        ({"a": {"b": []}}, "argument a.b is below its minimum 1 with its 0 items"),
        ({"a": {}}, "argument a.b is missing"),
        ({"b": 1}, "argument b is not allowed"),
        ({"u": [1, 2, 1]}, "argument u[2] is there twice"),
        ({"k": "y"}, 'argument k must be one of "x", 1, null'),
        ({"m": "y"}, "argument m must be of type integer or null, not string"),
        ({"p": {"A": 1}}, "argument p.A (its name) must match the pattern ^[a-z]+$"),
        ({"s": "12"}, "argument s is below its minimum 3 with its 2 characters"),
        ({"s": "12345"}, "argument s is above its maximum 4 with its 5 characters"),
        ({"o": 2}, "argument o must fit exactly one of its 2 forms, not 2"),
        ({"d": {"x": 1}}, "argument d.y is missing beside x"),
        ({"c": [0, 0]}, "argument c must contain 1 or fewer items of the form due, not 2"),
        ({"c": [1]}, "argument c must contain 1 or more items of the form due, not 0"),
        ({"f": 0}, "argument f must be above 0 but is 0"),
        ({"f": 3}, "argument f must be a multiple of 2 but is 3"),
        ({"not": 1}, "argument not has the form that is forbidden for it"),
        (
            {"n": 4},
            "argument n fits none of its forms (must be of type null, not integer; "
            "is above its maximum 3 but is 4)",
        ),
    ):
        given = {"a": {"b": [1]}}
        given.update(extra)
        assert fault(schema, given) == why, fault(schema, given)
    assert fault(schema, {}) == "argument a is missing"
    assert fault(schema, []) == "the arguments must be of type object, not array"
    assert fault(schema, [], "result") == "the result must be of type object, not array"
    assert fault(inner, [-1], "result") == "result [0] is below its minimum 0 but is -1"


def test_what_cannot_be_checked_is_refused():
    for schema, where in (
        (None, "schema"),
        ([], "schema"),
        ({"properties": {"a": 1}}, "schema.properties.a"),
        ({"properties": []}, "schema.properties"),
        ({"items": [{}]}, "schema.items"),
        ({"allOf": []}, "schema.allOf"),
        ({"allOf": [1]}, "schema.allOf[0]"),
        ({"anyOf": {}}, "schema.anyOf"),
        ({"type": "int"}, "schema.type"),
        ({"type": []}, "schema.type"),
        ({"minimum": "1"}, "schema.minimum"),
        ({"minimum": True}, "schema.minimum"),
        ({"multipleOf": 0}, "schema.multipleOf"),
        ({"minLength": -1}, "schema.minLength"),
        ({"minLength": 1.5}, "schema.minLength"),
        ({"uniqueItems": 1}, "schema.uniqueItems"),
        ({"required": "a"}, "schema.required"),
        ({"required": [1]}, "schema.required"),
        ({"dependentRequired": {"a": "b"}}, "schema.dependentRequired"),
        ({"enum": 1}, "schema.enum"),
        ({"not": {"if": {"else": {"pattern": 1}}}}, "schema.not.if.else.pattern"),
        ({"pattern": "(?=a)"}, "pattern (?=a)"),
        ({"patternProperties": {"(": True}}, "pattern ("),
        ({"$ref": "#/$defs/a"}, "$ref #/$defs/a"),
        ({"$ref": "other.json"}, "$ref other.json"),
        ({"$ref": "https://example.org/s"}, "$ref https://example.org/s"),
        ({"$ref": "#anchor", "enum": [{"$anchor": "anchor"}]}, "$ref #anchor"),
        ({"$ref": 1}, "schema.$ref"),
        ({"$ref": "#/x/0", "x": [{"type": "y"}]}, "#/x/0.type"),
        ({"$dynamicRef": "#a"}, "$ref #a leads nowhere"),
        ({"unevaluatedProperties": 1}, "schema.unevaluatedProperties"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "schema: only the dialect"),
        ({"properties": {"a": {"$id": "b"}}}, "schema.properties.a: an $id"),
    ):
        try:
            supported(schema)
        except ConfigError as e:
            assert str(e).startswith(where), (schema, e)
        else:
            raise AssertionError(schema)
    # Names of members are not keywords.
    supported({"properties": {"$dynamicRef": {}, "unevaluatedItems": {}, "required": {}}})
    supported({"const": {"type": "int"}, "enum": [{"$ref": "x"}], "default": {"items": 3}})


def test_depth_and_work_are_bounded():
    endless = {"$ref": "#"}
    supported(endless)
    assert "too deeply" in fault(endless, 1)
    wide = {"$ref": "#/$defs/0", "$defs": {"20": True}}
    for i in range(20):  # 2 ** 20 ways to look at one value
        wide["$defs"][str(i)] = {"allOf": [{"$ref": "#/$defs/%d" % (i + 1)}] * 2}
    supported(wide)
    assert "too many" in fault(wide, 1)
    value = {"v": 1}
    for _ in range(MAX_DEPTH):
        value = {"v": 1, "kids": [value]}
    supported(TREE)
    assert "too deeply" in fault(TREE, value)
    many = {"items": {"type": "integer"}}
    assert fault(many, [1] * (MAX_STEPS - 1)) is None
    assert "too many" in fault(many, [1] * MAX_STEPS)
