"""This board's configuration: what `mcpgw deploy --config` has put there (docs/configuration.md).

Loaded only where there is one. An Edge takes the place of a few of its gateway's methods and
completes what the app gives them; what the app says goes before. A file that cannot be used is
told in the log, and the board serves without it.
"""

import json
from binascii import crc32

from .compat import const
from .errors import ConfigError

VERSION = const(1)
MAX_FILE = const(4096)
# The last bytes of the file: ,"crc":"0123abcd"}
_TAIL = const(18)
# What upstream() takes without a keyword.
_ORDER = ("queueable", "expiry_s", "sampling", "offers", "same_as")
# Of an upstream, what does not depend on where it is.
_EVERYWHERE = ("offers", "queueable", "expiry_s", "same_as")


def parse(data):
    """The sections (dict) in the bytes of a file. Raises ValueError with what is wrong of it."""
    if len(data) > MAX_FILE:
        raise ValueError("longer than %d bytes" % MAX_FILE)
    body = data[:-_TAIL]
    if data[-_TAIL:] != b',"crc":"%08x"}' % crc32(body):
        raise ValueError("damaged: deploy it again")
    rows = json.loads(body + b"}")
    version = rows.pop("v")
    if version != VERSION:
        raise ValueError("of version %s, this firmware reads %d" % (version, VERSION))
    for name in rows:
        tables = [rows[name]]
        if name == "upstreams" and isinstance(rows[name], dict):
            tables.extend(rows[name].values())
        if not all(isinstance(table, dict) for table in tables):
            raise ValueError("%s is no table" % name)
    return rows


class Edge:
    """The configuration in the file `path`, of `gateway`."""

    def __init__(self, gateway, path):
        self.gateway = gateway
        self._notes = []  # for the log, which is there once the gateway has opened
        self._rows = {}
        self.tasks = []
        try:
            with open(path, "rb") as file:
                self._rows = parse(file.read(MAX_FILE + 1))
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as e:
            self.note("%s cannot be used: %s; serving without it" % (path, e))
        # What the app will call; the methods behind it.
        self._upstream = gateway.upstream
        self._queue = gateway.queue
        self.open_plainly = gateway.open
        self._close = gateway.close
        gateway.upstream = self.upstream
        gateway.queue = self.queue
        gateway.open = self.open
        gateway.close = self.close

    @property
    def name(self):
        """What the board is called, or None."""
        return self.part("board").get("name")

    def part(self, section):
        """One section (dict), empty where there is none."""
        return self._rows.get(section, {})

    def note(self, text):
        self._notes.append("configuration: %s\n" % text)

    def settings(self, given):
        """The settings that the app gave, completed."""
        from .config import settings

        out = {}
        for name, value in self.part("settings").items():
            try:
                settings({name: value})
            except ConfigError as e:
                self.note(e)  # of other firmware than the one it was checked for
            else:
                out[name] = value
        out.update(given)
        return out

    # In place of the gateway's methods.

    def upstream(self, name, url=None, *more, **given):
        """Gateway.upstream(), completed by [upstreams.NAME]."""
        for n in range(len(more)):
            given[_ORDER[n]] = more[n]
        row = dict(self.part("upstreams").get(name, {}))
        if url is not None:
            # The app says where: a token is not for another place than that it was given for.
            row = {key: row[key] for key in _EVERYWHERE if key in row}
            row.update(given)
            return self._upstream(name, url, **_queueables(row))
        token = row.pop("token", None)
        if token is not None:
            row["headers"] = dict(row.get("headers") or {})
            row["headers"]["Authorization"] = "Bearer " + token
        row.update(given)
        try:
            upstream = self._upstream(name, row.pop("url", None), **_queueables(row))
        except ConfigError as e:
            # The app still gets its upstream: the bridge may know it.
            upstream = self._upstream(name, **given)
            self.note(e)
        if self.part("time").get("upstreams") is False:
            upstream.clock = None
        return upstream

    def queue(self, device=None, overflow=None):
        """Gateway.queue() as [queue] has it."""
        row = self.part("queue")
        if device is None and row:
            try:
                device = _device(row)
            except (ConfigError, ImportError, OSError, ValueError, MemoryError) as e:
                self.note("queue: %s; the board's own is used" % e)
        return self._queue(device, overflow or row.get("overflow", "refuse"))

    def open(self, *transports, take=None, **options):
        """Gateway.open() of what the configuration says, where the app does not say it.

        What cannot be served or joined is told in the log; without anything else to serve, the
        console is.
        """
        gateway = self.gateway
        if self.part("time").get("system") is False:
            gateway.clock.system = False
        known = gateway.upstreams.router.upstreams if gateway.upstreams else ()
        for name in self.part("upstreams"):
            if name not in known:
                gateway.upstream(name)
        if self.part("routing"):
            self._route(self.part("routing"))
        network = self._network()
        if network:
            network.join(self)  # before anything listens: some ports need that
        http = dict(self.part("http"), **options)
        if http.get("announce") is True and "id" in self.part("board"):
            http["announce"] = {"id": self.part("board")["id"]}
        if transports:
            if "http" in transports:
                options = http
            self.open_plainly(*transports, take=take, **options)
        else:
            wanted = self.part("board").get("serve")
            wanted = wanted or (("serial", "http") if "http" in self._rows else ("serial",))
            others = [name for name in wanted if name != "http"]
            if "http" not in wanted:
                self.open_plainly(*others, take=take, **options)
            elif others:
                self.open_plainly(*others, take=take)
            if "http" in wanted and not self._serve("http", **http) and not others:
                self.open_plainly("serial", take=take)
        if network:
            network.begin(self)
        for text in self._notes:
            gateway.log(text)
            for port in gateway.ports:
                if not port.link.up:
                    port.link.log(text)  # the bridge that comes later is told too
        self._notes = []

    def close(self):
        """Gateway.close(), and the end of what runs beside it."""
        for task in self.tasks:
            task.cancel()
        self.tasks = []
        self._close()

    def _serve(self, transport, **options):
        """Whether a transport is served as configured; else the log says why not."""
        try:
            self.open_plainly(transport, **options)
        except (ConfigError, OSError) as e:
            self.note("%s is not served: %s" % (transport, e))
            return False
        return True

    def _route(self, row):
        try:
            self.gateway.routing(row)
        except ConfigError as e:
            self.note(e)

    def _network(self):
        """The module edge_network, where something is for it to do and it is there."""
        if not any(self.part(name) for name in ("wifi", "dial_out")) and (
            not self.part("time").get("sntp")
        ):
            return None
        try:
            from . import edge_network
        except ImportError:
            self.note("this firmware has no network: wifi, dial_out and sntp are left out")
            return None
        return edge_network


def _queueables(row):
    """The options of an upstream, with Queueables where there is a table of them."""
    tools = row.get("queueable")
    if isinstance(tools, dict):
        from .route.queueable import Queueable

        row["queueable"] = [Queueable(name, **tools[name]) for name in tools]
    return row


def _device(row):
    """The device of [queue], None: the board's own."""
    kind = row.get("device", "flash")
    if kind == "flash":
        return None
    if kind == "spi":
        from machine import SPI, Pin

        try:
            from .queue.nor_spi import SpiNor
        except ImportError:
            from nor_spi import SpiNor  # deployed with the app

        pins = {name: Pin(row[name]) for name in ("sck", "mosi", "miso") if name in row}
        spi = SPI(row.get("bus", 0), row.get("hz", 10000000), **pins)
        return SpiNor(spi, Pin(row["cs"]), row.get("start", 0), row.get("bytes"))
    from .queue.nor_kept import FileNor, RamNor

    sectors = row.get("bytes", 65536) // 4096
    return RamNor(sectors) if kind == "ram" else FileNor(row["path"], sectors)
