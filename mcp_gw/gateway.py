"""The gateway: puts the parts together and owns the event loop. Nothing else knows all of them."""

import gc
import sys

from .clock import Clock
from .compat import (
    HAS_STDERR,
    MICROPYTHON,
    close_with,
    const,
    forget_tasks,
    kbd_intr,
    pollable,
    run_until,
    sleep_ms,
    spawn,
    ticks_add,
    ticks_diff,
    ticks_ms,
    watch_tasks,
)
from .config import configured
from .declares import Declares
from .dispatch import Answer, Dispatch
from .errors import ConfigError
from .protocol.jsonvalue import checked
from .protocol.revisions import BY_NAME, LATEST_LEGACY
from .protocol.server import Server
from .protocol.session import Session
from .reactor import report, unwatch, watch
from .registry import Registry, check_name
from .tells import Tells
from .transports.link import random_hex

# How long it must be quiet before garbage is collected ahead of need: 10 ms on an RP2040.
_QUIET_MS = const(100)
# How long upstreams and queue are left alone after an error nobody foresaw.
_PAUSE_MS = const(5000)


class Gateway(Declares, Tells):
    """An MCP gateway: tools, resources and prompts of its own, and those of its upstreams.

    name, version: as told to clients (name: default: the configuration's, else "mcpgw");
    instructions: how to use this server, for the model; title, icons (list of dicts), website: for
    people who see it in a client. edge: path of a configuration (docs/configuration.md), "": none;
    default: the board's own. Further keywords are settings (mcp_gw/config.py).
    """

    def __init__(
        self,
        name=None,
        version="0",
        instructions=None,
        title=None,
        icons=None,
        website=None,
        **config,
    ):
        self.name, self.config = configured(self, name, config)
        check_name(self.name)
        self.version = str(version)
        self.boot = random_hex(8)
        self.registry = Registry()
        for kind in ("tools", "prompts", "resources", "templates"):
            getattr(self.registry, kind).changed = self._change_of(kind)
        info = {"name": self.name, "version": self.version}
        for key, value in (("title", title), ("icons", icons), ("websiteUrl", website)):
            if value is not None:
                info[key] = value
        self.server = Server(
            self.registry,
            checked(info),
            self._capabilities,
            instructions,
            self.config["max_depth"],
            self.config["page_size"],
        )
        self.dispatch = Dispatch(self)
        Tells.__init__(self)
        self._http = []
        self.upstreams = None  # the Hub, once upstream() or queue() was called
        self.ports = []
        self._work = []  # asyncio tasks under way
        self._pause = None  # before this time upstreams and queue are left alone
        self._running = False
        self._over = False  # the last port's input has ended
        self.clock = Clock()
        self._lines = 0  # handled since the last collection of garbage
        self.heard = ticks_ms()
        self._print = None

    def _hub(self):
        if self.upstreams is None:
            from .route.hub import Hub

            self.upstreams = Hub(self)
        return self.upstreams

    # Running.

    def run(self, *transports, **options):
        """Serve until Ctrl-C, or until the input of the last port has ended.

        transports: "stdio" or "serial" (both: the console), "http", or streams such as a
        machine.UART; default: the console. options: of the HTTP server (docs/http-server.md).
        """
        try:
            run_until(self.serve(*transports, **options))
        finally:
            # A Ctrl-C leaves the event loop at once, without unwinding serve(), and often comes
            # twice.
            kbd_intr(-1)
            self.close()
            forget_tasks()
            kbd_intr(3)

    async def serve(self, *transports, **options):
        """run() for a program that has its own asyncio event loop.

        Ports that are open already are served. MicroPython's loop does not unwind on Ctrl-C:
        call close() in a finally around asyncio.run().
        """
        if not self.ports and not self._http:
            self.open(*transports, **options)
        self._running = True
        pumps = [self._attend(port) for port in self.ports]
        try:
            while self._running:
                self._tick()
                await sleep_ms(20 if self._work else 100)
        finally:
            for pump in pumps:
                if pump:
                    pump.cancel()
            self.close()

    def poll(self, *transports, **options):
        """Do what is ready and return: for programs with a loop of their own.

        Returns how many messages were handled, -1 once the input has ended.
        """
        if self._print is None:
            self.open(*transports, **options)
        count = 0
        for port in self.ports[:]:
            n = port.fill()
            if n > 0:
                count += self._drain(port)
            elif n < 0:
                port.ended = True
        self._tick()
        if self._work or self._http:
            run_until(_turn())
        return -1 if self._over else count

    def process(self, message):
        """Answer one message without a transport.

        message: bytes, one JSON-RPC message; it needs no handshake. Returns the answer as bytes,
        b"" for a notification. Waits for asynchronous tools and upstreams.
        """
        port = Answer(Session(BY_NAME[LATEST_LEGACY]))
        self.answer(port, message)
        self.leave(port.session)
        return bytes(port.data)

    def answer(self, port, message):
        """Handle one message (bytes) of `port` and wait until its answer was sent there."""
        self.dispatch.take(port, message, 0, len(message))
        if port.session.busy:
            run_until(self._until_answered(port))

    async def _until_answered(self, port):
        while port.session.busy:
            self._tick()
            await sleep_ms(1)

    def close(self):
        """Let go of the console; a later run(), serve() or poll() opens it again."""
        if self._print:
            import builtins

            builtins.print = self._print
            self._print = None
            watch_tasks(None)
            report(None)
        self._running = False
        if self._listening:
            for session in list(self.sessions):
                self._listening.close(session)
        for server in self._http:
            server.close()
        for port in self.ports:
            unwatch(port.stream)
            port.session.drop()
        self._http = []
        self.ports = []
        self.sessions.clear()
        if self._tasks_kept:
            self._tasks_kept.close()
        self._work = []

    @property
    def serving(self):
        """Whether run() or serve() is at work."""
        return self._running

    def stop(self):
        """Make run() and serve() return."""
        self._running = False

    def open(self, *transports, take=None, **options):
        """Open ports without serving them yet; run(), serve() and poll() do it by themselves.

        transports: as run() takes them, or a server with listen(), tick(now) and close(). take:
        function(port, buf, lo, hi) that gets the messages instead of this gateway; options: of the
        HTTP server.
        """
        from .transports.serial import Console, Port, Uart

        self._over = False
        transports = transports or ("serial",)
        if options and "http" not in transports:
            raise ConfigError("option %s is not known without http" % list(options)[0])
        for transport in transports:
            if transport == "http":
                self._open_http(options)
                continue
            if hasattr(transport, "tick"):
                self._listen(transport)
                continue
            if transport in ("stdio", "serial"):
                io = Console()
            elif isinstance(transport, str):
                raise ConfigError(
                    "transport %r is not known; stdio, serial and http are" % transport
                )
            else:
                io = transport if hasattr(transport, "stream") else Uart(transport)
            cap = self.config["max_message"]
            port = Port(io, cap, take or self.dispatch.take, self.dispatch.oversized, Session())
            port.session.out = port.send
            self.join(port.session)
            port.link.on_hello = lambda host, port=port: self.hello(host, port)
            if self.upstreams:
                self.upstreams.watch(port.link)
            self.ports.append(port)
        if self._print is None:
            import builtins

            self._print = builtins.print
            builtins.print = self._printed
            watch_tasks(self.log_exception)
            report(self.log_exception)
            if self.upstreams:
                self.upstreams.open()
        gc.collect()

    def _open_http(self, options):
        try:
            from .transports.tcp import HttpServer
        except ImportError:
            raise ConfigError("this firmware has no network: http is not there") from None
        self._listen(HttpServer(self, **options))

    def _listen(self, server):
        server.listen()
        self._http.append(server)

    def _attend(self, port):
        """Serve a port whenever it is ready; returns a task where it has to be looked at."""
        if not pollable(port.stream):
            return spawn(self._pump(port))
        watch(port.stream, lambda: self.ready(port))
        return None

    async def _pump(self, port):
        while port in self.ports and not port.ended:
            if not self.ready(port):
                await sleep_ms(2)
            elif self._work:
                await sleep_ms(0)

    def ready(self, port):
        """Read once and handle what is complete. Returns whether there was anything."""
        try:
            n = port.fill()
            if n > 0:
                self._drain(port)
            elif n < 0:
                self._end(port)
        except Exception as e:
            # The stream itself fails; the other ports go on.
            self.log_exception(e)
            self._end(port)
            self._remove(port)
            return False
        return n > 0

    def _end(self, port):
        """No more will come; what is under way is still answered."""
        port.ended = True
        unwatch(port.stream)

    def _remove(self, port):
        self.ports.remove(port)
        self.leave(port.session)
        if not self.ports:
            # Whoever started a server on stdio ends it so, HTTP beside it included.
            self._running = False
            self._over = True

    def _drain(self, port):
        count = 0
        while True:
            try:
                count += port.drain()
                break
            except Exception as e:
                self.log_exception(e)  # a line is taken out before it is handled: on to the next
        self._lines += count
        self.heard = ticks_ms()
        return count

    def _tick(self):
        now = ticks_ms()
        if (
            self._lines >= self.config["idle_gc_lines"]
            and ticks_diff(now, self.heard) >= _QUIET_MS
        ):
            # Nobody waits for it now; a client that sends its next request at once would.
            self._lines = 0
            gc.collect()
        if self._work:
            self._work = [task for task in self._work if not task.done()]
        second = self.clock.tick(now)
        for port in self.ports[:]:
            port.link.tick()
            if port.ended and not port.session.busy:
                self._remove(port)
        for server in self._http:
            server.tick(now)
        if second and self._tasks_kept:
            self._tasks_kept.tick()
        if self.upstreams and (self._pause is None or ticks_diff(now, self._pause) >= 0):
            self._pause = None  # ticks compare for six days only
            try:
                self.upstreams.tick(now, second)
            except Exception as e:
                # No memory, a flash that fails: local tools are served all the same.
                self._pause = ticks_add(now, _PAUSE_MS)
                self.log_exception(e)

    # What the parts ask for.

    def hello(self, host, port):
        """A bridge said hello on a port: take its time, tell it who we are."""
        unix_s = int(host["time_ms"]) // 1000
        if not 0 < unix_s < 1 << 32:
            raise ValueError("time_ms")
        self.clock.set(unix_s)
        if port.link.host != host["id"]:
            port.session.drop()
            port.session.revision = None
        row = {
            "boot": self.boot,
            "name": self.name,
            "version": self.version,
            "rx": self.config["max_message"],
            "pending": 0,
        }
        if self.upstreams:
            row["pending"] = self.upstreams.hello(host, port.link)
        return row

    # Asynchronous work.

    def work(self, steps):
        """Run a coroutine beside the others; whatever it raises is logged. Returns its task."""
        task = spawn(self._logged(steps))
        if close_with:
            close_with(task, steps)
        self._work.append(task)
        return task

    async def _logged(self, steps):
        try:
            await steps
        except Exception as e:
            self.log_exception(e)

    # Words.

    def log(self, text):
        """Text for people: to the bridge, to standard error, or kept for the next bridge."""
        if self.ports:
            for port in self.ports:
                if port.link.up:
                    port.log(text)
                    return
            self.ports[0].log(text)
        elif HAS_STDERR:
            sys.stderr.write(text)
        elif self._print:  # nothing but HTTP is served: the console is for people
            self._print(text, end="")

    def _printed(self, *args, sep=" ", end="\n", file=None, **kw):
        """What print() is while serving: the channel carries MCP only."""
        if file is None or file is sys.stdout or (file is sys.stderr and not HAS_STDERR):
            sep = " " if sep is None else sep
            self.log(sep.join(str(a) for a in args) + ("\n" if end is None else end))
        else:
            self._print(*args, sep=sep, end=end, file=file)

    def log_exception(self, e):
        """Log an exception with its traceback."""
        from io import StringIO

        out = StringIO()
        if MICROPYTHON:
            sys.print_exception(e, out)
        else:
            import traceback

            traceback.print_exception(e, file=out)
        self.log(out.getvalue())


async def _turn():
    """One turn of the event loop."""
    await sleep_ms(0)
