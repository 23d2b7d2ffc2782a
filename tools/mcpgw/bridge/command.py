"""`mcpgw bridge`: its options, checked before anything is opened."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from .. import UserError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


def bridge(
    port: Annotated[
        str | None,
        typer.Option(
            help="Serial port of the board: a device (/dev/ttyACM0, COM5, a pty), a USB serial "
            "number (id:E66...), or a URL (socket://HOST:PORT, rfc2217://...). Without it: the "
            "one board there is."
        ),
    ] = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=URL", help="An upstream MCP server (Streamable HTTP); repeatable."
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:FIELD=VALUE",
            help="An HTTP header field for that upstream; repeatable. VALUE may be env:VARIABLE, "
            "which keeps secrets off the command line.",
        ),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers which calls were executed.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds that a request waits for a board that is away.")
    ] = 10.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that the board waits for an upstream's answer.")
    ] = 60.0,
    ca: Annotated[
        Path | None, typer.Option(help="Certificate authorities (PEM) for https upstreams.")
    ] = None,
    log: Annotated[
        str, typer.Option(help="File to which log lines are added; - is stderr.")
    ] = "-",
    baud: Annotated[int, typer.Option(min=300, help="Baud rate; USB ignores it.")] = 115200,
    rtscts: Annotated[
        bool, typer.Option("--rtscts", help="Hardware flow control, which a UART needs.")
    ] = False,
):
    """Join an MCP client on stdin and stdout with a board, and the board with upstream servers.

    Meant as the command of a stdio server in a client's settings. Log lines go to stderr.
    """
    import asyncio

    from .log import Log
    from .run import Config, run

    upstreams = parse_upstreams(upstream or (), header or (), os.environ)
    settings = Config(
        find=finder(port),
        state=str(state or default_state()),
        upstreams=upstreams,
        wait_s=wait,
        timeout_s=timeout,
        ca=str(ca) if ca else None,
        baud=baud,
        rtscts=rtscts,
    )
    # The file stays open until the process ends.
    stream = sys.stderr if log == "-" else open(log, "a", encoding="utf-8")  # noqa: SIM115
    lines = Log(stream, stamped=log != "-")
    if sys.stdin is None or sys.stdout is None:
        raise UserError("stdin and stdout must be connected to an MCP client")
    if sys.stdin.isatty():
        lines.info("stdin is a terminal: waiting for MCP messages, one line of JSON each")
    asyncio.run(run(settings, lines))


def finder(port):
    """function() -> the device to open; looks anew each time, since a board may come back under
    another name.
    """
    from ..ports import NoBoard, PortError, choose_port, find_ports

    if port and "://" in port:
        return lambda: port
    if port or os.environ.get("MCPGW_PORT"):
        return lambda: choose_port(port)
    serial = None

    def find_one():
        nonlocal serial
        device = choose_port(None)
        serial = next((p.serial for p in find_ports() if p.device == device), None)
        return device

    # Several boards are for the user to settle, now. None is a board that is not plugged in yet.
    with contextlib.suppress(NoBoard):
        find_one()

    def find():
        if serial:
            try:
                return choose_port("id:" + serial)
            except PortError:
                raise PortError(
                    f"the board with USB serial number {serial} is not there"
                ) from None
        return find_one()

    return find


def parse_upstreams(upstreams, headers, environment):
    """dict of name to (URL, header fields) from the options' texts. Raises UserError."""
    found = {}
    for text in upstreams:
        name, _, url = text.partition("=")
        if not _NAME.fullmatch(name) or not _is_http(url):
            raise UserError(
                f"--upstream {text}: give NAME=URL with letters, digits, - and _ in NAME and a "
                "URL that begins with http:// or https://",
                2,
            )
        if name in found:
            raise UserError(f"--upstream {name} is given twice", 2)
        found[name] = url, {}
    for text in headers:
        name, _, rest = text.partition(":")
        key, equals, value = rest.partition("=")
        if name not in found:
            raise UserError(f"--header {name}:...: there is no --upstream {name}", 2)
        if value.startswith("env:"):
            variable = value[4:]
            if variable not in environment:
                raise UserError(f"--header {name}:{key}: ${variable} is not set", 2)
            value = environment[variable]
        if not equals or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key):
            raise UserError(f"--header {name}:{key}: give NAME:FIELD=VALUE", 2)
        if not re.fullmatch(r"[\x20-\x7e]*", value):
            raise UserError(f"--header {name}:{key}: printable ASCII only in the value", 2)
        found[name][1][key] = value
    return found


def _is_http(url):
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no port
        return False


def default_state():
    """Path of the key store in the user's state directory, which is made if absent."""
    from platformdirs import user_state_path

    try:
        return user_state_path("mcpgw", appauthor=False, ensure_exists=True) / "calls.sqlite"
    except OSError as e:
        raise UserError(f"no place to remember calls: {e}; choose one with --state") from e
