"""Opens the conversation with a server over Streamable HTTP, and words for what went wrong."""

import json

from ..errors import INTERNAL_ERROR, GatewayError, NoAnswer, Unavailable
from ..protocol.client import READY, REFUSED
from ..protocol.http import TooLarge, request
from .http_call import HTTPCall
from .http_pool import Exchange

_MAX_SESSION_ID = 256  # characters


async def open_conversation(upstream):
    """Agree on a revision with the server of an HttpUpstream. Returns the Mcp-Session-Id (str), or
    None.

    Raises Unavailable.
    """
    client = upstream.client
    upstream.session = session = None
    client.open()
    try:
        exchange = await _step(upstream)
        while not client.ready:
            exchange = await _step(upstream)
    except NoAnswer as e:
        raise Unavailable(str(e))
    finally:
        client.forget(client.out_id)
    if client.modern is False:
        session = upstream.session = _session_of(upstream, exchange)
    if client.out:
        # Told to the server for form's sake; whether it took it shows with the next request.
        data = request(upstream.post_head, upstream.fields(None, ()), client.out)
        try:
            await upstream.pool.run(Exchange(data))
        except (GatewayError, TooLarge):
            pass
    return session


async def _step(upstream):
    client = upstream.client
    step = HTTPCall(upstream, None)
    step.id = client.out_id
    discover = client.version is not None
    fields = upstream.fields("server/discover" if discover else None, ())
    data = request(upstream.post_head, fields, client.out)
    exchange = step.exchange = Exchange(data, True, step.take)
    why = await upstream.run(step)
    if why:
        raise Unavailable("%s: opening: %s" % (upstream.name, why))
    status = exchange.status
    if status in (401, 403, 429, 502, 503, 504):
        raise Unavailable("opening: " + status_text(upstream.name, exchange))
    event = step.event
    if event is None:
        event = client.rejected(step.why or status_text(upstream.name, exchange))
    if event == REFUSED:
        raise Unavailable("%s: %s" % (upstream.name, client.why))
    if event == READY and not client.ready:
        raise Unavailable("%s: the opening broke off" % upstream.name)
    return exchange


def _session_of(upstream, exchange):
    session = exchange.headers.get(b"mcp-session-id")
    if session is None:
        return None
    if len(session) > _MAX_SESSION_ID or not all(0x21 <= c <= 0x7E for c in session):
        upstream.client.reset()
        raise Unavailable("%s: a session id that cannot be used" % upstream.name)
    return session.decode()


def status_text(name, exchange):
    """What an HTTP status means, for people. exchange: an Exchange that is over."""
    text = "%s answered with HTTP status %d" % (name, exchange.status)
    location = exchange.headers.get(b"location")
    if location:
        text += ", redirecting to " + _printable(location)
    elif exchange.kind == b"text/plain" and exchange.body:
        text += ": " + _printable(exchange.body)
    return text


def error_text(message):
    """The JSON text (bytes) of an error object of our own."""
    return json.dumps({"code": INTERNAL_ERROR, "message": message}).encode()


def _printable(data):
    return "".join(chr(c) if 32 <= c < 127 else "?" for c in data[:200])
