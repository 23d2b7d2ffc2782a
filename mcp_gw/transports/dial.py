"""Dials out to the paired gateway (`mcpgw pi`) and serves over that connection as over a serial
port: for boards that nobody can reach from outside (docs/serial-link.md, "Dialing in").

    gw.run("serial", Dial(gw, "pi.local", code="7KQ2-M9XD"))

The code is needed once: what the Pi gives for it is kept in a file.
"""

import json
import os
import random

from ..compat import MICROPYTHON, const, sleep_ms, spawn, ticks_diff, ticks_ms
from ..errors import ConfigError
from ..protocol.session import Session
from ..reactor import adopt, unwatch, watch
from .link import random_hex
from .serial import Port
from .sockets import connect, receive, transmit

PORT = const(8444)
VERSION = const(1)
# The longest first line that either side accepts, bytes.
MAX_LINE = const(1024)
_CONNECT_MS = const(10000)
_ANSWER_MS = const(15000)
# Without a hello for so long the connection is dead, whatever the network says.
_SILENT_MS = const(30000)
# A write that moves nothing for so long is given up, and the connection with it.
_STUCK_MS = const(2000)
# Between attempts with a token that the Pi does not know (any more).
_UNKNOWN_PAUSE_MS = const(600000)
_LOOK_MS = const(100)


class Refused(Exception):
    """The Pi said no. retry_ms: when it may be asked again, None: never so."""

    def __init__(self, why, retry_ms):
        super().__init__(why)
        self.retry_ms = retry_ms


class _Stream:
    """A connection as an object that serial.Port reads and writes. stream: the socket."""

    def __init__(self):
        self.stream = None
        self.broken = None  # why nothing more comes

    def read(self, buf, start, end):
        if self.broken is None:
            try:
                n = receive(self.stream, memoryview(buf)[start:end])
                if n:
                    return n
                if n == 0:
                    self.broken = "the Pi closed the connection"
            except (OSError, ValueError) as e:
                self.broken = str(e) or "the connection broke"
        return 0  # the end of it is no end of the gateway's input

    def write(self, buf, start, end):
        at = start
        moved = ticks_ms()
        while at < end and self.broken is None:
            try:
                n = transmit(self.stream, buf, at, end)
            except (OSError, ValueError) as e:
                self.broken = str(e) or "the connection broke"
                break
            if n:
                at += n
                moved = ticks_ms()
            elif ticks_diff(ticks_ms(), moved) > _STUCK_MS:
                self.broken = "the Pi does not read"
        return at - start


class Dial:
    """A transport for gw.run(), beside others or alone.

    gateway: the Gateway; host, port: of the Pi's listener; code: the pairing code that `mcpgw pi
    code` printed, needed until the Pi has given a token for it; token: one that was given
    otherwise (`mcpgw pair`); name: what the Pi shall call this board, default the gateway's; id:
    what tells it from others of this name, default the chip's number, or one made up; file: where
    the token is kept; tls: whether the listener speaks TLS; ca: certificates to trust then
    (bytes, or the path of a file, PEM or DER); verify=False takes any: for experiments only.

    FIRST_PAUSE_MS, LAST_PAUSE_MS: between attempts to connect, and up to what it doubles.
    state: "connecting", "serving", "refused" or "closed"; why: the last reason it was lost.
    """

    FIRST_PAUSE_MS = 1000
    LAST_PAUSE_MS = 60000

    def __init__(
        self,
        gateway,
        host,
        port=PORT,
        code=None,
        token=None,
        name=None,
        id=None,
        file="mcp-gw-pi.json",
        tls=False,
        ca=None,
        verify=True,
    ):
        if type(port) is not int or not 0 < port <= 65535:
            raise ConfigError("dial: port must be from 1 to 65535")
        if not isinstance(host, str) or not host:
            raise ConfigError("dial: the Pi's host must be a name or an address")
        self._gateway = gateway
        self._host = host
        self._number = port
        self._code = code
        self._name = name or gateway.name
        self._file = file
        self._kept = _load(file)
        self._new = "id" not in self._kept
        if self._new:
            self._kept["id"] = _own_id()
        if token is not None:
            self._kept["token"] = token
        if id is not None:
            self._kept["id"] = id
        self._context = _context(ca, verify) if tls or ca is not None else None
        self._io = _Stream()
        self._port = None  # the Port, once there was a connection; it is used for all of them
        self._said = None
        self._task = None
        self._beside = False  # other ports were there when we began
        self._open = False  # the Port is among the gateway's
        self.state = "closed"
        self.why = None

    # What a transport of a gateway is asked for.

    def listen(self):
        """The gateway begins to serve."""
        self.state = "connecting"
        self._beside = bool(self._gateway.ports)
        self._task = spawn(self._run())

    def tick(self, now):
        """Now and then, with ticks in ms."""
        adopt()
        if self._open and self._beside and self._gateway.ports == [self._port]:
            self._gateway.stop()  # the input of all others has ended

    def close(self):
        """The gateway stops."""
        self.state = "closed"
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._hang_up()

    # Inside.

    async def _run(self):
        """Connect, serve, and connect again."""
        pause = self.FIRST_PAUSE_MS
        while True:
            begun = ticks_ms()
            refused = None
            try:
                await self._talk()
                why = self._io.broken
                if ticks_diff(ticks_ms(), begun) > self.LAST_PAUSE_MS:
                    pause = self.FIRST_PAUSE_MS
            except Refused as e:
                refused = e
                why = "refused: %s" % e
            except (OSError, ValueError) as e:
                why = str(e) or "cannot connect"
            except Exception as e:
                self._gateway.log_exception(e)
                why = "it failed here"
            finally:
                self._hang_up()
            self._say(why)  # not into the connection that it is about
            wait = None
            if refused is not None:
                wait = self._refused(refused)
                if wait is None:
                    self.state = "refused"
                    return
            self.state = "connecting"
            if wait is None:
                wait = pause - pause // 4 + random.getrandbits(16) * (pause // 2) // 65536
                pause = min(2 * pause, self.LAST_PAUSE_MS)
            await sleep_ms(wait)

    def _refused(self, e):
        """How long to wait before the Pi is asked again; None: it need not be."""
        if e.retry_ms is not None:
            return e.retry_ms
        if self._kept.get("token"):
            if self._code:
                del self._kept["token"]  # the code may still help
                return self.FIRST_PAUSE_MS
            return _UNKNOWN_PAUSE_MS
        return None

    async def _talk(self):
        """One connection, from the first line to its end."""
        io = self._io
        sock = await connect(self._host, self._number, _CONNECT_MS)
        io.broken = None
        io.stream = sock
        if self._context is not None:
            io.stream = self._context.wrap_socket(
                sock, server_hostname=self._host, do_handshake_on_connect=False
            )
        port = self._make_port()
        await self._introduce(port)
        self.state = "serving"
        self._say("the Pi calls this board %s" % self._kept["name"])
        self._serve(port)
        heard = ticks_ms()
        while io.broken is None:
            await sleep_ms(_LOOK_MS)
            if port.link.up:
                heard = ticks_ms()
            elif ticks_diff(ticks_ms(), heard) > _SILENT_MS:
                io.broken = "the Pi has been silent for %d s" % (_SILENT_MS // 1000)

    def _make_port(self):
        gateway = self._gateway
        port = self._port
        if port is None:
            cap = gateway.config["max_message"]
            dispatch = gateway.dispatch
            port = self._port = Port(self._io, cap, dispatch.take, dispatch.oversized, Session())
            port.session.out = port.send
            port.link.on_hello = lambda host: gateway.hello(host, port)
            if gateway.upstreams:
                gateway.upstreams.watch(port.link)
        port.stream = self._io.stream
        port.lines.reset()
        return port

    async def _introduce(self, port):
        """Say who we are and read the answer. Raises Refused, OSError or ValueError."""
        kept = self._kept
        first = {"mcp-gw": VERSION, "name": self._name, "id": kept["id"]}
        if kept.get("token"):
            first["token"] = kept["token"]
        elif self._code:
            first["code"] = self._code
            if self._new:  # whoever asks again has to be known for the same
                self._keep()
        else:
            raise Refused("this board has no pairing code: make one with mcpgw pi code", None)
        await self._put(json.dumps(first).encode() + b"\n")
        answer = json.loads(await self._first_line(port))
        if not isinstance(answer, dict) or "mcp-gw" not in answer:
            raise ValueError("what answers at %s is no mcpgw pi" % self._host)
        if "error" in answer:
            retry_s = answer.get("retry_s")
            known = type(retry_s) is int and 0 <= retry_s <= 86400
            raise Refused(_clean(answer["error"]), retry_s * 1000 if known else None)
        kept["name"] = _clean(answer.get("name", self._name))
        if isinstance(answer.get("token"), str):
            kept["token"] = answer["token"]
            if not self._keep():
                self._gateway.log("pi: after a restart this board needs another pairing code\n")

    def _keep(self):
        """Write down what has to outlast a restart; whether that worked."""
        self._new = False
        try:
            _save(self._file, self._kept)
        except OSError as e:
            self._gateway.log("pi: %s cannot be written (%s)\n" % (self._file, e))
            return False
        return True

    async def _put(self, data):
        """Send the first line; with TLS the handshake happens here."""
        begun = ticks_ms()
        at = 0
        while at < len(data):
            n = transmit(self._io.stream, data, at, len(data))
            at += n or 0
            if not n:
                if ticks_diff(ticks_ms(), begun) > _CONNECT_MS:
                    raise OSError("no answer within %d ms" % _CONNECT_MS)
                await sleep_ms(_LOOK_MS // 5)

    async def _first_line(self, port):
        """The Pi's first line (bytes). What comes behind it stays in the Port."""
        begun = ticks_ms()
        while True:
            port.fill()
            if port.lines.next():
                lo, hi = port.lines.lo, port.lines.hi
                if hi - lo > MAX_LINE:
                    raise ValueError("what answers at %s is no mcpgw pi" % self._host)
                return bytes(memoryview(port.lines.buf)[lo:hi])
            if self._io.broken is not None:
                raise OSError(self._io.broken)
            if ticks_diff(ticks_ms(), begun) > _ANSWER_MS:
                raise OSError("no answer within %d ms" % _ANSWER_MS)
            await sleep_ms(_LOOK_MS // 5)

    def _serve(self, port):
        gateway = self._gateway
        gateway.ports.append(port)
        gateway.join(port.session)
        self._open = True
        watch(port.stream, self._ready)
        if port.lines.end > port.lines.hi:
            port.drain()  # what came together with the first line

    def _ready(self):
        """The connection can be read, or is broken."""
        # TLS may hold more than one read takes, and no poll tells of that.
        while self._open and self._io.broken is None and self._gateway.ready(self._port):
            pass
        if self._io.broken is not None and self._open:
            unwatch(self._port.stream)  # it would be ready for ever

    def _hang_up(self):
        port, io = self._port, self._io
        if self._open:
            self._open = False
            unwatch(port.stream)
            if port in self._gateway.ports:
                self._gateway.ports.remove(port)
            self._gateway.leave(port.session)
            link = port.link
            link.session = None
            link.states = {}
            link.on_change(None)
        if io.stream is not None:
            io.stream.close()
            io.stream = None

    def _say(self, text):
        """Each piece of news once."""
        self.why = text
        if text != self._said:
            self._said = text
            self._gateway.log("pi %s:%d: %s\n" % (self._host, self._number, text))


def _load(file):
    """What is kept in the file (dict)."""
    kept = None
    try:
        with open(file) as f:
            kept = json.loads(f.read(MAX_LINE))
    except (OSError, ValueError):
        pass  # the first time, or a file that was damaged: pairing makes it anew
    if not isinstance(kept, dict):
        kept = {}
    return {key: kept[key] for key in kept if isinstance(kept[key], str)}


def _own_id():
    try:
        from binascii import hexlify

        from machine import unique_id

        return hexlify(unique_id()).decode()
    except ImportError:
        return random_hex(16)


def _save(file, kept):
    """Durable when this returns: the old content or the new is there after a power cut."""
    fresh = file + ".new"
    with open(fresh, "w") as f:
        f.write(json.dumps(kept))
        f.flush()
        if not MICROPYTHON:  # whose flush() does it
            os.fsync(f.fileno())
    os.rename(fresh, file)


def _clean(text):
    """Printable text of what a peer sent."""
    return "".join(c if " " <= c <= "~" else "?" for c in str(text)[:200])


def _context(ca, verify):
    try:
        from ..route.stream import _MICRO, certificates, client_context

        if isinstance(ca, str):
            with open(ca, "rb") as f:
                ca = f.read()
        if ca is None and verify and _MICRO:
            raise ValueError("TLS needs ca=: there are no certificates to trust here")
        return client_context(certificates(ca) if ca is not None else None, verify)
    except (OSError, ValueError) as e:
        raise ConfigError("dial: %s" % e)
    except ImportError:
        raise ConfigError("dial: this firmware has no TLS")
