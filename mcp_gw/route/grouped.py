"""The tools of upstreams of which several may offer the same, or the gateway has them itself."""

from ..errors import ConfigError
from ..protocol.jsontext import loads, member, without_member
from ..registry import joined_name
from .router import Router


class Grouped(Router):
    """A Router in which upstreams that are declared the same share their names.

    router: the Router whose place it takes; hidden: dict of upstream's name -> {name of
    its tool: name of the gateway's own}, of those that are listed as the gateway's own alone.
    """

    def __init__(self, router, hidden):
        for name, value in router.__dict__.items():
            setattr(self, name, value)
        self.hidden = hidden
        # upstream's name -> {its tool's name: whether a call may be repeated}; none: not known
        self.offers = {}
        self._fresh = {}

    def mates(self, upstream):
        """The upstreams that offer the same, itself among them, the preferred first. (A
        MicroPython dict keeps no order.)"""
        lead = upstream.same_as
        if not lead:
            return [upstream]
        found = [u for u in self.upstreams.values() if u.same_as == lead]
        return sorted(found, key=lambda u: u.rank)

    def has(self, upstream, tool):
        """Whether an upstream has a tool, as far as is known."""
        offers = self.offers.get(upstream.name)
        return offers is None or tool in offers or tool in self._queueable[upstream.name]

    def add(self, upstream, queueable, expiry_s):
        lead = upstream.same_as
        if lead and lead != upstream.name and queueable:
            told = upstream.name, lead
            raise ConfigError("upstream %s: what is queueable is told of %s" % told)
        Router.add(self, upstream, queueable, expiry_s)
        if lead:
            self._queueable[upstream.name] = self._queueable[lead]

    def absent(self, upstream):
        # One of them is enough, and one that was not listed yet may have it.
        found = Router.absent(self, upstream)
        for mate in self.mates(upstream):
            found = found & Router.absent(self, mate)
        return found

    async def refresh(self, upstream):
        before = self.offers.get(upstream.name, ())
        self._fresh[upstream.name] = now = {}
        changed, left_out = await Router.refresh(self, upstream)
        self.offers[upstream.name] = now
        gone = [tool for tool in before if tool not in now]
        for mate in self.mates(upstream) if gone else ():
            offers = self.offers.get(mate.name, ())
            if mate is not upstream and any(tool in offers for tool in gone):
                # What was listed for both as this one's is listed as the other's from now on.
                more = await Router.refresh(self, mate)
                changed = changed or more[0]
        return changed, left_out

    def _take(self, upstream, raw, routes):
        name = member(raw, b"name")
        tool = loads(name, b"\\" in name)
        fresh = self._fresh.get(upstream.name)
        if fresh is not None:
            fresh[tool] = _repeatable(raw)
        lead = upstream.same_as or upstream.name
        if self.hidden.get(lead, {}).get(tool) in self._taken:
            return None
        if upstream.same_as:
            exposed = joined_name(lead, tool, ())
            for row in self._listed:
                if row[2] == exposed and row[3] is not upstream and row[3].same_as == lead:
                    return None  # listed already
            if b'"outputSchema"' in raw:
                # Clients would check the other ones' results against it.
                raw = without_member(raw, b"outputSchema")
        return Router._take(self, upstream, raw, routes)

    def _names(self, upstream, routes):
        taken = set(self._taken)
        taken.update(routes)
        lead = upstream.same_as or upstream.name
        for name, route in self._routes.items():
            if (route.upstream.same_as or route.upstream.name) != lead:
                taken.add(name)
        return taken


def alone(rows, others):
    """Those of an upstream's rows that no other has listed meanwhile that is the same."""
    names = {row[2] for row in others if rows and row[3].same_as == rows[0][3].same_as}
    return [row for row in rows if row[2] not in names]


def _repeatable(raw):
    """Whether a tool's descriptor says that a second call changes nothing more."""
    if b"Hint" not in raw:
        return False
    found = member(raw, b"annotations") or b"{}"
    row = loads(found, b"\\" in found)
    if not isinstance(row, dict):
        return False
    return row.get("idempotentHint") is True or row.get("readOnlyHint") is True
