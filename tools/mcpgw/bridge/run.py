"""Puts one client, one board and the upstreams together, until the client ends or a signal
comes.
"""

import asyncio
import os
import signal
import sqlite3
import ssl
import time
import traceback
from dataclasses import dataclass, field

from mcp_gw.protocol.framing import LineBuffer

from .. import UserError
from . import stdio
from .board import Board, Listener
from .calls import Calls
from .keys import KeyStore
from .lines import lines_of
from .relay import Relay
from .session import Session

# The longest message taken from the client, bytes; the board's own cap is lower.
CLIENT_RX = 4 << 20
# More than this unsent to one side stops reading from the other.
_BACKLOG = 1 << 20
# Progress is dropped when a slow line is this far behind.
_PROGRESS_BACKLOG = 32768
_TICK_S = 0.1
_PRUNE_S = 86400


@dataclass
class Config:
    """Settings of one bridge.

    find: function() -> device; upstreams: dict of name to (URL, dict of header fields); state:
    path of the key store; wait_s: how long requests wait for a board; timeout_s: for an
    upstream's answer; ca: file of certificate authorities, or None for the default ones.
    """

    find: object
    state: str
    upstreams: dict = field(default_factory=dict)
    wait_s: float = 10.0
    timeout_s: float = 60.0
    ca: str | None = None
    baud: int = 115200
    rtscts: bool = False


class Joint(Listener):
    """Carries messages between a Session, a Board and a Relay; also keeps either side from
    flooding the other.
    """

    def __init__(self, config, log, to_client):
        self._log = log
        self._to_client = to_client
        self._until = None
        self._changed = set()  # upstreams whose lists have, which the board has yet to be told
        self._timeout_s = config.timeout_s
        self._lines = LineBuffer(CLIENT_RX)
        names = list(config.upstreams)
        self.board = Board(config.find, self, log, names, config.baud, config.rtscts)
        self.session = Session(
            self.board.send_message, to_client, log, config.wait_s, self.board.greet
        )
        self.relay = None

    # Listener

    def board_up(self, hello, restarted):
        self.session.board_up(self.board.rx, restarted, time.monotonic())
        self.relay.board_up(restarted)

    def board_same(self):
        self.session.board_same()

    def board_down(self, why):
        self.session.board_down(why, time.monotonic())

    def board_message(self, line):
        self.session.board_line(line)

    def board_upstream(self, name, message):
        self.relay.message(name, message)

    # the other directions

    def deliver(self, name, message):
        """A message of an upstream to the board; False when no board is there."""
        if not self.board.serving:
            return False
        if self.board.unsent > _PROGRESS_BACKLOG and b'"method":"notifications/' in message[:64]:
            return True
        self.board.send_frame(b"u", name.encode() + b" " + message)
        return True

    def changed(self, name):
        """The lists of an upstream have changed: the board is told once in a while."""
        self._changed.add(name)

    def client_data(self, data):
        now = time.monotonic()
        lines = self._lines
        for kind, line in lines_of(lines, data):
            if kind == 1:
                self.session.client_line(line, now)
            else:
                self.session.oversize(line, lines.cap)

    def client_end(self):
        # A last line without LF is a message all the same.
        self.client_data(b"\n")
        self._until = time.monotonic() + self._timeout_s

    async def tick(self, reader, writer):
        """Time-outs and flow control; returns when everything due after the client's end is
        done.
        """
        while not (self._until is not None and self.session.idle):
            now = time.monotonic()
            if self._until is not None and now > self._until:
                return
            self.session.tick(now)
            while self._changed:
                self.board.changed(self._changed.pop())
            self.board.pause(writer.unsent > _BACKLOG)
            reader.pause(self.board.unsent > _BACKLOG or self.session.waiting > _BACKLOG)
            await asyncio.sleep(_TICK_S)


async def run(config, log):
    """Run one bridge. Raises UserError for settings that cannot work."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    try:
        store = KeyStore(config.state)
    except (sqlite3.Error, OSError) as e:
        raise UserError(
            f"cannot use the key store {config.state}: {e}; choose one with --state"
        ) from e
    calls = Calls(store, log)
    upstreams = _upstreams(config, log)
    stdin, stdout = stdio.binary_stdio()
    writer = stdio.Writer(stdout, loop, end.set)
    joint = Joint(config, log, lambda line: writer.write(line + b"\n"))
    joint.relay = Relay(upstreams, calls, joint.deliver, lambda: joint.board.rx, log)
    reader = stdio.Reader(stdin, loop, joint.client_data, joint.client_end)

    def tell(_):
        joint.board.states({name: upstream.up for name, upstream in upstreams.items()})

    for upstream in upstreams.values():
        upstream.on_state = tell
        upstream.on_change = lambda kind, name=upstream.name: joint.changed(name)
    tell(None)
    catch_signals(loop, end.set)
    loop.set_exception_handler(lambda _, context: report(log, context))
    tasks = [
        asyncio.ensure_future(work)
        for work in (
            joint.board.run(),
            joint.tick(reader, writer),
            end.wait(),
            prune(store),
            *(upstream.keep() for upstream in upstreams.values()),
        )
    ]
    try:
        # Only the end of the client, a signal or an internal error completes one of these.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(writer.close)
        await calls.close()
        await joint.relay.close()
        await asyncio.gather(*(upstream.close() for upstream in upstreams.values()))


def _upstreams(config, log):
    """dict of name to HTTPUpstream."""
    if not config.upstreams:
        return {}
    from .upstreams import (
        HTTPUpstream,
    )  # httpx takes half of the time that the bridge needs to start

    verify = True
    if config.ca is not None:
        try:
            verify = ssl.create_default_context(cafile=config.ca)
        except (OSError, ssl.SSLError) as e:
            raise UserError(f"--ca {config.ca}: {e}") from e
    return {
        name: HTTPUpstream(name, url, log, fields, verify, config.timeout_s)
        for name, (url, fields) in config.upstreams.items()
    }


def report(log, context):
    """A callback failed: say so where the user looks, and go on with the next message."""
    error = context.get("exception")
    log.info(f"internal error: {context['message']}: {error!r}")
    if error and os.environ.get("MCPGW_DEBUG"):
        for line in "".join(traceback.format_exception(error)).splitlines():
            log.info(line)


async def prune(store):
    while True:
        await asyncio.sleep(_PRUNE_S)
        await asyncio.to_thread(store.prune)


def catch_signals(loop, stop):
    """Let SIGINT, SIGTERM and Windows' SIGBREAK end the bridge in good order."""

    def caught(number, frame):
        loop.call_soon_threadsafe(stop)

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), caught)
