"""An MCP client on stdin and stdout, served beside HTTP."""

import asyncio
import sys

from mcp_gw.protocol.framing import LineBuffer
from mcp_gw.protocol.session import Session

from .. import UserError
from ..bridge import stdio
from ..bridge.lines import lines_of

# More than this unread by the client stops reading from it.
_BACKLOG = 1 << 20
_TICK_S = 0.1


class Client:
    """The port of a gateway. on_end: function(), called when the client has ended and has its
    answers."""

    settling = False

    def __init__(self, gateway, on_end):
        if sys.stdin is None or sys.stdout is None:
            raise UserError("--stdio: stdin and stdout must be connected to an MCP client")
        self._gateway = gateway
        self._on_end = on_end
        self.session = Session()
        self.session.out = self.send
        self.link = self
        self._lines = LineBuffer(gateway.config["max_message"])
        self._ended = False
        self._writer = None

    async def run(self):
        """Serve until the client has ended."""
        loop = asyncio.get_running_loop()
        stdin, stdout = stdio.binary_stdio()
        self._writer = stdio.Writer(stdout, loop, self._end)
        self._gateway.join(self.session)
        reader = stdio.Reader(stdin, loop, self._data, self._end)
        try:
            while not self._ended or self.session.busy:
                reader.pause(self._writer.unsent > _BACKLOG)
                await asyncio.sleep(_TICK_S)
            self._on_end()
        finally:
            self._gateway.leave(self.session)
            await asyncio.to_thread(self._writer.close)

    def _data(self, data):
        dispatch = self._gateway.dispatch
        for kind, line in lines_of(self._lines, data):
            try:
                if kind != 1:
                    dispatch.oversized(self, line, 0, len(line))
                elif line:
                    dispatch.take(self, line, 0, len(line))
            except Exception as e:
                self._gateway.log_exception(e)  # on to the next line

    def _end(self):
        # A last line without LF is a message all the same.
        if not self._ended:
            self._data(b"\n")
            self._ended = True

    # What the gateway calls.

    def answer(self, parts, status=200):
        self.send(parts)

    def send(self, parts):
        self._writer.write(b"".join(parts) + b"\n")

    def close_stream(self):
        """There is one for all."""
