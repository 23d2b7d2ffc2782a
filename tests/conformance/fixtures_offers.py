"""Resources, a template, and prompts."""

import json

import media

from mcp_gw import Param
from mcp_gw.content import embedded, image, message, text

WORDS = ["test", "testing", "tested", "hello", "world"]


def add(gw):
    @gw.resource("test://static-text", "A text", name="static-text", mime_type="text/plain")
    def static_text():
        return "This is the content of the static text resource."

    @gw.resource("test://static-binary", "A picture", name="static-binary", mime_type="image/png")
    def static_binary():
        return media.png()

    @gw.resource(
        "test://watched-resource", "To subscribe to", name="watched", mime_type="text/plain"
    )
    def watched():
        return "Watched resource content"

    @gw.resource(
        "test://template/{id}/data",
        "Data of one id",
        name="template",
        mime_type="application/json",
        id=Param(str, "Which"),
    )
    def template(id):
        return json.dumps({"id": id, "templateTest": True, "data": "Data for ID: %s" % id})

    @gw.prompt("A prompt without arguments")
    def test_simple_prompt():
        return "This is a simple prompt for testing."

    @gw.prompt(
        "A prompt with two arguments",
        arg1=Param(str, "First test argument", complete=WORDS),
        arg2=Param(str, "Second test argument"),
    )
    def test_prompt_with_arguments(arg1, arg2):
        return "Prompt with arguments: arg1='%s', arg2='%s'" % (arg1, arg2)

    @gw.prompt("A prompt with an embedded resource", resourceUri=Param(str, "What to embed"))
    def test_prompt_with_embedded_resource(resourceUri):
        content = embedded(resourceUri, "Embedded resource content for testing.", "text/plain")
        return [
            message("user", content),
            message("user", text("Please process the embedded resource above.")),
        ]

    @gw.prompt("A prompt with a picture")
    def test_prompt_with_image():
        return [
            message("user", image(media.png(), "image/png")),
            message("user", text("Please analyze the image above.")),
        ]
