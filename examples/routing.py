# A tool that may run here or at the Pi, and two upstreams that offer the same:
#
#     mcpgw bridge --upstream pi=http://pi.local:8000/mcp --upstream cloud=https://example.com/mcp
#
# Short texts are summarised on the board; longer ones by the Pi, or by the cloud while the Pi is
# not there. Where each went, and why, is in the resource gateway://routes.

from mcp_gw import Gateway, Param

gw = Gateway("scribe", version="1.0")
gw.upstream("pi")
gw.upstream("cloud", same_as="pi")
gw.routing(
    strategy="complexity",
    tools={"summarise": {"elsewhere": "pi", "local_tokens": 40}},
)


@gw.tool("The gist of a text", text=Param(str, "the text"))
def summarise(text):
    return text.split(".")[0] + "."


gw.run()
