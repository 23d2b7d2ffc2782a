"""A gateway with a choice, over HTTP, for either interpreter: `routing_app.py PORT`.

Reads from standard input, as a line of JSON: upstreams (list of keywords of gw.upstream, in order)
and routing (options)."""

import json
import sys

from mcp_gw import Gateway, Param

gw = Gateway("router", version="1")
options = json.loads(sys.stdin.readline())


@gw.tool("Continues a text", text=Param(str, "what to continue"))
def complete(text):
    return "here: " + text


for row in options["upstreams"]:
    gw.upstream(**row)
gw.routing(options["routing"])
gw.run("http", port=int(sys.argv[1]))
