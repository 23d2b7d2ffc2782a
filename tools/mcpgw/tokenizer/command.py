"""`mcpgw tokenizer`: vocabularies for boards, from those of other tokenizers or from a text."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..outputs import check_output, write_output
from ..words import counted
from . import huggingface, mgt, readers, training
from .core import Core
from .vocabulary import FLAGS, LOWER_STEMS, STYLES, VocabularyError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Tokenizers for boards: convert, train, look into, encode.",
)

Vocab = Annotated[Path, typer.Argument(help="A .mgt file.", exists=True, dir_okay=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="The .mgt file to write.")]
Special = Annotated[bool, typer.Option("--special", help="Recognise special tokens in the text.")]


def _write(vocabulary, path):
    data = mgt.pack(vocabulary)
    Core(data)  # what a board would refuse is not written
    write_output(path, data)
    count = len(vocabulary.tokens())
    print(f"{path}: {count:,} tokens, {len(data):,} bytes, split as {STYLES[vocabulary.style]}")
    left = [text for text, id in vocabulary.others if id not in vocabulary.specials]
    if left:
        kept = "is kept" if len(left) == 1 else "are kept"
        print(f"{counted(len(left), 'token')} that no text is encoded to {kept} for decoding only")


@contextlib.contextmanager
def _named(path):
    """What is wrong with a file is said with its name."""
    try:
        yield
    except VocabularyError as error:
        raise VocabularyError(f"{path}: {error}") from None


def _open(path):
    """(the file's bytes, a Core for it)."""
    data = path.read_bytes()
    with _named(path):
        return data, Core(data)


def _read(path, encoding):
    data = path.read_bytes()
    if data[:4] == mgt.MAGIC:
        raise VocabularyError("it is a .mgt file already")
    if data.lstrip()[:1] == b"{":
        return huggingface.from_json(data)
    if data[4 + 8 : 4 + 8 + 5] == b"<unk>":
        return readers.llama2c(data)
    try:
        ranks = readers.tiktoken_ranks(data)
    except VocabularyError as error:
        raise VocabularyError(
            f"no tokenizer.json, and no llama2.c tokenizer.bin; {error}"
        ) from None
    encoding = encoding or path.stem
    if encoding not in readers.ENCODINGS:
        raise VocabularyError(
            "ranks do not say how text is split: --encoding, one of "
            + ", ".join(readers.ENCODINGS)
        )
    return readers.from_ranks(ranks, encoding)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="tiktoken's ranks, a Hugging Face tokenizer.json, or a llama2.c tokenizer.bin.",
            exists=True,
            dir_okay=False,
        ),
    ],
    output: Output,
    encoding: Annotated[
        str | None,
        typer.Option(help="For ranks: the encoding they are of; else the file's name says it."),
    ] = None,
):
    """Make a .mgt file of another tokenizer's file."""
    check_output(output, source)
    with _named(source):
        vocabulary = _read(source, encoding)
        _write(vocabulary, output)


TEXTS = typer.Argument(help="Text files, UTF-8.", exists=True, dir_okay=False)


@app.command()
def train(
    texts: Annotated[list[Path], TEXTS],
    output: Output,
    size: Annotated[int, typer.Option(help="Tokens at most.")] = 4096,
    style: Annotated[str, typer.Option(help="How text is split: gpt2, cl100k or o200k.")] = "gpt2",
    special: Annotated[
        list[str] | None, typer.Option(help="A special token; may be repeated.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the tokenizer.json as well.")] = None,
):
    """Train a vocabulary from texts."""
    for path in (output, *([json] if json else [])):
        check_output(path, *texts)
    # The library's bars bring empty lines on standard output with them.
    is_shown = sys.stderr.isatty() and sys.stdout.isatty()
    text = training.train(
        (path.read_text("utf-8", errors="replace") for path in texts),
        *(size, style, special or []),
        progress=is_shown,
    )
    if json:
        json.write_text(text, "utf-8")
    _write(huggingface.from_json(text.encode()), output)


@app.command()
def inspect(
    file: Vocab,
    tokens: Annotated[bool, typer.Option("--tokens", help="List the tokens.")] = False,
):
    """Check a .mgt file and say what is in it."""
    data, _ = _open(file)
    v = mgt.unpack(data)
    rows = v.tokens()
    print(f"{file}: {len(data):,} bytes, version {mgt.VERSION}")
    print(f"tokens      {len(rows):,}, numbers below {max(id for _, id in rows) + 1:,}")
    print(
        f"merged      {len(v.merges):,}, characters {len(v.chars):,},"
        f" whole pieces {len(v.wholes):,}"
    )
    print(f"longest     {max(len(text) for text, _ in rows)} bytes")
    print(
        f"split       {STYLES[v.style]}" + (f", {v.digits} digits at a time" if v.digits else "")
    )
    for flag, text in FLAGS.items():
        if v.flags & flag:
            print(f"            {text}")
    specials = sorted((id, text) for text, id in v.others if id in v.specials)
    print("special     " + (", ".join(f"{_shown(text)} {id}" for id, text in specials) or "none"))
    print(f"begin, end  {v.bos if v.bos >= 0 else 'none'}, {v.eos if v.eos >= 0 else 'none'}")
    if tokens:
        for text, id in sorted(rows, key=lambda row: row[1]):
            print(f"{id:8} {_shown(text)}")


def _shown(text):
    try:
        return repr(text.decode())
    except UnicodeDecodeError:
        return repr(text)[1:]


def _text(text):
    return sys.stdin.buffer.read() if text == "-" else text.encode()


Text = Annotated[str, typer.Argument(help="The text; - reads it from standard input.")]


@app.command()
def encode(file: Vocab, text: Text, special: Special = False):
    """Print the tokens of a text, as a board gives them."""
    data, core = _open(file)
    print(*core.encode(_stems(data, _text(text)), special))


@app.command()
def count(file: Vocab, text: Text, special: Special = False):
    """Print how many tokens a text has."""
    data, core = _open(file)
    print(core.count(_stems(data, _text(text)), special))


def _stems(data, text):
    flags = mgt.unpack(data).flags
    return text.replace("\u2581".encode(), b" ") if flags & LOWER_STEMS else text


@app.command()
def decode(
    file: Vocab,
    ids: Annotated[list[int], typer.Argument(help="Numbers of tokens.")],
):
    """Print the text of tokens."""
    _, core = _open(file)
    found = [core.token(id) for id in ids]
    if None in found:
        raise VocabularyError(f"no token {ids[found.index(None)]}")
    sys.stdout.buffer.write(b"".join(found) + b"\n")
