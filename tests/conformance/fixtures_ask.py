"""Tools that ask the client one thing: its model, or its user by a form."""

import json

from mcp_gw import Context, Param

ENUM = ["option1", "option2", "option3"]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ENUM},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ENUM}},
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
    "required": [],
}


def told(answer):
    """An answer to a form, in words."""
    return "action=%s, content=%s" % (answer["action"], json.dumps(answer.get("content")))


def add(gw):
    @gw.tool("Has the client's model write", ctx=Context, prompt=Param(str, "For the model"))
    async def test_sampling(ctx, prompt):
        answer = await ctx.sample(prompt, max_tokens=100)
        return "LLM response: %s" % answer["content"]["text"]

    @gw.tool("Asks the user for name and address", ctx=Context, message=Param(str, "To show"))
    async def test_elicitation(ctx, message):
        answer = await ctx.elicit(
            message,
            {
                "username": Param(str, "User's response"),
                "email": Param(str, "User's email address"),
            },
        )
        return "User response: %s" % told(answer)

    @gw.tool("Asks by a form that is filled in already", ctx=Context)
    async def test_elicitation_sep1034_defaults(ctx):
        answer = await ctx.elicit(
            "Please review and update the form fields with defaults",
            {
                "name": Param(str, "User name", default="John Doe"),
                "age": Param(int, "User age", default=30),
                "score": Param(float, "User score", default=95.5),
                "status": Param(
                    str, "Status", default="active", enum=["active", "inactive", "pending"]
                ),
                "verified": Param(bool, "Verification status", default=True),
            },
        )
        return "Elicitation completed: %s" % told(answer)

    @gw.tool("Asks by a form with every kind of choice", ctx=Context)
    async def test_elicitation_sep1330_enums(ctx):
        answer = await ctx.elicit("Please choose", ENUMS)
        return "Elicitation completed: %s" % told(answer)

    @gw.tool("Needs the client's model", ctx=Context)
    async def test_missing_capability(ctx):
        answer = await ctx.sample("Say something")
        return answer["content"]["text"]

    @gw.tool("Asks the user after some progress", ctx=Context)
    async def test_streaming_elicitation(ctx):
        ctx.progress(1, 2)
        answer = await ctx.elicit("Go on?", {"ok": Param(bool)})
        return told(answer)
