"""Where boards that connect outward are taken: the first line of each side (docs/serial-link.md,
"Dialing in"), then the serial link."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import time

from .. import UserError
from ..bridge.calls import dump
from .pairing import PairingError
from .store import BOARD, StoreError, digest

VERSION = 1
# The longest first line, bytes, and how long it may take.
MAX_LINE = 1024
GREET_S = 10.0
# Connections that have yet to say who they are, of all and of one address.
MAX_STRANGERS = 64
MAX_PER_ADDRESS = 32
# What waits for a board that does not read, in bytes; then it is cut off.
_MAX_UNSENT = 4 << 20
_FULL_RETRY_S = 10
# What one board may take of this process's time for what it sends: that share in the long run, and
# so many seconds at once.
_SHARE = 0.2
_BURST_S = 0.05
_PRINTABLE = re.compile(r"[^ -~]")
_ID = re.compile(r"[0-9A-Za-z:._-]{1,64}")
_KEEPALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class DialIn:
    """Listens as config (config.Dial) says.

    pairing: a Pairing; store: a Store; name_for: function(wanted, identity, given) -> the name of
    a board that has shown a code, from any thread; joined: function(name, identity, connection)
    that is given the Connection of a board that may come in; log: a bridge.log.Log.
    """

    def __init__(self, config, pairing, store, name_for, joined, log):
        self._config = config
        self._pairing = pairing
        self._store = store
        self._name_for = name_for
        self._joined = joined
        self._log = log
        self._server = None
        self.strangers = set()
        # One code after the other: each costs tens of ms of a processor, a wrong one its pause;
        # and between a look at who is known and the row of who is new nobody else shows one.
        self._codes = asyncio.Lock()
        self._tokens = asyncio.Semaphore(4)

    async def listen(self):
        """Begin. Raises UserError."""
        config = self._config
        loop = asyncio.get_running_loop()
        try:
            context = _context(config)
            self._server = await loop.create_server(
                lambda: Connection(self, loop),
                config.host,
                config.port,
                ssl=context,
                ssl_handshake_timeout=context and GREET_S,
            )
        except (OSError, UnicodeError) as e:
            why = getattr(e, "strerror", None) or e
            raise UserError(f"[dial]: cannot listen on {config.host}:{config.port}: {why}") from e

    @property
    def port(self):
        """The port that it listens on."""
        return self._server.sockets[0].getsockname()[1]

    async def close(self):
        if self._server is not None:
            self._server.close()
        for one in list(self.strangers):
            one.cut()

    def admits(self, connection):
        """Whether one more stranger is listened to."""
        same = sum(one.address == connection.address for one in self.strangers)
        return len(self.strangers) < MAX_STRANGERS and same < MAX_PER_ADDRESS

    async def greet(self, connection, line):
        """The first line has come in (bytes)."""
        answer = {"mcp-gw": VERSION}
        hello = None
        try:
            hello = _read(line)
            async with self._tokens if "token" in hello else self._codes:
                name, token = await _whole(self._check, hello, connection.address)
        except (PairingError, StoreError) as e:
            answer["error"] = str(e)
            if isinstance(e, StoreError):
                answer["retry_s"] = 60
            elif e.retry_s is not None:
                answer["retry_s"] = e.retry_s
            who = f"{connection.address} ({hello['name']})" if hello else connection.address
            self._log.info(f"dial-in of {who} refused: {e}")
            connection.write(dump(answer) + b"\n")
            connection.end()
            return
        answer["name"] = name
        if token is not None:
            answer["token"] = token
            self._log.info(f"{name} has paired from {connection.address} ({hello['id']})")
        connection.write(dump(answer) + b"\n")
        self.strangers.discard(connection)
        connection.greeted = True
        connection.token = digest(token or hello["token"])
        self._joined(name, hello["id"], connection)

    def _check(self, hello, address):
        """(name, token or None) of a board that may come in. Raises PairingError, StoreError."""
        identity = hello["id"]
        if "token" in hello:
            found = digest(hello["token"])
            for name, kind, known, _ in self._store.tokens():
                if kind == BOARD and known == found:
                    self._pairing.confirm(identity)
                    return name, None
            raise PairingError("its token is not known here: pair it again, mcpgw pi code")
        meant = self._pairing.take(hello["code"], identity, address)
        if meant and meant in self._store.clients():
            raise PairingError(f"a client is called {meant} by now: make another code")
        name = self._name_for(meant or hello["name"], identity, bool(meant))
        return name, self._store.add_token(name, BOARD, replace=True)


class Connection(asyncio.Protocol):
    """One connection; once it has greeted, what bridge/port.py's Port is to a Board."""

    def __init__(self, dial_in, loop):
        self._dial_in = dial_in
        self._loop = loop
        self._transport = None
        self._first = bytearray()
        self._task = None
        self._timer = None
        self._on_data = self._on_gone = None
        self._lost = None  # why it is over
        self.address = "?"
        self.greeted = False
        self.token = None  # digest of what has let it in
        self._spent = self._counted = 0.0  # seconds of time taken, less what it may; when that was
        self._stopped = self._resting = False

    # What asyncio tells.

    def connection_made(self, transport):
        self._transport = transport
        peer = transport.get_extra_info("peername")
        if peer:
            self.address = peer[0]
        _keep_alive(transport.get_extra_info("socket"))
        if not self._dial_in.admits(self):
            told = {"mcp-gw": VERSION, "error": "too many are waiting", "retry_s": _FULL_RETRY_S}
            transport.write(dump(told) + b"\n")
            transport.close()
            return
        self._dial_in.strangers.add(self)
        self._timer = self._loop.call_later(GREET_S, self.cut)

    def data_received(self, data):
        if self._on_data is not None:
            began = time.perf_counter()
            self._on_data(data)
            self._account(began, time.perf_counter())
            return
        self._first += data
        if self._task is not None or self not in self._dial_in.strangers:
            if len(self._first) > MAX_LINE:
                self.cut()  # it was not asked to go on before it is answered
            return
        line, end, rest = self._first.partition(b"\n")
        if len(line) > MAX_LINE:
            self.cut()
        elif end:
            self._first = rest
            self._timer.cancel()
            self._task = asyncio.ensure_future(self._dial_in.greet(self, bytes(line)))

    def _account(self, began, now):
        """A board that floods this gateway is not read for a while: others want to be heard."""
        left = max(0.0, self._spent - (began - self._counted) * _SHARE)
        self._spent, self._counted = left + now - began, now
        if self._spent > _BURST_S and not self._resting:
            self._resting = True
            self._flow()
            self._loop.call_later(self._spent / _SHARE, self._rested)

    def _rested(self):
        self._resting = False
        self._flow()

    def connection_lost(self, error):
        self._dial_in.strangers.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self.greeted:
            self._task.cancel()
        self._lost = str(error) if error else "the board closed the connection"
        if self._on_gone is not None:
            self._on_gone(self._lost)

    # What a Board asks for.

    def serve(self, on_data, on_gone):
        """From now on what comes in goes to on_data(bytes), and the end to on_gone(why)."""
        self._on_data, self._on_gone = on_data, on_gone
        first, self._first = bytes(self._first), bytearray()
        if first:
            on_data(first)
        if self._lost is not None:
            on_gone(self._lost)
        return self

    @property
    def unsent(self):
        return self._transport.get_write_buffer_size()

    def write(self, data):
        if self._transport.is_closing():
            return
        self._transport.write(data)
        if self.unsent > _MAX_UNSENT:
            self.cut()

    def pause(self, stop):
        self._stopped = stop
        self._flow()

    def _flow(self):
        stop = self._stopped or self._resting
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            (self._transport.pause_reading if stop else self._transport.resume_reading)()

    def close(self):
        """From any thread."""
        self._loop.call_soon_threadsafe(self.end)

    def end(self):
        """Close when all is sent."""
        self._transport.close()
        self._loop.call_later(GREET_S, self.cut)  # a peer that does not read is not waited for

    def cut(self):
        """Close now."""
        self._transport.abort()


async def _whole(function, *args):
    """asyncio.to_thread() that ends with the thread, also when it is cancelled: who hangs up gives
    its turn to nobody before it is over."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.gather(work, return_exceptions=True)
        raise


def _read(line):
    """What a board's first line says: dict of name, id, and token or code. Raises
    PairingError."""
    try:
        hello = json.loads(line)
    except (ValueError, RecursionError):
        hello = None
    if not isinstance(hello, dict) or "mcp-gw" not in hello:
        raise PairingError("what connects is no mcp_gw board: its first line is another")
    if hello["mcp-gw"] != VERSION:
        raise PairingError(
            f"the board dials in with version {_shown(hello['mcp-gw'])}, this gateway knows"
            f" {VERSION}: update the older of them"
        )
    name, identity = hello.get("name"), hello.get("id")
    if not isinstance(name, str) or not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise PairingError("its first line lacks name or id")
    for field in ("token", "code"):
        if isinstance(hello.get(field), str) and hello[field].isascii():
            return {"name": _shown(name), "id": identity, field: hello[field]}
    raise PairingError("its first line has no token and no pairing code")


def _shown(value):
    return _PRINTABLE.sub("?", str(value))[:64]


def _context(config):
    if not config.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config.certificate, config.key)
    return context


def _keep_alive(sock):
    """Have the system notice a board that vanished."""
    if sock is None:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30000)
