"""One board on one port: opening and reopening it, hello, and taking its stream apart."""

import asyncio
import json
import secrets
import time

from mcp_gw.protocol.framing import LineBuffer
from mcp_gw.transports import link

from .. import __version__
from ..ports import PortError
from . import deliver
from .lines import lines_of
from .log import LineJoiner
from .port import Port
from .rescue import ECHO, SILENT, SOFT_RESET, NoRescue, Rescue

# The longest line the bridge accepts from a board, bytes.
HOST_RX = 1 << 20

_HELLO_S = 3.0
_TICK_S = 0.25
# More unsent bytes than this: the board is not reading.
_STUCK = 4096
_BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0)
# What waits for a board that goes on asking and does not read; then it is let go.
_MOST_UNSENT = 4 << 20
# What a board that said nothing of its cap is trusted to take: the specification's example board.
_DEFAULT_RX = 8192
# What comes of frames that hold other than they should.
_ODD = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Listener:
    """What a Board tells. All calls come from the event loop and must not block."""

    def board_up(self, hello, restarted):
        """The board answers: hello is its dict; restarted: it is another boot than before."""

    def board_same(self):
        """The board has answered hello, and still runs the gateway it ran."""

    def board_down(self, why):
        """The board is gone, or no longer runs the gateway it ran."""

    def board_message(self, line):
        """One line of MCP, bytes without LF."""

    def board_upstream(self, name, message):
        """One message (bytes) of the board to its upstream `name`."""


class Board:
    """Keeps one board connected until cancelled.

    find: function() -> device to open, called before every opening; may raise PortError;
    listener: Listener; names: of the upstreams behind the bridge; baud, rtscts: of the port.
    """

    def __init__(self, find, listener, log, names=(), baud=115200, rtscts=False):
        self.find = find
        self._listener = listener
        self._log = log
        self._names = list(names)
        self._settings = {"baud": baud, "rtscts": rtscts}
        self._id = secrets.token_hex(8)
        self._boot = None
        self._port = None
        self._gone = None
        self._said = None  # the last thing that was said about the port, to say it once
        self._lines = LineBuffer(HOST_RX)
        self._text = LineJoiner(log, "board")
        self._noise = LineJoiner(log, "board")
        self._states = {}
        self._told = False
        self._next_hello = 0.0
        self._device = None
        self._rescue = Rescue(0.0)
        self.serving = False
        self.hello = {}  # what the board said of itself last
        self.rx = _DEFAULT_RX
        self.frames_dropped = 0

    @property
    def unsent(self):
        """Bytes that wait for the board to read them."""
        return self._port.unsent if self._port else 0

    async def run(self):
        """Open, serve, and open again; ends only when cancelled."""
        attempt = 0
        while True:
            try:
                await self._open()
            except (OSError, PortError) as e:
                self._say(f"no board yet: {' '.join(str(e).split())}")
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            attempt = 0
            await self._attend()
            await asyncio.sleep(_BACKOFF_S[0])

    async def run_on(self, make):
        """Serve one connection that is there already, until it ends, as one that never was before.

        make: function(on_data, on_gone) -> an object like a Port, of a board that is no REPL.
        """
        self._id = secrets.token_hex(8)
        self._begin()
        gone = self._gone
        self._rescue = NoRescue()
        self._port = make(
            lambda data: gone.done() or self._data(data),
            lambda why: gone.done() or gone.set_result(why),
        )
        await self._attend()

    async def _attend(self):
        try:
            why = await self._serve()
            self._say(f"lost the board: {why}")
            self._down(why)
        finally:
            self._gone.cancel()
            port, self._port = self._port, None
            self._down("the bridge is closing")
            await asyncio.to_thread(port.close)

    def let_go(self, why):
        """Close the port, as if the board had gone; run() opens it again when it can be found."""
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(why)

    @property
    def device(self):
        """The port that is open, or was last."""
        return self._device

    def send_message(self, line):
        """One MCP message, bytes without LF."""
        self._write(bytes(line) + b"\n")

    def greet(self):
        """Say hello now, to find out whether the board has restarted."""
        self._hello()

    def send_frame(self, channel, payload):
        """One frame; channel and payload are bytes."""
        self._write(b"".join(link.encode(channel, [payload])))

    def _write(self, data):
        if self.unsent > _MOST_UNSENT:
            self.let_go("it does not read what it is sent")
        elif self._port:
            self._port.write(data)

    def states(self, states):
        """Tell which upstreams are reachable: dict of name to bool."""
        self._states = dict(states)
        if self.serving:
            self._send_json(b"s", self._states)

    def changed(self, name):
        """Tell that the tools of an upstream may have changed."""
        if self.serving:
            self._send_json(b"c", name)

    def pause(self, stop):
        """Stop reading from the board, or go on."""
        if self._port:
            self._port.pause(stop)

    # -- the port

    def _begin(self):
        self._gone = asyncio.get_running_loop().create_future()
        self._lines.reset()
        self._next_hello = 0.0

    async def _open(self):
        loop = asyncio.get_running_loop()
        self._begin()

        def opening():
            device = self.find()
            gone = self._gone
            return device, Port(
                device,
                loop,
                lambda data: gone.done() or self._data(data),
                lambda why: gone.done() or gone.set_result(why),
                **self._settings,
            )

        self._rescue = Rescue(time.monotonic())
        device, self._port = await asyncio.to_thread(opening)
        self._device = device
        self._say(f"opened {device}")

    async def _serve(self):
        """Until the port fails; returns why."""
        # A bridge that was killed may have left half a line in the board.
        self._port.write(b"\n")
        self._hello()
        while not self._gone.done():
            await asyncio.wait([self._gone], timeout=_TICK_S)
            now = time.monotonic()
            rescue = self._rescue
            data = rescue.step(now)
            if data and not self._port.unsent:
                if self.serving and rescue.at_prompt:
                    self._down("the gateway on the board ended")
                if data == SOFT_RESET:
                    self._log.info("the board is at its MicroPython prompt: starting its program")
                self._port.write(data)
            elif rescue.gave_up and not self._told:
                self._told = True
                self._log.info(rescue.gave_up.format(port=self._device))
                if rescue.gave_up != SILENT:
                    self._down("the gateway on the board ended")
            elif now >= self._next_hello and not rescue.busy:
                self._hello()
        return self._gone.result()

    def _down(self, why):
        self._text.flush()
        self._noise.flush()
        if self.serving:
            self.serving = False
            self._listener.board_down(why)

    def _say(self, text):
        if text != self._said:
            self._said = text
            self._log.info(text)

    # -- hello

    def _hello(self):
        now = time.monotonic()
        # At a prompt every hello would grow the line that the REPL is collecting.
        self._next_hello = now + (5 * _HELLO_S if self._rescue.gave_up else _HELLO_S)
        if self._port is None or self._port.unsent > _STUCK:
            return  # the board is not reading; what waits for it must not pile up
        hello = {
            "v": link.VERSION,
            "id": self._id,
            "time_ms": int(time.time() * 1000),
            "rx": HOST_RX,
            "upstreams": self._names,
            "deliver": {"calls": deliver.MAX_CALLS, "deflate": True},
            "by": f"mcpgw {__version__}",
        }
        self._send_json(b"h", hello)
        self._rescue.asked(now)

    def _on_hello(self, answer):
        if answer.get("v") != link.VERSION:
            self._say(
                f"the board speaks version {answer.get('v')} of the serial link, this bridge "
                f"{link.VERSION}: update the older of them"
            )
            return
        if answer["id"] != self._id:
            return  # answer to a bridge before this one
        boot, rx = str(answer["boot"]), int(answer["rx"])
        self.hello = answer
        self._rescue.answered()
        self._told = False
        restarted = self._boot is not None and boot != self._boot
        if self.serving and restarted:
            self._down("the board restarted")
        self._boot = boot
        self.rx = rx
        if not self.serving:
            self.serving = True
            name, version = answer.get("name", "board"), answer.get("version", "")
            pending = answer.get("pending", 0)
            self._said = None
            self._log.info(
                f"{name} {version} {'restarted and ' if restarted else ''}serves (boot {boot}, "
                f"{pending} queued)"
            )
            self._listener.board_up(answer, restarted)
        else:
            self._listener.board_same()
        # The board forgets the states when it has heard no hello for 10 s, so repeat them.
        self._send_json(b"s", self._states)

    def _send_json(self, channel, value):
        self.send_frame(channel, json.dumps(value, separators=(",", ":")).encode())

    # -- the stream

    def _data(self, data):
        rescue = self._rescue
        if rescue.heard(data, time.monotonic()) or (
            self.serving and rescue.at_prompt and not rescue.busy
        ):
            self._hello()
        for kind, line in lines_of(self._lines, data):
            self._line(line, whole=kind == 1)

    def _line(self, line, whole):
        first = line[:1]
        if not whole:
            self._refuse(f"a line of more than {HOST_RX} bytes")
        elif first == b"{":
            # Before the board has answered, what comes is meant for whoever was here before.
            if self.serving:
                self._listener.board_message(line)
        elif first == b"\x1e":
            self._frame(line)
        elif line and ECHO not in line:
            self._noise.add(line.decode("utf-8", "replace") + "\n")

    def _frame(self, line):
        try:
            channel, start, end = link.decode(line, 0, len(line))
            payload = line[start:end]
            if channel == ord("u"):
                name, _, message = payload.partition(b" ")
                if self.serving:
                    self._listener.board_upstream(name.decode(), message)
                return
            value = json.loads(payload)
            if channel == ord("h"):
                self._on_hello(value)
            elif channel == ord("l"):
                self._text.add(value)
            elif channel == ord("e"):
                self._log.info(f"the board dropped a frame: {value}")
        except _ODD as e:
            self._refuse(str(e) or type(e).__name__)

    def _refuse(self, why):
        self.frames_dropped += 1
        self._log.info(f"dropped a frame of the board: {why}")
        if self.serving:
            self._send_json(b"e", why)
