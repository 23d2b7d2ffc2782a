"""All upstreams of one gateway: which are there, what they offer, what is on its way to them."""

from ..compat import const, sleep_ms, ticks_diff
from ..errors import GatewayError
from ..protocol.framing import new_spans, scan
from ..protocol.jsonvalue import dumps
from .forward import TEMPLATE, TOOLS, Forwarder
from .router import Router

_QUIET_MS = const(2000)  # without a message, before flash is erased ahead of need
_PAUSE_MS = const(1000)  # between two looks at lists of which a server says that they change


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
        self.routing = None  # the Routing, once there is a choice
        self.others = None  # the Others, once an upstream may have some
        self._caps = caps
        self._opened = 0
        self._renewals = {}  # upstream behind a link -> function(kind), see _renewal()
        self._queued = None
        self._news = []  # keys of queued calls that have got their outcome
        gateway.server.more_tools = self.router.rows
        gateway.server.older_tools = self.router.older_rows
        gateway.server.more_templates = self._templates

    def add(self, upstream, queueable, expiry_s):
        if self.routing:
            self.routing.add(upstream)
        self.router.add(upstream, queueable, expiry_s)
        if self.others is None and any(kind != "tools" for kind in upstream.offers):
            from .others import Others

            server = self._gateway.server
            self.others = others = Others(self._gateway.registry, *self._caps)
            server.more_prompts = lambda after: others.rows("prompts", after)
            server.more_resources = lambda after: others.rows("resources", after)

    def keep(self, outbox):
        """There is a queue now."""
        forwarder = self.forwarder
        forwarder.outbox = outbox
        forwarder.queued = self.queued
        outbox.told = self._news.append
        self.router.queue = True
        server = self._gateway.server
        server.more_tools = lambda after: self._tools(after, self.router.rows)
        server.older_tools = lambda after: self._tools(after, self.router.older_rows)
        server.more_methods = self._method

    def queued(self):
        """The Queued: what clients are told of queued calls."""
        if self._queued is None:
            from .queued import Queued

            self._queued = Queued(self._gateway, self.forwarder)
        return self._queued

    def _method(self, name):
        """The function of a method that came with queued calls, or None."""
        if name[:7] != b'"tasks/':
            return None
        self._gateway.tasks()
        return self._gateway.server.add_methods({}).get(name)

    def _tools(self, after, rows):
        """Further rows of tools/list: the queue's own, then the upstreams'."""
        for number, row in enumerate(TOOLS, 1):
            name = row[9 : row.find(b'"', 9)].decode()
            taken = name in self._gateway.registry.tools or self.router.find(name)
            if number > after and not taken:
                yield number, row
        for row in rows(after):
            yield row

    def _templates(self, after):
        """Further rows of resources/templates/list."""
        if not after and self.forwarder.outbox is not None:
            yield 0, TEMPLATE
        if self.others is not None:
            for row in self.others.rows("templates", after):
                yield row

    def open(self):
        """The gateway begins to serve: find out what the upstreams offer that do not tell by
        themselves."""
        self._opened += 1
        self.router.listing = 0
        self.forwarder.begin()
        if self.routing:
            self.routing.open()
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
        if self.routing:
            self.routing.tick(now, second)
        outbox = self.forwarder.outbox
        if outbox is not None and second:
            outbox.expire(self._gateway.clock.unix())
            if not self.forwarder.busy and ticks_diff(now, self._gateway.heard) > _QUIET_MS:
                outbox.ring.idle()
        self.forwarder.tick(now)
        while self._news:
            key = self._news.pop(0).decode()
            if self._queued or any(s.subscribed or s.listens for s in self._gateway.sessions):
                self.queued().tell(key)

    def _link_changed(self, name, link):
        for upstream in self.router.upstreams.values():
            if upstream.tells_state and upstream.link is link:
                if name is None:
                    upstream.lost()
                elif name == upstream.name and upstream.up:
                    if name not in self._renewals:
                        self._renewals[name] = self._renewal(upstream, 0)
                    self._renewals[name](None)

    async def _refresh_all(self, upstream):
        """Ask for all that is shown of an upstream; True when that worked."""
        done = True
        if "tools" in upstream.offers:
            done = await self._refresh(upstream, "tools")
        for kind in ("prompts", "resources"):
            # What a server says it has; over the serial link nothing is known of that.
            if done and kind in upstream.offers and kind in (upstream.capabilities or (kind,)):
                done = await self._refresh(upstream, kind)
        return done

    async def _refresh(self, upstream, kind):
        gateway = self._gateway
        try:
            if kind == "tools":
                before = self.router.absent(upstream)
                changed, left_out = await self.router.refresh(upstream)
                name = upstream.same_as or upstream.name
                for tool in self.router.absent(upstream) - before:
                    gateway.log("%s has no tool %s, but it is queueable here\n" % (name, tool))
            else:
                changed, left_out = await self.others.refresh(upstream, kind)
                if kind == "resources":
                    more = await self.others.refresh(upstream, "templates")
                    changed, left_out = changed or more[0], left_out + more[1]
        except GatewayError as e:
            gateway.log("%s: its %s cannot be listed: %s\n" % (upstream.name, kind, e))
            return False
        if left_out:
            told = upstream.name, left_out, kind
            why = "malformed, of a name that is taken, or over max_upstream_tools or"
            gateway.log("%s: %d %s left out (" % told + why + " max_upstream_bytes)\n")
        if self.routing and self.routing.cache and kind == "resources":
            self.routing.cache.forget(upstream.same_as or upstream.name)
        if changed:
            getattr(gateway, kind + "_changed")()
        return True

    def get_prompt(self, request, port, buf):
        """Pass on a prompts/get of a prompt that the gateway has not; False: nobody has it."""
        found = self.others.prompt(request.name) if self.others else None
        if found is None:
            return False
        self.forwarder.forward(request, port, buf, "prompts/get", *found)
        return True

    def read(self, request, port, buf):
        """The same for resources/read."""
        upstream = self.others.owner(request.name) if self.others else None
        if upstream is None:
            return False
        self.forwarder.forward(request, port, buf, "resources/read", upstream)
        return True

    def complete(self, request, port, buf):
        """The same for completion/complete."""
        server = self._gateway.server
        params = server.params(buf, server.spans) if self.others else {}
        found = self.others.completed(params.get("ref")) if self.others else None
        if found is None:
            return False
        upstream, params["ref"] = found
        params.pop("_meta", None)
        message = b'{"jsonrpc":"2.0","method":"","params":' + dumps(params) + b"}"
        spans = new_spans()
        scan(message, 0, len(message), spans, 128)
        method = "completion/complete"
        self.forwarder.forward(request, port, message, method, upstream, None, spans)
        return True

    async def _keep_listed(self, upstream):
        """List what an upstream offers that does not tell when it can be reached; try until it
        can."""
        wait = 1000
        opened = self._opened
        upstream.on_change = self._renewal(upstream, _PAUSE_MS)
        while not await self._refresh_all(upstream) and opened == self._opened:
            await sleep_ms(wait)
            wait = min(wait * 2, 30000)

    def _renewal(self, upstream, pause_ms):
        """A function(kind) for what an upstream tells: that kind of list is asked for again; None:
        all. One at a time, and once however often it is told meanwhile.

        pause_ms: between two of them, for a server that tells with every list it gives.
        """
        due = []
        task = None

        async def renew():
            while due:
                kind = due.pop(0)
                if kind is None:
                    await self._refresh_all(upstream)
                else:
                    await self._refresh(upstream, kind)
                if pause_ms:
                    await sleep_ms(pause_ms)

        def renewal(kind):
            nonlocal task
            if kind in due or not (kind is None or kind in upstream.offers):
                return
            due.append(kind)
            if task is None or task.done():
                task = self._gateway.work(renew())

        return renewal
