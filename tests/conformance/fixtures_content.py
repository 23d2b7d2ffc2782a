"""Tools that return every kind of content, log, report progress, fail; and schemas."""

import asyncio

import media

from mcp_gw import Context, ToolError
from mcp_gw.content import audio, embedded, image, text

RAW_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADER_SCHEMA = {
    "type": "object",
    "properties": {
        "region": {
            "type": "string",
            "description": "Where to look",
            "x-mcp-header": "Region",
        }
    },
    "required": ["region"],
}


def add(gw):
    @gw.tool("Returns a text")
    def test_simple_text():
        return "This is a simple text response for testing."

    @gw.tool("Returns a picture")
    def test_image_content():
        return image(media.png(), "image/png")

    @gw.tool("Returns a sound")
    def test_audio_content():
        return audio(media.wav(), "audio/wav")

    @gw.tool("Returns an embedded resource")
    def test_embedded_resource():
        return embedded(
            "test://embedded-resource", "This is an embedded resource content.", "text/plain"
        )

    @gw.tool("Returns a text, a picture and an embedded resource")
    def test_multiple_content_types():
        return [
            text("Multiple content types test:"),
            image(media.png(), "image/png"),
            embedded(
                "test://mixed-content-resource",
                '{"test":"data","value":123}',
                "application/json",
            ),
        ]

    @gw.tool("Logs while it works", ctx=Context)
    async def test_tool_with_logging(ctx):
        ctx.log("info", "Tool execution started")
        await asyncio.sleep(0.05)
        ctx.log("info", "Tool processing data")
        await asyncio.sleep(0.05)
        ctx.log("info", "Tool execution completed")
        return "Tool with logging executed successfully"

    @gw.tool("Logs once", ctx=Context)
    def test_logging_tool(ctx):
        ctx.log("info", "This is a log message")
        return "Logged"

    @gw.tool("Reports progress while it works", ctx=Context)
    async def test_tool_with_progress(ctx):
        for value in (0, 50, 100):
            ctx.progress(value, 100)
            await asyncio.sleep(0.05)
        return "Tool with progress executed successfully"

    @gw.tool("Fails")
    def test_error_handling():
        raise ToolError("This tool intentionally returns an error for testing")

    @gw.tool("Ends the stream of its response, then returns", ctx=Context)
    async def test_reconnection(ctx):
        ctx.close_stream()
        await asyncio.sleep(0.1)
        return "Reconnection test completed successfully"

    @gw.tool("Tells clients that the tools have changed")
    def test_trigger_tool_change():
        gw.tools_changed()
        return "Told"

    @gw.tool("Tells clients that the prompts have changed")
    def test_trigger_prompt_change():
        gw.prompts_changed()
        return "Told"

    @gw.tool("Tool with JSON Schema 2020-12 features", input_schema=RAW_SCHEMA)
    def json_schema_2020_12_tool(arguments):
        return "Got %s" % ", ".join(sorted(arguments))

    @gw.tool("Takes an argument that HTTP clients repeat in a header", input_schema=HEADER_SCHEMA)
    def test_header_argument(arguments):
        return "Region %s" % arguments["region"]
