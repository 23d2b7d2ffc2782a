"""Routing of one gateway: the places there are, what is decided for each request, and what came of
it."""

import gc

from ..compat import const, ticks_diff, ticks_ms
from ..errors import ConfigError, GatewayError, ProtocolError
from ..protocol.framing import ARGUMENTS, new_spans, scan
from ..protocol.jsontext import loads, member
from ..protocol.jsonvalue import dumps
from ..registry import Resource
from .decide import LOCAL, QUEUE, decide
from .grouped import Grouped
from .places import Place
from .routed import HEAD, Routed
from .rules import checked, defaults, merged

URI = "gateway://routes"
_LAST = const(16)  # decisions that are told one by one
_COUNTED = const(64)  # tools and methods that are counted each; the others together
_CHECK_MS = const(5000)  # time of a look at an upstream's health


class Routing:
    """hub: the Hub; gateway: its Gateway. Takes the place of what routes by name alone."""

    def __init__(self, hub, gateway):
        self._gateway = gateway
        self._hub = hub
        self._given = {}
        self._settings = {}
        self._spans = new_spans()
        self._elsewhere = {}  # the gateway's own tool -> (upstream's name, its name there)
        self._hidden = {}  # upstream's name -> {its tool's name: the tool in _elsewhere}
        self._running = []  # own calls under way: (request, since when)
        self._profile_failed = False
        self.cache = None
        self.places = {}
        self.counts = {}  # (tool or method, where) -> how often
        self.last = []  # (seconds since the start, tool or method, where, why)
        self.retries = self.failovers = 0
        self.options = defaults()
        self.local = Place(LOCAL, None, None, ticks_ms())
        router = hub.router = Grouped(hub.router, self._hidden)
        server = gateway.server
        server.more_tools = router.rows
        server.older_tools = router.older_rows
        hub.forwarder._router = router
        hub.forwarder.passage = self._passage
        gateway.dispatch.routing = self.take
        for upstream in router.upstreams.values():
            self.add(upstream)
        why = "Where requests are carried out: decisions, and the state of each place"
        item = Resource(URI, self.told, {}, "routes", "application/json", description=why)
        gateway.registry.resources.add(item)

    def configure(self, settings, options):
        """See Gateway.routing()."""
        if settings:
            self._settings = merged(checked(settings), self._settings)
        self._given = merged(checked(options), self._given)
        given = merged(self._given, self._settings)
        self.options = merged(given, defaults())
        self._rules = {}
        self._elsewhere.clear()
        self._hidden.clear()
        for tool, row in self.options["tools"].items():
            if "elsewhere" in row:
                name, _, there = row["elsewhere"].partition(":")
                self._elsewhere[tool] = name, there or tool
                self._hidden.setdefault(name, {})[there or tool] = tool
        most = self.options["cache_bytes"]
        if most and (self.cache is None or "cache_bytes" in options):
            from .cache import Cache

            self.cache = Cache(most)
        elif not most:
            self.cache = None
        for place in self.places.values():
            if place.upstream is not None:
                place.configure(self._options_of(place.name))

    def _options_of(self, name):
        """Options of one upstream."""
        return merged(self.options["upstreams"].get(name, {}), self.options)

    def rules_of(self, what):
        """Options of one tool (or method)."""
        row = self.options["tools"].get(what)
        if not row:
            return self.options
        rules = self._rules.get(what)
        if rules is None:
            rules = self._rules[what] = merged(row, self.options)
        return rules

    def add(self, upstream):
        """An upstream is declared."""
        lead = upstream.same_as
        upstreams = self._hub.router.upstreams
        if upstream.name in (LOCAL, QUEUE, "refuse"):
            raise ConfigError("with routing no upstream can be called " + upstream.name)
        if lead:
            first = upstreams.get(lead)
            if first is None:
                told = upstream.name, lead
                raise ConfigError("upstream %s: same_as=%r is declared before it" % told)
            first.same_as = upstream.same_as = first.same_as or lead
        upstream.rank = len(self.places)
        place = Place(upstream.name, upstream, self._options_of(upstream.name), ticks_ms())
        self.places[upstream.name] = place

    def open(self):
        """The gateway begins to serve. Raises ConfigError for names that nobody has."""
        upstreams = self._hub.router.upstreams
        for tool, row in self.options["tools"].items():
            for name in (self._elsewhere.get(tool, (None,))[0], row.get("only")):
                if name not in (None, LOCAL) and name not in upstreams:
                    raise ConfigError("routing: tools.%s: there is no upstream %s" % (tool, name))
            name = self._elsewhere.get(tool, (None,))[0]
            lead = upstreams[name].same_as if name else None
            if lead and lead != name:
                told = tool, lead, name
                raise ConfigError("routing: tools.%s: elsewhere is %s, which %s is as" % told)
        for name in self.options["upstreams"]:
            if name not in upstreams:
                raise ConfigError("routing: upstreams.%s: there is no such upstream" % name)

    # What the gateway asks.

    def _passage(self, *args):
        """In place of a Passage."""
        return Routed(self, None, *args)

    def take(self, request, port, tool, buf):
        """A call of the gateway's own Tool. Returns False if it is carried out here in any
        case."""
        row = self._elsewhere.get(tool.name)
        if row is None or tool.task:
            return False
        forwarder = self._hub.forwarder
        upstream = self._hub.router.upstreams[row[0]]
        passage = Routed(
            self, tool, forwarder, request, port, upstream, "tools/call", dumps(row[1])
        )
        passage.take(buf, self._gateway.server.spans)
        return True

    def run_here(self, request, port, tool, buf):
        """Carry out a call of the gateway's own, whose arguments are spans of `buf`."""
        started = ticks_ms()
        dispatch = self._gateway.dispatch
        self.local.begin(0)
        self._running.append((request, started))
        try:
            dispatch.call(request, port, tool, buf)
        except Exception as e:
            request.end()
            dispatch.failed(request.task or port, request.id, e, request.revision.modern)
        self._look(ticks_ms())

    def _look(self, now):
        """Find out which of the own calls have ended."""
        for row in self._running[:]:
            request, started = row
            if request.session.under_way.get(request.id) is not request:
                self._running.remove(row)
                ok = None if request.cancelled else True
                self.local.end(0, False, ok, ticks_diff(now, started), now)

    def tick(self, now, second):
        if self._running:
            self._look(now)
        if not second:
            return
        forget_ms = 1000 * self.options["history_s"]
        self.local.tick(now, forget_ms)
        for place in self.places.values():
            place.tick(now, forget_ms)
            if self._is_due(place, now):
                place.asking = True
                self._gateway.work(self._ask_after(place))
        if self.cache is not None:
            self.cache.tick(now)

    def _is_due(self, place, now):
        """Whether it is time to ask an upstream whether it is there."""
        ms = place.options["health_ms"]
        if place.asking or not ms or place.upstream.tells_state or place.requests:
            return False
        half_open = place.breaker.state and place.breaker.passes(now)
        return half_open or ticks_diff(now, place.heard) >= ms

    async def _ask_after(self, place):
        upstream = place.upstream
        trying = place.begin(0)
        ok = None
        try:
            if upstream.modern is None:
                await upstream.connect()
            else:
                method = "server/discover" if upstream.modern else "ping"
                parts = [b'{"_meta":', upstream.meta(), b"}"]
                await upstream.request(method, parts, _CHECK_MS)
            ok = True
        except GatewayError:
            ok = False
        finally:
            place.end(0, trying, ok, None, ticks_ms())
            place.asking = False

    # What requests on their way ask.

    def scanned(self, message):
        """The spans of a message, until the next one is scanned."""
        scan(message, 0, len(message), self._spans, 128)
        return self._spans

    def _candidates(self, passage):
        """The places that have what is asked for, the preferred first."""
        router = self._hub.router
        found = []
        for upstream in router.mates(passage.first):
            if passage.method != "tools/call" or router.has(upstream, passage.plain):
                found.append(self.places[upstream.name])
        if passage.tool is not None:
            found.insert(len(found) if passage.rules["prefer"] == "elsewhere" else 0, self.local)
        if passage.bound is not None:
            found = [place for place in found if place.name == passage.bound]
        return found

    def others(self, passage, place):
        """Whether another place could take over from `place` now."""
        now = ticks_ms()
        return any(
            other is not place
            and other.name not in passage.tried
            and other.barred(passage.size, now) is None
            for other in self._candidates(passage)
        )

    def repeatable(self, passage):
        """Whether the tool says that it may be executed twice, at the place where it is."""
        offers = self._hub.router.offers.get(passage.upstream.name, {})
        return offers.get(passage.plain, False)

    def decide(self, passage):
        """(where, why) for a request, counted."""
        now = ticks_ms()
        rules = passage.rules
        rows = []
        free = 0
        for place in self._candidates(passage):
            barred = passage.tried.get(place.name) or place.barred(passage.size, now)
            free += barred is None
            rows.append(place.row(barred))
        snapshot = {"places": rows, "queueable": passage.may_wait, "bytes": passage.size}
        if free > 1:
            self._measure(snapshot, passage, rules)
        where, why = decide(snapshot, rules)
        key = passage.what, where
        if key not in self.counts and len(self.counts) >= _COUNTED:
            key = "other", where
        self.counts[key] = self.counts.get(key, 0) + 1
        self.last = self.last[1 - _LAST :]
        self.last.append((self._gateway.clock.uptime_s, passage.what, where, why))
        return where, why

    def _measure(self, snapshot, passage, rules):
        """Add to the snapshot what decides between places."""
        strategy = rules["strategy"]
        if strategy == "complexity" or strategy == "hybrid":
            snapshot["tokens"] = self._tokens(passage)
            snapshot["cost"] = rules["cost"]
        if strategy == "resources" or strategy == "hybrid":
            self._look(ticks_ms())
            outbox = self._hub.forwarder.outbox
            snapshot["running"] = len(self._running)
            snapshot["waiting"] = 0 if outbox is None else outbox.pending
            loaded, need = self._model(passage, rules)
            snapshot["loaded"] = loaded
            snapshot["heap_need"] = need
            snapshot["heap_free"] = _heap_free(rules["min_heap"] + need)
            profile = self._profile()
            for name in ("battery", "temperature_c"):
                value = profile.get(name)
                snapshot[name] = value if type(value) in (int, float) else None

    def _tokens(self, passage):
        """How many tokens the arguments have."""
        message = passage.message
        spans = self.scanned(message)
        lo, hi = spans[2 * ARGUMENTS], spans[2 * ARGUMENTS + 1]
        if lo < 0:
            return passage.size // 4
        gateway = self._gateway
        vocabulary = None
        for name in gateway.tokenizers or ():
            vocabulary = gateway.tokenizers[name]
        for name in gateway.models or () if vocabulary is None else ():
            vocabulary = getattr(gateway.models.get(name), "tokenizer", None) or vocabulary
        if vocabulary is None:
            return (hi - lo) // 4
        return vocabulary.count(str(memoryview(message)[lo:hi], "utf-8"))

    def _model(self, passage, rules):
        """(whether its model is in RAM, bytes of RAM that it would take)."""
        models = self._gateway.models
        if models is None or passage.tool is None:
            return True, 0
        name = rules["model"]
        if name is None and passage.what in (self._gateway.built_in or ()) and len(models) == 1:
            name = next(iter(models))
        if name is None or name not in models:
            return True, 0
        model = models.get(name)
        return model.loaded, 0 if model.loaded else model.arena_bytes

    def _profile(self):
        function = self.options["profile"]
        if function is None or self._profile_failed:
            return {}
        try:
            found = function()
            if isinstance(found, dict):
                return found
            why = "it returned a %s" % type(found).__name__
        except Exception as e:
            why = "%s: %s" % (type(e).__name__, e)
        self._profile_failed = True  # once is enough for the log
        self._gateway.log("routing: profile is not asked any more: %s\n" % why)
        return {}

    def origin(self, passage):
        """The name of the place that a request goes on with, if it answers a question; None."""
        message = passage.message
        if not passage.request.revision.modern or b'"requestState"' not in message:
            return None
        state = member(bytes(message[len(HEAD) : -1]), b"requestState")
        if state is None:
            return None
        seal, now = self._gateway.seal()
        try:
            _, kept = seal.open(loads(state, True), passage.request, b"", now)
            return kept["u"]
        except (ProtocolError, KeyError, TypeError):
            return None if passage.tool is None else LOCAL

    # Answers that are kept.

    def cached(self, passage):
        """Answer a request from what is kept; False: it has to be asked for."""
        if self.cache is None or passage.method != "resources/read":
            return False
        if b'"requestState"' in passage.message or b'"inputResponses"' in passage.message:
            return False
        request = passage.request
        session = request.session
        name = passage.first.same_as or passage.first.name
        who = session.principal
        # Whoever is not authenticated is told apart by the connection; the key keeps it from being
        # taken for a later one.
        private = name, request.name, (session, session.age) if who is None else who
        passage.kept_from = (name, request.name), private
        found = self.cache.get(passage.kept_from, ticks_ms())
        if found is None:
            return False
        passage.upstream, raw = found
        passage.finish(True, raw, None)
        return True

    def keep(self, passage, raw):
        """An answer that may be kept has come."""
        if passage.upstream.modern:
            self.cache.put(*passage.kept_from, passage.upstream, raw, ticks_ms())

    def forget(self, upstream):
        """What this upstream's resources hold has changed."""
        if self.cache is not None:
            self.cache.forget(upstream.same_as or upstream.name)

    # What is told of it.

    def told(self):
        """The content of the resource."""
        from .routes_told import told

        return told(self)


def _heap_free(wanted):
    """Bytes of heap that are free, garbage collected if there seem to be less than wanted; None on
    a computer."""
    if not hasattr(gc, "mem_free"):
        return None
    free = gc.mem_free()
    if free < wanted:
        gc.collect()
        free = gc.mem_free()
    return free
