"""The paired gateway's part of mcp-edge.toml, as docs/pi.md describes it."""

import os
import re
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from mcp_gw.config import limits
from mcp_gw.route import rules
from mcp_gw.route.decide import LOCAL

from .. import UserError, tables
from ..edge.table import BOARD_SECTIONS

DEFAULT_PORT = 8750
NAME = r"[A-Za-z0-9_-]{1,32}"
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass
class Server:
    """An MCP server behind the gateway: url, or command (a list of str) for one over stdio."""

    name: str
    url: str | None = None
    command: tuple = ()
    headers: dict = field(default_factory=dict)
    ca: str | None = None
    environment: dict = field(default_factory=dict)
    folder: str | None = None
    connections: int = 8  # over HTTP, at once
    calls: int = 8  # of boards' keyed calls, at once
    timeout_s: float = 60.0
    offers: tuple = ("tools", "prompts", "resources")
    same_as: str | None = None  # another server, declared before, that offers the same


@dataclass
class Board:
    """A board that is named in the configuration: port (a device, id:SERIAL, or a URL of pyserial)
    or url (http, https)."""

    name: str
    port: str | None = None
    url: str | None = None
    baud: int = 115200
    rtscts: bool = False
    token: str | None = None
    headers: dict = field(default_factory=dict)
    ca: str | None = None
    connections: int = 4
    timeout_s: float = 30.0
    offers: tuple = ("tools", "prompts", "resources")


@dataclass
class Discovery:
    """How boards are found, and lost. serial: on USB; mdns: in the network."""

    serial: bool = True
    mdns: bool = False
    grace_s: float = 3.0  # a board that comes back within it was only restarted
    look_s: float = 5.0  # how often a board over HTTP is asked whether it is there
    interfaces: tuple = ()  # addresses of the network interfaces to look at; none: all
    tokens: dict = field(default_factory=dict)  # board's name -> token for what mDNS finds


@dataclass
class Dial:
    """Where boards that connect outward are taken; port 0: nowhere."""

    host: str = "0.0.0.0"
    port: int = 0
    certificate: str | None = None
    key: str | None = None


@dataclass
class Config:
    """All of it. settings: those of the Gateway (mcp_gw/config.py); model: the Table of [model],
    whose keys pi/model.py knows, or None."""

    file: str
    name: str = "edge"
    title: str | None = None
    instructions: str | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str = "/mcp"
    state: Path | None = None
    hosts: tuple = ()
    origins: tuple = ()
    insecure: bool = False
    trust_loopback: bool = True
    certificate: str | None = None
    key: str | None = None
    calls: int = 32  # keyed calls of boards under way at once
    calls_per_board: int = 8
    batch: int = 32  # calls in one batch of a board
    outcomes_mb: int = 256  # of outcomes of keyed calls that are kept for one board
    wait_s: float = 20.0  # how long a batch is worked on before it is answered
    settings: dict = field(default_factory=dict)
    routing: dict = field(default_factory=dict)  # options of Gateway.routing()
    boards: dict = field(default_factory=dict)
    servers: dict = field(default_factory=dict)
    discovery: Discovery = field(default_factory=Discovery)
    dial: Dial = field(default_factory=Dial)
    model: object = None
    environment: dict = field(default_factory=dict, repr=False)  # where its secrets are looked up

    @property
    def store(self):
        """Path of the database."""
        return self.state / "pi.sqlite"


def load(path, environment=os.environ):
    """The Config of a file. Raises tables.ConfigError, a UserError."""
    return from_table(tables.read(path), str(path), environment)


def from_table(root, file, environment=os.environ):
    """The Config of a whole file's Table."""
    pi = root.table("pi")
    config = Config(file, environment=environment)
    config.name = pi.text("name", config.name, NAME, "1 to 32 letters, digits, - and _")
    config.title = pi.text("title", None)
    config.instructions = pi.text("instructions", None)
    config.host = pi.text("host", config.host)
    config.port = pi.integer("port", config.port, 0, 65535)
    config.path = pi.text("path", config.path, r"/[!-~]*", "must begin with /")
    config.state = _state(pi, environment)
    config.hosts = pi.texts("hosts")
    config.origins = pi.texts("origins")
    config.insecure = pi.flag("insecure", False)
    config.trust_loopback = pi.flag("trust_loopback", True)
    config.certificate, config.key = _certificate(pi)
    config.calls = pi.integer("calls", config.calls, 1, 1024)
    config.calls_per_board = pi.integer("calls_per_board", config.calls_per_board, 1, 1024)
    config.batch = pi.integer("batch", config.batch, 1, 256)
    config.outcomes_mb = pi.integer("outcomes_mb", config.outcomes_mb, 1, 1 << 20)
    config.wait_s = pi.number("wait_s", config.wait_s, 1, 600)
    config.settings = _settings(pi.table("settings"))
    config.routing = pi.checked("routing", rules.checked)
    pi.done()
    for name, table in root.tables("servers").items():
        config.servers[name] = _server(table, name, environment, config.servers)
    config.boards = {
        name: _board(table, name, environment) for name, table in root.tables("boards").items()
    }
    for name in config.boards:
        if name in config.servers:
            root.table("boards").fail(name, "a server has this name already")
    config.discovery = _discovery(root.table("discovery"), environment)
    config.dial = _dial(root.table("dial"))
    _check_places(pi, config)
    config.model = root.table("model") if "model" in root else None
    root.leave("model", *BOARD_SECTIONS)  # what boards have in the same file
    root.done()
    return config


def _check_places(pi, config):
    """What [pi.routing] names has to be there. Boards that come by themselves may have any
    name."""
    for at, name in _places(config.routing):
        lead = name
        while lead in config.servers and config.servers[lead].same_as:
            lead = config.servers[lead].same_as
        if lead != name and at[-1] == "elsewhere":
            pi.fail(("routing", *at), f"{name} offers the same as {lead}: name {lead}")
    boards_come = config.discovery.serial or config.discovery.mdns or config.dial.port
    for at, why in () if boards_come else unknown_places(config):
        pi.fail(("routing", *at), why)


def unknown_places(config):
    """Rows (keys under [pi.routing], why) of servers and boards that are named there and that this
    file has not."""
    known = (*config.servers, *config.boards)
    told = "there is no server or board {} in this file; those are: " + (
        ", ".join(known) or "none"
    )
    return [(at, told.format(name)) for at, name in _places(config.routing) if name not in known]


def _places(routing):
    """Yield (keys under [pi.routing], name) of the servers and boards that are named there."""
    for tool, row in routing.get("tools", {}).items():
        for key in ("elsewhere", "only"):
            name = row.get(key, LOCAL).partition(":")[0]
            if name != LOCAL:
                yield ("tools", tool, key), name
    for name in routing.get("upstreams", ()):
        yield ("upstreams", name), name


def _state(pi, environment):
    given = pi.text("state", None) or environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given).expanduser()
    from platformdirs import user_state_path

    return user_state_path("mcpgw", appauthor=False)


def _certificate(table):
    certificate, key = table.text("certificate", None), table.text("key", None)
    if (certificate is None) != (key is None):
        table.fail("certificate" if key is None else "key", "certificate and key go together")
    for name, file in (("certificate", certificate), ("key", key)):
        _check_file(table, name, file)
    return certificate, key


def _check_file(table, key, file):
    if file is not None and not Path(file).is_file():
        table.fail(key, f"there is no file {file}")


def _settings(table):
    found = {}
    for name, (_, low, high) in limits().items():
        value = table.integer(name, None, low, high)
        if value is not None:
            found[name] = value
    table.done()
    return found


def _server(table, name, environment, before):
    server = Server(name)
    table.only(_keys(server))
    server.url = web_address(table)
    server.command = table.texts("command")
    if bool(server.url) == bool(server.command):
        table.fail(None, "give it a url, or a command that starts it")
    _check_command(table, server.command)
    if server.url:
        server.headers = _headers(table, environment)
        server.ca = table.text("ca", None)
        _check_file(table, "ca", server.ca)
        server.connections = table.integer("connections", server.connections, 1, 256)
    else:
        server.environment = {
            key: table.revealed("environment", value, environment)
            for key, value in table.pairs("environment").items()
        }
        server.folder = table.text("folder", None)
        if server.folder and not Path(server.folder).is_dir():
            table.fail("folder", f"there is no folder {server.folder}")
    server.calls = table.integer("calls", server.calls, 1, 1024)
    server.timeout_s = table.number("timeout_s", server.timeout_s, 0.1, 3600)
    server.offers = _offers(table, server.offers)
    server.same_as = table.text("same_as", None, NAME)
    if server.same_as and server.same_as not in before:
        told = f"no server {server.same_as} is declared before it"
        table.fail("same_as", told + "; those are: " + (", ".join(before) or "none"))
    table.done()
    return server


def _check_command(table, command):
    """A whole line of a shell in the place of a list."""
    words = command[0].split() if len(command) == 1 else ()
    if len(words) > 1 and not shutil.which(command[0]) and shutil.which(words[0]):
        shown = ", ".join(f'"{word}"' for word in words)
        table.fail("command", f"must be a list of the program and its arguments: [{shown}]")


def _keys(row):
    """The keys of a section [servers.NAME] or [boards.NAME]."""
    return [one.name for one in fields(row) if one.name != "name"]


def _board(table, name, environment):
    board = Board(name)
    table.only(_keys(board))
    board.url = web_address(table)
    board.port = table.text("port", None)
    if bool(board.url) == bool(board.port):
        table.fail(None, "give it a port, or a url")
    if board.url:
        board.token = table.secret("token", environment)
        board.headers = _headers(table, environment)
        board.ca = table.text("ca", None)
        _check_file(table, "ca", board.ca)
        board.connections = table.integer("connections", board.connections, 1, 64)
        if board.token:
            board.headers["Authorization"] = "Bearer " + board.token
    else:
        board.baud = table.integer("baud", board.baud, 300, 10_000_000)
        board.rtscts = table.flag("rtscts", False)
    board.timeout_s = table.number("timeout_s", board.timeout_s, 0.1, 3600)
    board.offers = _offers(table, board.offers)
    table.done()
    return board


def _discovery(table, environment):
    found = Discovery()
    found.serial = table.flag("serial", found.serial)
    found.mdns = table.flag("mdns", found.mdns)
    found.grace_s = table.number("grace_s", found.grace_s, 0, 3600)
    found.look_s = table.number("look_s", found.look_s, 0.1, 3600)
    found.interfaces = table.texts("interfaces")
    found.tokens = {
        name: table.revealed("tokens", value, environment)
        for name, value in table.pairs("tokens").items()
    }
    table.done()
    return found


def _dial(table):
    dial = Dial()
    dial.host = table.text("host", dial.host)
    dial.port = table.integer("port", dial.port, 0, 65535)
    dial.certificate, dial.key = _certificate(table)
    table.done()
    return dial


def web_address(table):
    """The url of a Table, checked; None where it has none."""
    url = table.text("url", None)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # brackets that do not match, a port that is no port
        good = False
    if not good:
        table.fail("url", "must begin with http:// or https:// and name a host")
    return url


def _headers(table, environment):
    found = {}
    for key, value in table.pairs("headers").items():
        value = table.revealed("headers", value, environment)
        if not _FIELD.fullmatch(key) or not _VALUE.fullmatch(value):
            table.fail("headers", f"{key}: printable ASCII only")
        found[key] = value
    return found


def _offers(table, default):
    given = table.texts("offers", default)
    for kind in given:
        if kind not in default:
            table.fail("offers", "of " + ", ".join(default))
    return given


def find(given, environment=os.environ):
    """Path of the configuration to use. Raises UserError."""
    if given:
        return Path(given)
    for path in candidates(environment):
        if path.is_file() and not _is_boards(path):
            return path
    raise UserError(
        "there is no mcp-edge.toml of a gateway here; `mcpgw pi init` makes one, --config names"
        " one"
    )


def _is_boards(path):
    """Whether a file has sections of a board alone, as where one's app is."""
    try:
        sections = tables.read(path).keys()
    except tables.ConfigError:
        return False  # what is wrong with it is told when it is loaded
    return bool(sections) and all(section in BOARD_SECTIONS for section in sections)


def candidates(environment=os.environ):
    """Where a configuration is looked for, in order."""
    if environment.get("MCPGW_PI_CONFIG"):
        return [Path(environment["MCPGW_PI_CONFIG"])]
    return [Path("mcp-edge.toml"), usual(environment), Path("/etc/mcpgw/mcp-edge.toml")]


def usual(environment=os.environ):
    """Where it is found from anywhere."""
    if environment.get("MCPGW_PI_CONFIG"):
        return Path(environment["MCPGW_PI_CONFIG"])
    from platformdirs import user_config_path

    return user_config_path("mcpgw", appauthor=False) / "mcp-edge.toml"
