"""Hears from a server over Streamable HTTP, unasked, that its lists have changed."""

from ..compat import sleep_ms, ticks_diff, ticks_ms
from ..errors import GatewayError
from ..protocol.client import ASKED, CHANGED, REPLY
from ..protocol.http import request
from .held import is_new
from .http_pool import Exchange, Pool

_KINDS = ("tools", "prompts", "resources")
_FIRST_PAUSE_MS = 1000
_LAST_PAUSE_MS = 60000
_LONG_MS = 30000  # a stream that lived this long was no failure


async def listen(upstream):
    """Keep the stream open on which the server of an HttpUpstream tells of changes, as long as it
    offers one: subscriptions/listen in 2026-07-28, else the stream that GET opens for a session.
    """
    client = upstream.client
    kinds = [kind for kind in _KINDS if _tells(client.capabilities.get(kind), client.modern)]
    if not kinds or not (client.modern or upstream.session):
        return
    pool = Pool(*upstream.place)
    pause = _FIRST_PAUSE_MS
    last = None
    seen = []  # ids of questions
    try:
        while True:
            begun = ticks_ms()
            exchange = _exchange(upstream, kinds, last, seen)
            try:
                await pool.run(exchange)
                away = exchange.status in (429, 502, 503, 504)
                if not away and (exchange.status != 200 or not exchange.streamed):
                    if last is not None:
                        _lapsed(upstream, kinds)  # a lost session shows with the next request
                    return  # not offered
            except GatewayError:
                pass  # broken off; or the server is gone, and the next call tells
            if ticks_diff(ticks_ms(), begun) > _LONG_MS:
                pause = _FIRST_PAUSE_MS
            await sleep_ms(max(pause, min(exchange.retry or 0, _LAST_PAUSE_MS)))
            pause = min(2 * pause, _LAST_PAUSE_MS)
            last = exchange
            if not exchange.last_id:
                _lapsed(upstream, kinds)
    finally:
        pool.close()


def _lapsed(upstream, kinds):
    """Nobody was listening for a moment."""
    if upstream.on_change is not None:
        for kind in kinds:
            upstream.on_change(kind)


def _tells(capability, modern):
    # Legacy servers have been seen telling without having said that they would.
    return isinstance(capability, dict) and (not modern or capability.get("listChanged") is True)


def _exchange(upstream, kinds, last, seen):
    client = upstream.client

    def take(buf, start, end):
        event = client.receive(buf, start, end, id)
        if event == CHANGED:
            if upstream.on_change is not None:
                upstream.on_change(client.method)
        elif event == REPLY:
            upstream.tell(client.out)
        elif event == ASKED and is_new(seen, client.asked):
            params = bytes(memoryview(buf)[client.lo : client.hi]) if client.lo >= 0 else b""
            upstream.asked_aside(client.asked, client.method, params)
        return False

    id = 0  # no request's: nothing is answered on the stream of a session
    if not client.modern:
        return upstream.resumed(last, take)
    rows = ",".join('"%sListChanged":true' % kind for kind in kinds)
    params = [b'{"_meta":', client.meta(), (',"notifications":{%s}}' % rows).encode()]
    id, parts = client.request("subscriptions/listen", params)
    client.forget(id)  # when it ends, the stream ends
    fields = upstream.fields("subscriptions/listen", params)
    return Exchange(request(upstream.post_head, fields, parts), False, take)
