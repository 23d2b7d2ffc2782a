"""`mcpgw pair`: makes a board and a paired gateway (`mcpgw pi`) known to each other, over USB."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import UserError


def pair(
    port: Annotated[
        str | None,
        typer.Option(help="Serial port, or id:SERIAL; else the one board that is found."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="mcp-edge.toml of the Pi here."),
    ] = None,
    pi: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A Pi elsewhere; it wants a code of its own."),
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="With --pi: what `mcpgw pi code` has printed there.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the Pi calls the board; default: as it does itself.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="How the board reaches this machine; default: found out.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="With TLS at the Pi: whom the board trusts; default: the certificate."),
    ] = None,
    ssid: Annotated[
        str | None, typer.Option(help="Wireless network to join, for a board with Wi-Fi.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help="File with its password; else $MCPGW_WIFI_PASSWORD, or it is asked."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Undo it, on both sides.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the board's gateway.")] = 15,
):
    """Pair the board on a serial port with the Pi on this machine, or with one elsewhere.

    Shows what it will write on each side, and asks. A board without a network is served by
    the Pi that it is plugged into; one with a network dials in.
    """
    from .edge import pairing
    from .ports import choose_port

    if (pi is None) != (code is None):
        raise UserError("--pi and --code go together: mcpgw pi code, there, prints one", 2)
    if pi is not None and (config or address or ca):
        raise UserError("--pi means a Pi elsewhere: no --config, --address or --ca then", 2)
    side = pairing.Elsewhere(pi, code) if pi else None
    if side is None and not (remove and config is None):
        side = pairing.Here(config, address, ca)
    try:
        if remove:
            side = side or pairing.here_or_none()
        device = choose_port(port)
        if side is not None:
            side.borrow(device)
        if remove:
            return _remove(side, device, yes, wait)
        wanted = pairing.Wanted(name, ssid, lambda: _password(ssid, password_file))
        return _pair(side, device, wanted, yes, wait)
    finally:
        if side is not None:
            side.close()


def _pair(side, port, wanted, yes, wait):
    from .edge import pairing
    from .edge.onboard import PAIRED, EdgeFiles
    from .remote import Remote

    called = pairing.name_on(port)
    with Remote(port) as remote:
        try:
            board = remote.identity()
            files = EdgeFiles(remote)
            print(f"{remote.port}: {board['machine']}, mcp_gw {files.about['mcp_gw']}")
            pairing.refuse_paired(files)
            plan = side.plan(pairing.Found(remote.port, files, called), wanted)
            files.fit(files.effective(paired=plan.sections))
            _show(plan)
            _ask("Write this?", yes)
            undo = side.write(plan)
            try:
                for path, data in plan.files.items():
                    remote.write_file(f"/{path}", data)
                files.write(PAIRED, plan.sections)
            except BaseException:
                undo()
                raise
        except BaseException:
            # What the board ran was interrupted for this: set it going again.
            with contextlib.suppress(UserError):
                remote.restart()
            raise
        return _start(remote, files, f"paired as {plan.name}", wait)


def _remove(side, port, yes, wait):
    from .edge import pairing
    from .edge.onboard import PAIRED, EdgeFiles
    from .remote import Remote

    with Remote(port) as remote:
        try:
            files = EdgeFiles(remote)
            was = files.part(PAIRED)
            if not was and not files.damaged(PAIRED):
                raise UserError(f"the board on {port} is not paired")
            name = was.get("board", {}).get("name", "?")
            knows = side is not None and side.knows(name)
            print(f"on the board: what pairing as {name} has written is removed")
            if knows:
                print(f"at the Pi ({side.where}): {name} and its token are forgotten")
            _ask("Undo the pairing?", yes)
            files.write(PAIRED, {})
            remote.exec(pairing.FORGET)
            if knows:
                side.forget(name)
            elif name != "?":
                print(f"at the Pi: nothing was changed; mcpgw pi forget {name} does it there")
        except BaseException:
            with contextlib.suppress(UserError):
                remote.restart()
            raise
        return _start(remote, files, f"{name} is not paired any more", wait)


def _show(plan):
    from .edge.compiled import hidden, to_toml

    print(f"at the Pi ({plan.where}):")
    for line in plan.there:
        print(f"  {line}")
    print("on the board, beside what was deployed there:")
    for line in to_toml(hidden(plan.sections)).splitlines():
        print(f"  {line}".rstrip())
    for path in plan.files:
        print(f"  (file /{path})")


def _ask(question, yes):
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError(f"{question} Nothing was written; --yes answers it")
    typer.confirm(question, abort=True)


def _password(ssid, file):
    """The password of a wireless network; "" for an open one."""
    import os

    if file is not None:
        try:
            return file.read_text().strip("\r\n")
        except (OSError, UnicodeDecodeError) as e:
            raise UserError(f"{file} cannot be read: {e}") from None
    if "MCPGW_WIFI_PASSWORD" in os.environ:
        return os.environ["MCPGW_WIFI_PASSWORD"]
    if not sys.stdin.isatty():
        raise UserError(
            f"the password of {ssid} is not known: --password-file or $MCPGW_WIFI_PASSWORD"
        )
    return typer.prompt(f"password of {ssid} (empty: none)", "", hide_input=True, err=True)


def _start(remote, files, done, wait):
    from .edge.onboard import serves_serial
    from .hello import NotServing, await_gateway

    serial = serves_serial(files.effective())
    remote.restart()
    if not serial:
        print(f"{done}; the board was restarted, and serves no serial port")
        return 0
    try:
        answer = await_gateway(remote.serial, wait)
    except NotServing as e:
        raise UserError(f"{done}, but {e}") from None
    print(f"{done}; {answer.name} {answer.version} serves on {remote.port}")
    return 0
