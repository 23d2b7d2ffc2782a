"""Param: the JSON Schema it makes, the values it takes, what it says about others."""

from mcp_gw.errors import ConfigError, ToolError
from mcp_gw.params import Param, check_object, object_schema
from mcp_gw.registry import Tool
from mcp_gw.schema import check, supported


def told(param, value):
    """The message for `value`, or None if it is taken."""
    try:
        param.check("a", value)
    except ToolError as e:
        assert str(e).startswith("argument a"), e
        return str(e)[len("argument ") :]
    return None


def refused(kind, **options):
    try:
        Param(kind, **options)
    except ConfigError as e:
        return str(e)
    raise AssertionError(options)


# Param, values it takes, values it refuses with what is said about them.
CASES = (
    (
        Param(int),
        (0, -5, 3.0, 10**20),
        (("1", "a must be of type integer, not string"), (True, "boolean"), (1.5, "number")),
    ),
    (
        Param(float),
        (0, 1.5, -2),
        (("1", "number, not string"), (False, "boolean"), (None, "null")),
    ),
    (Param(bool), (True, False), ((1, "boolean, not integer"), ("true", "string"))),
    (Param(str), ("", "\u00e9"), ((1, "string, not integer"), ([], "array"), ({}, "object"))),
    (
        Param(int, min=0, max=7),
        (0, 7, 7.0),
        ((8, "a is above its maximum 7 but is 8"), (-1, "a is below its minimum 0 but is -1")),
    ),
    (
        Param(float, above=0, below=1),
        (0.5,),
        ((0, "a must be above 0 but is 0.0"), (1.0, "a must be below 1 but is 1.0")),
    ),
    (Param(int, above=0), (1,), ((0, "a must be above 0 but is 0"),)),
    (Param(int, multiple_of=5), (0, -10, 15.0), ((7, "a must be a multiple of 5 but is 7"),)),
    (Param(float, multiple_of=0.1), (0.3, 1, -2.5), ((0.25, "a multiple of 0.1 but is 0.25"),)),
    (
        Param(str, min=2, max=3),
        ("\u00e9\u00e9", "\U0001f600\U0001f600\U0001f600"),
        (("a", "below its minimum 2 with its 1 characters"), ("abcd", "above its maximum 3")),
    ),
    (
        Param(str, enum=["on", "off"]),
        ("on", "off"),
        (("up", 'a must be one of "on", "off"'), (1, "type string")),
    ),
    (Param(int, enum=(1, 2)), (1, 2.0), ((3, "a must be one of 1, 2"), (True, "boolean"))),
    (Param(list, enum=([1], [])), ([1], []), (([True], "one of [1], []"),)),
    (
        Param(str, pattern="^[A-Z]{2}\\d+$"),
        ("AB1", "ZZ123"),
        (("ab1", "a must match the pattern ^[A-Z]{2}"), ("AB", "pattern"), ("AB1\n", "pattern")),
    ),
    (
        Param(str, format="date-time"),
        ("2026-01-31T23:59:00Z",),
        (("tomorrow", "a must be of format date-time, as in 2026-01-31T23:59:00Z"),),
    ),
    (Param(str, format="colour"), ("", "anything"), ()),
    (
        Param(list, min=1, max=2),
        ([1], ["x", None]),
        (([], "below its minimum 1 with its 0 items"), ([1, 2, 3], "above its maximum 2")),
    ),
    (Param(list, unique=True), ([], [1, True, "1", [1], [True]]), (([1, 2, 1.0], "a[2] is"),)),
    (
        Param(list, items=Param(list, items=Param(int, max=9))),
        ([], [[]], [[1], [2, 3.0]]),
        (([[1], [2, 10]], "a[1][1] is above its maximum 9 but is 10"), ([1], "a[0] must be")),
    ),
    (Param(dict), ({}, {"x": [1]}), (([], "a must be of type object, not array"),)),
    (
        Param(dict, properties={"x": Param(int), "y": Param(list, items=Param(str), default=[])}),
        ({"x": 1}, {"x": 2.0, "y": ["z"]}),
        (
            ({}, "a.x is missing"),
            ({"x": 1, "z": 2}, "a.z is not known"),
            ({"x": "1"}, "a.x must be of type integer, not string"),
            ({"x": 1, "y": ["z", 0]}, "a.y[1] must be of type string, not integer"),
        ),
    ),
)


def test_values():
    for param, good, bad in CASES:
        for value in good:
            assert told(param, value) is None, (param.schema(), value)
        for value, why in bad:
            assert why in (told(param, value) or ""), (param.schema(), value, told(param, value))


def test_the_schema_says_the_same_as_the_check():
    for param, good, bad in CASES:
        schema = param.schema()
        supported(schema)
        for value in good:
            check(schema, value)
        for value, _ in bad:
            if param.format:
                continue  # an annotation for those who read the schema
            try:
                check(schema, value)
            except ToolError:
                continue
            raise AssertionError((schema, value))


def test_values_come_in_the_type_declared():
    assert repr(Param(int).check("a", 3.0)) == "3"
    assert repr(Param(float).check("a", 3)) == "3.0"
    assert repr(Param(list, items=Param(float)).check("a", [1])) == "[1.0]"
    point = Param(dict, properties={"x": Param(float), "y": Param(int, default=4)})
    assert point.check("a", {"x": 1}) == {"x": 1.0, "y": 4}
    assert repr(point.check("a", {"x": 1})["x"]) == "1.0"
    assert repr(Param(float, default=2).default) == "2.0"


def test_absent():
    params = {
        "must": Param(int),
        "has": Param(str, default=""),
        "may": Param(list, optional=True),
        "none": Param(int, default=None),
    }
    filled = check_object(params, "", {"must": 1})
    assert filled == {"must": 1, "has": "", "may": None, "none": None}
    assert object_schema(params)["required"] == ["must"]
    for given, why in (
        ({}, "argument must is missing"),
        ({"must": 1, "may": None}, "argument may must be of type array, not null"),
        ({"must": 1, "more": 1}, "argument more is not known"),
    ):
        try:
            check_object(params, "", given)
        except ToolError as e:
            assert str(e) == why
        else:
            raise AssertionError(given)


def test_schemas():
    for param, schema in (
        (Param(int), {"type": "integer"}),
        (
            Param(float, "How far", above=0, max=2, multiple_of=0.5, title="Distance"),
            {
                "type": "number",
                "description": "How far",
                "title": "Distance",
                "exclusiveMinimum": 0,
                "maximum": 2,
                "multipleOf": 0.5,
            },
        ),
        (
            Param(str, default="x:", min=1, max=9, pattern="x", format="uri", examples=["x:y"]),
            {
                "type": "string",
                "default": "x:",
                "minLength": 1,
                "maxLength": 9,
                "pattern": "x",
                "format": "uri",
                "examples": ["x:y"],
            },
        ),
        (Param(bool, default=False), {"type": "boolean", "default": False}),
        (
            Param(str, enum=["r", "g"], titles=["Red", "Green"]),
            {
                "type": "string",
                "oneOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}],
            },
        ),
        (
            Param(list, items=Param(int, enum=[1, 2]), min=1, max=3, unique=True),
            {
                "type": "array",
                "items": {"type": "integer", "enum": [1, 2]},
                "minItems": 1,
                "maxItems": 3,
                "uniqueItems": True,
            },
        ),
        (
            Param(dict, "A point", properties={"x": Param(int), "y": Param(int, optional=True)}),
            {
                "type": "object",
                "description": "A point",
                "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (Param(str, header="Region"), {"type": "string", "x-mcp-header": "Region"}),
    ):
        assert param.schema() == schema, param.schema()


def test_what_cannot_be_meant_is_refused():
    for kind, options, why in (
        (set, {}, "type must be one of"),
        (int, {"pattern": "x"}, "pattern means nothing for integer"),
        (bool, {"min": 1}, "min means nothing for boolean"),
        (dict, {"max": 1}, "max means nothing for object"),
        (str, {"items": Param(int)}, "items means nothing for string"),
        (str, {"multiple_of": 2}, "multiple_of"),
        (list, {"properties": {}}, "properties means nothing for array"),
        (list, {"items": int}, "items must be a Param"),
        (dict, {"properties": {"a": int}}, "properties must be Params"),
        (int, {"default": "x"}, "default must be of type integer"),
        (int, {"default": 9, "max": 7}, "default is above its maximum"),
        (str, {"enum": ["a", 1]}, "enum must be of type string"),
        (str, {"default": "c", "enum": ["a"]}, "default must be one of"),
        (str, {"enum": ["a", "b"], "titles": ["A"]}, "titles"),
        (str, {"titles": ["A"]}, "titles"),
        (int, {"multiple_of": 0}, "multiple_of must be above 0"),
        (str, {"pattern": "(?=x)"}, "look-around"),
        (int, {"maximum": 3}, "there is no option maximum"),
        (int, {"check": 3}, "there is no option check"),
        (float, {"header": "X"}, "header means nothing for number"),
        (str, {"header": "a b"}, "no HTTP token"),
        (str, {"header": ""}, "no HTTP token"),
        (list, {"items": Param(str, header="X")}, "header is not for what is in a list"),
    ):
        assert why in refused(kind, **options), (kind, options, refused(kind, **options))


def test_headers_of_a_tool_are_all_different():
    point = Param(dict, properties={"x": Param(int, header="X"), "y": Param(int, header="Y")})
    Tool("good", len, {"at": point, "to": Param(str, header="To")})
    try:
        Tool("bad", len, {"at": point, "to": Param(str, header="y")})
    except ConfigError as e:
        assert str(e) == "tool bad: two parameters with one header"
    else:
        raise AssertionError


def test_a_deep_place_is_found():
    param = Param(int, max=1)
    for _ in range(4):
        param = Param(list, items=Param(dict, properties={"x": param}))
    value = 1
    for _ in range(4):
        value = [{"x": value}]
    assert told(param, value) is None
    value[0]["x"][0]["x"][0]["x"].append({"x": 2})
    assert told(param, value) == "a[0].x[0].x[0].x[1].x is above its maximum 1 but is 2"
