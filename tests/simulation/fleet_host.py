"""A computer that boards hang on: the bridge's Relay and Calls with their SQLite file, started,
killed and started again.
"""

import json
import secrets

from mcpgw.bridge.calls import Calls
from mcpgw.bridge.keys import KeyStore
from mcpgw.bridge.lines import lines_of
from mcpgw.bridge.relay import Relay
from office import Office

from mcp_gw.protocol.framing import LineBuffer
from mcp_gw.transports import link

_HELLO_S = 3.0
_RX = 16384
# What is offered to the boards of one host, by turns: batches, small ones, none.
_DELIVER = ({"calls": 32, "deflate": True}, {"calls": 3}, None)


class Host:
    """path: of its SQLite file; servers: list of Server; cables: of its boards, a list."""

    def __init__(self, world, name, path, servers, cables, clock_error=0):
        self.world = world
        self.name = name
        self._path = path
        self._servers = servers
        self._cables = cables
        self.clock_error = clock_error
        self.process = None
        self._store = None

    def start(self):
        self.process = self.world.process(self.name)
        self.process.clock_error = self.clock_error
        self.process.run(self._start)
        self.world.note(self.name, "started")
        self.world.counts["hosts started"] += 1

    def kill(self):
        """SIGKILL: what SQLite has committed stays, nothing else does."""
        if self.process.alive:
            self.world.note(self.name, "killed")
            self.end()

    def end(self):
        """Nothing of it goes on."""
        if self.process is not None and self.process.alive:
            self.process.kill()
            for cable in self._cables:
                cable.host = None
            self.world.loop.call_soon(self._store.close)

    def info(self, text):
        """As the bridge's Log."""
        if "internal error" in text and self.process.alive:
            self.world.broken(self.name, text)

    def _start(self):
        process = self.process
        self._store = KeyStore(self._path, clock=self._unix)
        calls = Calls(self._store, self)
        upstreams = {server.name: Office(server) for server in self._servers}
        ends = [
            Line(self, process, cable, _DELIVER[n % len(_DELIVER)], upstreams, calls)
            for n, cable in enumerate(self._cables)
        ]

        def tell(_):
            for end in ends:
                end.tell_states()

        for server in self._servers:
            upstream = upstreams[server.name]
            upstream.on_state = tell
            server.watchers[self.name] = lambda late, up=upstream: process.call_later(
                late, up.look
            )
            process.call_later(1.0, upstream.look)

    def _unix(self):
        return self.world.unix() + self.clock_error

    def jump(self, error):
        """Its clock is set."""
        self.world.note(self.name, f"clock is wrong by {error} s")
        self.clock_error = self.process.clock_error = error


class Line:
    """The host's end of one cable: what mcpgw.bridge.board does when a port is open, without
    finding the port and rescuing boards from their prompt.
    """

    def __init__(self, host, process, cable, deliver, upstreams, calls):
        self._host = host
        self._deliver_as = deliver
        self.process = process
        self._cable = cable
        self._upstreams = upstreams
        self._lines = LineBuffer(_RX)
        self._id = secrets.token_hex(8)
        self._boot = None
        self.serving = False
        self._rx = 8192
        self._plugged = 0
        self._relay = Relay(upstreams, calls, self._deliver, lambda: self._rx, host)
        cable.host = self
        if cable.plugged:
            self.plugged()

    def plugged(self):
        self._plugged += 1
        self._lines.reset()
        self.process.call_soon(self._hello, self._plugged)

    def unplugged(self):
        self._plugged += 1
        self.serving = False

    def _hello(self, plugged):
        if plugged != self._plugged:
            return
        hello = {
            "v": link.VERSION,
            "id": self._id,
            "time_ms": int(self._host._unix() * 1000),
            "rx": _RX,
            "upstreams": list(self._upstreams),
            "by": "simulation",
        }
        if self._deliver_as:
            hello["deliver"] = self._deliver_as
        self._send(b"h", json.dumps(hello).encode())
        self.process.call_later(_HELLO_S, self._hello, plugged)

    def tell_states(self):
        if self.serving:
            states = {name: upstream.up for name, upstream in self._upstreams.items()}
            self._send(b"s", json.dumps(states).encode())

    def _send(self, channel, payload):
        if self.process.alive:
            self._cable.to_board(b"".join(link.encode(channel, [payload])))

    def _deliver(self, name, message):
        if not self.serving:
            return False
        self._send(b"u", name.encode() + b" " + message)
        return True

    def line(self, data):
        for kind, line in lines_of(self._lines, data):
            if line[:1] != b"\x1e" or kind != 1:
                continue
            try:
                channel, start, end = link.decode(line, 0, len(line))
                payload = line[start:end]
                if channel == ord("u"):
                    name, _, message = payload.partition(b" ")
                    if self.serving:
                        self._relay.message(name.decode(), message)
                elif channel == ord("h"):
                    self._on_hello(json.loads(payload))
            except ValueError as e:
                self._send(b"e", json.dumps(str(e)).encode())

    def _on_hello(self, answer):
        if answer["id"] != self._id:
            return
        restarted = self._boot is not None and answer["boot"] != self._boot
        if restarted:
            self.serving = False
        self._boot = answer["boot"]
        self._rx = answer["rx"]
        if not self.serving:
            self.serving = True
            self._relay.board_up(restarted)
        self.tell_states()
