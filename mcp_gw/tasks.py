"""Calls that go on after their request was answered with a handle: the experimental tasks of
2025-11-25 and the Tasks extension of 2026-07-28."""

import asyncio

from .asking import ask_legacy, extensions_of
from .clock import iso_time
from .errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_CAPABILITY,
    ProtocolError,
    ToolError,
)
from .protocol.jsontext import joined, member, members, without_member
from .protocol.jsonvalue import dumps
from .protocol.pages import cursor_of
from .protocol.results import notification
from .protocol.revisions import TASKS, TASKS_EXTENSION
from .protocol.server import DEFER
from .transports.link import random_hex

EXTENSION = "io.modelcontextprotocol/tasks"
_RELATED = "io.modelcontextprotocol/related-task"
_POLL_MS = 500
_LISTED = 32  # calls in the queue in one page of tasks/list
_OVER = ("completed", "failed", "cancelled")


class Task:
    """One call that became a task; takes the place of a port for it.

    status: working, input_required, completed, failed or cancelled; outcome: JSON text of the
    result or, failed, of the error object.
    """

    def __init__(self, tasks, request, id, now, ttl_ms):
        self.tasks = tasks
        self.request = request
        self.id = id
        self.modern = request.revision.modern
        self.session = request.session
        self.link = None
        self.principal = request.session.principal
        self.status = "working"
        self.created = self.updated = now
        self.began = tasks.uptime_s
        self.ttl_ms = ttl_ms
        self.outcome = b""
        self.questions = {}  # key -> Question still open
        self._asking = 0  # how often a client of 2025-11-25 is being asked
        self._used = 0
        self._answers = {}
        self._event = asyncio.Event()  # an answer came, or somebody waits for the result
        self.waiting = []  # requests of tasks/result

    def row(self):
        """The Task object of its revision, without outcome and questions."""
        row = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": iso_time(self.created),
            "lastUpdatedAt": iso_time(self.updated),
        }
        row["ttlMs" if self.modern else "ttl"] = self.ttl_ms
        row["pollIntervalMs" if self.modern else "pollInterval"] = _POLL_MS
        if self.status == "cancelled":
            row["statusMessage"] = "The task was cancelled."
        return row

    def detailed(self):
        """Members (JSON text) of the DetailedTask object."""
        row = self.row()
        if self.questions:
            row["inputRequests"] = {key: q.row() for key, q in self.questions.items()}
        data = dumps(row)[1:-1]
        if self.status == "completed":
            data += b',"result":' + self.outcome
        elif self.status == "failed":
            data += b',"error":' + self.outcome
        return data

    @property
    def over(self):
        return self.status in _OVER

    def set(self, status):
        self.status = status
        self.updated = self.tasks.now()
        self.tasks.tell(self)

    # As a port.

    def send(self, parts):
        """Progress is for clients of 2025-11-25; the extension has none."""
        if not self.modern and not self.request.forgotten and self.session.out:
            self.session.out(parts)

    def close_stream(self):
        """There is none."""

    def answer(self, parts, status=200):
        if self.over:
            return
        data = bytes(joined(parts))
        failed = False
        for key, _, lo, hi in members(data):
            if key == b"result" or key == b"error":
                failed = key == b"error"
                self.outcome = data[lo:hi]
        self.end("failed" if failed else "completed")

    def end(self, status):
        """It is over; those who wait for the result get it."""
        self.questions = {}
        self.set(status)
        waiting, self.waiting = self.waiting, []
        for request in waiting:
            if request.end():
                request.port.answer(self.tasks.outcome(request, self))

    def cancel(self):
        if not self.over:
            self.request.cancel()
            self.end("cancelled")

    # Questions to the client while it runs.

    async def ask(self, questions):
        """See asking.ask()."""
        if not self.modern:
            return await self._ask_legacy(questions)
        keys = {}
        for key, question in questions.items():
            self._used += 1
            fresh = key if key not in self._answers else "%s_%d" % (key, self._used)
            keys[fresh] = key
            self.questions[fresh] = question
            self._answers[fresh] = None
        self.set("input_required")
        try:
            while any(fresh in self.questions for fresh in keys):
                self._event.clear()
                await self._event.wait()
        except BaseException:
            for fresh in keys:  # given up: nobody wants to know any more
                self.questions.pop(fresh, None)
            self._go_on()
            raise
        return {key: self._answers[fresh] for fresh, key in keys.items()}

    async def _ask_legacy(self, questions):
        self._asking += 1
        self.set("input_required")
        try:
            while not self.waiting:
                self._event.clear()
                await self._event.wait()
            meta = {_RELATED: {"taskId": self.id}}
            send = self.waiting[0].port.send
            timeout_ms = self.tasks.ask_timeout_ms
            return await ask_legacy(self.request, questions, timeout_ms, send, meta)
        finally:
            self._asking -= 1
            self._go_on()

    def take_answers(self, responses):
        """inputResponses of a tasks/update; what was not asked is ignored."""
        for key, answer in responses.items():
            question = self.questions.get(key)
            if question:
                try:
                    self._answers[key] = question.taken(answer)
                except ToolError:
                    continue  # it stays open
                del self.questions[key]
        self._go_on()
        self._event.set()

    def _go_on(self):
        if self.status == "input_required" and not (self.questions or self._asking):
            self.set("working")

    def wait_for(self, request, port, most):
        """A tasks/result that comes before the end."""
        request.begin(most, port)
        request.on_cancel = lambda: self._waits_no_more(request)
        self.waiting.append(request)
        self._event.set()

    def _waits_no_more(self, request):
        if request in self.waiting:
            self.waiting.remove(request)


class Tasks:
    """All tasks of one gateway, and the methods about them."""

    def __init__(self, gateway):
        self._gateway = gateway
        self._server = gateway.server
        self._tasks = {}
        self._order = []
        self.ask_timeout_ms = gateway.config["ask_timeout_ms"]
        gateway.server.add_methods(
            {
                b'"tasks/get"': self._get,
                b'"tasks/result"': self._result,
                b'"tasks/list"': self._list,
                b'"tasks/cancel"': self._cancel,
                b'"tasks/update"': self._update,
            }
        )

    def now(self):
        """Seconds since 1970, or since the start where nobody has told the time."""
        clock = self._gateway.clock
        now = clock.unix()
        return clock.uptime_s if now is None else now

    @property
    def uptime_s(self):
        """Seconds since the start: unlike now() it never jumps."""
        return self._gateway.clock.uptime_s

    def find(self, id, session, modern=True):
        """The Task with this id that the client of `session` may see, or None. modern: where it is
        one of the queue, the era it is for."""
        task = self._tasks.get(id)
        hub = self._gateway.upstreams
        if task is None and hub and hub.forwarder.outbox is not None:
            return hub.queued().find(id, session, modern)
        return task if task and task.principal == session.principal else None

    def begin(self, request, port, tool, params):
        """Decide whether a call becomes a task, and answer with its handle if so. Returns whether
        it did; what follows goes to request.task then."""
        revision = request.revision
        if revision.features & TASKS:
            asked = params.get("task")
            if isinstance(asked, dict):
                if not tool.task:
                    raise ProtocolError(METHOD_NOT_FOUND, "this tool does not run as a task")
                self._create(request, port, asked.get("ttl"))
                return True
            if tool.task == "required":
                raise ProtocolError(METHOD_NOT_FOUND, "this tool runs as a task only")
        elif revision.features & TASKS_EXTENSION and tool.task:
            if tool.task == "later":
                request.start_task = lambda: self._start(request)
            elif EXTENSION in extensions_of(request):
                self._create(request, port, None)
                return True
            elif tool.task == "required":
                raise _not_declared()
        return False

    def _start(self, request):
        """A call under way goes on as a task."""
        if EXTENSION not in extensions_of(request):
            raise _not_declared()
        self._make_room()
        if request.end():
            self._create(request, request.port, None)

    def _create(self, request, port, ttl_ms):
        self._make_room()
        most = self._gateway.config["task_ttl_s"] * 1000
        if type(ttl_ms) is not int or not 0 < ttl_ms <= most:
            ttl_ms = most
        request.over = False
        task = Task(self, request, random_hex(24), self.now(), ttl_ms)
        self._tasks[task.id] = task
        self._order.append(task.id)
        request.task = request.port = task
        rows = dumps(task.row())
        if task.modern:
            head = b'{"jsonrpc":"2.0","id":' + request.id + b',"result":{"resultType":"task",'
            port.answer([head, self._server.stamp, b"},", rows[1:], b"}"])
        else:
            port.answer(self._server.result(request, [b'"task":', rows]))

    def _make_room(self):
        """Forget the oldest task that is over, if need be. Raises ProtocolError where none is."""
        if len(self._order) < self._gateway.config["max_tasks"]:
            return
        for id in self._order:
            if self._tasks[id].over:
                self._forget(id)
                return
        raise ProtocolError(INTERNAL_ERROR, "too many tasks are under way")

    def close(self):
        """The gateway stops serving: end all of them."""
        for id in self._order:
            self._tasks[id].cancel()

    def _forget(self, id):
        self._order.remove(id)
        del self._tasks[id]

    def tick(self):
        """Once a second: forget what is too old."""
        now = self.uptime_s
        for id in list(self._order):
            task = self._tasks[id]
            if (now - task.began) * 1000 > task.ttl_ms:
                task.cancel()
                self._forget(id)

    def tell(self, task):
        """Its status has changed: tell those who asked to be told."""
        session = task.session
        if not task.modern and not task.request.forgotten and session.initialized and session.out:
            session.out(notification("notifications/tasks/status", dumps(task.row())))
        for session in list(self._gateway.sessions):
            for listen in list((session.listens or {}).values()):
                if task.id in listen.tasks:
                    listen.send("notifications/tasks", task.detailed())

    # Methods.

    def _task(self, request, params):
        id = params.get("taskId")
        modern = request.revision.modern
        task = self.find(id, request.session, modern) if isinstance(id, str) else None
        if task is None or task.modern != modern:
            raise ProtocolError(INVALID_PARAMS, "no such task, or it has expired")
        return task

    def _params(self, request, buf, spans, method, legacy=True, modern=True):
        """The params, where the client's revision has the method and the client declares it."""
        features = request.revision.features
        if not (features & TASKS and legacy or features & TASKS_EXTENSION and modern):
            raise ProtocolError(METHOD_NOT_FOUND, "unknown method " + method)
        params = self._server.params(buf, spans)
        request.meta = request.meta or b""
        if request.revision.modern and EXTENSION not in extensions_of(request):
            raise _not_declared()
        return params

    def _get(self, request, buf, spans):
        task = self._task(request, self._params(request, buf, spans, "tasks/get"))
        if task.modern:
            return self._server.result(request, [task.detailed()])
        return self._server.result(request, [dumps(task.row())[1:-1]])

    def _cancel(self, request, buf, spans):
        task = self._task(request, self._params(request, buf, spans, "tasks/cancel"))
        if task.modern:
            task.cancel()
            return self._server.result(request, [])
        if task.over:
            raise ProtocolError(INVALID_PARAMS, "the task is %s already" % task.status)
        task.cancel()
        return self._server.result(request, [dumps(task.row())[1:-1]])

    def _update(self, request, buf, spans):
        params = self._params(request, buf, spans, "tasks/update", legacy=False)
        task = self._task(request, params)
        responses = params.get("inputResponses")
        if not isinstance(responses, dict):
            raise ProtocolError(INVALID_PARAMS, "inputResponses must be an object")
        task.take_answers(responses)
        return self._server.result(request, [])

    def _result(self, request, buf, spans):
        params = self._params(request, buf, spans, "tasks/result", modern=False)
        task = self._task(request, params)
        if task.over:
            return self.outcome(request, task)
        request.kind = DEFER
        most = self._gateway.config["max_calls"]
        request.start_task = lambda request, port: task.wait_for(request, port, most)
        return request

    def outcome(self, request, task):
        """The answer (parts) to a tasks/result request, once the task is over."""
        head = [b'{"jsonrpc":"2.0","id":', request.id]
        if task.status == "failed":
            return head + [b',"error":', task.outcome, b"}"]
        if task.status == "cancelled":
            raw = dumps({"code": INTERNAL_ERROR, "message": "the task was cancelled"})
            return head + [b',"error":', raw, b"}"]
        meta = b'"%s":{"taskId":"%s"}' % (_RELATED.encode(), task.id.encode())
        own = member(task.outcome, b"_meta") or b""
        own = without_member(own, _RELATED.encode()) if own[:1] == b"{" else b"{}"
        rest = without_member(task.outcome, b"_meta")
        return head + [b',"result":{"_meta":{', meta, _more(own), _more(rest), b"}"]

    def _list(self, request, buf, spans):
        params = self._params(request, buf, spans, "tasks/list", modern=False)
        group, after = cursor_of(params)
        rows = []
        for id in () if group else self._order:
            task = self._tasks[id]
            mine = task.session is request.session and not task.request.forgotten
            if mine and not task.modern:
                rows.append(task.row())
        hub = self._gateway.upstreams
        more = None
        if hub and hub.forwarder.outbox is not None:
            found, more = hub.queued().rows(request.session, after, _LISTED)
            rows += found
        parts = [b'"tasks":', dumps(rows)]
        if more is not None:
            parts.append(b',"nextCursor":"1-%x"' % more)
        return self._server.result(request, parts)


def _more(data):
    """What comes behind a first member, to the end of an object, of the JSON object `data`."""
    return b"," + data[1:] if len(data) > 2 else data[1:]


def _not_declared():
    return ProtocolError(
        MISSING_CAPABILITY,
        "missing required client capability",
        {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        400,
    )
