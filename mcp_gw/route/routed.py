"""One request on its way to the place that is decided for it, and to the next one if that
fails."""

from ..compat import sleep_ms, ticks_diff, ticks_ms
from ..errors import (
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    NoAnswer,
    Unavailable,
)
from ..protocol.framing import PARAMS
from ..protocol.jsontext import loads
from ..transports.link import random_hex
from .decide import LOCAL, QUEUE, REFUSE
from .passage import Passage
from .upstream import error_of


class Routed(Passage):
    """A Passage whose upstream is the first of those that offer the same.

    routing: a Routing; tool: the gateway's own Tool that may carry it out, or None; the rest as
    for Passage.
    """

    place = None  # where it is now
    kept_from = None  # keys of the cache under which its answer may be kept
    bound = None  # the name of the place that knows what this request goes on with
    err = None  # what the last place failed with
    rounds = 0
    heard = None  # the progress passed on last
    plain = None

    def __init__(self, routing, tool, *rest):
        Passage.__init__(self, *rest)
        self.routing = routing
        self.tool = tool
        self.what = self.request.name if self.method == "tools/call" else self.method
        self.rules = routing.rules_of(self.what)
        # Its own name at the upstreams.
        name = self.name
        if name is not None:
            escaped = b"\\" in name
            self.plain = loads(name, True) if escaped else str(name[1:-1], "utf-8")
        self.candidates = routing.candidates(self)
        self.first = self.upstream
        for place in self.candidates:
            if place.upstream is not None:
                self.first = place.upstream
                break
        self.tried = {}  # name of a place -> why it is not asked again in this round
        self.started = ticks_ms()

    def _look(self, buf, spans):
        lo, hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
        self.size = hi - lo
        # The buffer is wanted back, and what is sent may have to be sent again.
        self.params = bytes(memoryview(buf)[lo:hi])
        if self.request.revision.modern and b'"requestState"' in self.params:
            self.bound = self.routing.origin(self)
            if self.bound is not None:
                self.candidates = [p for p in self.candidates if p.name == self.bound]

    def begin(self, buf, spans):
        self._look(buf, spans)
        cache = self.routing.cache
        if cache is None or self.method != "resources/read" or not cache.answers(self):
            self.go(buf, spans)

    def take(self, buf, spans):
        """begin() for a call of the gateway's own tool."""
        self._look(buf, spans)
        where, why = self.routing.decide(self)
        if where == LOCAL:
            self.routing.run_here(self.request, self.port, self.tool, buf)
        else:
            self.request.begin(self.forwarder.most, self.port)
            self.follow(where, why)

    @property
    def may_wait(self):
        """Whether the queue can take it."""
        forwarder = self.forwarder
        return self.waits is not None and forwarder.outbox is not None and self.bound is None

    def go(self, buf=None, spans=None):
        """Decide where it goes next, and send it there. buf, spans: where it still lies."""
        where, why = self.routing.decide(self)
        self.follow(where, why, buf, spans)

    def follow(self, where, why, buf=None, spans=None):
        """Do what was decided."""
        if where == LOCAL:
            self._here()
        elif where == QUEUE or where == REFUSE:
            self._nowhere(where, why)
        else:
            if buf is None:
                buf, spans = self.routing.scanned(self.params)
            self._send_to(self.routing.places[where], buf, spans)

    def _send_to(self, place, buf, spans):
        self.upstream = place.upstream
        self.place = place
        request = self.request
        self.sent = ticks_ms()
        self.trying = place.begin(self.size)
        if len(self.candidates) > 1:
            self.timeout_ms = self._time(place)
        try:
            Passage.begin(self, buf, spans)
        except Exception:
            self._release(None)
            raise
        if self.place is place:
            stop = request.on_cancel

            def cancelled():
                self._release(None)
                if stop:
                    stop()

            request.on_cancel = cancelled

    def _time(self, place):
        """How long it may take there, in ms."""
        now = ticks_ms()
        left = max(1, self.forwarder.timeout_ms - ticks_diff(now, self.started))
        if not self.safe:
            return left
        for other in self.candidates:
            if other is not place and other.name not in self.tried:
                if other.barred(self.size, now) is None:  # it could take over
                    return min(left, self.rules["try_ms"])
        return left

    @property
    def safe(self):
        """Whether it may be executed twice."""
        if self.rules["repeat"] is not None:
            return self.rules["repeat"]
        return self.method != "tools/call" or self.routing.repeatable(self)

    def _release(self, ok):
        """It is over at the place where it is. ok: whether that has answered; None: not its
        fault."""
        place, self.place = self.place, None
        if place is not None:
            now = ticks_ms()
            place.end(self.size, self.trying, ok, ticks_diff(now, self.sent), now)

    def on_progress(self, raw):
        # What is begun again elsewhere reports from the beginning; clients take no steps back.
        if self.request.token is not None:
            done = loads(raw, b"\\" in raw).get("progress")
            if type(done) in (int, float):
                if self.heard is not None and done <= self.heard:
                    return
                self.heard = done
        Passage.on_progress(self, raw)

    def done(self, ok, raw, err):
        err = err or _trouble(ok, raw)
        place = self.place
        if place is None:
            return  # it was given up
        self._release(err is None)
        if err is None:
            if ok and self.kept_from is not None:
                self.routing.cache.keep(self, raw)
            Passage.done(self, ok, raw, None)
            return
        self.err = err
        name = place.name
        told = str(err)
        self.tried[name] = told[len(name) + 1 :] if told.startswith(name + " ") else told
        if self.request.stale or (isinstance(err, NoAnswer) and not self.safe):
            # It may have been executed; the queue delivers it there, under its key.
            self.finish(False, None, err)
        else:
            self.routing.failovers += 1
            self.go()

    def _here(self):
        """This gateway carries it out itself after all."""
        request = self.request
        if not request.end():
            return
        request.over = False
        message, _ = self.routing.scanned(self.params, self.forwarder.server.spans)
        self.routing.run_here(request, self.port, self.tool, message)

    def _nowhere(self, where, why):
        rules = self.rules
        left = self.forwarder.timeout_ms - ticks_diff(ticks_ms(), self.started)
        if where == REFUSE and self.tried and self.rounds < rules["retries"]:
            pause = min(rules["retry_ms"] << self.rounds, rules["retry_max_ms"])
            pause = pause // 2 + int(random_hex(4), 16) % (pause // 2 + 1)
            if pause < left:
                self.rounds += 1
                self.routing.retries += 1
                self.tried = {}
                self._work(self._again(pause))
                return
        if not isinstance(self.err, NoAnswer):
            self.upstream = self.first
            if where == QUEUE:
                self._keep_here()
        if self.err is not None and not self.tried:
            why = "%s; then %s" % (self.err, why)
        err = NoAnswer if isinstance(self.err, NoAnswer) else Unavailable
        self.finish(False, None, err(why))

    async def _again(self, pause_ms):
        await sleep_ms(pause_ms)
        self.go()

    def _keep_here(self):
        """Make what waits in the queue, where no place was asked."""
        if self.kept is None:
            self.key = self.key or self.forwarder.new_key()
            self._keep(*self.routing.scanned(self.params))

    def _keep(self, buf, spans):
        # Which calls are about the same thing does not depend on where this one would go.
        upstream, self.upstream = self.upstream, self.first
        why = Passage._keep(self, buf, spans)
        if why is None:
            self.upstream = upstream
        return why

    def finish(self, ok, raw, err):
        if self.place is not None:
            self._release(None)  # it goes into the queue without having been sent
        Passage.finish(self, ok, raw, err)


def _trouble(ok, raw):
    """Unavailable or NoAnswer, where that is what an error object (JSON text) of a bridge or
    gateway says; None."""
    if ok:
        return None
    code, message = error_of(bytes(raw))
    if code == UPSTREAM_UNAVAILABLE:
        return Unavailable(message)
    return NoAnswer(message) if code == UPSTREAM_TIMEOUT else None
