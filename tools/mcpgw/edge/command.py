"""`mcpgw config`: check mcp-edge.toml, show what is on a board, remove it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check mcp-edge.toml, show what a board has of it, remove it.",
)
_PORT = typer.Option(help="Serial port, or id:SERIAL; else the one board that is found.")


def checked(path):
    """The board's sections of a file. What is wrong goes to standard error, a line each; then
    UserError."""
    from .compiled import check_file
    from .fields import ConfigFileError

    try:
        return check_file(path)
    except ConfigFileError as e:
        if len(e.problems) == 1:
            raise
        for line in e.problems:
            print(line, file=sys.stderr)
        raise UserError(f"{path}: {len(e.problems)} errors") from None


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="An mcp-edge.toml.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it compiled, for $MCPGW_CONFIG on Linux."),
    ] = None,
):
    """Check a configuration, and the Pi's if it is in the same file: every error with its line."""
    from ..outputs import check_output, write_output
    from .compiled import compile_config
    from .fields import read_document
    from .table import OTHERS

    if output is not None:
        check_output(output, *([file] if file.exists() else []))
    found = checked(file)
    compiled = compile_config(found)
    told = f"{', '.join(found)}; {len(compiled)} bytes on a board"
    told = told if found else "nothing for a board"
    others = [section for section in read_document(file).data if section in OTHERS]
    if others:
        from ..pi.command import check_rest
        from ..pi.config import load

        check_rest(load(file))
        told += f"; of the Pi: {', '.join(others)}"
    print(f"{file}: fine ({told})")
    if output is not None:
        write_output(output, compiled)
        print(f"wrote {output}")


@app.command()
def show(
    port: Annotated[str | None, _PORT] = None,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="Show passwords and tokens too.")
    ] = False,
):
    """Show the configuration that a board has, as TOML. Restarts what the board runs."""
    from .compiled import hidden, to_toml

    found = _on_board(port, lambda files: files.read())
    if found is None:
        raise UserError("this board has no configuration; mcpgw deploy --config gives it one")
    print(to_toml(found if secrets else hidden(found)), end="")


@app.command()
def remove(
    port: Annotated[str | None, _PORT] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="What pairing has written, too.")
    ] = False,
):
    """Remove the configuration from a board. Restarts what the board runs."""
    from .onboard import DEPLOYED, PATH

    def work(files):
        if everything:
            return files.remove_all(), {}
        there = files.part(DEPLOYED)
        if there or files.damaged(PATH):
            return True, files.write(DEPLOYED, {})
        return False, files.part(PATH)

    was, left = _on_board(port, work)
    print("the configuration is removed" if was else "no configuration was deployed here")
    if left:
        print("what pairing has written stays; mcpgw pair --remove removes it")


def _on_board(port, work):
    """What work(EdgeFiles) returns; the board's program is started again."""
    from ..ports import choose_port
    from ..remote import Remote
    from .onboard import EdgeFiles
    from .pairing import borrowed

    device = choose_port(port)
    with borrowed(device), Remote(device) as remote:
        try:
            return work(EdgeFiles(remote))
        finally:
            remote.restart()
