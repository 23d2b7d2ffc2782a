"""Asking an upstream over HTTP whether it is there, when nothing was heard of it for a while."""

from ..compat import const, ticks_diff, ticks_ms
from ..errors import GatewayError

_MS = const(5000)  # for the answer


def look(place, now, work):
    """Begin to ask if it is time. work: function(coroutine) that runs it."""
    ms = place.options["health_ms"]
    if place.asking or not ms or place.requests:
        return
    half_open = place.breaker.state and place.breaker.passes(now)
    if half_open or ticks_diff(now, place.heard) >= ms:
        place.asking = True
        work(_ask(place))


async def _ask(place):
    upstream = place.upstream
    trying = place.begin(0)
    ok = None
    try:
        if upstream.modern is None:
            await upstream.connect()
        else:
            method = "server/discover" if upstream.modern else "ping"
            await upstream.request(method, [b'{"_meta":', upstream.meta(), b"}"], _MS)
        ok = True
    except GatewayError:
        ok = False
    finally:
        place.end(0, trying, ok, None, ticks_ms())
        place.asking = False
