"""The built-in tools of language models and vocabularies: complete and count_tokens."""

from ..context import Context
from ..errors import ToolError
from ..params import Param
from .tools import offer, which

_MOST = 1000  # tokens that one call may ask for


def renew(gw):
    """Offer what there is to be offered now."""
    writers = [name for name in gw.models or () if hasattr(gw.models.get(name), "acomplete")]
    offer(gw, "complete", _complete(gw, writers) if writers else None)
    counters = {name: gw.models.get(name).tokenizer for name in writers}
    counters.update(gw.tokenizers or {})
    offer(gw, "count_tokens", _count(counters) if counters else None)


def _complete(gw, names):
    async def complete(ctx, model, prompt, max_tokens, temperature, top_p, seed, stop):
        count = 0

        def report(piece):
            nonlocal count
            count += 1
            ctx.progress(count, max_tokens, piece)

        try:
            text, reason = await gw.models.get(model).acomplete(
                prompt,
                report,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                stop=tuple(stop),
            )
        except ValueError as e:
            raise ToolError(str(e)) from None
        return {"model": model, "text": text, "ended": reason}

    return complete, {
        "description": "Continue a text by a small language model on this board; tokens are told"
        " as progress while they come",
        "ctx": Context,
        "model": which(names, "the model"),
        "prompt": Param(str, "the text to continue"),
        "max_tokens": Param(int, "at most so many", default=100, min=1, max=_MOST),
        "temperature": Param(float, "0: the likeliest token each time", default=0.0, min=0, max=5),
        "top_p": Param(
            float, "of the likeliest tokens, those that have this share", default=0.9, min=0, max=1
        ),
        "seed": Param(int, "the same number gives the same text", optional=True),
        "stop": Param(list, "the text ends before these", default=[], items=Param(str, min=1)),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _count(counters):
    names = sorted(counters)
    keywords = {
        "description": "How many tokens a text has",
        "text": Param(str, "the text"),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    if len(names) == 1:
        count = counters[names[0]].count
        # This one is for loops: nothing is looked up or chosen.
        return lambda text: {"tokens": count(text)}, keywords
    keywords["model"] = Param(str, "whose vocabulary", enum=names)
    return lambda text, model: {"model": model, "tokens": counters[model].count(text)}, keywords
