"""What a Routing tells of itself: the resource gateway://routes, and rows of the metrics."""

from .breaker import STATES


def told(routing):
    """Dict for the resource."""
    decisions = {}
    for (what, where), count in routing.counts.items():
        decisions.setdefault(what, {})[where] = count
    last = []
    for at_s, what, where, why in routing.last:
        last.append({"at_s": at_s, "what": what, "where": where, "why": why})
    places = {name: place.told() for name, place in routing.places.items()}
    places["local"] = routing.local.told()
    row = {
        "strategy": routing.options["strategy"],
        "decisions": decisions,
        "last": last,
        "failovers": routing.failovers,
        "retries": routing.retries,
        "places": places,
    }
    cache = routing.cache
    if cache is not None:
        row["cache"] = {"entries": len(cache), "bytes": cache.bytes, "hits": cache.hits}
        row["cache"].update({"misses": cache.misses, "dropped": cache.dropped})
    return row


def rows(routing):
    """Rows for metrics.py."""
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
