"""Rows of the metrics (metrics.py) that tell of a Routing."""

from .breaker import STATES


def rows(routing):
    """As metrics.rows()."""
    counts = [
        ('what="%s",where="%s"' % key, count) for key, count in sorted(routing.counts.items())
    ]
    places = [(('name="%s"' % name), place) for name, place in sorted(routing.places.items())]
    state = "Circuit breaker: " + ", ".join("%d %s" % (i, name) for i, name in enumerate(STATES))
    known = [(label, place.latency_ms) for label, place in places if place.latency_ms is not None]
    out = [
        ("routes_total", "counter", "Decisions where a request is carried out", counts),
        ("route_failovers_total", "counter", "Requests that a place failed", routing.failovers),
        ("route_retries_total", "counter", "Rounds after all had failed", routing.retries),
        ("upstream_breaker", "gauge", state, [(at, p.breaker.state) for at, p in places]),
        ("upstream_requests", "gauge", "In flight", [(at, p.requests) for at, p in places]),
        ("upstream_bytes", "gauge", "In flight, of params", [(at, p.bytes) for at, p in places]),
        ("upstream_calls_total", "counter", "Requests sent", [(at, p.calls) for at, p in places]),
        ("upstream_failed_total", "counter", "Unanswered", [(at, p.failed) for at, p in places]),
        ("upstream_latency_ms", "gauge", "Moving average", known),
    ]
    cache = routing.cache
    if cache is not None:
        out.append(("cache_hits_total", "counter", "Answers given again", cache.hits))
        out.append(("cache_misses_total", "counter", "Answers asked for", cache.misses))
        out.append(("cache_bytes", "gauge", "Answers kept", cache.bytes))
    return out
