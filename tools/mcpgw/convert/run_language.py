"""Language models run on this machine: the board's own Python, over its own C code."""

from pathlib import Path

from mcpgw import UserError, native_llama


def pieces(model, prompt, tokenizer=None, tokens=64, **sampling):
    """
    Generator: the text that continues a prompt, piece by piece.

    Args:
        model: path of a .mgm file of kind 4.
        prompt: str.
        tokenizer: path of its .mgt file; None: the model's own name with that ending.
        tokens: how many to write at most.
        sampling: temperature, top_p, seed; see mcp_gw.infer.language.

    Raises:
        UserError: no vocabulary, or one of the files is wrong.
    """
    from mcp_gw.errors import ToolError
    from mcp_gw.infer import language

    tokenizer = Path(tokenizer or Path(model).with_suffix(".mgt"))
    if not tokenizer.is_file():
        raise UserError(
            f"there is no vocabulary {tokenizer}: make one with  mcpgw tokenizer,  and name it "
            "with --tokenizer"
        )
    language.core = native_llama
    try:
        story = language.Language(str(model), str(tokenizer), 1 << 20)
        yield from story.generate(prompt, max_tokens=tokens, max_ms=1 << 30, **sampling)
    except (ToolError, ValueError) as error:
        raise UserError(str(error)) from None
