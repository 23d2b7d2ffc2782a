"""All upstreams of one gateway: which are there, what they offer, what is on its way to them."""

from ..compat import sleep_ms
from ..errors import GatewayError
from .forward import TEMPLATE, Forwarder
from .router import Router


class Hub:
    """gateway: the Gateway this is a part of."""

    def __init__(self, gateway):
        self._gateway = gateway
        config = gateway.config
        caps = config["max_upstream_tools"], config["max_upstream_bytes"]
        self.router = Router(gateway.registry.tools, *caps)
        self.forwarder = Forwarder(
            gateway.server, self.router, config, gateway.log, gateway.work, gateway.seal
        )
        self._opened = 0
        gateway.server.more_tools = self.router.rows
        gateway.server.more_templates = lambda after: () if after else ((1, TEMPLATE),)

    def add(self, upstream, queueable, expiry_s):
        self.router.add(upstream, queueable, expiry_s)

    def open(self):
        """The gateway begins to serve: find out what the upstreams offer that do not tell by
        themselves."""
        self._opened += 1
        self.router.listing = 0
        self.forwarder.begin()
        for upstream in self.router.upstreams.values():
            if not upstream.tells_state:
                self._gateway.work(self._keep_listed(upstream))

    def watch(self, link):
        """Hear from a port's link what becomes of the upstreams behind it."""
        link.on_change = lambda name: self._link_changed(name, link)

    def hello(self, host, link):
        """A bridge said hello. Returns how many calls wait in the queue."""
        forwarder = self.forwarder
        if link.host != host["id"]:
            forwarder.mix((host["id"] + self._gateway.boot).encode())
        for name in host["upstreams"]:
            upstream = self.router.upstreams.get(name)
            # Of two bridges that know it, the one that is there keeps it.
            if upstream and upstream.tells_state and not (upstream.link and upstream.link.up):
                upstream.attach(link)
        return forwarder.outbox.pending if forwarder.outbox is not None else 0

    def settled(self, link):
        """Whether every upstream that can be reached has told its tools."""
        return not (self.router.listing or link.settling)

    def tick(self, now, second):
        """now: ticks in ms; second: whether a second has passed since the last time it had."""
        for upstream in self.router.upstreams.values():
            upstream.tick(now)
        outbox = self.forwarder.outbox
        if outbox is not None and second:
            outbox.expire(self._gateway.clock.unix())
        self.forwarder.tick(now)

    def _link_changed(self, name, link):
        for upstream in self.router.upstreams.values():
            if upstream.tells_state and upstream.link is link:
                if name is None:
                    upstream.lost()
                elif name == upstream.name and upstream.up:
                    self._gateway.work(self._refresh(upstream))

    async def _refresh(self, upstream):
        gateway = self._gateway
        try:
            changed, left_out = await self.router.refresh(upstream)
        except GatewayError as e:
            gateway.log("%s: its tools cannot be listed: %s\n" % (upstream.name, e))
            return False
        if left_out:
            told = upstream.name, left_out
            why = "malformed, or over max_upstream_tools or max_upstream_bytes"
            gateway.log("%s: %d tools left out (" % told + why + ")\n")
        if changed:
            gateway.tools_changed()
        return True

    async def _keep_listed(self, upstream):
        """List the tools of an upstream that does not tell when it can be reached; try until it
        can."""
        wait = 1000
        opened = self._opened
        upstream.on_change = self._list_changed(upstream)
        while not await self._refresh(upstream) and opened == self._opened:
            await sleep_ms(wait)
            wait = min(wait * 2, 30000)

    def _list_changed(self, upstream):
        def on_change(kind):
            if kind == "tools":
                self._gateway.work(self._refresh(upstream))

        return on_change
