"""Hearing from an upstream server, unasked, that its tools have changed, or that it is gone."""

import asyncio

from mcp_gw.errors import GatewayError, NoAnswer, Unavailable
from mcp_gw.protocol.sse import SSEDecoder

_AGAIN_S = 1.0
_MAX_EVENT = 1 << 20
# A stream that ends sooner than this, several times, is not worth opening again.
_SHORT_S = 5.0
_MAX_SHORT = 5

_KINDS = ("tools", "prompts", "resources")


class Refused(Unavailable):
    """The server answers, but does not take this request in: not executed, and not down either."""


async def listen(upstream, conversation):
    """Keep the server's stream of notifications open for as long as the server has one.

    upstream: HTTPUpstream; its on_change() hears of changes, and it is marked down when the
    connection is refused. Ends when the server offers no such stream, or is gone.
    """
    client = conversation.client
    if client.modern:
        if not _wanted(client):
            return
        once = _listen_modern
    elif conversation.session:
        once = _listen_legacy
    else:
        return
    loop = asyncio.get_running_loop()
    short = 0
    while short < _MAX_SHORT:
        began = loop.time()
        try:
            if not await once(upstream, conversation):
                return
        except Refused:
            return  # it does not offer the stream, in an unusual way of saying so
        except Unavailable as e:
            upstream.fell(str(e))
            return
        except NoAnswer:
            pass  # the stream broke off: it may have been a proxy's idea of a time-out
        except GatewayError:
            return
        short = short + 1 if loop.time() - began < _SHORT_S else 0
        await asyncio.sleep(_AGAIN_S)
        if upstream.on_change:
            upstream.on_change("tools")  # nobody was listening for a moment


def _wanted(client):
    """The kinds of lists whose changes a modern server tells of."""
    found = ((kind, client.capabilities.get(kind)) for kind in _KINDS)
    return [
        kind for kind, row in found if isinstance(row, dict) and row.get("listChanged") is True
    ]


async def _listen_modern(upstream, conversation):
    """subscriptions/listen, until the server ends it. False: it will not serve it."""
    wanted = ",".join(f'"{kind}ListChanged":true' for kind in _wanted(conversation.client))
    params = b'{"notifications":{%s}}' % wanted.encode()
    ok, _ = await upstream.exchange(conversation, "subscriptions/listen", params)
    return ok


async def _listen_legacy(upstream, conversation):
    """The stream that GET opens. False: there is none (HTTP status 405), or it is in use."""
    client = conversation.client

    def take(buf):
        upstream.heard(conversation, client.receive(buf, 0, len(buf)), buf)
        return None

    async with upstream.stream(conversation, "GET", {}) as response:
        if response.status_code != 200:
            return False
        await upstream.read(response, take, SSEDecoder(_MAX_EVENT))
    return True
