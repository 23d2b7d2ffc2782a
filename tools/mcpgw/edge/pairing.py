"""What `mcpgw pair` writes, on the board and at the Pi: decided before anything is written."""

import contextlib
import os
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from .. import UserError
from .fields import wrong
from .onboard import PAIRED
from .table import BOARD, DIAL_OUT, WIFI
from .table import name as check_name

# What a board that has dialed in keeps by itself (`file` of mcp_gw/transports/dial.py), and whom
# it trusts there.
_CA = "mcp-gw-pi.pem"
FORGET = f"rm('/mcp-gw-pi.json')\nrm('/{_CA}')"
# Under this name a board knows the Pi.
UPSTREAM = "pi"
_HELLO_S = 2.0
# How long a service lends a port at most, and may take to let go of it.
_LOAN_S = 600
_LET_GO_S = 10
_LONGEST = 32  # of a board's name at the Pi


@dataclass
class Wanted:
    """What the user said. password: function() -> str, asked only where it is needed."""

    name: str | None
    ssid: str | None
    password: object


@dataclass
class Found:
    """The board. files: its EdgeFiles; called: what its gateway calls itself, or None."""

    port: str
    files: object
    called: str | None

    @property
    def about(self):
        return self.files.about

    @property
    def id(self):
        return self.about["id"]

    @property
    def deployed(self):
        """The sections that were deployed there."""
        from .onboard import DEPLOYED

        return self.files.part(DEPLOYED)


@dataclass
class Plan:
    """name: the board's; where: which Pi; there: lines about what is written at the Pi; sections:
    of the board's configuration."""

    name: str
    where: str
    there: list
    sections: dict
    row: tuple = field(default=())  # of the Pi's store: identity, about
    token: bool = False
    files: dict = field(default_factory=dict)  # for the board beside it: name -> bytes


def name_on(port):
    """What the gateway that serves on a port calls itself, or None: it is asked before it is
    interrupted."""
    import serial

    from ..hello import NotServing, await_gateway
    from ..remote import BAUD

    try:
        with serial.serial_for_url(port, baudrate=BAUD, exclusive=True) as line:
            return await_gateway(line, _HELLO_S, restarted=False).name
    except (NotServing, OSError, ValueError):
        return None  # what is wrong with the port is told when it is opened in earnest


@contextlib.contextmanager
def borrowed(port):
    """While the block runs, a service of this machine that has a serial port open leaves it to
    us."""
    side = here_or_none() if _in_use(port) else None
    try:
        if side is not None:
            side.borrow(port)
        yield
    finally:
        if side is not None:
            side.close()


def _in_use(port):
    """Whether somebody else has a serial port open."""
    import serial

    try:
        serial.serial_for_url(port, exclusive=True).close()
    except (OSError, ValueError):
        return os.path.exists(port)
    return False


def refuse_paired(files):
    """Raise UserError for a board that is paired already."""
    was = files.part(PAIRED)
    if was:
        name = was.get("board", {}).get("name", "?")
        raise UserError(
            f"this board is paired already, as {name}; mcpgw pair --remove undoes that"
        )


def here_or_none():
    """The Pi on this machine, None where there is none."""
    try:
        return Here(None)
    except UserError:
        return None


class Here:
    """The Pi on this machine: its configuration and its store. config: path, None: searched;
    address: how a board reaches it; ca: file with whom a board trusts there, None: the
    certificate itself.

    Raises UserError.
    """

    def __init__(self, config, address=None, ca=None):
        from ..pi import config as configuration
        from ..pi.store import Store

        self._config = configuration.load(configuration.find(config))
        self._address = address
        self._ca = ca
        self._store = Store(self._config.store, check=False)
        self.where = f"{self._config.name}, {self._config.file}"
        self._borrowed = None

    def close(self):
        if self._borrowed:
            self._store.lend(self._borrowed, 0)
        self._store.close()

    def borrow(self, port):
        """Have a service that runs here let go of a serial port until close(). Returns when it has
        done so, or after some seconds."""
        from ..pi.boards_command import is_running

        if "://" in port or not is_running(self._config):
            return
        self._borrowed = os.path.realpath(port)
        self._store.lend(self._borrowed, time.time() + _LOAN_S)
        end = time.monotonic() + _LET_GO_S
        while _in_use(port) and time.monotonic() < end:
            time.sleep(0.2)

    def plan(self, board, wanted):
        """The Plan for a Found board. Raises UserError."""
        config = self._config
        dials = board.about["network"]
        if dials and not config.dial.port:
            raise UserError(
                f"{config.file}: the board has a network and would dial in: give [dial] a port, "
                "8444 for example"
            )
        files = {}
        identity, about = self._row(board, dials)
        name = self._name(board, wanted, identity)
        sections = {"board": {"name": name}, "upstreams": {UPSTREAM: {}}}
        there = [f"board {name}: {identity}"]
        if dials:
            there.append(f"a token for {name}")
            address = self._address or _own_address()
            sections["dial_out"] = {"host": address, "port": config.dial.port}
            files = self._trusted(sections["dial_out"])
            _add_wifi(sections, board, wanted)
        elif wanted.ssid:
            raise UserError("this board has no network: --ssid is not for it")
        if board.id:
            sections["board"]["id"] = board.id
        return Plan(name, self.where, there, sections, (identity, about), dials, files)

    def _trusted(self, row):
        """Complete [dial_out] for a Pi that speaks TLS; files for the board."""
        if not self._config.dial.certificate:
            return {}
        path = self._ca or self._config.dial.certificate
        try:
            data = Path(path).read_bytes()
        except OSError as e:
            raise UserError(f"{path} cannot be read: {e.strerror}") from None
        row["tls"] = True
        row["ca"] = _CA
        return {_CA: data}

    def write(self, plan):
        """Write the Pi's side, and its token into plan.sections; returns function() that undoes
        it."""
        from ..pi.store import BOARD

        before = [row for row in self._store.boards() if row[0] == plan.name]
        identity, about = plan.row
        self._store.put_board(plan.name, identity, about)
        if plan.token:
            token = self._store.add_token(plan.name, BOARD, replace=True)
            plan.sections["dial_out"]["token"] = token

        def undo():
            self._store.remove_board(plan.name)
            for name, old, what, _ in before:
                self._store.put_board(name, old, what)

        return undo

    def knows(self, name):
        return any(row[0] == name for row in self._store.boards())

    def forget(self, name):
        self._store.remove_board(name)

    def _row(self, board, dials):
        """(identity, about) of a board as the Pi's store has them."""
        if dials:
            if not board.id:
                raise UserError("this board has no number of its own to tell it by: use --pi")
            return board.id, {"kind": "dial", "where": "not seen yet"}
        return serial_identity(board.port), {"kind": "serial", "where": board.port}

    def _name(self, board, wanted, identity):
        rows = self._store.boards()
        config = self._config
        for name, had, _, _ in rows:
            if had == identity and wanted.name in (None, name):
                return name
            if had == identity:
                raise UserError(
                    f"the Pi knows this board as {name}: leave --name out, or "
                    f"mcpgw pi forget {name} first"
                )
        called = board.deployed.get("board", {}).get("name") or board.called
        name = wanted.name or called or f"board-{board.id[-4:] or '1'}"
        if wanted.name is None:
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_LONGEST]
        try:
            check_name(name)
        except ValueError as e:
            raise UserError(f"{name!r} is no name for a board: {e}", 2) from None
        if len(name) > _LONGEST:
            raise UserError(f"{name} is too long for a board: {_LONGEST} characters", 2)
        taken = {row[0] for row in rows if row[1] != identity}
        taken |= set(config.boards) | set(config.servers) | {UPSTREAM, config.name}
        if name in taken:
            raise UserError(
                f"the Pi knows something else as {name} already: choose another --name"
            )
        return name


class Elsewhere:
    """A Pi that the board will dial, and show a pairing code. where: "HOST:PORT"."""

    def __init__(self, where, code):
        from mcp_gw.sntp import split_host

        try:
            self._host, self._port = split_host(where)
        except ValueError:
            raise UserError(f"{where!r}: a Pi is HOST:PORT", 2) from None
        if ":" not in where.rpartition("]")[2]:
            raise UserError(f"{where}: add the port of the Pi's [dial], such as :8444", 2)
        _check("code", DIAL_OUT["code"], code)
        self._code = code
        self.where = where

    def close(self):
        """Nothing is open."""

    def borrow(self, port):
        """Nothing here has it."""

    def plan(self, board, wanted):
        if not board.about["network"]:
            raise UserError(
                "this board has no network: plug it into that Pi, and run mcpgw pair there"
            )
        name = wanted.name or board.deployed.get("board", {}).get("name") or board.called
        name = name or f"board-{board.id[-4:] or '1'}"
        _check("name", BOARD["name"], name)
        sections = {"board": {"name": name}, "upstreams": {UPSTREAM: {}}}
        sections["dial_out"] = {"host": self._host, "port": self._port, "code": self._code}
        _add_wifi(sections, board, wanted)
        if board.id:
            sections["board"]["id"] = board.id
        there = ["nothing yet: the board shows its code when it dials in, and gets its token"]
        return Plan(name, self.where, there, sections)

    def write(self, plan):
        return lambda: None

    def knows(self, name):
        return False


def _add_wifi(sections, board, wanted):
    if not wanted.ssid:
        has = "wifi" in board.deployed
        if board.about["wifi"] and not has:
            raise UserError("this board has Wi-Fi, and no network to join: say which, --ssid")
        return
    if not board.about["wifi"]:
        raise UserError("this board has no Wi-Fi: --ssid is not for it")
    _check("ssid", WIFI["ssid"], wanted.ssid)
    password = wanted.password()
    sections["wifi"] = {"ssid": wanted.ssid}
    if password:
        _check("password", WIFI["password"], password)
        sections["wifi"]["password"] = password


def _check(key, known, value):
    why = wrong(known, value)
    if why:
        raise UserError(f"{key} {why}", 2)


def serial_identity(device):
    """How the Pi tells the board on a serial port from others, as pi/links.py has it."""
    from ..ports import find_ports

    for port in find_ports():
        if port.device == device and port.serial:
            return f"usb:{port.serial}"
    return f"port:{device}"


def _own_address():
    """This machine's address in its network. Raises UserError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent: it chooses the way out
            return sock.getsockname()[0]
        except OSError:
            raise UserError(
                "this machine is in no network that a board could reach it in: say --address"
            ) from None
