"""The gateway as seen from inside: an Upstream whose requests it carries out itself."""

import asyncio

from mcp_gw.errors import INTERNAL_ERROR, NoAnswer
from mcp_gw.protocol.jsontext import member
from mcp_gw.protocol.jsonvalue import dumps
from mcp_gw.protocol.revisions import LATEST_MODERN
from mcp_gw.protocol.session import Session
from mcp_gw.route.upstream import Upstream

_RESULT = b'{"jsonrpc":"2.0","id":1,"result":'
_ERROR = b'{"jsonrpc":"2.0","id":1,"error":'
_PROGRESS = b'"method":"notifications/progress"'


class InsideSession(Session):
    """Of a request that comes from inside: a key in it was looked at already."""


class Inside(Upstream):
    """name: under which it is known to whoever asks; principal: on whose behalf it asks, see
    guard.py. Speaks 2026-07-28."""

    modern = True
    offers = ("tools", "prompts", "resources")

    def __init__(self, gateway, name, principal=None, session=Session):
        super().__init__(name)
        self.up = True
        self._gateway = gateway
        self._principal = principal
        self._session = session
        info = dumps({"name": name, "version": gateway.version})
        self._meta = (
            b'{"io.modelcontextprotocol/protocolVersion":"%s","io.modelcontextprotocol/clientInfo":'
            b'%s,"io.modelcontextprotocol/clientCapabilities":' % (LATEST_MODERN.encode(), info)
        )

    def meta(self, extra=b"", can=b"{}"):
        return self._meta + can + (b"," if extra else b"") + extra + b"}"

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        message = b'{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}'
        message %= method.encode(), b"".join(params_parts)
        session = self._session()
        session.principal = self._principal
        port = Port(session, on_progress)
        self._gateway.dispatch.take(port, message, 0, len(message))
        if port.data is None:
            port.answered = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_ms and timeout_ms / 1000):
                    await port.answered
            except TimeoutError:
                raise NoAnswer(f"no answer within {timeout_ms} ms") from None
            finally:
                if port.data is None:
                    session.drop()
        data = port.data
        if data.startswith(_RESULT):
            return True, data[len(_RESULT) : -1]
        if data.startswith(_ERROR):
            return False, data[len(_ERROR) : -1]
        return False, dumps({"code": INTERNAL_ERROR, "message": "no answer could be made"})

    async def connect(self):
        pass

    async def close(self):
        pass


class Port:
    """Where the gateway answers to."""

    settling = False

    def __init__(self, session, on_progress):
        self.session = session
        self.link = self
        self.data = None
        self.answered = None
        self._on_progress = on_progress

    def answer(self, parts, status=200):
        self.data = b"".join(parts)
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(None)

    def send(self, parts):
        """Progress; nothing else is for whoever asks from inside."""
        if self._on_progress is not None:
            data = b"".join(parts)
            if _PROGRESS in data:
                self._on_progress(member(data, b"params"))

    def close_stream(self):
        """There is none."""

    def dropped(self):
        """The request was given up."""
