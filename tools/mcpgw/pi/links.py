"""Boards that speak the serial link: on serial ports, and those that dial in."""

import asyncio
import contextlib
import os
import time

from mcp_gw.errors import ConfigError

from ..bridge import board as bridge
from ..ports import PortError, choose_port, find_ports
from ..words import counted
from .config import Board
from .dial_in import DialIn
from .guard import Board as Principal
from .link_board import LinkBoard
from .ours import Ours, OwnRelay
from .store import StoreError

# Under this name a board has this gateway as its upstream: gw.upstream("pi").
HERE = "pi"
_PORT = "port:"  # how the identity begins of a board that only its port tells from others
_LENT = "another mcpgw works on it"
_SCAN_S = 1.0
# A board that was found has so long to say hello: it may be at its prompt, and has to start then.
_MEET_S = 45.0
# Lines in the log about one board, within so many seconds; more are counted.
_MOST_LINES = 1000
_LINES_S = 60.0
# Serial ports that are looked at on our own account.
_MAX_PORTS = 64


class Links:
    """boards: the Boards that this is a part of."""

    def __init__(self, boards):
        self._boards = boards
        self._log = boards.log
        self._ports = {}  # identity of a serial port that was found -> task
        self._lent = frozenset()  # devices that are others' for now
        self._meeting = set()  # of bridge.Board, for boards that have yet to say their name
        self._left = set()  # of those behind which there is no board of ours, while they are there
        self._listener = None

    async def close(self):
        if self._listener is not None:
            await self._listener.close()
        tasks = list(self._ports.values())
        self._ports.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tools_changed(self):
        """What boards are shown has changed."""
        for one in self._boards.known.values():
            if isinstance(one.upstream, LinkBoard):
                one.upstream.board.changed(HERE)

    def _make(self, name, kind, where, identity, find, options):
        """The Board of boards.py behind a link, and all that belongs to it."""
        boards = self._boards
        log = _Prefixed(self._log, name)
        timeout_s = options.timeout_s if options else 30.0
        upstream = LinkBoard(name, log, boards.changed, timeout_s=timeout_s)
        baud = {"baud": options.baud, "rtscts": options.rtscts} if options else {}
        link = upstream.board = bridge.Board(find, upstream, log, [HERE], **baud)
        link.states({HERE: True})
        ours = Ours(boards.gateway, HERE, Principal(name), boards.gateway.config)

        def deliver(to, message):
            if not upstream.up and not link.serving:
                return False
            link.send_frame(b"u", to.encode() + b" " + message)
            return True

        upstream.relay = OwnRelay(ours, deliver, lambda: link.rx, log)
        offers = options.offers if options else None
        return boards.add(name, kind, where, identity, upstream, offers)

    # Serial ports.

    def lend(self, devices):
        """Keep away from these ports (devices, as os.path.realpath() has them), and from no other:
        another mcpgw works on a board there."""
        if devices == self._lent:
            return
        self._lent = frozenset(devices)
        boards = [board.upstream for board in self._boards.known.values()]
        links = [one.board for one in boards if isinstance(one, LinkBoard)]
        for link in [*links, *self._meeting]:
            if link.device and os.path.realpath(link.device) in self._lent:
                link.let_go(_LENT)

    def _free(self, device):
        """The device, if it is not lent. Raises PortError."""
        if os.path.realpath(device) in self._lent:
            raise PortError(_LENT)
        return device

    def serial(self, name, options):
        """A board on a port that the configuration names. options: config.Board."""
        port = options.port
        named = (lambda: port) if "://" in port else (lambda: choose_port(port))
        find = lambda: self._free(named())  # noqa: E731
        board = self._make(name, "serial", port, _PORT + port, find, options)
        board.work = asyncio.ensure_future(board.upstream.board.run())

    async def scan(self):
        """Look for boards on USB that nobody has named, for ever."""
        said = None
        while True:
            try:
                found = await asyncio.to_thread(find_ports)
                named = await asyncio.to_thread(self._named)
                said = None
            except OSError as e:
                found, named = [], ()
                if str(e) != said:
                    said = str(e)
                    self._log.info(f"serial ports cannot be listed: {e}")
            here = {_identity(port): port for port in found if port.kind == "native"}
            self._left.intersection_update(here)
            for identity, port in here.items():
                known = identity in self._ports and not self._ports[identity].done()
                lent = os.path.realpath(port.device) in self._lent
                if known or lent or identity in self._left or port.device in named:
                    continue
                if len(self._ports) < _MAX_PORTS:
                    work = self._meet(port, identity)
                    self._ports[identity] = asyncio.ensure_future(work)
            await asyncio.sleep(_SCAN_S)

    def _named(self):
        """Devices of the ports that the configuration or a pairing names."""
        found = {
            one.identity[len(_PORT) :]
            for one in list(self._boards.known.values())
            if one.identity.startswith(_PORT)
        }
        for board in self._boards.config.boards.values():
            if board.port and "://" not in board.port:
                with contextlib.suppress(PortError):
                    found.add(choose_port(board.port))
        return found

    async def _meet(self, port, identity):
        """Serve a board on a port that was found: first it has to say its name."""
        named = _finder(port)
        find = lambda: self._free(named())  # noqa: E731
        first = _First()
        link = bridge.Board(find, first, self._log, [HERE])
        self._meeting.add(link)
        task = asyncio.ensure_future(link.run())
        try:
            async with asyncio.timeout(_MEET_S):
                wanted = await first.name
            name = await asyncio.to_thread(self._boards.name_for, wanted, identity)
        except TimeoutError:
            self._left.add(identity)
            self._log.info(f"{port.device}: no board with mcp_gw answers there; it is left alone")
            return
        except StoreError as e:
            self._left.add(identity)
            self._log.info(str(e))
            return
        finally:
            self._meeting.discard(link)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        board = self._boards.known.get(name)
        if board is None:
            board = self._make(name, "serial", port.device, identity, find, None)
        link = board.upstream.board
        link.find = find
        board.kind, board.where = "serial", port.device
        board.work = asyncio.ensure_future(link.run())
        await asyncio.wait([board.work])

    def remember(self, name, kind, identity, where):
        """A board that was here before, or was paired: what it is asked meanwhile is answered that
        it is away."""
        if kind == "serial" and identity.startswith(_PORT):
            # Nothing but its port tells it from others, so that is where it is.
            self.serial(name, Board(name, port=identity[len(_PORT) :]))
        else:
            self._make(name, kind, where, identity, _nowhere, None)

    # Boards that dial in.

    async def listen(self):
        """Take boards that connect outward. Raises UserError."""
        boards = self._boards
        self._listener = DialIn(
            boards.config.dial,
            boards.pairing,
            boards.store,
            boards.name_for,
            self._joined,
            self._log,
        )
        await self._listener.listen()
        config = boards.config.dial
        tls = " with TLS" if config.certificate else ""
        self._log.info(f"boards may dial in at {config.host} port {self._listener.port}{tls}")

    def dialed(self):
        """Rows (name, Connection) of the boards that have dialed in."""
        known = self._boards.known.values()
        return [(one.name, one.connection) for one in known if one.connection is not None]

    def _joined(self, name, identity, connection):
        """A board has dialed in and shown who it is."""
        boards = self._boards
        board = boards.known.get(name)
        linked = board is None or isinstance(board.upstream, LinkBoard)
        if not linked or name in boards.config.boards or name in boards.config.servers:
            told = "a server is called so" if board is None else f"it is known by {board.where}"
            self._log.info(f"{name} dials in, but {told}: not taken")
            connection.cut()
            return
        if board is None:
            try:
                board = self._make(name, "dial", connection.address, identity, None, None)
            except ConfigError as e:  # it is being forgotten this moment; it comes again
                self._log.info(f"{name} dials in: {e}")
                connection.cut()
                return
        before = board.work
        board.kind, board.where, board.identity = "dial", connection.address, identity
        board.connection = connection
        board.work = asyncio.ensure_future(self._attend(board, connection, before))

    async def _attend(self, board, connection, before):
        if before is not None:
            # It has come anew: what there was of it is over, whatever the network says.
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)
        await board.upstream.board.run_on(connection.serve)


def _identity(port):
    return f"usb:{port.serial}" if port.serial else _PORT + port.device


def _nowhere():
    raise PortError("it has not been found yet")


def _finder(port):
    """function() -> the device of a port that was found, wherever it is now."""
    if not port.serial:
        return lambda: choose_port(port.device)
    return lambda: choose_port("id:" + port.serial)


class _First(bridge.Listener):
    """Waits for the first hello of a board; name: future of what it calls itself."""

    def __init__(self):
        self.name = asyncio.get_running_loop().create_future()

    def board_up(self, hello, restarted):
        if not self.name.done():
            self.name.set_result(str(hello.get("name", "board")))


class _Prefixed:
    """A bridge.log.Log whose lines say which board they are of."""

    def __init__(self, log, name):
        self._log = log
        self._name = name
        self._count = 0
        self._since = 0.0

    def line(self, who, text):
        now = time.monotonic()
        if now - self._since > _LINES_S:
            over, self._count, self._since = self._count - _MOST_LINES, 0, now
            if over > 0:
                lines = counted(over, "line was", "lines were")
                self._log.info(f"{self._name}: {lines} left out of this log")
        self._count += 1
        if self._count > _MOST_LINES:
            return
        if who == "board":
            self._log.line(self._name, text)
        else:
            self._log.line(who, f"{self._name}: {text}")

    def info(self, text):
        self.line("mcpgw", text)
