"""Sampling requests answered by a language model on the board; the model itself is tested
elsewhere."""

import json

from test_forward_asks import CALL, DONE, MUSE, asking, legacy, reply, upstream

from mcp_gw import ToolError
from mcp_gw.compat import run_until
from mcp_gw.infer.model import ModelError
from mcp_gw.infer.sampling import prompt_of, sampler


class Writer:
    """In place of a Language: keeps what it is asked for, writes `text`."""

    name = "story"

    def __init__(self, reason="end"):
        self.reason = reason
        self.asked = []

    async def acomplete(self, prompt, report=None, **options):
        self.asked.append((prompt, options))
        if len(prompt) > 100:
            raise ModelError("story: the prompt takes 101 tokens of 100 with its continuation")
        if options.get("temperature", 0) > 200:
            raise ValueError("temperature out of range")
        return "once more", self.reason


def message(text, role="user"):
    return {"role": role, "content": {"type": "text", "text": text}}


def refused(call, told):
    try:
        call()
    except ToolError as e:
        assert told in str(e), str(e)
    else:
        raise AssertionError("not refused: " + told)


def test_the_prompt():
    assert prompt_of({"messages": [message("a"), message("b", "assistant")]}) == "a\nb"
    params = {"systemPrompt": "Be brief.", "messages": [message("a")]}
    assert prompt_of(params) == "Be brief.\na"
    several = {
        "role": "user",
        "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
    }
    assert prompt_of({"messages": [several]}) == "x\ny"
    assert prompt_of({}) == ""
    for content in ({"type": "image", "data": "", "mimeType": "image/png"}, "text", None, 7):
        refused(
            lambda c=content: prompt_of({"messages": [{"role": "user", "content": c}]}),
            "text only",
        )
    refused(lambda: prompt_of({"messages": ["x"]}), "text only")


def test_options():
    writer = Writer()
    sample = sampler(writer, max_tokens=50, top_p=0.5)

    def ask(**params):
        return run_until(sample(dict(params, messages=[message("x")])))

    found = ask(maxTokens=20, temperature=0.5, stopSequences=["a", "", 3])
    assert writer.asked[-1] == (
        "x",
        {"top_p": 0.5, "max_tokens": 20, "temperature": 0.5, "stop": ("a",)},
    )
    assert found == {
        "content": {"type": "text", "text": "once more"},
        "model": "story",
        "stopReason": "endTurn",
    }
    ask(maxTokens=2000)
    assert writer.asked[-1] == ("x", {"top_p": 0.5, "max_tokens": 50})
    ask(maxTokens="x", temperature=None)
    assert writer.asked[-1][1] == {"top_p": 0.5, "max_tokens": 50}
    for reason, told in (("length", "maxTokens"), ("stop", "stopSequence"), ("time", "maxTokens")):
        writer.reason = reason
        assert ask()["stopReason"] == told
    refused(lambda: ask(temperature=1000), "out of range")
    refused(lambda: run_until(sample({"messages": [message("x" * 200)]})), "the prompt takes")


def test_an_upstream_asks():
    writer = Writer()
    gw, wire = legacy({}, sampling=sampler(writer))
    try:
        (row,) = wire.message(CALL)
        (row,) = reply(wire, upstream(row), asking(a=MUSE))
        again = upstream(row)
        answer = again["params"]["inputResponses"]["a"]
        assert answer["content"]["text"] == "once more" and answer["model"] == "story"
        assert answer["role"] == "assistant" and answer["stopReason"] == "endTurn"
        assert writer.asked == [("Praise it", {"max_tokens": 9})]
        reply(wire, again, json.dumps(DONE))
    finally:
        gw.close()
