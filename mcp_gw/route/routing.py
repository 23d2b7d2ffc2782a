"""Routing of one gateway: the places there are, what is decided for each request, and what came of
it."""

from ..compat import const, ticks_diff, ticks_ms
from ..errors import ConfigError, ProtocolError
from ..protocol.framing import new_spans, scan
from ..protocol.jsontext import loads, member
from ..protocol.jsonvalue import dumps
from ..registry import Resource
from .decide import LOCAL, QUEUE, decide
from .grouped import Grouped
from .places import Place
from .routed import Routed
from .rules import checked, defaults, merged

URI = "gateway://routes"
_HEAD = b'{"jsonrpc":"2.0","method":"","params":'
_LAST = const(8)  # decisions that are told one by one
_COUNTED = const(64)  # tools and methods that are counted each; the others together


class Routing:
    """hub: the Hub; gateway: its Gateway. Takes the place of what routes by name alone."""

    def __init__(self, hub, gateway):
        self.gateway = gateway
        self.hub = hub
        self._given = {}
        self._settings = {}
        self._spans = new_spans()
        self._elsewhere = {}  # the gateway's own tool -> (upstream's name, its name there)
        self._hidden = {}  # upstream's name -> {its tool's name: the tool in _elsewhere}
        self.running = []  # own calls under way: (request, since when)
        self.profile_failed = None
        self.cache = None
        self.places = {}
        self.counts = {}  # (tool or method, where) -> how often
        self.last = []  # (seconds since the start, tool or method, where, why)
        self.retries = self.failovers = 0
        self.options = defaults()
        self.local = Place(LOCAL, None, None, ticks_ms())
        router = hub.router = Grouped(hub.router, self._hidden)
        if hub.forwarder.outbox is None:  # with a queue its tools come first
            gateway.server.more_tools = router.rows
            gateway.server.older_tools = router.older_rows
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
            try:
                from .cache import Cache
            except ImportError:
                why = "routing: this firmware keeps no answers; leave cache_bytes out"
                raise ConfigError(why) from None
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
        upstreams = self.hub.router.upstreams
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
        """The gateway begins to serve. Raises ConfigError for names that the app gives and nobody
        has; those of a configuration are logged, and a board that is configured wrongly serves."""
        why = self._missing(self._given)
        if why:
            raise ConfigError(why)
        why = self._missing(self.options)
        if why:
            self.gateway.log(why + "\n")

    def _missing(self, options):
        """What is wrong with the names in options (str), or None."""
        upstreams = self.hub.router.upstreams
        for tool, row in options.get("tools", {}).items():
            told = "routing: tools.%s: " % tool
            where = row.get("elsewhere", LOCAL).partition(":")[0]
            for name in (where, row.get("only", LOCAL)):
                if name != LOCAL and name not in upstreams:
                    return told + "there is no upstream " + name
            lead = upstreams[where].same_as if where != LOCAL else None
            if lead and lead != where:
                return told + "elsewhere is %s, which %s is as" % (lead, where)
        for name in options.get("upstreams", ()):
            if name not in upstreams:
                return "routing: upstreams.%s: there is no such upstream" % name
        return None

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
        forwarder = self.hub.forwarder
        upstream = self.hub.router.upstreams.get(row[0])
        if upstream is None:
            return False
        passage = Routed(
            self, tool, forwarder, request, port, upstream, "tools/call", dumps(row[1])
        )
        passage.take(buf, self.gateway.server.spans)
        return True

    def run_here(self, request, port, tool, buf):
        """Carry out a call of the gateway's own, whose arguments are spans of `buf`."""
        started = ticks_ms()
        dispatch = self.gateway.dispatch
        self.local.begin(0)
        self.running.append((request, started))
        try:
            dispatch.call(request, port, tool, buf)
        except Exception as e:
            request.end()
            dispatch.failed(request.task or port, request.id, e, request.revision.modern)
        self.look(ticks_ms())

    def look(self, now):
        """Find out which of the own calls have ended."""
        for row in self.running[:]:
            request, started = row
            if request.session.under_way.get(request.id) is not request:
                self.running.remove(row)
                ok = None if request.cancelled else True
                self.local.end(0, False, ok, ticks_diff(now, started), now)

    def tick(self, now, second):
        if self.running:
            self.look(now)
        if not second:
            return
        forget_ms = 1000 * self.options["history_s"]
        self.local.tick(now, forget_ms)
        upstreams = self.hub.router.upstreams
        for name, place in list(self.places.items()):
            if upstreams.get(name) is not place.upstream:  # it was taken away
                del self.places[name]
                continue
            place.tick(now, forget_ms)
            if not place.upstream.tells_state:
                from .health import look

                look(place, now, self.gateway.work)
        if self.cache is not None:
            self.cache.tick(now)

    # What requests on their way ask.

    def scanned(self, params, spans=None):
        """(message, spans) around params (JSON text), until the next one is scanned."""
        message = _HEAD + params + b"}"
        spans = spans or self._spans
        scan(message, 0, len(message), spans, 128)
        return message, spans

    def candidates(self, passage):
        """The places that have what is asked for, the preferred first."""
        upstream = passage.upstream
        place = self.places.get(upstream.name)
        if not upstream.same_as and passage.tool is None and place is not None:
            return [place]
        router = self.hub.router
        mates = router.mates(upstream)
        if passage.method == "tools/call":
            has = [upstream for upstream in mates if router.has(upstream, passage.plain)]
            # A tool of the gateway's own that they have not is carried out here.
            mates = has if has or passage.tool is not None else mates[:1]
        found = [self.places[u.name] for u in mates if u.name in self.places]
        if passage.tool is not None:
            found.insert(len(found) if passage.rules["prefer"] == "elsewhere" else 0, self.local)
        return found

    def repeatable(self, passage):
        """Whether the tool says that it may be executed twice, at the place where it is."""
        offers = self.hub.router.offers.get(passage.upstream.name, {})
        return offers.get(passage.plain, False)

    def decide(self, passage):
        """(where, why) for a request, counted."""
        now = ticks_ms()
        rules = passage.rules
        candidates = passage.candidates
        tried = passage.tried
        if rules["strategy"] == "order" and rules["only"] is None and candidates and not tried:
            first = candidates[0]
            barred = first.barred(passage.size, now)
            if barred is None:  # as decide() would have it
                why = "order" if len(candidates) > 1 else "the only place"
                return self._counted(passage, first.name, why)
        rows = []
        free = 0
        for place in candidates:
            barred = tried.get(place.name) or place.barred(passage.size, now)
            free += barred is None
            rows.append(place.row(barred))
        snapshot = {"places": rows, "queueable": passage.may_wait, "bytes": passage.size}
        if free > 1 and rules["strategy"] != "order":
            from .measure import measure

            measure(self, snapshot, passage)
        where, why = decide(snapshot, rules)
        return self._counted(passage, where, why)

    def _counted(self, passage, where, why):
        key = passage.what, where
        if key not in self.counts and len(self.counts) >= _COUNTED:
            key = "other", where
        self.counts[key] = self.counts.get(key, 0) + 1
        if len(self.last) >= _LAST:
            self.last.pop(0)
        self.last.append((self.gateway.clock.uptime_s, passage.what, where, why))
        return where, why

    def origin(self, passage):
        """The name of the place that a request goes on with, if it answers a question; None. Its
        params have a requestState."""
        state = member(passage.params, b"requestState")
        if state is None:
            return None
        seal, now = self.gateway.seal()
        try:
            _, kept = seal.open(loads(state, True), passage.request, b"", now)
            return kept["u"]
        except (ProtocolError, KeyError, TypeError):
            return None if passage.tool is None else LOCAL

    # What is told of it.

    def told(self):
        """The content of the resource."""
        from .routes_told import told

        return told(self)
