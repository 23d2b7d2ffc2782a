"""Where a tool lives: which upstream, under which name, and whether a call to it may wait."""

from ..compat import const
from ..errors import ConfigError
from ..protocol.jsontext import loads, member, members, one_line, without_member
from ..protocol.jsonvalue import dumps
from ..registry import joined_name

# Numbers of rows that are kept for the queue's own tools.
QUEUE_TOOLS = const(3)


class Route:
    """One upstream's tool: its own name as raw JSON, and whether a call may wait: seconds, a
    Queueable, or None: never."""

    def __init__(self, upstream, name, waits):
        self.upstream = upstream
        self.name = name
        self.waits = waits


class Router:
    """The tools of all upstreams under the names that clients see.

    max_tools, max_bytes: caps on how many are kept and on their descriptors' total size.
    """

    hides = None  # None or function(upstream): whether its rows are not shown now

    def __init__(self, taken, max_tools, max_bytes):
        self._taken = taken  # names of the gateway's own tools
        self._max_tools = max_tools
        self._max_bytes = max_bytes
        self._queueable = {}  # upstream's name -> {tool's name: seconds, or a Queueable}
        self._absent = {}  # upstream's name -> set of those that its last list had not
        self.queue = False  # whether there is one
        self._routes = {}  # exposed name -> Route
        self._listed = []  # (number, descriptor as JSON bytes, exposed name, upstream), in order
        self._last = QUEUE_TOOLS  # number given out
        self.upstreams = {}
        self.listing = 0  # upstreams that are being asked for their tools

    def add(self, upstream, queueable, expiry_s):
        """queueable: of the upstream's tools, those that may wait: names, or Queueables; their
        calls expire after expiry_s, if nothing else is said."""
        if upstream.name in self.upstreams:
            raise ConfigError("upstream %s is declared twice" % upstream.name)
        self.upstreams[upstream.name] = upstream
        declared = self._queueable[upstream.name] = {}
        for waits in queueable:
            name = waits
            if isinstance(name, str):
                waits = expiry_s
            else:
                name = waits.name
                waits.expiry_s = waits.expiry_s or expiry_s
            declared[name] = waits
            # What is declared can be called (and queued) before the upstream was ever reached.
            exposed = joined_name(upstream.name, name, self._names(upstream, ()))
            self._routes[exposed] = Route(upstream, dumps(name), waits)

    def find(self, exposed):
        """The Route behind a name that a client called, or None."""
        return self._routes.get(exposed)

    def rows(self, after=0):
        """Yield (number, descriptor as JSON bytes) of all upstreams' tools after number `after`.

        A tool keeps its number while it is there, so that pages fit together when others change.
        """
        for row in self._listed:
            if row[0] > after and not (self.hides and self.hides(row[3])):
                yield row[0], row[1]

    def older_rows(self, after=0):
        """rows() for revisions whose output schemas are those of objects."""
        for number, raw in self.rows(after):
            if b'"outputSchema"' in raw:
                schema = member(raw, b"outputSchema")
                if schema and (schema[:1] != b"{" or member(schema, b"type") != b'"object"'):
                    raw = without_member(raw, b"outputSchema")
            yield number, raw

    async def refresh(self, upstream):
        """Ask `upstream` for its tools again. Returns (changed, how many were left out by the
        caps).

        Raises what Upstream.tools raises; the old list then stays.
        """
        rows = []
        routes = {}
        left_out = 0
        others = [row for row in self._listed if row[3] is not upstream]
        numbers = {row[2]: row[0] for row in self._listed if row[3] is upstream}
        room = self._max_bytes - sum(len(row[1]) for row in others)
        count = self._max_tools - len(others)

        declared = self._queueable[upstream.name]
        absent = set(declared)

        def on_tool(raw):
            nonlocal room, left_out
            raw = one_line(bytes(raw))
            if not _well_formed(raw):
                left_out += 1
                return
            if absent:
                absent.discard(_plain(member(raw, b"name")))
            found = self._take(upstream, raw, routes)
            if found is None:
                return
            exposed, route, row = found
            if len(rows) >= count or room < len(row):
                left_out += 1
                return
            room -= len(row)
            number = numbers.get(exposed)
            if number is None:
                self._last += 1
                number = self._last
            rows.append((number, row, exposed, upstream))
            routes[exposed] = route

        self.listing += 1
        try:
            await upstream.tools(on_tool)
        finally:
            self.listing = max(0, self.listing - 1)
        self._absent[upstream.name] = absent
        # Others may have been listed meanwhile.
        others = [row for row in self._listed if row[3] is not upstream]
        room = self._max_bytes - sum(len(row[1]) for row in others)
        if upstream.same_as:
            from .grouped import alone

            rows = alone(rows, others)
        found = len(rows)
        rows = fitting(rows, others, self._max_tools, room)
        left_out += found - len(rows)
        routes = {row[2]: routes[row[2]] for row in rows}
        changed = rows != [row for row in self._listed if row[3] is upstream]
        for exposed, route in list(self._routes.items()):
            if route.upstream is upstream and _plain(route.name) not in declared:
                del self._routes[exposed]
        self._routes.update(routes)
        self._listed = sorted(others + rows, key=lambda row: row[0])
        return changed, left_out

    def absent(self, upstream):
        """Names (a set) of the tools declared queueable that the upstream has not, by its list."""
        return self._absent.get(upstream.name, set())

    def _take(self, upstream, raw, routes):
        """(exposed name, Route, descriptor) of one tool from its descriptor as the upstream sent
        it."""
        declared = self._queueable[upstream.name]
        name = None
        for key, _, lo, hi in members(raw):
            if key == b"name":
                name = raw[lo:hi]
        plain = _plain(name)
        waits = declared.get(plain)
        pieces = []
        prefix = upstream.same_as or upstream.name
        exposed = joined_name(prefix, plain, self._names(upstream, routes))
        for key, start, _, hi in members(raw):
            if key == b"name":
                pieces.append(b'"name":' + dumps(exposed))
            elif waits is not None and key in (b"outputSchema", b"execution"):
                # A queued call is answered without structured content, which clients would check
                # against it.
                pass
            else:
                pieces.append(raw[start:hi])
        if waits is not None and self.queue:
            pieces.append(b'"execution":{"taskSupport":"optional"}')
        return exposed, Route(upstream, name, waits), b"{" + b",".join(pieces) + b"}"

    def _names(self, upstream, routes):
        taken = set(self._taken)
        taken.update(routes)
        taken.update(n for n, r in self._routes.items() if r.upstream is not upstream)
        return taken


def fitting(rows, others, most, room):
    """Those of the new rows of an upstream that fit beside `others`, in order. most: how many all
    may be; room: bytes for descriptors."""
    taken = {row[2] for row in others}
    most -= len(others)
    found = []
    for row in sorted(rows, key=lambda row: row[0]):
        if row[2] not in taken and len(found) < most and len(row[1]) <= room:
            room -= len(row[1])
            found.append(row)
    return found


def _plain(raw):
    return loads(raw, b"\\" in raw)


def _well_formed(raw):
    """Whether a descriptor has a name; one without must not spoil the others."""
    name = schema = False
    for key, _, lo, _ in members(raw):
        name = name or key == b"name" and raw[lo] == 0x22
        schema = schema or key == b"inputSchema" and raw[lo] == 0x7B
    return name and schema
