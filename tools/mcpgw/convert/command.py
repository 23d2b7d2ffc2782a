"""`mcpgw convert` and `mcpgw run`."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mcpgw import UserError
from mcpgw.outputs import check_output, write_output
from mcpgw.words import counted

SOURCE = typer.Argument(help="a .tflite, .onnx, .joblib, .gguf or llama2.c .bin file")
CALIBRATE = typer.Option(
    metavar="DATA", help="sample inputs (.npy, .npz, .csv) that a float model is quantised by"
)
PERCENTILE = typer.Option(help="share of the samples' values, in percent, that int8 must hold")
LABELS = typer.Option(help="names of the classes: with commas between them, or a file of lines")
QUANT = typer.Option(help="language models: row, q8_0, q4_0 or float")
POSITIONS = typer.Option(help="language models: longest context, in tokens", min=1)
ROUNDING = typer.Option(
    help="source: as the source's runtime; tflite: ONNX models as TFLite, fast on a Cortex-M4"
)
WIDTH = typer.Option(help="nearest neighbours: bytes of a value, 1 or 2", min=1, max=2)


def _need_packages():
    """A line for who has installed mcpgw without what converters need."""
    if importlib.util.find_spec("numpy") is None:
        raise UserError("numpy is not installed: pip install 'mcpgw[convert]'")


def convert(
    source: Annotated[Path, SOURCE],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="default: SOURCE with the ending .mgm")
    ] = None,
    target: Annotated[
        str, typer.Option(help="what weights are laid out for: portable, rp2040, cortex-m4, host")
    ] = "portable",
    calibrate: Annotated[Path | None, CALIBRATE] = None,
    percentile: Annotated[float, PERCENTILE] = 100.0,
    labels: Annotated[str | None, LABELS] = None,
    name: Annotated[str | None, typer.Option(help="default: the file's name")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="compare with the source's own runtime")
    ] = False,
    inputs: Annotated[int, typer.Option(help="--check: how many random inputs", min=0)] = 100,
    quant: Annotated[str | None, QUANT] = None,
    positions: Annotated[int | None, POSITIONS] = None,
    width: Annotated[int | None, WIDTH] = None,
    rounding: Annotated[str, ROUNDING] = "source",
):
    """Convert a trained model to a .mgm file that a board runs in place.

    A .joblib or pickle file runs code of its author when it is read: convert only your own.
    """
    _need_packages()
    from mcpgw.convert import report, sources
    from mcpgw.convert.pack import TARGETS

    if target not in TARGETS:
        raise UserError(f"--target {target}: there are {', '.join(TARGETS)}", 2)
    if not 50 < percentile <= 100:
        raise UserError("--percentile is between 50 and 100, 100 for all values", 2)
    if rounding not in ("source", "tflite"):
        raise UserError(f"--rounding {rounding}: there are source and tflite", 2)
    kind = sources.kind_of(source)
    if kind == "sklearn":
        print(f"note: reading {source} runs code that is in it", file=sys.stderr)
    out = output or source.with_suffix(".mgm")
    check_output(out, source, *([calibrate] if calibrate and calibrate.exists() else []))
    if check and kind in ("gguf", "llama2c"):
        raise UserError("--check knows no runtime for language models")
    options = sources.Options(
        name=name,
        target=target,
        labels=sources.parse_labels(labels) if labels is not None else None,
        calibrate=calibrate,
        percentile=percentile,
        quant=quant,
        positions=positions,
        width=width,
        rounding=rounding,
        progress=_Progress("calibrating"),
    )
    converted = sources.convert(source, options)
    write_output(out, converted.file)
    for line in report.lines(converted, out):
        print(line)
    if check:
        return _check(converted, inputs)
    return 0


def _check(converted, inputs):
    from mcpgw.convert.check import check

    result = check(converted, inputs)
    for line in result.lines:
        print(line)
    if result.mismatches:
        differ = "differs" if result.mismatches == 1 else "differ"
        of = counted(result.count, "answer")
        print(f"mcpgw: {result.mismatches} of {of} {differ}", file=sys.stderr)
        return 1
    return 0


class _Progress:
    """A line on a terminal that says how far something is; nothing elsewhere."""

    def __init__(self, what):
        self.what = what
        self.shown = 0.0

    def __call__(self, share):
        now = time.monotonic()
        if not sys.stderr.isatty() or (share < 1 and now - self.shown < 0.2):
            return
        self.shown = now
        end = "\n" if share >= 1 else ""
        print(f"\r{self.what}: {share:4.0%}", end=end, file=sys.stderr, flush=True)


def run(
    model: Annotated[Path, typer.Argument(help="a .mgm file")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="samples: .npy, .npz, .csv, .json, raw bytes, or - for JSON; or a prompt",
        ),
    ],
    top: Annotated[int, typer.Option(help="how many classes to show", min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="a JSON value for each sample")] = False,
    tokenizer: Annotated[
        Path | None, typer.Option(help="language models: the .mgt file; default: MODEL's name")
    ] = None,
    tokens: Annotated[int, typer.Option(help="language models: at most so many", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="language models: 0 for the likeliest")] = 0.0,
    top_p: Annotated[float, typer.Option(help="language models: share sampled from")] = 1.0,
    seed: Annotated[int, typer.Option(help="language models: of what is sampled")] = 1,
):
    """Run a .mgm model on this machine, through the same C code as on a board.

    Prints a line for each sample: the best classes with their scores, or the output's values. A
    language model continues INPUT.
    """
    _need_packages()
    from mcpgw.convert import inputs, mgm

    if not model.is_file():
        raise UserError(f"there is no file {model}")
    file = model.read_bytes()
    try:
        opened = mgm.read(file)
    except UserError as error:
        raise UserError(f"{model}: {error}") from None
    if opened.kind == mgm.LLAMA:
        from mcpgw.convert.run_language import pieces

        sampling = {"temperature": temperature, "top_p": top_p, "seed": seed}
        made = pieces(model, source, tokenizer, tokens, **sampling)
        # What is wrong comes with the first piece: by itself, not behind the prompt.
        print(source, end=next(made, ""), flush=True)
        for piece in made:
            print(piece, end="", flush=True)
        print()
        return 0
    samples = inputs.load(source, opened)
    runner = inputs.Runner(file)
    for sample in zip(*samples, strict=True):
        if runner.is_classifier():
            ranked = runner.ranked(*sample)[:top]
            if as_json:
                print(json.dumps([{"label": n, "score": round(s, 6)} for n, s in ranked]))
            else:
                print("  ".join(f"{n} {s:.3f}" for n, s in ranked))
            continue
        values = [v.ravel().round(6).tolist() for v in runner.real(*sample)]
        if as_json:
            print(json.dumps(values[0] if len(values) == 1 else values))
        else:
            print("  ".join(" ".join(f"{v:g}" for v in row) for row in values))
    return 0
