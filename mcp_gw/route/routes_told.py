"""What a Routing tells of itself in the resource gateway://routes."""


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
