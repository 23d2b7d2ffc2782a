"""`mcpgw deploy`: put an app on a board, start it, and see that its gateway answers."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from . import UserError
from .words import counted


def deploy(
    app: Annotated[
        Path | None,
        typer.Argument(help="A .py file, or a folder with a main.py.", show_default=False),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(help="Serial port, or id:SERIAL; else the one board that is found."),
    ] = None,
    name: Annotated[
        str, typer.Option(help="What a single file is called on the board.")
    ] = "main.py",
    extra: Annotated[
        list[Path] | None,
        typer.Option("--with", help="One more file or folder to put there; repeatable."),
    ] = None,
    rom: Annotated[
        list[Path] | None,
        typer.Option(
            "--rom",
            help="A file, or a folder's contents, for /rom: all that is there; repeatable.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="mcp-edge.toml, the board's configuration.", show_default=False),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Restart the board, wait for the gateway.")
    ] = True,
    mpy: Annotated[
        bool, typer.Option("--mpy", help="Compile all but main.py to .mpy with mpy-cross.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what was deployed, instead.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Replace files that were not deployed, too.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the gateway.")] = 15,
):
    """Put an app on a board: only what changed, checked on arrival, safe against a power cut.

    Interrupts what the board runs. A file is replaced when all have arrived, main.py last;
    until then the old app stays what starts. Models and other data go to /rom, where the board
    uses them in place.
    """
    from . import appfiles
    from .ports import choose_port

    if remove == bool(app or rom or config) or (extra and not app):
        raise UserError("say what to deploy (an APP, --rom, --config), or --remove", exit_code=2)
    if remove:
        return _remove(choose_port(port))
    sections = _checked(config) if config else None
    files = appfiles.collect(app, name, extra or ()) if app else None
    in_rom = appfiles.collect_rom(rom) if rom else None
    everything = (files or []) + (in_rom or [])
    if everything:
        checked = appfiles.check_syntax(everything)
        print(f"{counted(len(everything), 'file')}, syntax ok ({checked})")
    return _deploy(files, in_rom, sections, choose_port(port), run, mpy, yes, wait)


def _checked(config):
    from .edge.command import checked

    return checked(config)


def _deploy(files, in_rom, sections, port, run, mpy, yes, wait):
    from .edge.pairing import borrowed
    from .remote import Remote

    with borrowed(port), Remote(port) as remote:
        try:
            board = remote.identity()
            print(f"{remote.port}: {board['machine']}, MicroPython {board['release']}")
            if in_rom is not None:
                _transfer_rom(remote, _ready(in_rom, mpy, board))
            if files is not None:
                _transfer(remote, _ready(files, mpy, board), yes)
            if sections is not None:
                _configure(remote, sections)
        except (UserError, typer.Abort, KeyboardInterrupt):
            # The old app was interrupted for this and is still whole: set it going again.
            with contextlib.suppress(UserError):
                remote.restart()
            raise
        if run:
            return _start(remote, wait)
        remote.leave()
    return 0


def _ready(files, mpy, board):
    from . import appfiles

    return appfiles.compiled(files, board["mpy"]) if mpy else files


def _configure(remote, sections):
    from .edge.onboard import DEPLOYED, EdgeFiles

    now = EdgeFiles(remote).write(DEPLOYED, sections)
    print(f"  configuration: {', '.join(now) or 'nothing in it'}; verified on the board")


def _transfer_rom(remote, files):
    from . import rom

    plan = rom.plan(remote, files)
    for file in files:
        print(f"  rom{file.path:<25} {len(file.data):>8} B")
    if not plan.changed:
        print("  nothing changed in the ROM file system")
        return
    begun = time.monotonic()
    with _progress(plan.to_send) as advance:
        rom.write(remote, plan, lambda n: advance("rom", n))
    seconds = time.monotonic() - begun
    print(
        f"  {len(plan.image)} of {plan.capacity} bytes of the ROM file system, "
        f"{plan.to_send} sent in {seconds:.1f} s, verified on the board"
    )


def _transfer(remote, files, yes):
    from .install import Installer

    installer = Installer(remote)
    plan = installer.plan(files)
    if plan.foreign and not yes:
        _confirm(plan.foreign)
    if plan.settled:
        print("  nothing changed")
        return
    begun = time.monotonic()
    _install(installer, files, plan)
    _report(files, plan, time.monotonic() - begun)


def _install(installer, files, plan):
    total = sum(len(f.data) for f in files if f.path in plan.changed)
    with _progress(total) as advance:
        installer.install(files, plan, advance)


@contextlib.contextmanager
def _progress(total):
    """A progress bar on standard error; gives function(what, bytes just written)."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, n: bar.update(task, advance=n, description=what)


def _report(files, plan, seconds):
    size = 0
    for file in files:
        if file.path in plan.changed:
            size += len(file.data)
            what = "new" if file.path in plan.added else "changed"
            print(f"  {file.path[1:]:<28} {len(file.data):>8} B  {what}")
    for path in plan.stale:
        print(f"  {path[1:]:<28} {'':>8}    removed")
    same = f", {len(plan.unchanged)} unchanged" if plan.unchanged else ""
    print(f"  {size} bytes in {seconds:.1f} s, verified on the board{same}")


def _start(remote, wait):
    from .hello import NotServing, await_gateway

    remote.restart()
    try:
        answer = await_gateway(remote.serial, wait)
    except NotServing as e:
        if e.output:
            print("the board said:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in e.output.splitlines()[-30:]), file=sys.stderr)
        raise
    print(
        f"{answer.name} {answer.version} serves on {remote.port} "
        f"({answer.seconds:.1f} s after the restart)"
    )
    return 0


def _confirm(paths):
    names = ", ".join(p[1:] for p in paths)
    question = f"{names} on the board was not put there by deploy, or was changed since"
    if not sys.stdin.isatty():
        raise UserError(f"{question}; --yes replaces it")
    typer.confirm(f"{question}. Replace it?", abort=True)


def _remove(port):
    from .edge.pairing import borrowed
    from .install import Installer
    from .remote import Remote

    with borrowed(port), Remote(port) as remote:
        installer = Installer(remote)
        removed, kept = installer.remove()
        remote.restart()
    for path in removed:
        print(f"  {path[1:]}  removed")
    for path in kept:
        print(f"  {path[1:]}  kept: it was changed on the board since")
    if not removed and not kept:
        print("nothing was deployed on this board")
    return 0
