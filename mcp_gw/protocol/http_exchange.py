"""One message POSTed over Streamable HTTP, and what is said on it: the port that a gateway's
dispatch answers to.
"""

from ..compat import const
from ..errors import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_REQUEST, ProtocolError
from .framing import METHOD, REQUEST, VERSION, text
from .http_sessions import PRIMED_SINCE
from .sse import COMMENT, event

JSON = b"Content-Type: application/json\r\n"
EVENTS = b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"

# Eras of a request, as far as its head tells.
LEGACY = const(0)  # it belongs to a session
MODERN = const(1)
FIRST = const(2)  # no session: initialize, or a mistake


class _NoLink:
    settling = False


class Exchange:
    """One POSTed message and what is said on it: the port that dispatch answers to. Used again for
    the next one on its connection."""

    link = _NoLink

    def __init__(self, app, connection):
        self._app = app
        self.connection = connection
        self.session = None
        self.http_session = None
        self.plan = None
        self.answered = True
        self.stream = None  # the EventStream of a legacy request

    def answer(self, parts, status=200):
        """The last message on this request."""
        if self.answered:
            return
        self.answered = True
        plan = self.plan
        stream = self.stream
        if stream is not None:
            self.stream = None
            stream.put(parts)
            stream.end()
            return
        connection = self.connection
        if connection is None:
            return
        if plan.era == FIRST:
            self._first(parts, status)
        elif connection.streaming:
            connection.chunk(event(parts))
            connection.finish()
        elif status != 200:
            connection.answer(status, JSON + plan.fields, parts)
        elif not plan.json:
            if self.http_session is not None and self._begin():
                stream, self.stream = self.stream, None
                stream.put(parts)
                stream.end()
            else:
                self._events(plan.fields, parts)
        elif plan.fields:
            connection.answer(200, JSON + plan.fields, parts)
        else:
            connection.answer_json(parts)

    def send(self, parts):
        """A message before the answer; the first makes the answer a stream."""
        if self.answered:
            return
        if self.stream is None and not self._begin():
            if self.http_session is not None:  # where else the client may hear of it
                self.http_session.streams[0].put(parts)
            return
        if self.stream is not None:
            self.stream.put(parts)
        else:
            self.connection.chunk(event(parts))

    def close_stream(self):
        """End the connection of this request's stream; its client comes back for the rest."""
        if self.answered or self.http_session is None:
            return
        revision = self.session.revision
        if revision is None or revision.name < PRIMED_SINCE:
            return
        if self.stream is None and not self._begin():
            return
        self.stream.detach(True)
        self.connection = None

    def _begin(self):
        """Begin a stream, if there is somebody to take it."""
        connection = self.connection
        plan = self.plan
        if connection is None or not plan.events:
            return False
        if connection.streaming:
            return True
        connection.begin(EVENTS + plan.fields)
        if self.http_session is not None:
            stream = self.stream = self.http_session.new_stream()
            stream.connection = connection
            stream.prime(0)
        return True

    def quiet(self):
        """Nothing was sent for a while: keep whoever is between us and the client from giving
        up."""
        if not self.settle() and (self.stream is not None or self._begin()):
            self.connection.chunk(COMMENT)

    def settle(self):
        """End the answer if nobody works on it any more, because the client has cancelled the
        request or ended its session. Returns whether it has ended."""
        if not self.answered:
            for request in self.session.under_way.values():
                if request.port is self or not isinstance(request.port, Exchange):  # a batch's
                    return False
            self.answered = True
            stream, self.stream = self.stream, None
            connection = self.connection
            if stream is not None:
                stream.end()
            elif connection is not None and connection.streaming:
                connection.finish()
            elif connection is not None:
                connection.answer(204, self.plan.fields, ())
        return True

    def gone(self):
        """The connection is gone."""
        self.connection = None
        if self.stream is not None:
            self.stream.detach()
        elif self.http_session is None:
            self.answered = True

    # A message outside of a session: initialize begins one.

    def check_first(self, kind, buf, spans):
        """For Session.check."""
        plan = self.plan
        if spans[2 * VERSION] >= 0:
            raise ProtocolError(
                HEADER_MISMATCH, "header mismatch: MCP-Protocol-Version is missing", None, 400
            )
        if kind != REQUEST or text(buf, spans, METHOD) != "initialize":
            raise ProtocolError(INVALID_REQUEST, "Mcp-Session-Id is missing", None, 400)
        if not self._app.sessions.has_room():
            raise ProtocolError(INTERNAL_ERROR, "too many sessions", None, 503)
        self.session.principal = plan.principal

    def _first(self, parts, status):
        fields = self.plan.fields
        if status == 200 and self.session.revision is not None:
            one = self._app.sessions.begin(self.session, self.plan.principal, self._app.now)
            fields += b"Mcp-Session-Id: " + one.id + b"\r\n"
        if status == 200 and not self.plan.json:
            self._events(fields, parts)
        else:
            self.connection.answer(status, JSON + fields, parts)

    def _events(self, fields, parts):
        """The answer as a stream that holds nothing else."""
        self.connection.begin(EVENTS + fields)
        self.connection.chunk(event(parts))
        self.connection.finish()
