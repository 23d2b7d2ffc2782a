"""Carries out what clients ask of this gateway itself, and passes on what it forwards."""

import gc

from .compat import drive, sleep_ms, ticks_diff, ticks_ms
from .errors import INTERNAL_ERROR, INVALID_PARAMS, ProtocolError, ToolError
from .protocol.jsontext import joined
from .protocol.server import CALL, LIST_TOOLS, error
from .protocol.session import Request


class Dispatch:
    """gateway: the Gateway this is a part of."""

    def __init__(self, gateway):
        self._gateway = gateway
        self._server = gateway.server
        self._registry = gateway.registry
        self._config = gateway.config

    def take(self, port, buf, lo, hi):
        action = None
        try:
            action = self._server.receive(port.session, buf, lo, hi)
            if action is None:
                return
            if isinstance(action, list):
                port.send(action)
                return
            if action.kind == CALL:
                tool = self._registry.tools.get(action.name)
                if tool is not None:
                    self._call(action, port, tool, buf)
                elif self._gateway.upstreams:
                    self._gateway.upstreams.forwarder.call(action, port, buf)
                else:
                    raise ProtocolError(INVALID_PARAMS, "unknown tool " + action.name)
            elif action.kind == LIST_TOOLS:
                self._list_tools(action, port)
            else:
                self._read(action, port)
        except Exception as e:
            if isinstance(action, Request):
                action.end()
                # The spans may be those of another message by now: tools may use process().
                self._failed(port, action.id, e)
            else:
                self._failed(port, self._server.id_of(buf), e)

    def _failed(self, port, id, e):
        """No answer could be made: say why, for somebody waits for one."""
        row = INTERNAL_ERROR, "internal error"
        if isinstance(e, ProtocolError):
            row = e.code, e.message, e.data
        elif isinstance(e, MemoryError):
            gc.collect()
            row = INTERNAL_ERROR, "out of memory"
        else:
            self._gateway.log_exception(e)
        port.send(error(id, *row))

    def oversized(self, port, buf, lo, hi):
        port.send(self._server.oversized(buf, lo, hi, self._config["max_message"]))

    def _call(self, request, port, tool, buf):
        try:
            value = tool.func(**tool.arguments(self._server.arguments(buf)))
        except BaseException as e:
            self._finish(request, port, *self._told(e))
            return
        self._conclude(request, port, value, self._finish)

    def _conclude(self, request, port, value, finish):
        """finish(request, port, value), at once or, for a coroutine or generator, when it has
        ended."""
        if not hasattr(value, "send"):
            finish(request, port, value)
            return
        try:
            request.begin(self._config["max_calls"])
        except ProtocolError:
            value.close()
            raise
        self._gateway.work(self._run_steps(request, port, value, finish))

    async def _run_steps(self, request, port, steps, finish):
        """Run an async function or a generator to its end and send the answer."""

        def report(out):
            row = out if isinstance(out, tuple) else (out,)
            told = self._server.progress(request, *row)
            if told and not request.stale:
                port.send(told)

        try:
            value = await drive(steps, report)
        except BaseException as e:
            outcome = self._told(e)
        else:
            outcome = (value,)
        if not request.end():
            return
        try:
            finish(request, port, *outcome)
        except Exception as e:
            self._failed(port, request.id, e)

    def _told(self, e):
        """What a client is told of an exception in a tool: (text, is_error).

        Raises those again that are meant for the whole program."""
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise e
        if isinstance(e, ToolError):
            return str(e), True
        if isinstance(e, MemoryError):
            gc.collect()
            return "out of memory", True
        self._gateway.log_exception(e)
        return "the tool failed: %s: %s" % (type(e).__name__, e), True

    def _finish(self, request, port, value, is_error=False):
        port.send(self._server.tool_result(request, value, is_error))

    def _read(self, request, port):
        resource = self._registry.resources.get(request.name)
        if resource is None:
            hub = self._gateway.upstreams
            status = hub.forwarder.status(request.name) if hub else None
            if status is None:
                port.send(self._server.not_found(request))
            else:
                port.send(self._server.read_result(request, status, "application/json"))
            return
        try:
            value = resource.func()
        except BaseException as e:
            self._finish_read(request, port, *self._told(e))
            return
        self._conclude(request, port, value, self._finish_read)

    def _finish_read(self, request, port, value, is_error=False):
        if is_error:
            port.send(error(request.id, INTERNAL_ERROR, value))
            return
        mime_type = self._registry.resources[request.name].mime_type
        port.send(self._server.read_result(request, value, mime_type))

    def _list_tools(self, request, port):
        if self._gateway.upstreams and not self._gateway.upstreams.settled(port.link):
            request.begin(self._config["max_calls"])
            self._gateway.work(self._list_when_settled(request, port))
        else:
            port.send(self._server.tools_result(request))

    async def _list_when_settled(self, request, port):
        start = ticks_ms()
        while not self._gateway.upstreams.settled(port.link):
            if ticks_diff(ticks_ms(), start) > self._config["list_wait_ms"]:
                break
            await sleep_ms(10)
        if request.end():
            port.send(self._server.tools_result(request))


class Answer:
    """Takes a port's place for one message: the answer is kept in `data`, the rest goes to `port`.

    session: of the client that asks; port: the Port it asks on, if it is one.
    """

    def __init__(self, session, port=None):
        self.session = session
        self.port = port
        self.link = port.link if port else self
        self.settling = False
        self.data = b""

    def send(self, parts):
        if not bytes(parts[0]).startswith(b'{"jsonrpc":"2.0","method"'):
            self.data = joined(parts)
        elif self.port:
            self.port.send(parts)
