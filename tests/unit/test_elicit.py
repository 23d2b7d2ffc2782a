"""Forms: what a client is asked to show, and what is taken back."""

from mcp_gw.elicit import check_elicited, elicit_schema
from mcp_gw.errors import ConfigError, ToolError
from mcp_gw.params import Param

FORM = {
    "name": Param(str, "who", min=1, max=9, pattern="^[A-Z]", title="Name"),
    "mail": Param(str, format="email", optional=True),
    "phone": Param(str, format="phone", optional=True),
    "n": Param(int, min=0, max=9, multiple_of=3, default=3),
    "level": Param(float, above=0, optional=True),
    "sure": Param(bool, default=True),
    "plot": Param(str, enum=["a", "b"], default="a"),
    "colour": Param(str, enum=["#f00", "#0f0"], titles=["Red", "Green"], default="#f00"),
}
SEVERAL = {
    "days": Param(list, items=Param(str, enum=["mo", "tu"]), min=1, max=2, default=["mo"]),
    "hues": Param(list, items=Param(str, enum=["r", "g"], titles=["Red", "Green"])),
}


def test_a_form_has_only_what_the_specification_allows():
    assert elicit_schema(FORM) == {
        "type": "object",
        "properties": {
            "name": {
                "type": "string",
                "description": "who",
                "title": "Name",
                "minLength": 1,
                "maxLength": 9,
            },
            "mail": {"type": "string", "format": "email"},
            "phone": {"type": "string"},
            "n": {"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
            "level": {"type": "number"},
            "sure": {"type": "boolean", "default": True},
            "plot": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "colour": {
                "type": "string",
                "oneOf": [{"const": "#f00", "title": "Red"}, {"const": "#0f0", "title": "Green"}],
                "default": "#f00",
            },
        },
        "required": ["name"],
    }
    several = elicit_schema(SEVERAL)
    assert several["properties"]["days"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["mo", "tu"]},
        "minItems": 1,
        "maxItems": 2,
        "default": ["mo"],
    }
    assert several["properties"]["hues"]["items"] == {
        "anyOf": [{"const": "r", "title": "Red"}, {"const": "g", "title": "Green"}]
    }


def test_a_plain_form_is_one_of_the_first_revision():
    fields = elicit_schema(FORM, plain=True)["properties"]
    assert fields["plot"] == {"type": "string", "enum": ["a", "b"]}
    assert fields["colour"] == {
        "type": "string",
        "enum": ["#f00", "#0f0"],
        "enumNames": ["Red", "Green"],
    }
    assert fields["n"] == {"type": "integer", "minimum": 0, "maximum": 9}
    assert fields["sure"] == {"type": "boolean", "default": True}


def test_raw_schemas_pass_through():
    raw = {"type": "object", "properties": {"x": {"type": "string", "enumNames": []}}}
    assert elicit_schema(raw) is raw
    assert check_elicited(raw, {"x": "y", "z": 1}) == {"x": "y", "z": 1}
    # A field that is called type makes no raw schema.
    assert elicit_schema({"type": Param(str)})["properties"] == {"type": {"type": "string"}}


def test_answers():
    full = check_elicited(FORM, {"name": "Zoe", "extra": 1, "level": 2})
    assert full == {
        "name": "Zoe",
        "mail": None,
        "phone": None,
        "n": 3,
        "level": 2.0,
        "sure": True,
        "plot": "a",
        "colour": "#f00",
    }
    raw = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    for form, content, why in (
        (FORM, {}, "name is missing"),
        (FORM, {"name": "zoe"}, "name must match the pattern"),
        (FORM, {"name": "Zoe", "mail": "x"}, "mail must be of format email"),
        (FORM, {"name": "Zoe", "n": 4}, "n must be a multiple of 3"),
        (FORM, {"name": "Zoe", "colour": "Red"}, "colour must be one of"),
        (SEVERAL, {"hues": ["r", "b"]}, "hues[1] must be one of"),
        (raw, {}, "x is missing"),
        (raw, {"x": 1}, "x must be of type string"),
    ):
        try:
            check_elicited(form, content)
        except ToolError as e:
            assert str(e).startswith("the form came back wrong: argument " + why), e
        else:
            raise AssertionError(content)


def test_what_is_no_field_is_refused():
    for param in (
        Param(dict),
        Param(list),
        Param(list, items=Param(int)),
        Param(list, items=Param(str)),
        Param(int, enum=[1, 2]),
        {"type": "string"},
    ):
        try:
            elicit_schema({"x": param})
        except ConfigError as e:
            assert str(e).startswith("form: x"), e
        else:
            raise AssertionError(param)
    try:
        elicit_schema(SEVERAL, plain=True)
    except ConfigError:
        pass
    else:
        raise AssertionError
