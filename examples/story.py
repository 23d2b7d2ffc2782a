# A language model on the board: it continues texts (the tool `complete`), counts tokens, and
# writes for the tools of this app where a client has no model to offer. stories260K, a model of
# 260,000 weights by the author of llama2.c, is converted by
#     mcpgw convert stories260K.bin -o stories.mgm
#     mcpgw tokenizer convert tok512.bin -o stories.mgt
# and put on the board by
#     mcpgw deploy examples/story.py --rom stories.mgm --rom stories.mgt
# On Linux: build/unix/micropython examples/story.py FOLDER

import sys

from mcp_gw import Context, Gateway, Param

folder = sys.argv[1] if len(sys.argv) > 1 else "/rom"

gw = Gateway("storyteller", version="1.0")
# 128 tokens, a text and its continuation together, take 55 KB of RAM.
gw.model(
    "story",
    folder + "/stories.mgm",
    tokenizer=folder + "/stories.mgt",
    positions=128,
    sampling=True,
)


@gw.tool("Tell a story", ctx=Context, about=Param(str, "whom it is about", max=40))
async def tell(ctx, about):
    beginning = "Once upon a time, there was a %s" % about
    answer = await ctx.sample(beginning, max_tokens=60)
    return {"by": answer["model"], "story": beginning + answer["content"]["text"]}


gw.run()
