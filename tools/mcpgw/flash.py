"""`mcpgw flash`: write firmware to a board. What it needs is imported when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from . import UserError


def flash(
    board: Annotated[
        str | None, typer.Argument(help="pico, esp32s3, ...: see --list.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None,
        typer.Argument(help="The firmware; else the one `make` built.", show_default=False),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(help="Serial port, id:SERIAL, or the folder of a BOOTSEL drive."),
    ] = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Erase everything else: files, settings, the queue.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before erasing.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the image and stop.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="List boards and what is plugged in.")
    ] = False,
):
    """Write firmware to a board, after checking that it is a whole image for this chip."""
    from .board import find_board, find_image

    if list_:
        return _list()
    if board is None:
        raise UserError("say which board to flash; mcpgw flash --list shows them", exit_code=2)
    found = find_board(board)
    if found.method is None:
        raise UserError(_not_ours(found))
    path = find_image(found, image)
    if found.method == "uf2":
        from .flash_uf2 import check_image, write
    else:
        from .flash_esp import check_image, write
    firmware = check_image(found, path)
    print(f"{path}: {firmware}")
    if check:
        return 0
    if erase and not yes:
        typer.confirm("Erase all files, settings and queued requests on the board?", abort=True)
    return write(found, firmware, port, erase)


def _not_ours(board):
    if board.emulated:
        return (
            f"{board.product} is an emulated board: run it with mcpgw sim {board.name}. A real "
            "Cortex-M board is flashed with its own tool (docs/boards.md)"
        )
    return f"{board.product} is flashed with its own tool (docs/boards.md)"


def _list():
    from rich.console import Console
    from rich.table import Table

    from .board import boards, tree_root
    from .drives import find_drives
    from .ports import find_ports

    table = Table("board", "what", "chip", "flashed by", "image built", box=None, pad_edge=False)
    root = tree_root()
    how = {"uf2": "UF2 drive", "esp": "esptool", None: "its own tool"}
    for board in boards().values():
        built = bool(root) and (root / board.image).is_file()
        table.add_row(
            board.name, board.product, board.mcu, how[board.method], board.image if built else "no"
        )
    console = Console()
    console.print(table)
    seen = [str(port) for port in find_ports() if port.kind != "other"]
    seen += [f"{drive.path} {drive.model} in its boot loader" for drive in find_drives()]
    console.print(
        "\nplugged in: " + ("; ".join(seen) or "nothing that looks like a board"), markup=False
    )
    return 0
