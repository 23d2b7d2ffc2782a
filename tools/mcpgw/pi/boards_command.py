"""`mcpgw pi code`, `boards` and `forget`: what is done about boards from outside the service."""

import re
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from .. import UserError
from ..words import counted
from .config import NAME
from .pairing import CODE_TTL_S, Pairing

# Where `mcpgw pair` puts the certificate that a board trusts when it dials with TLS.
_CA = "mcp-gw-pi.pem"
_Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration, mcp-edge.toml."),
]


def register(app, load, open_store):
    """Add the commands to a typer application. load: function(context, path) -> config.Config;
    open_store: function(Config) -> Store."""

    @app.command()
    def code(
        ctx: typer.Context,
        name: Annotated[
            str, typer.Option(help="What the board will be called; default: as it calls itself.")
        ] = "",
        minutes: Annotated[
            int, typer.Option(min=1, max=60, help="For how long it may be used.")
        ] = CODE_TTL_S // 60,
        config: _Config = None,
    ):
        """Print a pairing code, with which one board that dials in gets its token."""
        if name and not re.fullmatch(NAME, name):
            raise UserError("a name is 1 to 32 letters, digits, - and _", 2)
        found = load(ctx, config)
        if name in found.boards or name in found.servers:
            raise UserError(f"{name} is named in {found.file} already")
        if not found.dial.port:
            raise UserError(
                f"{found.file}: boards cannot dial in: give [dial] a port, 8444 for example"
            )
        store = open_store(found)
        try:
            if name in store.clients():
                raise UserError(f"{name} is a client's: choose another name")
            made = Pairing(store).new(name, minutes * 60)
        finally:
            store.close()
        print(made)
        host = _reached_at(found.dial.host)
        time_left = counted(minutes, "minute")
        print(f"good for {name or 'one board'}, once, for {time_left}. In its mcp-edge.toml:")
        print(f'  [dial_out]\n  host = "{host}"\n  port = {found.dial.port}\n  code = "{made}"')
        more = ""
        if found.dial.certificate:
            print(f'  tls = true\n  ca = "{_CA}"')
            more = f', tls=True, ca="{_CA}"'
        print(f'or in its program:\n  Dial(gw, "{host}", {found.dial.port}, code="{made}"{more})')
        if found.dial.certificate:
            print(f"{_CA} on the board: whom it trusts, {found.dial.certificate} or its authority")

    @app.command()
    def boards(ctx: typer.Context, config: _Config = None):
        """List the boards that are known, whether they are there, and since when."""
        found = load(ctx, config)
        store = open_store(found)
        try:
            rows = store.boards()
        finally:
            store.close()
        runs = is_running(found)
        if not runs:
            print("the service does not run; what it knew last:")
        if not rows:
            print("no boards")
        for row in rows:
            print(line_of(*row))

    @app.command()
    def forget(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="The board's.")],
        config: _Config = None,
    ):
        """Forget a board and its token; a running service lets go of it within seconds."""
        found = load(ctx, config)
        if name in found.boards:
            raise UserError(f"{name} is named in {found.file}: take [boards.{name}] out there")
        store = open_store(found)
        try:
            if not store.remove_board(name):
                known = ", ".join(row[0] for row in store.boards()) or "none"
                raise UserError(f"no board is called {name}; known are: {known}")
        finally:
            store.close()
        print(f"{name} is forgotten")


def _reached_at(host):
    """How a board names this machine, which takes boards at `host`."""
    if host not in ("0.0.0.0", "::"):
        return host
    name = socket.gethostname()
    return name if "." in name else name + ".local"


def line_of(name, identity, about, changed):
    """One line about a board, as the store has it."""
    state = "up  " if about.get("up") else "away"
    at = about.get("since", changed)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    text = f"{name}  {state}  since {since}  {about.get('kind', '?')} {about.get('where', '?')}"
    if about.get("version"):
        text += f"  version {about['version']}"
    if about.get("pending"):
        text += f"  {about['pending']} queued"
    if not about.get("up") and about.get("why"):
        text += f"  ({about['why']})"
    return text


def is_running(config):
    """Whether a service works with this store."""
    from .store import ServiceLock, StoreError

    try:
        ServiceLock(config.store).close()
    except StoreError:
        return True
    return False
