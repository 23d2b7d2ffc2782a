"""Sampling requests of MCP answered by a language model on the board."""

from ..errors import ToolError

_ENDS = {"stop": "stopSequence", "length": "maxTokens", "time": "maxTokens"}


def sampler(language, max_tokens=256, **more):
    """A function for gw.upstream(..., sampling=...) that has a Language write. max_tokens: at
    most, whatever is asked for; more: further options of Language.generate(), in place of its
    defaults.

    What is to be continued is the system prompt and the texts of all messages, one line each: such
    small models know no chat.
    """

    async def sample(params):
        options = dict(more)
        options["max_tokens"] = min(_number(params, "maxTokens", max_tokens), max_tokens)
        temperature = _number(params, "temperature", None)
        if temperature is not None:
            options["temperature"] = temperature
        stop = params.get("stopSequences") or ()
        if stop:
            options["stop"] = tuple(s for s in stop if isinstance(s, str) and s)
        try:
            text, reason = await language.acomplete(prompt_of(params), **options)
        except ValueError as e:
            raise ToolError(str(e)) from None
        return {
            "content": {"type": "text", "text": text},
            "model": language.name,
            "stopReason": _ENDS.get(reason, "endTurn"),
        }

    return sample


def prompt_of(params):
    """The text that the params of a sampling request have continued. Raises ToolError for what is
    no text."""
    lines = []
    system = params.get("systemPrompt")
    if isinstance(system, str) and system:
        lines.append(system)
    for message in params.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else [content]:
            if not isinstance(block, dict) or not isinstance(block.get("text"), str):
                raise ToolError("the model on this board knows text only")
            lines.append(block["text"])
    return "\n".join(lines)


def _number(params, name, default):
    value = params.get(name)
    return value if type(value) in (int, float) and value >= 0 else default
