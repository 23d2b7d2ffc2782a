"""`mcpgw pi`: runs the paired gateway, and what belongs to it."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from .. import UserError
from ..words import counted
from . import boards_command
from . import config as configuration

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    invoke_without_command=True,
    help="The paired gateway: one MCP endpoint for many boards and the servers behind them.",
)
token_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Tokens of boards and clients."
)
app.add_typer(token_app, name="token")

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="The configuration, mcp-edge.toml."),
]


@app.callback()
def pi(
    ctx: typer.Context,
    config: Config = None,
    stdio: Annotated[
        bool,
        typer.Option("--stdio", help="Serve the MCP client on stdin and stdout, too."),
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen here, whatever the file says.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Listen on this address.")] = None,
    log: Annotated[
        str, typer.Option(help="File to which log lines are added; - is stderr.")
    ] = "-",
    check: Annotated[bool, typer.Option("--check", help="Only check the configuration.")] = False,
):
    """Run the paired gateway until SIGINT or SIGTERM.

    It looks for its configuration in --config, $MCPGW_PI_CONFIG, ./mcp-edge.toml, the user's
    configuration folder and /etc/mcpgw, in this order.
    """
    ctx.obj = config
    if ctx.invoked_subcommand is not None:
        return
    from ..bridge.log import Log

    found = _load(ctx, None)
    if host is not None:
        found.host = host
    if port is not None:
        found.port = port
    if check:
        check_rest(found)
        for at, why in configuration.unknown_places(found):
            name = ".".join(("pi.routing", *at))
            print(f"{name}: {why}. A board that comes by itself may be called so.")
        print(f"{found.file} is good: {_summary(found)}")
        return
    stream = sys.stderr if log == "-" else open(log, "a", encoding="utf-8")  # noqa: SIM115
    lines = Log(stream, stamped=log != "-")
    _service(lines).run(found, lines, stdio)


@app.command()
def init(
    ctx: typer.Context,
    config: Config = None,
    name: Annotated[str, typer.Option(help="The gateway's name, as clients see it.")] = "edge",
    client: Annotated[
        str, typer.Option(help="Make a first token for a client of this name.")
    ] = "client",
    lan: Annotated[
        bool, typer.Option("--lan", help="Listen on all interfaces, not on loopback only.")
    ] = False,
):
    """Write a configuration with comments, and make a first token."""
    from .init import write
    from .store import CLIENT, StoreError

    path = config or ctx.obj or configuration.usual()
    # What a service's environment says is said to whoever looks into its state later.
    write(path, name, lan, os.environ.get("STATE_DIRECTORY", "").partition(":")[0])
    found = configuration.load(path)
    store = _store(found)
    try:
        print(f"wrote {path}")
        try:
            token = store.add_token(client, CLIENT)
            print(f"token of {client} (shown this once; {store.path} has its hash): {token}")
        except StoreError:  # of a gateway before this one
            print(f"{client} keeps the token that it has in {store.path}")
    finally:
        store.close()
    print(f"start it: mcpgw pi --config {path}")


@app.command()
def status(ctx: typer.Context, config: Config = None):
    """Show whether it runs, and which boards and servers are there."""
    found = _load(ctx, config)
    store = _store(found)
    try:
        known = [row[0] for row in store.boards()]
        tokens = len(store.tokens())
    finally:
        store.close()
    print(f"{found.name}: {found.file}, state in {found.state}")
    print(f"known boards: {', '.join(known) or 'none'}; tokens: {tokens}")
    health = _ask(found)
    if health is None:
        print(f"it does not run at port {found.port}")
        raise typer.Exit(1)
    print(f"it runs: {health['status']}, version {health['version']}, up {health['uptime_s']} s")
    for what in ("boards", "servers"):
        for name, state in health.get(what, {}).items():
            print(f"  {what[:-1]} {name}: {state}")
    if health["status"] != "ok":
        print(f"  store: {health['store']}")
        raise typer.Exit(1)


@app.command()
def unit(
    ctx: typer.Context,
    config: Config = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write it to /etc/systemd/system (as root).")
    ] = False,
):
    """Print the systemd unit, or install it."""
    from . import unit as systemd

    path = Path(config or ctx.obj or systemd.CONFIG).absolute()
    if not install:
        print(systemd.text(path), end="")
        return
    where = systemd.install(path)
    print(f"wrote {where}; now: systemctl enable --now {systemd.UNIT}")


@token_app.command("add")
def token_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Who gets it.")],
    board: Annotated[bool, typer.Option("--board", help="It is a board.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the one that it has.")
    ] = False,
    config: Config = None,
):
    """Make a token and show it, this once."""
    import re

    from .store import BOARD, CLIENT

    if not re.fullmatch(configuration.NAME, name):
        raise UserError("a name is 1 to 32 letters, digits, - and _", 2)
    store = _store(_load(ctx, config))
    try:
        print(store.add_token(name, BOARD if board else CLIENT, replace))
    finally:
        store.close()


@token_app.command("list")
def token_list(ctx: typer.Context, config: Config = None):
    """List who has a token."""
    store = _store(_load(ctx, config))
    try:
        for name, kind, _, created in store.tokens():
            print(f"{name}  {kind}  {time.strftime('%Y-%m-%d', time.localtime(created))}")
    finally:
        store.close()


@token_app.command("remove")
def token_remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose.")],
    config: Config = None,
):
    """Take a token back; a running service knows within a second or two."""
    store = _store(_load(ctx, config))
    try:
        if not store.remove_token(name):
            raise UserError(f"{name} has no token")
    finally:
        store.close()
    print(f"{name} has no token any more")


def check_rest(found):
    """What load() leaves to the parts of the gateway. Raises UserError."""
    if found.model is not None:
        from .model import options

        options(found)


def _load(ctx, given):
    while ctx.parent is not None and ctx.obj is None:
        ctx = ctx.parent
    return configuration.load(configuration.find(given or ctx.obj))


def _store(found):
    from .store import Store

    return Store(found.store, check=False)


def _service(log):
    from .. import scanning

    if why := scanning.install():
        log.info(f"the slower scanner is used: {why}")
    try:
        from . import service
    except ModuleNotFoundError as e:
        if e.name not in ("uvicorn", "httptools", "prometheus_client"):
            raise
        raise UserError(f"{e.name} is not installed: pip install 'mcpgw[pi]'") from e
    return service


def _summary(found):
    return (
        f"{found.name} at {found.host} port {found.port}, {counted(len(found.servers), 'server')},"
        f" {counted(len(found.boards), 'board')} named"
    )


def _ask(found):
    """What /health of the running service says (dict), None where nobody answers."""
    import httpx

    host = found.host if found.host not in ("0.0.0.0", "::") else "127.0.0.1"
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if found.certificate else "http"
    # On this machine, to see whether it runs: whose certificate it is makes no difference.
    address = f"{scheme}://{shown}:{found.port}/health"
    name = {"Host": found.hosts[0]} if found.hosts else None  # others it does not answer to
    try:
        row = httpx.get(address, timeout=5, verify=False, headers=name).json()
    except (httpx.HTTPError, json.JSONDecodeError, OSError):
        return None
    if not isinstance(row, dict) or "status" not in row:
        return None  # something else has the port
    if "version" not in row:  # it trusts nobody without a token, this machine included
        row = {"version": "?", "uptime_s": "?", **row}
    return row


boards_command.register(app, _load, _store)

if os.name == "nt":  # a console in another code page must not make help fail
    for _stream in (sys.stdout, sys.stderr):
        if hasattr(_stream, "reconfigure"):
            _stream.reconfigure(errors="replace")
