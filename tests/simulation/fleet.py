"""A fleet: boards, the computers they hang on, the servers behind, and what befalls them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from cable import Cable
from fake_time import replaced
from fleet_board import Board
from fleet_host import Host
from ledger import Ledger
from office import TOOLS, Server
from world import World

from mcp_gw.queue import nor_fault

_HOUR = 3600.0
_DAY = 86400.0
# Seconds without faults at the end of the last day, in which all that waits must get its outcome.
CALM_S = 1800.0
# By name of the server: seconds for which its calls may wait, for which it is up and down at a
# time, on average.
_SERVERS = {
    "office": (6 * _HOUR, 6 * _HOUR, _HOUR),
    "lab": (30 * _HOUR, 6 * _HOUR, _HOUR),
    "archive": (11 * _DAY, 2 * _DAY, 7 * _DAY),
}


# Boards on one computer.
_PER_HOST = 4
# How often each is asked.
_ASKED = ("office",) * 8 + ("lab",) * 8 + ("archive",)


@dataclass
class Settings:
    """boards: how many; days: simulated; loss: of lines, requests and answers, as a part of 1;
    cuts: power failures per board and day.
    """

    boards: int = 20
    days: float = 30.0
    loss: float = 0.01
    cuts: float = 1.0
    calls: float = 24.0  # per board and day, beside bursts
    rests: bool = False  # every day ends with a quiet time, until nothing waits any more


class Fleet:
    """seed: decides everything; folder: for SQLite files; keep: text file for the whole trace."""

    def __init__(self, settings, seed, folder, keep=None):
        self.settings = settings
        self.world = world = World(seed, keep)
        self.ledger = ledger = Ledger(world, self._exact, self._drops)
        self._rng = rng = world.stream("fleet")
        self.servers = [Server(world, name, settings.loss, ledger.executed) for name in _SERVERS]
        self.boards = []
        self.hosts = []
        self._dropping = set()
        self._jumpy = set()  # boards whose host's clock is wrong at times
        names = [f"board{n + 1}" for n in range(settings.boards)]
        self.cables = [Cable(world, f"cable{n + 1}", settings.loss) for n in range(len(names))]
        for first in range(0, len(names), _PER_HOST):
            name = f"host{first // _PER_HOST + 1}"
            cables = self.cables[first : first + _PER_HOST]
            self.hosts.append(Host(world, name, folder / f"{name}.sqlite", self.servers, cables))
            if first // _PER_HOST % 2:
                self._jumpy.update(names[first : first + _PER_HOST])
        for n, (name, cable) in enumerate(zip(names, self.cables, strict=True)):
            sectors = rng.choice((6, 8, 16, 16, 32))
            overflow = ("refuse", "drop")[n % 2]
            if overflow == "drop":
                self._dropping.add(name)
            expiry_s = {server: int(row[0]) for server, row in _SERVERS.items()}
            self.boards.append(Board(world, name, cable, ledger, expiry_s, sectors, overflow))

    def _exact(self, board):
        return board not in self._jumpy

    def _drops(self, board):
        return board in self._dropping

    def run(self, progress=lambda day: None):
        """Let it live; raises Broken. progress: function(day), called after each."""
        world = self.world
        with replaced(world.loop, world.seed, self._printed):
            try:
                world.loop.call_soon(self._begin)
                self._live(progress)
                world.loop.call_soon(self._close)
                world.run(world.now + 1)
            finally:
                for part in (*self.boards, *self.hosts):
                    part.end()
                world.end()
        return self

    def _live(self, progress):
        world = self.world
        settings = self.settings
        end = settings.days * _DAY
        while world.now < end:
            at = min(world.now + _DAY, end)
            if settings.rests or at == end:
                world.run(at - CALM_S)
                world.loop.call_soon(self._calm_down)
                while world.now < at - 240:
                    world.run(world.now + 120)
                    if not any(board.pending for board in self.boards):
                        break
                world.loop.call_soon(self._unplug)
            world.run(at)
            progress(world.now / _DAY)
            world.calm = at == end

    def _printed(self, process, text):
        pass

    # What befalls them. Each of these plans its own next time.

    def _later(self, mean_s, what, *args):
        at = self.world.now + self._rng.expovariate(1 / mean_s)
        self.world.loop.call_at(at, self._do, what, args)

    def _do(self, what, args):
        if self.world.calm:
            self._later(_HOUR, what, *args)
        else:
            what(*args)

    def _begin(self):
        rng = self._rng
        for host in self.hosts:
            host.start()
            self._later(12 * _HOUR, self._kill_host, host)
            self._later(_DAY, self._set_clock, host)
        for server in self.servers:
            self._later(_SERVERS[server.name][1], self._server_fails, server)
        for board, cable in zip(self.boards, self.cables, strict=True):
            board.start()
            self._later(_HOUR, self._plug, cable)
            self._later(_DAY / self.settings.calls, self._call, board)
            self._later(_HOUR, self._look, board)
            if self.settings.cuts:
                self._later(_DAY / self.settings.cuts, self._power_fails, board)
        self._rng = rng

    def _plug(self, cable):
        if cable.plugged:
            cable.plug(False)
            flaps = self._rng.random() < 0.4
            self._later(20.0 if flaps else 3 * _HOUR, self._plug, cable)
        else:
            cable.plug(True)
            flaps = self._rng.random() < 0.4
            self._later(5.0 if flaps else 8 * 60, self._plug, cable)

    def _power_fails(self, board):
        rng = self._rng
        if board.on:
            if rng.random() < 0.6:
                self._cut(board, rng.randrange(30))
                # A board that does not write is cut all the same, after a while.
                self._later(_HOUR, self._power_off, board)
            else:
                self._power_off(board)
        self._later(_DAY / self.settings.cuts, self._power_fails, board)

    def _cut(self, board, at):
        rng = self._rng
        board.flash.cut(at, rng.choice(nor_fault.MODES), rng.random() < 0.3)
        self._watch(board)

    def _watch(self, board):
        """Switch a board on again some time after its power failed."""
        if board.on:
            self._later(60.0, self._watch, board)
        else:
            self._back(board)

    def _power_off(self, board):
        if board.on:
            board.power_off()
            self._back(board)

    def _back(self, board):
        self._later(3.0 if self._rng.random() < 0.6 else _HOUR, self._power_on, board)

    def _power_on(self, board):
        if not board.on:
            board.start()
            if self._rng.random() < 0.3:
                # It fails again at once.
                self._cut(board, self._rng.randrange(12))

    def _kill_host(self, host):
        host.kill()
        self._later(3.0 if self._rng.random() < 0.5 else 300.0, self._start_host, host)

    def _start_host(self, host):
        host.start()
        self._later(12 * _HOUR, self._kill_host, host)

    def _set_clock(self, host):
        rng = self._rng
        if self.hosts.index(host) % 2 and host.process.alive:
            host.jump(rng.choice((0, 0, 0, -2, 40, -4000, 5 * 3600, -(10**9), 86400 * 400)))
        self._later(_DAY, self._set_clock, host)

    def _server_fails(self, server):
        server.set_up(not server.up)
        _, up_s, down_s = _SERVERS[server.name]
        self._later(up_s if server.up else down_s, self._server_fails, server)

    def _call(self, board):
        rng = self._rng
        if board.on:
            for _ in range(rng.choice((1, 1, 1, 1, 1, 1, 1, 2, 3, 12))):
                size = rng.choice((0, 20, 200, 1000, 2500))
                board.call(rng.choice(_ASKED), rng.choice(list(TOOLS)), size)
        self._later(_DAY / self.settings.calls, self._call, board)

    def _look(self, board):
        board.look()
        dice = self._rng.random()
        if dice < 0.05:
            board.cancel()
        elif dice < 0.1:
            board.hurry()
        self._later(_HOUR, self._look, board)

    # The end.

    def _calm_down(self):
        """For now everything works."""
        world = self.world
        world.note("fleet", "all is well for now")
        world.calm = True
        for host in self.hosts:
            host.clock_error = 0
            if host.process.alive:
                host.process.clock_error = 0
            else:
                host.start()
        for server in self.servers:
            server.set_up(True)
        for board, cable in zip(self.boards, self.cables, strict=True):
            cable.plug(True)
            board.flash.cut_at = -1
            if not board.on:
                board.start()

    def _unplug(self):
        for cable in self.cables:
            cable.plug(False)

    def _close(self):
        """Nothing may be left without an outcome."""
        world = self.world
        for board in self.boards:
            board.look()
            for entry in self.ledger.waiting(board.name):
                world.broken(board.name, f"{entry} has no outcome in the end")


def live(settings, seed, keep=None, progress=lambda day: None):
    """Run one fleet; returns it."""
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        return Fleet(settings, seed, Path(folder), keep).run(progress)
