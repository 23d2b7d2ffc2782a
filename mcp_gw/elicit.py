"""Forms for the user: what a client is asked to show, and the check of what comes back.

A form is flat. Its fields are texts, numbers, switches, one choice out of several, or several
choices (2025-11-25 and later).
"""

from .errors import ConfigError, ToolError
from .params import Param, check_object

# What the specification allows in a field. The rest is left out of the form and checked here.
_COMMON = ("type", "title", "description")
_ALLOWED = {
    str: ("minLength", "maxLength", "default", "enum", "oneOf"),
    int: ("minimum", "maximum", "default"),
    float: ("minimum", "maximum", "default"),
    bool: ("default",),
    list: ("minItems", "maxItems", "default"),
}
_FORMATS = ("email", "uri", "date", "date-time")


def elicit_schema(schema, plain=False):
    """The requestedSchema (dict) for a form.

    schema: dict of name -> Param, or a JSON Schema of an object, which is returned as it is.
    plain: for a client of 2025-06-18: titles of choices are enumNames, no lists, defaults only for
    switches. Raises ConfigError for a field no form can have.
    """
    if _is_raw(schema):
        return schema
    out = {
        "type": "object",
        "properties": {name: _field(name, param, plain) for name, param in schema.items()},
    }
    required = [name for name, param in schema.items() if param.required]
    if required:
        out["required"] = required
    return out


def check_elicited(schema, content):
    """What the user entered (dict), checked, with defaults filled in and without fields nobody
    asked for; ToolError naming the field and the rule. schema: as given to elicit_schema()."""
    try:
        if not _is_raw(schema):
            known = {key: value for key, value in content.items() if key in schema}
            return check_object(schema, "", known)
        from .schema import check

        check(schema, content)
        return content
    except ToolError as e:
        raise ToolError("the form came back wrong: " + str(e)) from e


def _is_raw(schema):
    return schema.get("type") == "object"


def _field(name, param, plain):
    if not isinstance(param, Param):
        raise ConfigError("form: %s must be a Param" % name)
    kind = param.kind
    if kind is dict or (kind is list and (plain or not _is_choice(param.items))):
        raise ConfigError("form: %s: a form has no field of this kind" % name)
    if param.enum is not None and kind is not str:
        raise ConfigError("form: %s: only texts can be chosen from" % name)
    full = param.schema()
    out = {key: full[key] for key in _COMMON + _ALLOWED[kind] if key in full}
    if kind is list:
        items = full["items"]
        if "oneOf" in items:
            out["items"] = {"anyOf": items["oneOf"]}
        else:
            out["items"] = {"type": "string", "enum": items["enum"]}
    if param.format in _FORMATS:
        out["format"] = param.format
    if plain:
        if kind is not bool:
            out.pop("default", None)
        if out.pop("oneOf", None):
            out["enum"] = list(param.enum)
            out["enumNames"] = list(param.titles)
    return out


def _is_choice(param):
    return param is not None and param.kind is str and param.enum is not None
