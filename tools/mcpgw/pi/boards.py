"""The boards of the paired gateway: found, named, shown to clients, and kept."""

import asyncio
import contextlib
import re
import threading
import time
from functools import partial

from mcp_gw.errors import ConfigError

from .. import UserError
from . import uris
from .http_board import HttpBoard
from .links import Links
from .pairing import Pairing
from .store import StoreError

_TICK_S = 1.0
# Boards that are known at once.
MAX_BOARDS = 1024
# Between two looks at lists of which a board says that they change.
_RENEWAL_MS = 1000
# Between tries to list what a board has.
_LIST_RETRY_S = 2.0
_LONGEST = 32


class Board:
    """One board as this gateway knows it.

    kind: "serial", "dial", "http" or "mdns"; where: its port, address or URL; identity: what tells
    it from others of its name; upstream: BoardFace; work: task that keeps it connected, or None.
    """

    def __init__(self, name, kind, where, identity, upstream):
        self.name = name
        self.kind = kind
        self.where = where
        self.identity = identity
        self.upstream = upstream
        self.up = False
        self.since = time.time()
        self.work = None
        self.connection = None  # a dial_in.Connection, of one that dials in
        self.listing = None
        self.withdrawing = None
        self.noted = None  # what the store holds

    def about(self):
        """What is told of it (dict)."""
        hello = getattr(self.upstream, "hello", {})
        row = {"kind": self.kind, "where": self.where, "up": self.up, "since": self.since}
        if not self.up:
            row["why"] = self.upstream.why
        if "version" in hello:
            row["version"] = re.sub(r"[^ -~]", "?", str(hello["version"])[:40])
        if type(hello.get("pending")) is int:
            row["pending"] = hello["pending"]
        return row


class Boards:
    """gateway: PiGateway; config: config.Config; store: store.Store; servers: dict of name ->
    Upstream; log: bridge.log.Log."""

    def __init__(self, gateway, config, store, servers, log):
        self.gateway = gateway
        self.config = config
        self.log = log
        self.pairing = Pairing(store)
        self.known = {}  # name -> Board
        self.store = store
        self._servers = servers
        self._naming = threading.Lock()
        self._served = None  # names of the tools that boards are shown, None: to be looked at
        self._tasks = set()
        self.links = Links(self)
        self._plain_owner = None
        self._news = asyncio.Event()  # there is something to write down
        _tell(gateway, "tools_changed", self._tools_changed)

    async def run(self):
        """Find boards and keep them, until cancelled. Raises UserError for a dial-in listener that
        cannot be."""
        for name, identity, about, _ in await asyncio.to_thread(self._from_before):
            self.links.remember(name, about["kind"], identity, about.get("where", "?"))
        for name, board in self.config.boards.items():
            if board.port:
                self.links.serial(name, board)
            else:
                self.add_http(name, "http", board.url, board)
        works = [self._tick]
        if self.config.discovery.serial:
            works.append(self.links.scan)
        if self.config.dial.port:
            await self.links.listen()
        if self.config.discovery.mdns:
            from .mdns_browser import browse

            works.append(partial(browse, self))
        try:
            await asyncio.gather(*(work() for work in works))
        finally:
            await self._end()

    async def close(self):
        """Let go of all boards."""
        await self._end()

    async def _end(self):
        await self.links.close()
        works = [board.work for board in self.known.values() if board.work is not None]
        works += self._tasks
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        closing = [board.upstream.close() for board in self.known.values()]
        self.known.clear()
        await asyncio.gather(*closing, return_exceptions=True)

    # Boards come.

    def add(self, name, kind, where, identity, upstream, offers=None):
        """A Board under this name, whose `upstream` becomes one of the gateway's."""
        upstream.served = self.served
        upstream.prefixes = {"pi", self.gateway.name}
        if offers is not None:
            upstream.offers = offers
        upstream.sampling = self.gateway.sampling
        self.gateway.hub.add(upstream, (), self.gateway.config["queue_expiry_s"])
        upstream.on_change = self.gateway.hub._renewal(upstream, _RENEWAL_MS)
        if self.gateway.hub.others is not None and self._plain_owner is None:
            self._plain_owner = self.gateway.hub.others.owner
            self.gateway.hub.others.owner = self._owner
        board = self.known[name] = Board(name, kind, where, identity, upstream)
        upstream.since = board.since
        return board

    def _owner(self, uri):
        """Who has a resource (see Others.owner()): a board that is away still has its own."""
        found = self._plain_owner(uri)
        if found is None:
            board = self.known.get(uris.board_of(uri))
            if board is not None and not board.upstream.shown:
                found = board.upstream
        return found

    def add_http(self, name, kind, url, options, identity=None):
        """A board that serves HTTP. options: a config.Board."""
        try:
            upstream = HttpBoard(
                name,
                url,
                self.changed,
                options.headers,
                options.ca,
                options.connections,
                options.timeout_s,
            )
        except ConfigError as e:
            raise UserError(f"{self.config.file}: [boards.{name}]: {e}") from e
        board = self.add(name, kind, url, identity or url, upstream, options.offers)
        board.work = asyncio.ensure_future(upstream.watch(self.config.discovery.look_s))
        return board

    def name_for(self, wanted, identity, given=False):
        """The name for a board that wants to be called so: the one it had, else a free one. given:
        the user has chosen it for this board. From any thread. Raises StoreError."""
        with self._naming:
            rows = self.store.boards()
            if given:
                name = wanted
            else:
                had = [row[0] for row in rows if row[1] == identity]
                if had:
                    return had[0]
                taken = {row[0] for row in rows} | set(self.known)
                taken |= self.store.clients()
                taken |= set(self._servers) | set(self.config.boards) | {"pi", self.gateway.name}
                name = _free(wanted, taken)
                if len(taken) > MAX_BOARDS:
                    raise StoreError("too many boards are known: mcpgw pi forget NAME")
            self.store.put_board(name, identity, {})
            return name

    async def drop(self, name):
        """The gateway knows this board no more."""
        board = self.known.pop(name, None)
        if board is None:
            return
        upstream = board.upstream
        if board.work is not None:
            board.work.cancel()
            await asyncio.gather(board.work, return_exceptions=True)
        self._cancel(board)
        upstream.shown = False
        await self.gateway.hub._refresh_all(upstream)
        self.gateway.hub.router.upstreams.pop(name, None)
        await upstream.close()

    # They are there, and not.

    def changed(self, upstream):
        """A board's upstream has come up or gone down."""
        board = self.known.get(upstream.name)
        if board is None or board.upstream is not upstream or board.up == upstream.up:
            return
        board.up = upstream.up
        board.since = upstream.since = time.time()
        self._cancel(board)
        self._news.set()
        if board.up:
            self.log.info(f"board {board.name} is there ({board.kind}, {board.where})")
            upstream.shown = True
            board.listing = self._spawn(self._list(board))
        else:
            self.log.info(f"board {board.name} is away: {upstream.why}")
            board.withdrawing = self._spawn(self._withdraw(board))

    def _cancel(self, board):
        for task in (board.listing, board.withdrawing):
            if task is not None:
                task.cancel()
        board.listing = board.withdrawing = None

    async def _list(self, board):
        while not await self.gateway.hub._refresh_all(board.upstream):
            await asyncio.sleep(_LIST_RETRY_S)

    async def _withdraw(self, board):
        # One that comes back soon was only restarted.
        await asyncio.sleep(self.config.discovery.grace_s)
        board.upstream.shown = False
        await self.gateway.hub._refresh_all(board.upstream)

    def _spawn(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.log.info(f"internal error: {task.exception()!r}")

    # What boards are shown.

    def served(self):
        """Names of the tools that boards are shown (a set)."""
        if self._served is None:
            router = self.gateway.hub.router
            boards = {name: one.upstream for name, one in self.known.items()}
            names = set(self.gateway.registry.tools)
            names.update(row[2] for row in router._listed if row[3].name not in boards)
            self._served = names
        return self._served

    def _tools_changed(self):
        before, self._served = self._served, None
        if before is not None and self.served() != before:
            self.links.tools_changed()

    # What is kept of them.

    def _from_before(self):
        """Rows of the boards behind a link that this gateway has known, and that were not in the
        configuration."""
        found = []
        for name, identity, about, at in self.store.boards():
            configured = name in self.config.boards
            if about.get("configured") and not configured:
                self.store.remove_board(name)
            elif about.get("kind") in ("dial", "serial") and not configured:
                found.append((name, identity, about, at))
            elif about.get("up"):
                about.update(up=False, since=time.time(), why="not seen since this start")
                self.store.put_board(name, identity, about)
        return found

    async def _tick(self):
        said = None
        while True:
            try:
                known = list(self.known.values())
                dialed = self.links.dialed()
                gone, paired, lent, tokens = await asyncio.to_thread(self._note, known)
                self.links.lend(lent)
                for name, connection in dialed:
                    if connection.token not in tokens and connection.greeted:
                        self.log.info(f"{name}: its token was taken back")
                        connection.greeted = False
                        connection.cut()
                for name, identity, about in paired:
                    if name not in self.known:
                        self.log.info(f"board {name} was paired ({about['kind']})")
                        self.links.remember(name, about["kind"], identity, about.get("where", "?"))
                for name in gone:
                    self.log.info(f"board {name} was forgotten")
                    await self.drop(name)
                said = None
            except StoreError as e:
                if str(e) != said:
                    self.log.info(str(e))
                said = str(e)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._news.wait()
            self._news.clear()

    def _note(self, boards):
        """Write down how the boards are; returns the names of those that were forgotten, rows
        (name, identity, about) of those that `mcpgw pair` has added, the ports that it has
        borrowed, and the digests of all tokens."""
        rows = self.store.boards()
        stored = {row[0] for row in rows}
        here = {board.name for board in boards} | set(self.config.boards)
        paired = [
            row[:3]
            for row in rows
            if row[0] not in here and row[2].get("kind") in ("dial", "serial")
        ]
        gone = []
        for board in boards:
            about = board.about()
            configured = board.name in self.config.boards
            if configured:
                about["configured"] = True
            if about == board.noted and board.name in stored:
                continue
            # What is not configured has a row, unless it was forgotten, perhaps just now.
            if configured:
                self.store.put_board(board.name, board.identity, about)
            elif not self.store.note_board(board.name, board.identity, about):
                gone.append(board.name)
            board.noted = about
        return gone, paired, self.store.lent(), {row[2] for row in self.store.tokens()}


def _free(wanted, taken):
    """A name like the one wanted: 32 characters of [A-Za-z0-9_-] at most, not among `taken`."""
    base = re.sub(r"[^A-Za-z0-9_-]+", "-", wanted).strip("-_")[:_LONGEST] or "board"
    name = base
    number = 1
    while name in taken:
        number += 1
        tail = f"-{number}"
        name = base[: _LONGEST - len(tail)] + tail
    return name


def _tell(gateway, method, also):
    """Have also() called after a method of the gateway."""
    plain = getattr(gateway, method)

    def both():
        plain()
        also()

    setattr(gateway, method, both)
