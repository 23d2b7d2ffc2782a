"""What a Gateway tells its clients: what it can do, and what has changed."""

from .protocol.revisions import COMPLETIONS, TASKS, TASKS_EXTENSION
from .transports.link import random_hex


class Tells:
    """The part of Gateway that knows whom to tell what. It keeps the parts that only some gateways
    need and makes them when they are first wanted."""

    def __init__(self):
        self.sessions = set()  # of clients that hear of changes
        self._listening = self._tasks_kept = self._seal = None

    def join(self, session):
        """A client's session hears of changes from now on."""
        self.sessions.add(session)

    def leave(self, session):
        """The session is over: what it asked for is stopped, and it hears no more."""
        self.sessions.discard(session)
        session.drop()

    def tools_changed(self):
        """Tell the clients that asked to be told."""
        self._tell_changed("tools")

    def prompts_changed(self):
        """As tools_changed()."""
        self._tell_changed("prompts")

    def resources_changed(self):
        """As tools_changed()."""
        self._tell_changed("resources")

    def resource_updated(self, uri):
        """Tell the clients that subscribed to the resource at `uri` that it reads differently."""
        if self.sessions:
            from .listening import tell_updated

            tell_updated(self.sessions, uri)

    def _tell_changed(self, kind):
        if self.sessions:
            from .listening import tell_changed

            tell_changed(self.sessions, kind)

    def _change_of(self, kind):
        kind = "resources" if kind == "templates" else kind
        return lambda: self._tell_changed(kind)

    def _capabilities(self, revision):
        """What this gateway can do for clients of a revision (dict)."""
        registry = self.registry
        out = {
            "tools": {"listChanged": True},
            "resources": {"subscribe": True, "listChanged": True},
            "logging": {},
        }
        if len(registry.prompts) or self.upstreams:
            out["prompts"] = {"listChanged": True}
        completes = len(registry.prompts) or len(registry.templates)
        if revision.features & COMPLETIONS and (
            completes or (self.upstreams and self.upstreams.others)
        ):
            out["completions"] = {}
        if self._tasks_kept or (self.upstreams and self.upstreams.forwarder.outbox is not None):
            if revision.features & TASKS:
                calls = {"tools": {"call": {}}}
                out["tasks"] = {"list": {}, "cancel": {}, "requests": calls}
            elif revision.features & TASKS_EXTENSION:
                out["extensions"] = {"io.modelcontextprotocol/tasks": {}}
        return out

    def listening(self):
        """The streams of changes that clients opened."""
        if self._listening is None:
            from .listening import Listening

            self._listening = Listening(self)
        return self._listening

    def tasks(self):
        """The calls that go on as tasks."""
        if self._tasks_kept is None:
            from .tasks import Tasks

            self._tasks_kept = self.dispatch.tasks = Tasks(self)
        return self._tasks_kept

    def seal(self):
        """(Seal, now in seconds) for what travels through clients."""
        if self._seal is None:
            from .asking import Seal

            key = random_hex(32, self.boot.encode()).encode()
            self._seal = Seal(key, self.config["ask_ttl_s"])
        return self._seal, self.clock.uptime_s
