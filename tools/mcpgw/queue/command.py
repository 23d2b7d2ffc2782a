"""`mcpgw queue`: look into the queue of a board, or into an image of it."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from .. import UserError
from ..outputs import check_output, write_output
from ..words import counted
from . import outbox, source
from .image import LOST, MENDED, Image
from .repair import repair as repaired

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Look into a board's queue: its records, what is wrong with it, a repaired image.",
)

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="IMAGE",
        help="The queue's flash, or a board's whole flash, as a file.",
        exists=True,
        dir_okay=False,
    ),
]
Port = Annotated[
    str | None,
    typer.Option(help="Read the board on this serial port (or id:SERIAL) instead of a file."),
]
Offset = Annotated[int | None, typer.Option(help="Where in the file the queue begins, bytes.")]
Length = Annotated[int | None, typer.Option(help="How long the queue is, bytes.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# verify's exit codes, beside 0 (nothing is wrong), 1 (no image) and 2 (wrong use).
MENDED_CODE = 3
LOST_CODE = 4


def _data(path, port, offset, length):
    if path is None and port is None:
        raise UserError("name an image, or a board with --port", exit_code=2)
    if path is not None and port is not None:
        raise UserError("name an image or a board with --port, not both", exit_code=2)
    if path is not None:
        return source.from_file(path, offset, length)
    if offset is not None or length is not None:
        raise UserError("--offset and --length are for files", exit_code=2)

    def progress(n, of):
        if sys.stderr.isatty():
            print(f"\rreading sector {n} of {of}", end="\n" if n == of else "", file=sys.stderr)

    return source.from_board(port, progress)


@app.command()
def dump(
    path: Source = None,
    port: Port = None,
    offset: Offset = None,
    length: Length = None,
    as_json: Json = False,
):
    """List the records, oldest first.

    With [bold]--json[/bold] the calls' arguments and results as well.
    """
    image = Image(_data(path, port, offset, length))
    rows = [outbox.meaning(record) for record in image.records]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(_line(row))
    print(f"{counted(len(rows), 'record')} in {counted(image.sectors, 'sector')}{_summary(image)}")


def _line(row):
    text = f"{row['seq']:>6} {row['kind']!s:<8} {row['key']:<32} priority {row['priority']}"
    if row["marks"]:
        text += f", tried {counted(row['marks'], 'time')}"
        text += " or more" if row["marks"] == 7 else ""
    if "problem" in row:
        return f"{text}, {row['problem']}"
    if row["kind"] == "start":
        return f"{text} {row['start']}: began {row.get('began', 'at an unknown time')}"
    text += f", {row['upstream']} {row['tool']}, {row['bytes']} bytes, stored {row['stored']}"
    if row["kind"] == "outcome":
        tried = counted(row["attempts"], "attempt")
        return f"{text}, {row['state']} after {tried}, kept {row['kept_s']} s"
    return f"{text}, expires after {row['expires_s']} s"


def _summary(image):
    count = Counter(finding.level for finding in image.findings)
    if image.blank:
        return " (blank)"
    if count[LOST]:
        places = counted(count[LOST], "place is", "places are")
        return f"; {places} damaged: mcpgw queue verify says which"
    return ""


@app.command()
def verify(
    path: Source = None,
    port: Port = None,
    offset: Offset = None,
    length: Length = None,
    as_json: Json = False,
):
    """Say what is wrong, byte by byte.

    Exit code 0: nothing. 3: what a power cut or a flipped bit leaves, and the board puts right
    by itself. 4: something is lost.
    """
    image = Image(_data(path, port, offset, length))
    code = {LOST: LOST_CODE, MENDED: MENDED_CODE}.get(image.worst, 0)
    if as_json:
        rows = [vars(finding) for finding in image.findings]
        print(json.dumps({"records": len(image.records), "findings": rows}, indent=2))
        raise typer.Exit(code)
    for finding in image.findings:
        print(f"{finding.at:#08x} {finding.level}: {finding.text}")
    count = Counter(finding.level for finding in image.findings)
    wears = [head.wear for head in image.heads if head.wear is not None]
    print(
        f"{counted(len(image.records), 'record')}; {counted(count[LOST], 'loss', 'losses')},"
        f" {counted(count[MENDED], 'place')} that the board puts right,"
        f" {counted(len(image.bad), 'bad sector')}; erased {min(wears, default=0)} to"
        f" {counted(max(wears, default=0), 'time')}"
    )
    raise typer.Exit(code)


@app.command()
def repair(
    path: Source = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The image to write.")
    ] = None,
    port: Port = None,
    offset: Offset = None,
    length: Length = None,
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage",
            help="Also take records from sectors whose header is damaged. They may have been "
            "delivered before.",
        ),
    ] = False,
):
    """Write a new image with every record that can be saved; the old one stays as it is.

    It says what is lost. The image is one of the queue's region alone.
    """
    if output is None:
        raise UserError("name the image to write: -o NEW", exit_code=2)
    check_output(output, *([path] if path else []))
    image = Image(_data(path, port, offset, length), strict=not salvage)
    new = repaired(image, salvage)
    check = Image(new.data)
    if check.findings and check.worst != "note" or len(check.records) != new.kept:
        raise UserError("internal error: the new image is not as it should be")
    write_output(output, new.data)
    for text in new.lost:
        print(f"lost: {text}")
    for s in new.doubtful:
        print(f"sector {s}, which the board had left out as worn, was needed: use another chip")
    if new.salvaged:
        come = counted(new.salvaged, "record comes", "records come")
        print(f"{come} from sectors with a damaged header")
    print(f"{output}: {counted(new.kept, 'record')}, {len(new.lost)} lost")
