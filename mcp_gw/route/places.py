"""What is known of a place that can carry requests out: this gateway or an upstream."""

from ..compat import ticks_diff
from .breaker import HALF_OPEN, STATES, Breaker


class Place:
    """upstream: an Upstream, None for this gateway itself; options: dict, of rules.py."""

    breaker = None

    def __init__(self, name, upstream, options, now):
        self.name = name
        self.upstream = upstream
        self.requests = self.bytes = 0  # in flight
        self.calls = self.failed = 0
        self.latency_ms = None  # mean; None: not known
        self.failures = 0  # mean, 0 to 1
        self.heard = now  # when the last request ended, in ticks
        self.asking = False  # a look at its health is under way
        if upstream is not None:
            self.configure(options)

    def configure(self, options):
        self.options = options
        row = options["breaker_failures"], options["breaker_ms"], options["breaker_max_ms"]
        self.breaker = Breaker(*row)

    def barred(self, size, now):
        """None, or why a request of `size` bytes cannot be sent now."""
        upstream = self.upstream
        if upstream is None:
            return None
        if upstream.tells_state and not upstream.up:
            return "not reachable"
        if not self.breaker.passes(now):
            return "failed, left alone for another %d ms" % self.breaker.left_ms(now)
        if self.requests >= self.options["max_requests"]:
            return "%d requests in flight" % self.requests
        if self.bytes + size > self.options["max_bytes"]:
            return "%d bytes in flight, the request has %d" % (self.bytes, size)
        return None

    def row(self, barred):
        """Its part of the snapshot for decide()."""
        most = self.options["max_requests"] if self.upstream is not None else 1
        return {
            "name": self.name,
            "barred": barred,
            "latency_ms": self.latency_ms,
            "failures": self.failures,
            "requests": self.requests,
            "max_requests": most,
        }

    def begin(self, size):
        """A request is sent. Returns whether it tries a breaker that is half open."""
        self.requests += 1
        self.bytes += size
        return self.breaker is not None and self.breaker.begin()

    def end(self, size, trying, ok, took_ms, now):
        """It is over. ok: whether it was answered, None: it was given up; took_ms: None for a
        look at the health, which says nothing of how long calls take."""
        self.requests -= 1
        self.bytes -= size
        breaker = self.breaker
        if ok is None:
            if trying:
                breaker.dropped()
            return
        self.heard = now
        if breaker is not None:
            if ok:
                breaker.succeeded()
            elif trying or breaker.state != HALF_OPEN:
                breaker.failed(now)
        if took_ms is None:
            return
        self.calls += 1
        self.failures += ((not ok) - self.failures) / 4
        if not ok:
            self.failed += 1
        elif self.latency_ms is None:
            self.latency_ms = took_ms
        else:
            self.latency_ms += (took_ms - self.latency_ms) / 4

    def tick(self, now, forget_ms):
        """forget_ms: after how long without a request its means are not known any more."""
        if self.breaker is not None:
            self.breaker.tick(now)
        if self.latency_ms is not None or self.failures:
            if ticks_diff(now, self.heard) >= forget_ms:
                self.latency_ms = None
                self.failures = 0

    def told(self):
        """Dict for people and programs."""
        row = {"requests": self.requests, "calls": self.calls, "failed": self.failed}
        row["latency_ms"] = None if self.latency_ms is None else int(self.latency_ms)
        row["failures"] = int(1000 * self.failures) / 1000
        if self.upstream is not None:
            row["up"] = bool(self.upstream.up)
            row["breaker"] = STATES[self.breaker.state]
            row["opened"] = self.breaker.opened
            row["bytes"] = self.bytes
            if self.upstream.same_as:
                row["same_as"] = self.upstream.same_as
        return row
