"""The paired gateway as the upstream of its own boards, in the form that bridge/relay.py asks."""

from mcp_gw.protocol.jsontext import member

from ..bridge.calls import dump
from ..bridge.relay import Relay
from .inside import Inside

_KEY = b"mcp-gw/key"


class OwnRelay(Relay):
    """A Relay whose keys are looked at where the call is carried out (keyed.py): for boards on a
    link as for those over HTTP."""

    def __init__(self, ours, deliver, rx, log):
        super().__init__({ours.name: ours}, None, deliver, rx, log)

    async def _keyed(self, upstream, tool, params, extra, key, on_progress, can):
        if member(b"{" + extra + b"}", _KEY) is None:  # as in a batch
            extra = b",".join(filter(None, (b'"%s":%s' % (_KEY, dump(key)), extra)))
        return await upstream.call(tool, params, extra, None, on_progress, can)


class Ours(Inside):
    """What bridge/upstreams.py's HTTPUpstream is to a Relay; see Inside."""

    catalog = ()

    def __init__(self, gateway, name, principal, config):
        super().__init__(gateway, name, principal)
        self.timeout_s = config["call_timeout_ms"] / 1000

    async def list(self, kind="tools"):
        """All there is of a kind: list of descriptors (JSON text, bytes)."""
        found = []
        await self.listed(kind, lambda raw: found.append(bytes(raw)))
        return found

    async def call(self, tool, params, extra, timeout_s=None, on_progress=None, can=b"{}"):
        return await self.send("tools/call", params, extra, timeout_s, on_progress, can=can)

    async def send(
        self,
        method,
        params,
        extra,
        timeout_s=None,
        on_progress=None,
        name=None,
        fields=None,
        can=b"{}",
    ):
        """See HTTPUpstream.send()."""
        if on_progress is not None:
            extra = b",".join(filter(None, (extra, b'"progressToken":1')))
        comma = b"" if params.strip() == b"{}" else b","
        params = b'{"_meta":' + self.meta(extra, can) + comma + params.strip()[1:]
        timeout_ms = int((timeout_s or self.timeout_s) * 1000)
        return await self.request(method, [params], timeout_ms, on_progress, can)

    def abandon(self, state):
        """Nothing waits here: 2026-07-28 keeps questions with who is asked."""
