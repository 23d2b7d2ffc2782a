"""A board that serves HTTP, as an upstream of the paired gateway."""

import asyncio

from mcp_gw.errors import GatewayError, NoAnswer
from mcp_gw.route.http_upstream import HttpUpstream

from .. import __version__
from .board_face import BoardFace

# For how long the answer of a board is waited for that is asked whether it is there.
_LOOK_MS = 5000
# A board that is busy does not answer: so many times before it counts as away.
_MISSES = 3
_MAX_BODY = 1 << 20
_MAX_PENDING = 64  # requests under way


class HttpBoard(BoardFace, HttpUpstream):
    """url, headers, ca, connections, timeout_ms: as HttpUpstream has them; on_state:
    function(board), called when it comes and goes."""

    def __init__(self, name, url, on_state, headers=None, ca=None, connections=2, timeout_s=30.0):
        HttpUpstream.__init__(
            self,
            name,
            url,
            headers,
            ca,
            timeout_ms=int(timeout_s * 1000),
            max_body=_MAX_BODY,
            connections=connections,
            client=("mcpgw pi", __version__),
        )
        self.client.MAX_PENDING = _MAX_PENDING
        self.url = url
        self.there = False
        self.why = "it was not there yet"
        self._on_state = on_state

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        params = self.to_board(method, b"".join(params_parts))
        timeout_ms = min(timeout_ms or self.timeout_ms, self.timeout_ms)
        ok, raw = await super().request(method, [params], timeout_ms, on_progress, can)
        return ok, self.from_board(method, ok, raw)

    async def watch(self, look_s):
        """See whether it is there, every look_s seconds, for ever."""
        misses = 0
        while True:
            try:
                await self._look()
                misses = 0
                self._is(True, None)
            except NoAnswer as e:
                misses += 1
                if misses >= _MISSES or not self.there:
                    self._is(False, str(e))
            except GatewayError as e:
                misses = _MISSES
                self._is(False, str(e))
            await asyncio.sleep(look_s)

    async def _look(self):
        if not self.client.ready:
            await asyncio.wait_for(self.connect(), _LOOK_MS / 1000)
            return
        method = "server/discover" if self.modern else "ping"
        await super().request(method, [b'{"_meta":', self.meta(), b"}"], _LOOK_MS)

    def _is(self, there, why):
        self.up = there
        if not there:
            self.why = why
        if there != self.there:
            self.there = there
            self._on_state(self)
