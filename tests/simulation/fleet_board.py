"""One board: the real gateway on flash that is cut, started again and again, and its clients."""

import base64
import builtins
import json
import re
import zlib
from contextlib import suppress

from cable import BoardIO
from office import TOOLS

from mcp_gw.compat import ticks_ms
from mcp_gw.gateway import Gateway
from mcp_gw.protocol.revisions import BY_NAME, LATEST_LEGACY
from mcp_gw.protocol.session import Session
from mcp_gw.queue.nor_fault import FaultNor, PowerCut
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.route.queueable import Queueable
from mcp_gw.transports.link import decode

_KEY = re.compile(rb'"mcp-gw/key":"([^"]+)"')
# Seconds between two looks of the gateway: while something is under way, while a host is there,
# and else.
_BUSY, _THERE, _ALONE = 0.05, 0.9, 30.0


class Flash(FaultNor):
    """Flash that kills its board when its power is cut. on_cut: function()."""

    def __init__(self, sectors, seed, on_cut):
        self._on_cut = on_cut
        self._off = False
        super().__init__(RamNor(sectors), seed)

    @property
    def off(self):
        return self._off

    @off.setter
    def off(self, off):
        if off and not self._off:
            self._on_cut()
        self._off = off


class Client:
    """A client's end in the place of a port: one call, one answer."""

    settling = False

    def __init__(self, board, entry):
        self.session = Session(BY_NAME[LATEST_LEGACY])
        self.link = self
        self._board = board
        self._process = board.process
        self._entry = entry

    def answer(self, parts, status=200):
        if self._process.alive:
            message = json.loads(b"".join(bytes(part) for part in parts))
            self._board.answered(self._entry, message)

    def send(self, parts):
        """Progress; nobody asked for it."""

    def close_stream(self):
        """There is none."""


class Board:
    """servers: dict of server's name -> expiry_s of calls to it; sectors: of its queue; overflow:
    of its outbox.
    """

    def __init__(self, world, name, cable, ledger, servers, sectors, overflow):
        self.world = world
        self.name = name
        self._ledger = ledger
        self._cable = cable
        self._servers = servers
        self._overflow = overflow
        self._rng = world.stream(f"board {name}")
        self.flash = Flash(sectors, self._rng.getrandbits(32), self._cut)
        self.process = None
        self.gw = None
        self._timer = None
        self._dropped = 0  # outcomes that gave way to requests, in all starts
        self._missed = 0  # those of them that nobody had read

    @property
    def on(self):
        return self.process is not None and self.process.alive

    @property
    def pending(self):
        """How many calls wait in its queue."""
        return self.gw.upstreams.forwarder.outbox.pending

    # Power.

    def start(self):
        self.flash.power_on()
        self.process = self.world.process(self.name)
        self.world.note(self.name, "power on")
        self.world.counts["boards started"] += 1
        try:
            self.process.run(self._start)
        except PowerCut:
            return
        except Exception as e:
            self.world.broken(self.name, f"does not start: {type(e).__name__}: {e}")
        self.process.call_soon(self._step)
        self.look()

    def power_off(self):
        if self.on:
            self.world.note(self.name, "power off")
            self.end()

    def _cut(self):
        """The flash's power fails, in the middle of the gateway's work."""
        if self.on:
            self.world.note(self.name, f"power cut at flash operation {self.flash.operations}")
            self.world.counts["power cuts"] += 1
            self.end()

    def end(self):
        """Nothing of it goes on."""
        if self.on:
            self._cable.board = None
            self.process.kill()
            self._count_dropped()

    def _count_dropped(self):
        outbox = self.gw and self.gw.upstreams and self.gw.upstreams.forwarder.outbox
        if outbox:
            self._dropped += outbox.dropped
            outbox.dropped = 0

    def _start(self):
        self.gw = None
        gw = Gateway(self.name, max_message=8192, max_calls=8)
        gw.queue(self.flash, overflow=self._overflow)
        for server, expiry_s in self._servers.items():
            waits = [_queueable(name, how) for name, how in TOOLS.items() if how.queueable]
            gw.upstream(server, queueable=waits, expiry_s=expiry_s)
        gw.log_exception = self._failed
        self.gw = gw
        gw.open(BoardIO(self._cable, self.process, self._wake, self.sent))
        builtins.print = gw._print

    def _failed(self, e):
        """In the place of a traceback in the log: what fails for no reason is a bug."""
        if self.on and not isinstance(e, PowerCut):
            try:
                self.world.broken(self.name, f"{type(e).__name__}: {e}")
            except AssertionError as broken:
                broken.__cause__ = e

    def _run(self, function, *args):
        """Call it as a part of the running gateway, during which power may fail."""
        with suppress(PowerCut):
            return self.process.run(function, *args)

    # Work.

    def _wake(self):
        if self._timer is not None and self._timer.when() > self.world.now + 0.001:
            self._timer.cancel()
            self._timer = self.process.call_later(0.001, self._step)

    def _step(self):
        gw = self.gw
        with suppress(PowerCut):
            while gw.ready(gw.ports[0]):
                pass
            gw._tick()
        if self.on:
            self._timer = self.process.call_later(self._pace(), self._step)

    def _pace(self):
        hub = self.gw.upstreams
        if self.gw._work or any(up._pending for up in hub.router.upstreams.values()):
            return _BUSY
        return _THERE if self.gw.ports[0].link.up else _ALONE

    def sent(self, line):
        """A line of the board on its way to the host."""
        if line[:2] == b"\x1eu":
            _, lo, hi = decode(line, 0, len(line) - 1)
            for key in _keys(line[lo:hi]):
                self._ledger.wired(self.name, key)

    # Clients.

    def _take(self, port, method, params):
        row = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        message = json.dumps(row).encode()
        self._run(self.gw._tick)  # what its clocks show is not old
        if self.on:
            self._run(self.gw.dispatch.take, port, message, 0, len(message))
        if self.on:
            self._wake()

    def call(self, server, tool, size):
        zone = self._rng.randrange(2)
        entry = self._ledger.new(self.name, server, tool, self._servers[server], zone)
        arguments = {"n": [entry.n], "zone": zone, "text": "r" * size}
        self.world.note(self.name, f"{entry} is made")
        name = f"{server}_{tool}"
        self._take(Client(self, entry), "tools/call", {"name": name, "arguments": arguments})

    def answered(self, entry, message):
        error = message.get("error")
        if error and error["code"] not in (-32010, -32011, -32012):
            known = ["paper jam", "under way already"]
            if not TOOLS[entry.tool].queueable:
                known.append("unknown tool")  # its server was never reached in this start
            if not any(told in error["message"] for told in known):
                self.world.broken(self.name, f"{entry}: {error}")
        self._ledger.answered(entry, message)

    def look(self):
        """Clients read what became of their calls."""
        if not self.on:
            return
        self._count_dropped()
        self._run(self._look)

    def _look(self):
        for entry in self._ledger.waiting(self.name):
            text = self.gw.upstreams.forwarder.status("queue://" + entry.id)
            if text is None and self._missed < self._dropped:
                self._missed += 1
                self._ledger.gone(entry)
            else:
                self._ledger.status(entry, None if text is None else json.loads(text))

    def cancel(self):
        """A client changes its mind about one call that waits."""
        waiting = self._ledger.waiting(self.name)
        if not self.on or not waiting:
            return
        entry = self._rng.choice(waiting)
        outbox = self.gw.upstreams.forwarder.outbox
        entry.cancelled = True
        done = self._run(outbox.cancel, entry.id.encode())
        self.world.note(self.name, f"{entry}: cancelling: {done}")

    def hurry(self):
        """A client asks to sync."""
        if self.on:
            self._run(lambda: self.gw.upstreams.forwarder.hurry(ticks_ms()))


def _queueable(name, how):
    if how.policy is None:
        return Queueable(name, priority=how.priority)
    merge = _merged if how.policy == "merge" else None
    return Queueable(name, priority=how.priority, key="zone", policy=how.policy, merge=merge)


def _merged(old, new):
    """One tally in place of two, as long as it does not get too long."""
    both = old["n"] + new["n"]
    return dict(new, n=both) if len(both) <= 5 else None


def _keys(payload):
    """Keys of the calls in a message to an upstream, in order."""
    if b'"mcp-gw/deliver"' not in payload:
        return [key.decode() for key in _KEY.findall(payload)]
    params = json.loads(payload[payload.index(b"{") :])["params"]
    calls = params.get("calls")
    if calls is None:
        calls = json.loads(zlib.decompress(base64.b64decode(params["deflate"]), -15))
    return [call["key"] for call in calls]
