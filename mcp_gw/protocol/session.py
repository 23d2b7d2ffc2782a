"""One client's connection, and one request of it."""

from ..errors import INTERNAL_ERROR, ProtocolError


class Session:
    """What is remembered of one client's connection.

    out: None or function(parts), where messages go that belong to no request of the client;
    check: None or function(kind, buf, spans), called with each message once it was scanned, which
    may raise ProtocolError; principal: None, or who is authenticated (str).
    """

    def __init__(self, revision=None):
        self.age = 0
        self.out = None
        self.check = None
        self.principal = None
        self._last_asked = 0
        self.asked = {}  # id of a request to the client -> function(ok, raw JSON bytes)
        self.reset(revision)

    def reset(self, revision=None):
        """Another client, or the same one anew: what is under way is of no use to it."""
        self.revision = revision  # of the handshake; None before it
        self.initialized = False  # the client may be notified
        self.client = None  # clientInfo and capabilities (dicts) as initialize gave them
        self.capabilities = None
        self.log_level = None  # of logging/setLevel: an index into results.LEVELS
        self.subscribed = None  # URIs of resources/subscribe
        self.listens = None  # id of a subscriptions/listen (raw JSON) -> Listen
        self.under_way = {}  # id (raw JSON bytes) -> Request
        self.meta = None  # _meta of its last request of a stateless revision, as it was written
        self.meta_revision = None
        self.age += 1
        asked, self.asked = self.asked, {}
        for answered in asked.values():
            answered(False, b'{"code":-32603,"message":"the client is gone"}')

    def ask(self, answered):
        """An id for a request to this client; answered(ok, raw) is called once, with the JSON text
        of its result or error object."""
        self._last_asked = self._last_asked % 0x3FFFFFFF + 1
        self.asked[self._last_asked] = answered
        return self._last_asked

    @property
    def busy(self):
        """Whether an answer is due; streams of changes have none as long as they are open."""
        return len(self.under_way) > len(self.listens or ())

    def drop(self, revision=None):
        """The client is gone: stop what it asked for. revision: of the next client's handshake,
        None: the same."""
        self.age += 1  # nobody is there to be answered
        for request in list(self.under_way.values()):
            request.cancel()
        self.reset(revision or self.revision)


class Request:
    """A request that needs the gateway: kind is one of server.CALL ...; name: what of."""

    # What most requests do without costs them no RAM.
    name = None
    token = None  # raw JSON of the progress token
    meta = None  # JSON text of _meta (bytes), where a stateless revision gave one
    port = None  # where its messages go, once it takes time
    cancelled = False
    over = False  # it was answered
    on_cancel = None  # None or a function without arguments: what to stop
    answers = None  # key -> what the client answered to our questions (inputResponses)
    state = None  # what the tool kept for this round
    task = None  # the Task it became
    start_task = None  # function that makes it one
    arguments = b""  # JSON text of the arguments, where a later round is to be compared
    item = None  # the Tool, Resource or Prompt asked for

    def __init__(self, kind, session, revision, id):
        self.kind = kind
        self.session = session
        self.revision = revision
        self.id = id
        self._age = session.age

    @property
    def stale(self):
        """Whether the client that asked is gone, has its answer or no longer wants it."""
        return self.over or self.cancelled or (self.task is None and self.forgotten)

    @property
    def forgotten(self):
        """Whether another client has taken the place of the one that asked."""
        return self._age != self.session.age

    def begin(self, most, port):
        """It will take time. Raises ProtocolError when `most` requests of this client are under
        way."""
        if self.task:  # answered already, as far as the client is concerned
            return
        if len(self.session.under_way) >= most:
            raise ProtocolError(INTERNAL_ERROR, "%d calls are under way already" % most)
        self.port = port
        self.session.under_way[self.id] = self

    def end(self):
        """It is over. Returns whether somebody still waits for the answer."""
        stale = self.stale
        self.over = True
        if self.task:
            return not stale
        if stale or self.session.under_way.get(self.id) is not self:
            return False
        del self.session.under_way[self.id]
        return True

    def cancel(self):
        """The client no longer wants it: stop the work, answer nothing."""
        if self.session.under_way.get(self.id) is self:
            del self.session.under_way[self.id]
        self.cancelled = True
        stop, self.on_cancel = self.on_cancel, None
        if stop:
            stop()
        if hasattr(self.port, "dropped"):
            self.port.dropped()
