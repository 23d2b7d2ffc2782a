"""The paired gateway, put together: what `mcpgw pi` runs."""

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from mcp_gw.errors import ConfigError

from .. import UserError, __version__
from ..bridge.calls import Calls
from ..bridge.keys import KeyStore
from ..bridge.run import prune, report
from .asgi import Application
from .config import LOOPBACK
from .endpoints import PiEndpoints
from .gateway import PiGateway
from .guard import Guard
from .keyed import Keyed
from .metrics import Figures
from .protocol import protocol
from .servers import open_servers
from .store import ServiceLock, Store, StoreError, explained
from .views import install as install_views

_SECOND_S = 1.0
_THREADS = 64
# How long requests under way may take to end when the service stops.
_GRACE_S = 5


class Service:
    """One paired gateway. config: a Config; log: a bridge.log.Log. Raises UserError.

    gateway, store, keyed, servers (dict of name -> Upstream), boards: its parts, for those that
    take part in it: pi/boards.py (`Boards(gateway, config, store, servers, log)` with async
    run() and close()) and pi/model.py (`Model(gateway, config, log)`, likewise).
    """

    def __init__(self, config, log):
        self.config = config
        self.log = log
        self.lock = ServiceLock(config.store)
        self.store = Store(config.store)
        self.gateway = PiGateway(config, __version__, log)
        try:
            keys = KeyStore(config.store, share=config.outcomes_mb << 20)
            keys.alone()
        except Exception as e:
            raise explained(config.store, e) from e
        self.calls = Calls(keys, log)
        self.keys = keys
        install_views(self.gateway)
        self.keyed = Keyed(self.gateway, self.calls, config, log)
        self.guard = Guard(self.store, config.insecure, config.trust_loopback, log)
        self.figures = Figures(self)
        self.asgi = Application(
            self.gateway,
            config.path,
            False,
            config.hosts,
            config.origins,
            self.guard,
            PiEndpoints(self),
        )
        self.servers = open_servers(self.gateway, config, log)
        self.boards = self._part("boards", "Boards", self.store, self.servers, log)
        self.model = None
        if config.model is not None:
            self.model = self._part("model", "Model", log)
            if self.model is None:
                raise UserError(f"{config.file}: [model]: this installation comes without it")
        self.web = (
            self.asgi if self.model is None else self.model.in_front_of(self.asgi, self.guard)
        )
        self.socket = None
        self._ending = asyncio.Event()

    def _part(self, module, name, *more):
        """An optional part of the service, None where this installation comes without it."""
        full = f"{__package__}.{module}"
        try:
            found = importlib.import_module(full)
        except ModuleNotFoundError as e:
            if e.name != full:
                raise
            return None
        return getattr(found, name)(self.gateway, self.config, *more)

    def listen(self):
        """Take the port. Raises UserError."""
        self.socket = bound(self.config.host, self.config.port)

    @property
    def address(self):
        """(host, port) that it listens on."""
        return self.socket.getsockname()[:2]

    def end(self):
        """Make run() return."""
        self._ending.set()

    async def run(self, stdio=None):
        """Serve until end(). stdio: None, or the client_stdio.Client that is served beside."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: report(self.log, context))
        server = _server(self.web, self.config, self.gateway)
        self.gateway.open(self.asgi)
        works = [
            server.serve([self.socket]),
            self.gateway.serve(),
            self._ending.wait(),
            self._seconds(),
            prune(self.keys),
        ]
        if stdio:
            works.append(stdio.run())
        works.extend(part.run() for part in (self.boards, self.model) if part is not None)
        scheme = "https" if self.config.certificate else "http"
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        self.log.info(f"{self.config.name} serves at {scheme}://{shown}:{port}{self.config.path}")
        self._warn()
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            # Only a signal, the end of a client on stdio or an internal error completes one.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            server.should_exit = True
            await self.asgi.drain(_GRACE_S)
            await asyncio.wait(tasks[:1], timeout=_GRACE_S)
            await self._close(tasks)

    def _warn(self):
        config = self.config
        if config.host in LOOPBACK:
            return
        if config.insecure:
            self.log.info("[pi] insecure: everybody who reaches this port may use every tool")
        elif not config.certificate:
            self.log.info("[pi] no certificate: tokens can be read by who listens on the network")

    async def _close(self, tasks):
        self.gateway.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in (self.boards, self.model):
            if part is not None:
                await part.close()
        await self.calls.close()
        await self.keyed.close()
        await asyncio.gather(*(one.close() for one in self.servers.values()))
        self.close()

    def close(self):
        """Let go of the files and the port."""
        self.store.close()
        self.lock.close()
        if self.socket is not None:
            self.socket.close()

    async def _seconds(self):
        said = None
        while True:
            await asyncio.sleep(_SECOND_S)
            try:
                self.guard.tick()
                said = None
            except StoreError as e:
                if said is None:
                    self.log.info(str(e))
                said = str(e)
            # Each time, also those that were let in while it was not known yet.
            self.asgi.end_streams(self.guard.holds)


def bound(host, port):
    """A socket that listens. Raises UserError."""
    try:
        row = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as e:
        why = getattr(e, "strerror", "no name looks so")
        raise UserError(f"[pi] host {host!r} is no address of this machine: {why}") from e
    found = socket.socket(row[0], socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(row[4])
        found.listen(1024)
    except OSError as e:
        found.close()
        why = f"cannot listen on port {port} of {host}: {e.strerror or e}"
        raise UserError(why + "; choose another with `port` in [pi] or --port") from e
    found.setblocking(False)
    return found


class _Server(uvicorn.Server):
    """uvicorn's, whose signals are the service's business."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


def _server(app, config, gateway):
    settings = uvicorn.Config(
        app,
        http=protocol(gateway.config),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=gateway.config["http_idle_s"],
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as e:
        raise UserError(f"the certificate {config.certificate} cannot be used: {e}") from e
    return _Server(settings)


def run(config, log, stdio=False):
    """Run a service until a signal comes. Raises UserError."""
    _more_files()
    try:
        _loop_run(_run(config, log, stdio))
    except ConfigError as e:
        raise UserError(f"{config.file}: {e}") from e


def _loop_run(work):
    # Names that nobody answers for are waited for in threads; there have to be enough of them for
    # the other boards.
    os.environ.setdefault("UV_THREADPOOL_SIZE", str(_THREADS))
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def _run(config, log, stdio):
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="pi"))
    service = Service(config, log)
    # What is there by now stays: looking through it again and again is time lost.
    gc.collect()
    gc.freeze()
    try:
        service.listen()
    except BaseException:
        service.close()
        raise
    client = None
    if stdio:
        from .client_stdio import Client

        client = Client(service.gateway, service.end)
    _on_signals(service.end)
    await service.run(client)


def _on_signals(end):
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: loop.call_soon_threadsafe(end))


def _more_files():
    """Each connection is an open file: allow as many as the system lets us."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
