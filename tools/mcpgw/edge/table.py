"""The sections of mcp-edge.toml that a board reads: the one table behind the checker and the
reference in docs/configuration.md. That mcp_gw/edge.py takes every key of it is tested."""

from mcp_gw.config import limits
from mcp_gw.protocol.http import parse_url
from mcp_gw.registry import MAX_NAME, check_name
from mcp_gw.sntp import split_host

from .fields import Field

MAX_UPSTREAMS = 16
_DAY_S = 86400


def name(text):
    """Raise ValueError unless it can be the beginning of tools' names."""
    from mcp_gw.errors import ConfigError

    try:
        check_name(text)
    except ConfigError:
        raise ValueError(f"1 to {MAX_NAME} of A-Z a-z 0-9 _ -") from None


def url(text):
    """Raise ValueError unless it is an http or https URL."""
    parse_url(text)


def host(text):
    """Raise ValueError unless it can be a host's name or address, without a port."""
    if not text.isascii() or any(c in " /:@[]" for c in text) and text.count(":") < 2:
        raise ValueError("a host name or an address, without port or scheme")


def time_server(text):
    """Raise ValueError unless it is "host" or "host:port"."""
    try:
        name, _ = split_host(text)
    except ValueError:
        raise ValueError("a host name or an address, with :PORT behind it or without") from None
    host(name)


def token(text):
    """Raise ValueError unless it can be a bearer token (RFC 6750, 2.1)."""
    bare = text.rstrip("=")
    if not bare or not bare.isascii() or not all(c.isalnum() or c in "-._~+/" for c in bare):
        raise ValueError("a token consists of letters, digits and -._~+/")


def country(text):
    """Raise ValueError unless it is a country's code."""
    if not (text.isascii() and text.isalpha() and text.isupper()):
        raise ValueError("two capital letters, such as DE")


def _flag(about, default):
    return Field("flag", about, default)


def _number(about, default, low, high):
    return Field("number", about, default, low, high)


def _text(about, default="", low=1, high=255, **more):
    return Field("text", about, default, low, high, **more)


BOARD = {
    "name": _text(
        "what the board is called, by the Pi and where the app gives its gateway no name",
        "mcpgw",
        high=MAX_NAME,
        form=name,
    ),
    "id": _text(
        "which board it is, for the Pi; `mcpgw pair` writes it", "the chip's number", 1, 64
    ),
    "serve": Field(
        "names",
        "what `gw.run()` serves when the app does not say it",
        "serial, and http where there is a section [http]",
        choices=("serial", "stdio", "http"),
    ),
}
WIFI = {
    "ssid": _text("name of the network", high=32),
    "password": _text("its password; none: the network is open", low=8, high=63, secret=True),
    "hostname": _text("what the board is called there", "the port's own", 1, 32, form=host),
    "country": _text("where it is used, for the channels it may use", "", 2, 2, form=country),
}
HTTP = {
    "host": _text("address to listen on; 0.0.0.0: all of the board's", "127.0.0.1", form=host),
    "port": _number("TCP port", "8080", 1, 65535),
    "path": _text("of the MCP endpoint", "/mcp"),
    "token": Field(
        "tokens", "who may come in: bearer tokens", "none", 1, 4096, secret=True, form=token
    ),
    "insecure": _flag("let others in although nobody has to show a token", "false"),
    "hosts": Field("names", "names under which clients reach the board", "none", 1, 255),
    "origins": Field("names", "web pages whose scripts may use it", "none", 1, 255),
    "announce": _flag("tell the local network, by mDNS, that the board is here", "false"),
    "endpoints": _flag("have /health, /metrics and /v1/ beside MCP", "true"),
    "cert": _text("path on the board of its certificate: https", "none"),
    "key": _text("path on the board of the certificate's key", "none"),
    "client_ca": _text("path of the authorities of clients' certificates", "none"),
}
UPSTREAM = {
    "url": _text(
        "its Streamable HTTP endpoint; none: the bridge or the Pi at the other end of the "
        "serial line knows it by this name",
        "none",
        high=1024,
        form=url,
    ),
    "token": _text("bearer token to show it", "none", 1, 4096, secret=True, form=token),
    "headers": Field("pairs", "further request headers", "none", 1, 4096, secret=True),
    "ca": _text("path on the board of the certificates to trust for https", "none"),
    "verify": _flag("false takes any certificate: for experiments only", "true"),
    "timeout_ms": _number("for a whole request", "30000", 100, 3600000),
    "connect_ms": _number("for a TCP connection", "5000", 100, 600000),
    "max_body": _number("longest answer in bytes", "32768 on boards", 1024, 0xFFFFFF),
    "connections": _number("kept connections", "2", 1, 64),
    "listen": _flag("keep a connection on which it tells of changes", "false on boards"),
    "held": _number("calls that may wait for an answer to a question", "4 on boards", 0, 1024),
    "answer_ms": _number("how long such a call waits", "300000", 1000, 3600000),
    "offers": Field(
        "names",
        "what of it clients are shown",
        "all over HTTP, tools over a serial line",
        choices=("tools", "prompts", "resources"),
    ),
    "queueable": Field(
        "names",
        "tools that may wait in the queue while it cannot be reached; or a section for each, "
        "[upstreams.NAME.queueable.TOOL]",
        "none",
        1,
        128,
    ),
    "expiry_s": _number("seconds after which such a call expires", "queue_expiry_s", 1, 31536000),
}
# Of a section [upstreams.NAME.queueable.TOOL].
QUEUEABLE = {
    "expiry_s": _number("seconds after which its calls expire", "expiry_s above", 1, 31536000),
    "priority": _number("0 low, 1 normal, 2 high", "1", 0, 2),
    "key": _text("the argument that says which thing a call is about", "none", high=128),
    "policy": _text(
        "what becomes of waiting calls about the same thing when another comes",
        "all",
        choices=("all", "latest"),
    ),
}
UPSTREAM["same_as"] = _text("the upstream whose tools it offers, too", "none", form=name)
QUEUE = {
    "device": _text(
        "where it is kept: in the board's own flash, in a flash chip behind SPI, in a file, or in "
        "RAM (lost with the power)",
        "flash",
        choices=("flash", "spi", "file", "ram"),
    ),
    "bytes": _number(
        "its size, where it is not the board's own", "65536; spi: all", 3 * 4096, 1 << 28
    ),
    "start": _number("of spi: address of its first byte in the chip", "0", 0, 1 << 28),
    "path": _text("of file: its path", "none"),
    "bus": _number("of spi: number of the bus", "0", 0, 15),
    "hz": _number("of spi: clock", "10000000", 100000, 133000000),
    "cs": Field("pin", "of spi: pin of the chip select", "must be there", 1, 16),
    "sck": Field("pin", "of spi: pin of the clock", "the bus's own", 1, 16),
    "mosi": Field("pin", "of spi: pin of the data to the chip", "the bus's own", 1, 16),
    "miso": Field("pin", "of spi: pin of the data from the chip", "the bus's own", 1, 16),
    "overflow": _text(
        "what becomes of a call when there is no room: it is refused, or the oldest of a lower "
        "priority is dropped for it",
        "refuse",
        choices=("refuse", "drop"),
    ),
}
DIAL_OUT = {
    "host": _text("of the Pi", form=host),
    "port": _number("its port for boards that dial in", "8444", 1, 65535),
    "token": _text(
        "this board's token there; `mcpgw pair` writes it", "none", 1, 4096, secret=True
    ),
    "code": _text("a pairing code, in place of a token", "none", 4, 64, secret=True),
    "tls": _flag("whether it speaks TLS there", "false"),
    "ca": _text("path on the board of the certificates to trust then", "none"),
    "verify": _flag("false takes any certificate: for experiments only", "true"),
}
TIME = {
    "sntp": Field(
        "names", "time servers to ask (SNTP), in this order", "none", 1, 253, form=time_server
    ),
    "every_s": _number("how often they are asked", "3600", 64, 6 * _DAY_S),
    "upstreams": _flag("believe the Date of upstreams' HTTP answers", "true"),
    "system": _flag(
        "believe the operating system's clock, where there is one; false: ask others", "true"
    ),
}
SETTINGS = {
    key: _number("", str(default), low, high) for key, (default, low, high) in limits().items()
}

# Section -> (what it is for, its fields, the keys that must be there).
SECTIONS = {
    "board": ("Which board this is, and what it serves.", BOARD, ()),
    "wifi": ("The wireless network to join, where the port has `network.WLAN`.", WIFI, ("ssid",)),
    "http": ("The HTTP server (docs/http-server.md has the options at length).", HTTP, ()),
    "upstreams": (
        "A section [upstreams.NAME] for each upstream server (docs/upstreams.md). What the app "
        "says of an upstream of this name goes before.",
        UPSTREAM,
        (),
    ),
    "queue": ("Where calls wait that may wait (docs/queue.md).", QUEUE, ()),
    "dial_out": (
        "A connection to the paired gateway that the board opens itself: for boards that cannot "
        "be reached from outside.",
        DIAL_OUT,
        ("host",),
    ),
    "time": ("Where the time comes from on a board that has no clock.", TIME, ()),
    "settings": (
        "The gateway's settings; what each is for stands in `mcp_gw/config.py`.",
        SETTINGS,
        (),
    ),
}
BOARD_SECTIONS = (*SECTIONS, "routing")
# Sections with a table for each name.
NAMED = ("upstreams",)
# Sections of the same file that are the Pi's.
OTHERS = ("pi", "boards", "servers", "discovery", "dial", "model", "clients")
