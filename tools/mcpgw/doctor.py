"""`mcpgw doctor`: what is missing on this machine and on the board."""

import json
from typing import Annotated

import typer

from . import UserError


def doctor(
    port: Annotated[
        str | None,
        typer.Option(help="The board's serial port, or id:SERIAL; else one that is found."),
    ] = None,
    board: Annotated[
        bool, typer.Option("--board/--no-board", help="Look at the board, if there is one.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
):
    """Say what is missing on this machine and on the board, and what to do about it.

    Looking at a board interrupts what it runs for a moment. The exit code is 1 when something
    essential is missing.
    """
    from . import checks

    found = list(checks.machine())
    if board:
        found += _board(port)
    if as_json:
        print(json.dumps([check.as_dict() for check in found], indent=2))
    else:
        _show(found)
    return int(any(check.state == checks.MISSING for check in found))


def _board(port):
    """Checks of the board. One that was named, by option or variable, is essential."""
    from .checks import MISSING, NOTE, Check
    from .checks_board import board
    from .ports import NoBoard, choose_port

    try:
        device = choose_port(port)
    except NoBoard as e:
        return [Check("board", "board", NOTE, "none found", str(e).split("; ")[-1])]
    except UserError as e:
        return [Check("board", "board", MISSING, str(e))]
    found = []
    try:
        # One by one: what was found out before the board stopped answering stays.
        for check in board(device):
            found.append(check)
    except UserError as e:
        found.append(Check("board", "board", MISSING, str(e)))
    return found


def _show(found):
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    styles = {"ok": "green", "note": "yellow", "missing": "bold red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    area = None
    for check in found:
        if check.area != area:
            area = check.area
            table.add_row(f"[bold]{'this machine' if area == 'machine' else 'the board'}[/]")
        text = escape(check.found) + (f"\n[dim]-> {escape(check.todo)}[/]" if check.todo else "")
        table.add_row(f"  {check.what}", f"[{styles[check.state]}]{check.state}[/]", text)
    console = Console()
    console.print(table)
    missing = [check.what for check in found if check.state == "missing"]
    console.print(
        f"\n[bold red]missing: {', '.join(missing)}[/]" if missing else "\nnothing is missing"
    )
