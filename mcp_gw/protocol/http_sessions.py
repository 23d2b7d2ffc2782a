"""Sessions of legacy clients over Streamable HTTP, and event streams that outlive connections.

Each message on a stream gets an event id, STREAM-NUMBER, and is kept in a buffer of bounded size
per session, so that a client whose connection broke, or was closed by us, can go on where it was.
Stream 0 is the one that GET opens; each POST whose answer is a stream begins another.
"""

from ..compat import ticks_diff
from ..errors import HEADER_MISMATCH, ProtocolError
from .framing import VERSION
from .jsontext import joined
from .sse import COMMENT, event

# How long a client waits before it comes back to a stream whose connection was closed.
_RETRY = b"retry: 1000\n"
# From this revision on clients know that a stream may begin with an empty event, and end before
# the answer.
PRIMED_SINCE = "2025-11-25"


class EventStream:
    """One stream of a session. connection: where it goes now, None while nobody listens."""

    def __init__(self, session, number):
        self.session = session
        self.number = number
        self.last = 0  # number of the last event
        self.seen = 0  # of the last one that was given to a connection
        self.done = False  # no more will come
        self.connection = None

    def prime(self, at):
        """Tell the client where it is (behind event `at`) before there is anything to tell, and
        when to come back."""
        revision = self.session.session.revision
        if revision is not None and revision.name >= PRIMED_SINCE:
            self.connection.chunk((b"id: %d-%d\n" % (self.number, at), _RETRY, b"data: \n\n"))

    def put(self, parts):
        """A message, as list of bytes-like."""
        self.last += 1
        data = bytes(joined(parts))
        self.session.keep(self, self.last, data)
        if self.connection is not None:
            self._send(self.last, data)

    def _send(self, number, data):
        self.seen = number
        self.connection.chunk(event((data,), b"%d-%d" % (self.number, number)))

    def attach(self, connection, after):
        """Go on over `connection`, whose head was sent, behind event `after`."""
        self.detach(True)
        self.connection = connection
        self.prime(after)
        for stream, number, data in self.session.kept[:]:
            if stream is self and number > after and self.connection is not None:
                self._send(number, data)
        if self.done:
            self.end()

    def detach(self, finish=False):
        """The connection is needed no more, or gone."""
        connection, self.connection = self.connection, None
        if connection is not None and finish:
            connection.exchange = None
            connection.finish()

    def quiet(self):
        """Nothing was sent for a while: show that we are still there."""
        self.connection.chunk(COMMENT)

    def gone(self):
        """The connection is gone."""
        self.connection = None

    def end(self):
        """All was said."""
        self.done = True
        self.detach(True)
        self.session.forget(self)


class HttpSession:
    """One client: id: Mcp-Session-Id (bytes); session: the Session; used: when it was last heard
    of (ticks in ms); replay: bytes of events kept at most."""

    def __init__(self, id, session, principal, now, replay):
        self.id = id
        self.session = session
        self.principal = principal
        self.used = now
        self.alive = True
        self.kept = []  # (stream, number, data) of events, oldest first
        self._size = 0
        self._replay = replay
        self._begun = 0
        self.streams = {0: EventStream(self, 0)}
        self._waiting = []  # Exchanges that had no answer at once
        session.out = self.streams[0].put
        session.check = check_legacy

    def new_stream(self):
        self._begun += 1
        stream = self.streams[self._begun] = EventStream(self, self._begun)
        return stream

    def wait(self, exchange):
        """The answer on `exchange` takes time."""
        self._waiting = [one for one in self._waiting if not one.answered and one is not exchange]
        self._waiting.append(exchange)

    def settle(self):
        """What the client said may have been that it wants some answers no longer."""
        for exchange in self._waiting:
            # Exchanges are used again, also for requests of other sessions.
            if exchange.http_session is self:
                exchange.settle()

    def keep(self, stream, number, data):
        """Keep an event for a client that missed it; the oldest make room."""
        self.kept.append((stream, number, data))
        self._size += len(data)
        while self._size > self._replay and self.kept:
            old, _, data = self.kept.pop(0)
            self._size -= len(data)
            if old.done:
                self.forget(old)

    def forget(self, stream):
        """Let go of a stream that has ended once no event of it is kept."""
        if stream.number and all(row[0] is not stream for row in self.kept):
            self.streams.pop(stream.number, None)

    def find(self, event_id):
        """(stream, number) that an event id (bytes) names, (None, 0) if there is no such."""
        stream, found, number = event_id.partition(b"-")
        if not found or not (stream.isdigit() and number.isdigit()) or len(event_id) > 20:
            return None, 0
        return self.streams.get(int(stream)), int(number)

    @property
    def busy(self):
        """Whether somebody listens or waits."""
        if self.session.under_way:
            return True
        return any(stream.connection is not None for stream in self.streams.values())

    def end(self):
        self.alive = False
        self.session.out = None
        self.settle()
        for stream in list(self.streams.values()):
            stream.detach(True)
        self.kept = []


class Sessions:
    """All sessions of a server. cap: how many; idle_ms: after which time without a request one
    may be forgotten; replay: bytes of events kept for each; new_id: function() -> str nobody can
    guess; join, leave: functions(Session) of the gateway."""

    def __init__(self, cap, idle_ms, replay, new_id, join, leave):
        self._cap = cap
        self._idle_ms = idle_ms
        self._replay = replay
        self._new_id = new_id
        self._join = join
        self._leave = leave
        self._table = {}

    def __len__(self):
        return len(self._table)

    def get(self, id, principal):
        """The HttpSession of an id (bytes), None if there is none or it is somebody else's."""
        found = self._table.get(id)
        return found if found is not None and found.principal == principal else None

    def has_room(self):
        """Whether one more fits, if need be in place of the one that was silent for longest."""
        return len(self._table) < self._cap or self._idlest() is not None

    def _idlest(self):
        oldest = None
        for one in self._table.values():
            if not one.busy and (oldest is None or ticks_diff(oldest.used, one.used) > 0):
                oldest = one
        return oldest

    def begin(self, session, principal, now):
        """A client has initialised, and there is room for it; returns its HttpSession."""
        if len(self._table) >= self._cap:
            self.end(self._idlest())
        id = self._new_id().encode()
        one = self._table[id] = HttpSession(id, session, principal, now, self._replay)
        self._join(session)
        return one

    def end(self, one):
        self._table.pop(one.id, None)
        self._leave(one.session)
        one.end()

    def tick(self, now):
        """Forget who was silent for too long."""
        for one in list(self._table.values()):
            if one.busy:
                one.used = now
            elif ticks_diff(now, one.used) > self._idle_ms:
                self.end(one)

    def close(self):
        for one in list(self._table.values()):
            self.end(one)


def check_legacy(kind, buf, spans):
    """For Session.check: a legacy client does not speak like a modern one between times."""
    if spans[2 * VERSION] >= 0:
        raise ProtocolError(
            HEADER_MISMATCH,
            "header mismatch: MCP-Protocol-Version is missing or differs from the body",
            None,
            400,
        )
