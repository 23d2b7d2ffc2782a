"""Calls in the queue as clients see them: how one gets there, and what tasks and notifications
tell of it. Loaded with the first call that waits, or with the first question about one.

Where the client speaks tasks a queued call is a task whose id is the call's: all that is told of
it is read from the queue, and so outlives the board's restarts.
"""

from ..asking import extensions_of
from ..clock import iso_time
from ..compat import const, ticks_ms
from ..errors import QUEUE_FULL, UPSTREAM_UNAVAILABLE, NoAnswer, QueueFull
from ..protocol.jsontext import loads, member
from ..protocol.jsonvalue import dumps
from ..protocol.results import notification
from ..protocol.revisions import BY_NAME, LATEST_LEGACY, TASKS_EXTENSION
from ..queue.owners import number, owner_at
from ..tasks import EXTENSION
from .passage import readable

_POLL_MS = const(1000)
# Clients of 2025-11-25 are told how a call of theirs ended; of so many calls it is known whose.
_MOST_TOLD = const(64)
_SENT = const(2)  # a flag of put()
_OVER = {
    b'"done"': "completed",
    b'"failed"': "completed",
    b'"merged"': "completed",
    b'"expired"': "failed",
    b'"dropped"': "failed",
    b'"cancelled"': "cancelled",
    b'"superseded"': "cancelled",
}


class Queued:
    """gateway: the Gateway; forwarder: its Forwarder."""

    def __init__(self, gateway, forwarder):
        self.gateway = gateway
        self.forwarder = forwarder
        self.ttl_s = gateway.config["outcome_ttl_s"]
        self.waiting = {}  # key (str) -> requests of tasks/result
        self._sessions = {}  # key -> session of the client of 2025-11-25 that has it as a task

    def queue(self, passage, why):
        """Put the call of a Passage into the queue, and answer its client. why: Unavailable or
        NoAnswer."""
        forwarder = self.forwarder
        request = passage.request
        waits = passage.waits
        key = passage.key
        upstream = passage.upstream.name
        whose = number(request.session.principal)
        sent = isinstance(why, NoAnswer)
        try:
            if isinstance(waits, int):
                tool = loads(passage.name, b"\\" in passage.name)
                rest = waits, 1, whose, _SENT if sent else 0
                forwarder.outbox.put(key.encode(), upstream, tool, [passage.kept], *rest)
            else:
                rest = passage.kept, whose, sent, forwarder.log
                waits.put(forwarder.outbox, key.encode(), upstream, *rest)
                waits = waits.expiry_s
        except QueueFull as e:
            forwarder.refuse(request, passage.port, QUEUE_FULL, str(e))
            return
        uri = "queue://" + key
        told = "%s: queued as %s, read %s" % (why, key, uri)
        meta = b'"mcp-gw/queued":' + dumps({"id": key, "uri": uri, "expires_s": waits})
        server = forwarder.server
        if passage.as_task:
            self._answer_task(passage, told, meta)
        elif _speaks_tasks(request):
            row = dumps(self.find(key, request.session, True).row())
            head = b'{"jsonrpc":"2.0","id":' + request.id + b',"result":{"resultType":"task",'
            passage.port.answer([head, server.stamp, b",", meta, b"},", row[1:], b"}"])
        else:
            link = {"type": "resource_link", "uri": uri, "name": key}
            link["mimeType"] = "application/json"
            rows = [b'"content":', dumps([{"type": "text", "text": told}, link])]
            passage.port.answer(server.result(request, rows, meta=meta))

    def _answer_task(self, passage, told, meta):
        request = passage.request
        if len(self._sessions) >= _MOST_TOLD:
            self._sessions.clear()
        self._sessions[passage.key] = request.session
        meta += b',"io.modelcontextprotocol/model-immediate-response":' + dumps(told)
        row = dumps(self.find(passage.key, request.session, False).row())
        passage.port.answer(self.forwarder.server.result(request, [b'"task":', row], meta=meta))
        self.forwarder.look(ticks_ms())

    # Tasks.

    def find(self, key, session, modern):
        """The QueuedTask of a call that the client of `session` may see, or None."""
        outbox = self.forwarder.outbox
        found = outbox.seek(key.encode())
        if found is None or owner_at(outbox, found[0]) != number(session.principal):
            return None
        return QueuedTask(self, key, outbox.status(key.encode(), found), modern)

    def rows(self, session, after, most):
        """(Task objects for tasks/list, number to go on from or None): those after number
        `after`, at most `most`."""
        outbox = self.forwarder.outbox
        whose = number(session.principal)
        rows = []
        for handle, kind, key, length in outbox.ring.records(after, b"\x01\x02"):
            found = handle, kind, length, 0
            if owner_at(outbox, handle) != whose:
                continue
            if len(rows) == most:
                return rows, after
            after = handle[0]
            text = outbox.status(key, found)
            rows.append(QueuedTask(self, key.decode(), text, False).row())
        return rows, None

    def tell(self, key):
        """The call has its outcome: tell those who wait for it."""
        gateway = self.gateway
        gateway.resource_updated("queue://" + key)
        session = self._sessions.pop(key, None)
        waiting = self.waiting.pop(key, ())
        listens = []
        for other in list(gateway.sessions):
            for listen in list((other.listens or {}).values()):
                if key in listen.tasks:
                    listens.append(listen)
        if not (session or waiting or listens):
            return
        status = self.forwarder.outbox.status(key.encode())
        task = QueuedTask(self, key, status, False)
        for request in waiting:
            if request.end():
                request.port.answer(gateway.tasks().outcome(request, task))
        if session and session.initialized and session.out:
            try:
                session.out(notification("notifications/tasks/status", dumps(task.row())))
            except OSError:
                pass  # the others are told all the same
        for listen in listens:
            detailed = QueuedTask(self, key, status, True).detailed()
            listen.send("notifications/tasks", detailed)


class QueuedTask:
    """What tasks.Task is to the methods about tasks. text: JSON text (bytes) of the queue's
    status, None: the outcome was dropped."""

    questions = ()

    def __init__(self, queued, key, text, modern):
        self._queued = queued
        self.id = key
        self.modern = modern
        self._read(text)

    def _read(self, text):
        self._text = text or b'{"state":"cancelled"}'
        self.status = _OVER.get(self._field(b"state"), "working")
        self.outcome = b""
        if self.status == "completed":
            self.outcome = self._field(b"result")
            if not self.modern:
                self.outcome = readable(BY_NAME[LATEST_LEGACY], self.outcome)
            elif member(self.outcome, b"resultType") is None:
                comma = b"" if self.outcome == b"{}" else b","
                self.outcome = b'{"resultType":"complete"' + comma + self.outcome[1:]
        elif self.status == "failed":
            row = {"code": UPSTREAM_UNAVAILABLE, "message": self._said()}
            self.outcome = dumps(row)

    def _field(self, name):
        return member(self._text, name) or b"null"

    def _number(self, name):
        raw = self._field(name)
        return None if raw == b"null" else int(raw)

    def _said(self):
        """The text of the outcome."""
        raw = self._field(b"result")
        if raw == b"null":
            return "the outcome was dropped"
        return loads(raw, b"\\" in raw)["content"][0]["text"]

    @property
    def over(self):
        return self.status != "working"

    def row(self):
        """See Task.row()."""
        at = self._number(b"queued_at") or 0
        ended = self._number(b"finished_at")
        ends = self._number(b"expires_at")
        ttl_s = self._queued.ttl_s
        if ended is not None:
            ends = ended
            ttl_s = self._number(b"kept_s")
        row = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": iso_time(at),
            "lastUpdatedAt": iso_time(ended or at),
        }
        ttl = None if ends is None or not at else (ends - at + ttl_s) * 1000
        row["ttlMs" if self.modern else "ttl"] = ttl
        row["pollIntervalMs" if self.modern else "pollInterval"] = _POLL_MS
        if self.status == "working":
            raw = self._field(b"upstream")
            told = "%s for %s, at most until it expires; see queue://%s"
            state = "on its way" if self._field(b"state") == b'"sending"' else "waits"
            row["statusMessage"] = told % (state, loads(raw, b"\\" in raw), self.id)
        elif self.status != "completed":
            row["statusMessage"] = self._said()
        return row

    def detailed(self):
        """See Task.detailed()."""
        data = dumps(self.row())[1:-1]
        if self.status == "completed":
            data += b',"result":' + self.outcome
        elif self.status == "failed":
            data += b',"error":' + self.outcome
        return data

    def cancel(self):
        """Also where it is on its way: its outcome says then that it may be carried out."""
        if not self.over:
            outbox = self._queued.forwarder.outbox
            outbox.cancel(self.id.encode(), True)
            self._read(outbox.status(self.id.encode()))

    def take_answers(self, responses):
        """Nothing was asked."""

    def wait_for(self, request, port, most):
        """See Task.wait_for()."""
        request.begin(most, port)
        request.on_cancel = lambda: self._waits_no_more(request)
        self._queued.waiting.setdefault(self.id, []).append(request)

    def _waits_no_more(self, request):
        rows = self._queued.waiting.get(self.id, ())
        if request in rows:
            rows.remove(request)


def _speaks_tasks(request):
    """Whether the client declares the Tasks extension."""
    if not request.revision.features & TASKS_EXTENSION or EXTENSION.encode() not in request.meta:
        return False
    return EXTENSION in extensions_of(request)
