"""What upstreams offer beside tools: prompts, resources and resource templates."""

from ..protocol.jsontext import loads, member, members, one_line
from ..protocol.jsonvalue import dumps
from ..registry import joined_name
from .router import fitting

# The kinds of list behind what an upstream offers.
LISTS = {"prompts": ("prompts",), "resources": ("resources", "templates")}
_NAMED_BY = {"prompts": b"name", "resources": b"uri", "templates": b"uriTemplate"}


class Others:
    """Prompts under the names PREFIX_NAME that clients see; resources and templates under their
    own URIs. Of two that have the same URI, the gateway's own comes first, then the one that was
    there first.

    registry: a Registry; max_rows: how many of each kind are kept; max_bytes: their descriptors'
    total size.
    """

    hides = None  # as Router has it

    def __init__(self, registry, max_rows, max_bytes):
        self._registry = registry
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._last = 0  # number given out
        # kind -> rows, in order: number, descriptor as JSON bytes, name or URI, upstream, raw JSON
        # of the upstream's own name
        self._rows = {kind: [] for kind in _NAMED_BY}

    def rows(self, kind, after=0):
        """Yield (number, descriptor as JSON bytes) of a kind after number `after`."""
        for row in self._rows[kind]:
            if row[0] > after and not (self.hides and self.hides(row[3])):
                yield row[0], row[1]

    def prompt(self, exposed):
        """(upstream, raw JSON of its own name) of a prompt that a client asked for, or None."""
        for row in self._rows["prompts"]:
            if row[2] == exposed:
                return row[3], row[4]
        return None

    def owner(self, uri):
        """The upstream that has the resource `uri`, or None: the one that lists it, else the one
        with the template whose text before its first variable is the longest that fits."""
        for row in self._rows["resources"]:
            if row[2] == uri:
                return row[3]
        found = None
        longest = 0
        for row in self._rows["templates"]:
            head = row[2].split("{", 1)[0]
            if len(head) > longest and uri.startswith(head):
                longest = len(head)
                found = row[3]
        return found

    def completed(self, ref):
        """(upstream, ref there) of the ref (dict) of a completion/complete, or None."""
        if not isinstance(ref, dict):
            return None
        if ref.get("type") == "ref/prompt":
            found = self.prompt(ref.get("name"))
            if found is None:
                return None
            return found[0], {"type": "ref/prompt", "name": loads(found[1], b"\\" in found[1])}
        if ref.get("type") == "ref/resource":
            for row in self._rows["templates"]:
                if row[2] == ref.get("uri"):
                    return row[3], ref
        return None

    async def refresh(self, upstream, kind):
        """Ask `upstream` for one kind again. Returns (changed, how many were left out).

        Raises what Upstream.listed raises; the old list then stays.
        """
        others, room = self._beside(upstream, kind)
        before = [row for row in self._rows[kind] if row[3] is upstream]
        numbers = {row[2]: row[0] for row in before}
        taken = set(getattr(self._registry, kind))
        taken.update(row[2] for row in others)
        rows = []
        left_out = 0

        def on_row(raw):
            nonlocal room, left_out
            raw = one_line(bytes(raw))
            row = self._taken(upstream, kind, raw, taken)
            if row == ():
                return
            if row is None or len(others) + len(rows) >= self._max_rows or room < len(row[0]):
                left_out += 1
                return
            room -= len(row[0])
            taken.add(row[1])
            number = numbers.get(row[1])
            if number is None:
                self._last += 1
                number = self._last
            rows.append((number,) + row)

        await upstream.listed(kind, on_row)
        # Others may have been listed meanwhile.
        others, room = self._beside(upstream, kind)
        if upstream.same_as:
            from .grouped import alone

            rows = alone(rows, others)
        found = len(rows)
        rows = fitting(rows, others, self._max_rows, room)
        self._rows[kind] = sorted(others + rows, key=lambda row: row[0])
        return rows != before, left_out + found - len(rows)

    def _beside(self, upstream, kind):
        """(rows of that kind of the other upstreams, bytes that are left for this one's)."""
        others = [row for row in self._rows[kind] if row[3] is not upstream]
        kept = sum(len(row[1]) for row in others)
        for each, rows in self._rows.items():
            if each != kind:
                kept += sum(len(row[1]) for row in rows)
        return others, self._max_bytes - kept

    def _taken(self, upstream, kind, raw, taken):
        """(descriptor, name or URI, upstream, own name) of a descriptor; None: of no use; (): one
        that offers the same has been asked before."""
        field = _NAMED_BY[kind]
        own = member(raw, field)
        if own is None or own[:1] != b'"':
            return None
        name = loads(own, b"\\" in own)
        if kind != "prompts":
            if name in taken:
                return self._mates(upstream, kind, name)
            return raw, name, upstream, own
        prefix = upstream.same_as or upstream.name
        if upstream.same_as and joined_name(prefix, name, ()) in taken:
            return self._mates(upstream, kind, joined_name(prefix, name, ()))
        name = joined_name(prefix, name, taken)
        pieces = []
        for key, start, _, hi in members(raw):
            pieces.append(b'"name":' + dumps(name) if key == field else raw[start:hi])
        return b"{" + b",".join(pieces) + b"}", name, upstream, own

    def _mates(self, upstream, kind, name):
        """What _taken() returns for a name or URI that is there already."""
        for row in self._rows[kind]:
            if row[2] == name and upstream.same_as and row[3].same_as == upstream.same_as:
                return ()
        return None
