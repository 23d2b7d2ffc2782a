"""Carries out what clients ask of this gateway itself, and passes on what it forwards."""

import gc

from .compat import close_with, drive, sleep_ms, ticks_diff, ticks_ms
from .errors import INTERNAL_ERROR, INVALID_PARAMS, ProtocolError, ToolError
from .protocol import results
from .protocol.faults import STATUS
from .protocol.framing import E_BATCH
from .protocol.jsontext import joined
from .protocol.results import error
from .protocol.revisions import BATCHES, TASKS
from .protocol.server import CALL, COMPLETE, DEFER, GET_PROMPT, LIST_TOOLS, READ
from .protocol.session import Request


class Dispatch:
    """gateway: the Gateway this is a part of."""

    def __init__(self, gateway):
        self._gateway = gateway
        self._server = gateway.server
        self._registry = gateway.registry
        self._config = gateway.config
        gateway.server.on_cancelled = Request.cancel
        self.tasks = None  # the Tasks, once a tool can be one
        self.routing = None  # function(request, port, tool, buf) that may pass a call on
        self.sampler = None  # function that does sampling which a client cannot

    def take(self, port, buf, lo, hi):
        """Handle one message of `port`. Returns its kind, as the scanner gives it."""
        server = self._server
        action = None
        try:
            action = server.receive(port.session, buf, lo, hi)
            kind = server.kind  # a tool that uses process() changes it
            if action is None:
                return kind
            if isinstance(action, list):
                if kind == E_BATCH and self._takes_batches(port.session):
                    return self._batch(port, buf, lo, hi)
                port.answer(action, server.status)
            elif action.kind == CALL:
                tool = self._registry.tools.get(action.name)
                if tool is not None:
                    if not (self.routing and self.routing(action, port, tool, buf)):
                        self.call(action, port, tool, buf)
                elif self._gateway.upstreams:
                    self._gateway.upstreams.forwarder.call(action, port, buf)
                else:
                    raise ProtocolError(INVALID_PARAMS, "unknown tool " + action.name)
            else:
                self._others(action, port, buf)
        except Exception as e:
            if isinstance(action, Request):
                action.end()
                # The spans may be those of another message by now: tools may use process().
                self.failed(action.task or port, action.id, e, action.revision.modern)
            else:
                self.failed(port, server.id_of(buf), e)
            return 1
        return kind

    def _others(self, request, port, buf):
        kind = request.kind
        if kind == LIST_TOOLS:
            self._list_tools(request, port)
        elif kind == READ:
            self._read(request, port, buf)
        elif kind == GET_PROMPT:
            self._get_prompt(request, port, buf)
        elif kind == COMPLETE:
            hub = self._gateway.upstreams
            if hub and hub.complete(request, port, buf):
                return
            from .completion import complete

            self._conclude(request, port, complete(self, request, buf), self._finish_completion)
        elif kind == DEFER:
            request.start_task(request, port)
        else:
            self._gateway.listening().begin(request, port, buf)

    def cancel(self, port):
        """The client of a request on `port` is gone: stop its work."""
        for request in list(port.session.under_way.values()):
            if request.port is port:
                request.cancel()

    def failed(self, port, id, e, modern=False):
        """No answer could be made: say why, for somebody waits for one. id: raw JSON or None;
        modern: the request was one of a stateless revision."""
        row = INTERNAL_ERROR, "internal error"
        status = 200
        if isinstance(e, ProtocolError):
            row = e.code, e.message, e.data
            status = e.status or (STATUS.get(e.code, 200) if modern else 200)
        elif isinstance(e, MemoryError):
            gc.collect()
            row = INTERNAL_ERROR, "out of memory"
        else:
            self._gateway.log_exception(e)
        self._server.counters.error(row[0])
        port.answer(error(id, *row), status)

    def oversized(self, port, buf, lo, hi):
        cap = self._config["max_message"]
        parts = self._server.oversized(port.session, buf, lo, hi, cap)
        if parts:
            port.answer(parts, 413)

    # Batches (2025-03-26).

    def _takes_batches(self, session):
        return session.revision is not None and session.revision.features & BATCHES

    def _batch(self, port, buf, lo, hi):
        from .batch import Batch

        return Batch(self, port).take(buf, lo, hi)

    # Tools.

    def call(self, request, port, tool, buf):
        """Carry out a call of the gateway's own Tool."""
        if tool.context or tool.task or tool.schema or self.tasks:
            self._call_with_more(request, port, tool, buf)
            return
        try:
            value = tool.func(**tool.arguments(self._server.arguments(buf)))
        except BaseException as e:
            self._ended(request, port, e)
            return
        if hasattr(value, "send"):
            request.item = tool
            self._conclude(request, port, value, self._tool_result)
        else:
            self._tool_result(request, port, value)

    def _call_with_more(self, request, port, tool, buf):
        """A call of a tool that has a Context or a raw schema, or on a gateway that has tasks."""
        server = self._server
        if tool.context or tool.task or (self.tasks and request.revision.features & TASKS):
            params = server.params(buf, server.spans)
            self._answers(request, params, server.arguments_text(buf))
            if self.tasks and self.tasks.begin(request, port, tool, params):
                port = request.task
        given = server.arguments(buf)
        try:
            if tool.schema:
                from .schema import check

                check(tool.schema, given)
                args = (given,)
                named = {}
            else:
                args = ()
                named = tool.arguments(given)
            if tool.context:
                named[tool.context] = self._context(request, port)
            value = tool.func(*args, **named)
        except BaseException as e:
            self._ended(request, port, e)
            return
        request.item = tool
        self._conclude(request, port, value, self._tool_result)

    def _context(self, request, port):
        from .context import Context

        request.port = port
        return Context(request, self._config, self.sampler)

    def _answers(self, request, params, arguments):
        """Read what a client of a stateless revision brings back to a call that asked it."""
        if not request.revision.modern:
            return
        answers = params.get("inputResponses", self)
        state = params.get("requestState")
        request.arguments = arguments
        if state is not None:
            seal, now = self._gateway.seal()
            known, request.state = seal.open(state, request, arguments, now)
            request.answers = known
        if answers is not self:
            if not isinstance(answers, dict) or any(
                not isinstance(row, dict) for row in answers.values()
            ):
                raise ProtocolError(INVALID_PARAMS, "inputResponses is an object of objects")
            request.answers = dict(request.answers or {}, **answers)

    def _conclude(self, request, port, value, finish):
        """finish(request, port, value), at once or, for a coroutine or generator, when it has
        ended."""
        if not hasattr(value, "send"):
            request.over = True
            finish(request, port, value)
            return
        try:
            request.begin(self._config["max_calls"], port)
        except ProtocolError:
            value.close()
            raise
        task = self._gateway.work(self._run_steps(request, value, finish))
        if close_with:
            close_with(task, value)
        request.on_cancel = task.cancel

    async def _run_steps(self, request, steps, finish):
        """Run an async function or a generator to its end and send the answer."""

        def report(out):
            row = out if isinstance(out, tuple) else (out,)
            told = results.progress(request, *row)
            if told and not request.stale:
                request.port.send(told)

        try:
            value = await drive(steps, report)
        except BaseException as e:
            if request.cancelled:
                return
            finish, value = self._ended, e
        if not request.end():
            return
        try:
            finish(request, request.port, value)
        except Exception as e:
            self.failed(request.port, request.id, e, request.revision.modern)

    def _ended(self, request, port, e):
        """Something raised in place of returning a value.

        Raises those again that are meant for the whole program, and ProtocolErrors."""
        if isinstance(e, (KeyboardInterrupt, SystemExit, ProtocolError)):
            raise e
        request.over = True
        if hasattr(e, "questions"):
            self._ask(request, port, e.questions)
            return
        if isinstance(e, ToolError):
            told = str(e)
        elif isinstance(e, MemoryError):
            gc.collect()
            told = "out of memory"
        else:
            self._gateway.log_exception(e)
            told = "the tool failed: %s: %s" % (type(e).__name__, e)
        if request.kind == CALL:
            self._server.counters.tool_errors += 1
            self._tool_result(request, port, told, True)
        else:
            self._server.counters.error(INTERNAL_ERROR)
            port.answer(error(request.id, INTERNAL_ERROR, told))

    def _ask(self, request, port, questions):
        from .asking import input_required

        seal, now = self._gateway.seal()
        answers = request.answers or {}
        state = seal.close(request, request.arguments, now, answers, request.state)
        stamp = self._server.stamp + b"}"
        port.answer(input_required(request, questions, state, stamp))

    def _tool_result(self, request, port, value, is_error=False):
        # Its name may be another tool's by now.
        tool = request.item or self._registry.tools.get(request.name)
        schema = tool and tool.output_schema
        meta = None
        try:
            if hasattr(value, "is_error"):
                rows, meta = results.result_members(request.revision, value)
            else:
                rows = results.tool_members(request.revision, value, is_error, schema is not None)
            if schema and not is_error:
                self._check_output(schema, value)
        except ValueError as e:
            told = "the tool returned " + str(e)
            rows = results.tool_members(request.revision, told, True)
        except ToolError as e:
            told = "the tool's result breaks its output schema: " + str(e)
            rows = results.tool_members(request.revision, told, True)
        port.answer(self._server.result(request, rows, meta=meta))

    def _check_output(self, schema, value):
        from .schema import check

        if hasattr(value, "is_error"):
            if value.is_error:
                return
            value = value.structured
        check(schema, value, "result")

    # Resources.

    def _read(self, request, port, buf):
        uri = request.name
        item = self._registry.resources.get(uri)
        named = {}
        if item is None:
            item, named = self._template(uri)
        if item is None:
            self._read_elsewhere(request, port, buf)
            return
        request.item = item
        try:
            if item.context:
                server = self._server
                self._answers(request, server.params(buf, server.spans), b"")
                named[item.context] = self._context(request, port)
            value = item.func(**named)
        except BaseException as e:
            self._ended(request, port, e)
            return
        self._conclude(request, port, value, self._finish_read)

    def _template(self, uri):
        """The template that makes this URI, and its arguments; (None, None) if there is none.

        Of several the first that takes the values; if none does, the first says why not."""
        templates = self._registry.templates
        why = None
        for name in templates:
            item = templates.get(name)
            found = item.match(uri)
            if found is not None:
                try:
                    return item, item.arguments(found)
                except ToolError as e:
                    why = why or str(e)
        if why is not None:
            raise ProtocolError(INVALID_PARAMS, why, {"uri": uri})
        return None, None

    def _read_elsewhere(self, request, port, buf):
        hub = self._gateway.upstreams
        if hub and hub.read(request, port, buf):
            return
        status = hub.forwarder.status(request.name) if hub else None
        if status is not None:
            rows = results.read_members(request.name, status, "application/json")
            port.answer(self._server.result(request, rows, cache=True))
        else:
            code = request.revision.resource_not_found
            raise ProtocolError(code, "resource not found", {"uri": request.name})

    def _finish_read(self, request, port, value):
        rows = results.read_members(request.name, value, request.item.mime_type)
        port.answer(self._server.result(request, rows, cache=True))

    # Prompts and completion.

    def _get_prompt(self, request, port, buf):
        prompt = self._registry.prompts.get(request.name)
        hub = self._gateway.upstreams
        if prompt is None and hub and hub.get_prompt(request, port, buf):
            return
        if prompt is None:
            raise ProtocolError(INVALID_PARAMS, "unknown prompt " + request.name)
        request.item = prompt
        server = self._server
        try:
            named = prompt.arguments(server.arguments(buf))
        except ToolError as e:
            raise ProtocolError(INVALID_PARAMS, str(e)) from None
        try:
            if prompt.context:
                params = server.params(buf, server.spans)
                self._answers(request, params, server.arguments_text(buf))
                named[prompt.context] = self._context(request, port)
            value = prompt.func(**named)
        except BaseException as e:
            self._ended(request, port, e)
            return
        self._conclude(request, port, value, self._finish_prompt)

    def _finish_prompt(self, request, port, value):
        rows = results.prompt_members(request.revision, value, request.item.description)
        port.answer(self._server.result(request, rows))

    def _finish_completion(self, request, port, value):
        port.answer(self._server.result(request, [b'"completion":', value]))

    # The list of tools waits for upstreams that are being asked for theirs.

    def _list_tools(self, request, port):
        if self._gateway.upstreams and not self._gateway.upstreams.settled(port.link):
            request.begin(self._config["max_calls"], port)
            task = self._gateway.work(self._list_when_settled(request, port))
            request.on_cancel = task.cancel
        else:
            port.answer(self._server.tools_result(request))

    async def _list_when_settled(self, request, port):
        start = ticks_ms()
        while not self._gateway.upstreams.settled(port.link):
            if ticks_diff(ticks_ms(), start) > self._config["list_wait_ms"]:
                break
            await sleep_ms(10)
        if request.end():
            try:
                port.answer(self._server.tools_result(request))
            except Exception as e:
                self.failed(port, request.id, e, request.revision.modern)


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

    def answer(self, parts, status=200):
        self.data = joined(parts)

    def send(self, parts):
        if self.port:
            self.port.send(parts)

    def close_stream(self):
        """There is none."""
