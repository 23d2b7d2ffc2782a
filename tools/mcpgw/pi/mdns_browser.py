"""Boards that announce themselves in the local network (_mcp-gw._tcp, docs/pi-boards.md)."""

import asyncio
import ipaddress

from .config import Board as Options

SERVICE = "_mcp-gw._tcp.local."
_RESOLVE_MS = 3000
# Boards that are taken from the network, and what is read of each.
_MOST = 256
_MAX_PATH = 256
# Between looks at what became of announcements.
_LOOK_S = 2.0


async def browse(boards):
    """Take the boards that announce themselves into `boards`, until cancelled."""
    try:
        from zeroconf import InterfaceChoice
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncZeroconf
    except ModuleNotFoundError:
        boards.log.info("[discovery] mdns: zeroconf is not installed: pip install 'mcpgw[pi]'")
        await asyncio.Event().wait()
    try:
        interfaces = list(boards.config.discovery.interfaces) or InterfaceChoice.All
        zeroconf = AsyncZeroconf(interfaces=interfaces)
    except OSError as e:
        boards.log.info(f"[discovery] mdns: no multicast here ({e}); give boards a url instead")
        await asyncio.Event().wait()
    browser = Browser(boards, zeroconf)
    found = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[browser.told])
    try:
        await browser.run()
    finally:
        await found.async_cancel()
        await zeroconf.async_close()


class Browser:
    """boards: the Boards; zeroconf: an AsyncZeroconf."""

    def __init__(self, boards, zeroconf):
        self._boards = boards
        self._zeroconf = zeroconf
        self._news = asyncio.Event()
        self._due = {}  # names of services that have changed (dict for its order)
        self._names = {}  # service -> name of the board
        self._said = set()

    def told(self, zeroconf, service_type, name, state_change):
        """zeroconf has heard of a service."""
        if len(self._due) < _MOST:
            self._due[name] = state_change
            self._news.set()

    async def run(self):
        while True:
            await self._news.wait()
            self._news.clear()
            while self._due:
                service = next(iter(self._due))
                change = self._due.pop(service)
                try:
                    if change.name != "Removed":
                        await self._found(service)
                except Exception as e:  # whatever somebody in the network has said
                    self._say(f"mdns: {_shown(service)}: {e!r}")

    async def _found(self, service):
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(SERVICE, service)
        if not await info.async_request(self._zeroconf.zeroconf, _RESOLVE_MS):
            return
        label = service.removesuffix("." + SERVICE)
        url, guarded = _described(info)
        boards = self._boards
        known = self._names.get(service)
        if known in boards.known:
            if boards.known[known].where == url:
                return
            await boards.drop(known)  # it has moved
        if len(self._names) >= _MOST:
            self._say(f"mdns: more than {_MOST} boards: {_shown(label)} is left out")
            return
        if any(one.where == url for one in boards.known.values()):
            return  # named in the configuration
        identity = "mdns:" + label
        name = await asyncio.to_thread(boards.name_for, label, identity)
        options = Options(name, url=url)
        options.connections = 2
        token = boards.config.discovery.tokens.get(name)
        if token:
            options.headers["Authorization"] = "Bearer " + token
        elif guarded:
            self._say(f"mdns: {name} at {url} wants a token: give it in [discovery.tokens]")
            return
        self._names[service] = name
        boards.add_http(name, "mdns", url, options, identity)

    def _say(self, text):
        if text not in self._said and len(self._said) < _MOST:
            self._said.add(text)
            self._boards.log.info(text)


def _described(info):
    """(url, whether it wants a token) of a service. Raises ValueError."""
    rows = {
        key: value.decode("utf-8", "replace")
        for key, value in info.properties.items()
        if isinstance(key, bytes) and value is not None
        for key in (key.decode("ascii", "replace"),)
    }
    if rows.get("v") != "1":
        raise ValueError(f"version {_shown(rows.get('v'))} of the announcement is not known")
    path = rows.get("path", "/mcp")
    if not path.startswith("/") or len(path) > _MAX_PATH or _shown(path) != path or " " in path:
        raise ValueError("its path is none")
    addresses = [ipaddress.ip_address(text) for text in info.parsed_addresses()]
    near = [one for one in addresses if one.is_private or one.is_loopback or one.is_link_local]
    if not near or not info.port:
        raise ValueError("it has no address in the local network")
    host = str(near[0]) if near[0].version == 4 else f"[{near[0]}]"
    scheme = "https" if rows.get("tls") == "1" else "http"
    return f"{scheme}://{host}:{info.port}{path}", rows.get("auth") == "1"


def _shown(text):
    return "".join(c if " " <= c <= "~" else "?" for c in str(text)[:128])
