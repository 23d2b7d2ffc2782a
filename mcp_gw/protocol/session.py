"""One client's connection, and one request of it."""

from ..errors import INTERNAL_ERROR, ProtocolError


class Session:
    """What is remembered of one client's connection."""

    def __init__(self, revision=None):
        self.age = 0
        self.reset(revision)

    def reset(self, revision=None):
        """Another client, or the same one anew: what is under way is of no use to it."""
        self.revision = revision  # of the handshake; None before it
        self.initialized = False  # the client may be notified
        self.under_way = {}  # id (raw JSON bytes) -> Request
        self.meta = None  # _meta of its last request of a stateless revision, as it was written
        self.meta_revision = None
        self.age += 1


class Request:
    """A request that needs the gateway: kind CALL (name), READ (name: the URI) or LIST_TOOLS."""

    def __init__(self, kind, session, revision, id):
        self.kind = kind
        self.session = session
        self.revision = revision
        self.id = id
        self.name = None
        self.token = None  # raw JSON of the progress token
        self._age = session.age

    @property
    def stale(self):
        """Whether the client that asked is gone."""
        return self._age != self.session.age

    def begin(self, most):
        """It will take time. Raises ProtocolError when `most` requests of this client are under
        way."""
        if len(self.session.under_way) >= most:
            raise ProtocolError(INTERNAL_ERROR, "%d calls are under way already" % most)
        self.session.under_way[self.id] = self

    def end(self):
        """It is over. Returns whether somebody still waits for the answer."""
        if self.stale or self.session.under_way.get(self.id) is not self:
            return False
        del self.session.under_way[self.id]
        return True
