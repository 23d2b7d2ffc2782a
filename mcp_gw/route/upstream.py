"""What the gateway knows of an upstream server, whatever carries the messages."""

from ..errors import METHOD_NOT_FOUND, ProtocolError
from ..protocol.jsontext import items, loads, members

# What can be listed: method, and the member of the result that holds the list.
LISTS = {
    "tools": ("tools/list", b"tools"),
    "prompts": ("prompts/list", b"prompts"),
    "resources": ("resources/list", b"resources"),
    "templates": ("resources/templates/list", b"resourceTemplates"),
}


class Upstream:
    """One upstream MCP server. Subclasses carry the messages: implement meta(), request(),
    connect() and close().

    name: the prefix of its tools; up: whether the last exchange with it worked.
    on_change: None or a function(kind), called with "tools", "resources" or "prompts" when that
    list changed. sampling: None or the user's function(params: dict) -> str or dict, plain or
    async, that answers the server's sampling requests. offers: what of it clients are shown.
    """

    same_as = None  # the name of the first of those that offer the same, this one among them
    sampling = None
    musing = 0  # how many times that function runs now
    offers = ("tools",)
    capabilities = None  # what the server says it can do (dict), where that is known

    # Whether the server speaks 2026-07-28; None until known.
    modern = None
    # Whether it takes batches of queued calls: {"calls": how many, "deflate": whether compressed},
    # or None (docs/upstreams.md).
    deliver = None
    refused_batches = None  # `deliver` at the time when it did not know them
    longest = 0xFFFFFF  # message that it takes, in bytes
    # Whether `up` is news from the other end, rather than the memory of the last exchange.
    tells_state = False

    timeout_ms = 30000  # of a request, unless told otherwise
    MAX_PAGES = 64  # of a list
    MAX_TOOLS = 1024  # or prompts, resources, templates
    MAX_LIST_BYTES = 1 << 20  # of all descriptors together
    MAX_CURSOR = 1024  # bytes

    def __init__(self, name):
        self.name = name
        self.up = False
        self.on_change = None
        self._token = 0

    def asks(self, raw):
        """Whether a result (JSON text, bytes) is a question, see request()."""
        return asks(raw)

    def next_token(self):
        """A progress token for the next request."""
        self._token += 1
        return self._token

    def tick(self, now):
        """Called now and then with the time in ticks."""

    def meta(self, extra=b"", can=b"{}"):
        """JSON text (bytes) of the _meta object to put into params, in the revision this upstream
        speaks.

        extra: b"" or members without braces, e.g. b'"mcp-gw/key":"0f..","progressToken":7';
        can: JSON text of the client's capabilities: what the server may ask it.
        """
        raise NotImplementedError

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        """Send one request and wait for its answer.

        params_parts: list of bytes-like that together are the JSON text of params, _meta included;
        they are passed on as they are. timeout_ms: for everything, connecting included; None: the
        upstream's own.
        on_progress: None or a function(raw), called with the JSON text (bytes) of the params of
        each notifications/progress that belongs to this request. can: as for meta().

        When the server asks, in either era, the result is of type input_required (2026-07-28); the
        request is to be made again with inputResponses and requestState in its params. Cancelled,
        it tells the server.

        Returns (ok, raw): raw is the JSON text (bytes) of the result, or of the JSON-RPC error
        object. Raises Unavailable when the server has certainly not executed it, NoAnswer when it
        may have.
        """
        raise NotImplementedError

    def abandon(self, state):
        """The requestState (str) of an input_required result will not be used."""

    async def connect(self):
        """Open the conversation now rather than at the first request. Raises Unavailable."""
        raise NotImplementedError

    async def close(self):
        """End the conversation. A later request opens it again."""
        raise NotImplementedError

    async def tools(self, on_tool, timeout_ms=None):
        """listed("tools", ...)."""
        return await self.listed("tools", on_tool, timeout_ms)

    async def listed(self, kind, on_row, timeout_ms=None):
        """List what the upstream has of a kind (a key of LISTS), all pages; on_row(raw) is called
        with each descriptor's JSON text (bytes).

        Returns (count, whole): whole is False when MAX_PAGES, MAX_TOOLS or MAX_LIST_BYTES cut the
        list short, or the server gave the same cursor twice. A server that does not know the
        method has none. Raises what request() raises, and ProtocolError when the server answers
        with an error or with something that is no such list.
        """
        method, field = LISTS[kind]
        timeout_ms = timeout_ms or self.timeout_ms
        count = size = 0
        cursor = None
        for _ in range(self.MAX_PAGES):
            parts = [b'{"_meta":', self.meta()]
            if cursor is not None:
                parts += [b',"cursor":', cursor]
            parts.append(b"}")
            ok, raw = await self.request(method, parts, timeout_ms)
            if not ok:
                code, message = error_of(raw)
                if code == METHOD_NOT_FOUND:
                    return count, True
                raise ProtocolError(code, "%s: %s: %s" % (self.name, method, message))
            page, following = _page(raw, field)
            if page is None:
                told = self.name, method, kind
                raise ProtocolError(-32603, "%s: %s: no list of %s in the answer" % told)
            for lo, hi in page:
                size += hi - lo
                if count == self.MAX_TOOLS or size > self.MAX_LIST_BYTES:
                    return count, False
                on_row(raw[lo:hi])
                count += 1
            if following is None:
                return count, True
            if following == cursor or len(following) > self.MAX_CURSOR:
                return count, False
            cursor = following
        return count, False


def asks(raw):
    """Whether a result's JSON text (bytes) is of type input_required (2026-07-28)."""
    if b"input_required" in raw and raw[:1] == b"{":
        for key, _, lo, hi in members(raw):
            if key == b"resultType":
                return raw[lo:hi] == b'"input_required"'
    return False


def unasked_type(raw):
    """Why a result (JSON text, bytes) of 2026-07-28 is none that was asked for, such as a task
    (str), or None."""
    if b'"resultType":"complete"' in raw or raw[:1] != b"{":
        return None
    for key, _, lo, hi in members(raw):
        if key == b"resultType" and raw[lo:hi] not in (b'"complete"', b'"input_required"'):
            return "a result of a type that nobody asked for"
    return None


def error_of(raw):
    """(code, message) of a JSON-RPC error object's JSON text; what is missing or of a wrong type
    is made up for.
    """
    error = loads(raw, b"\\" in raw)
    if not isinstance(error, dict):
        error = {}
    code = error.get("code")
    message = error.get("message")
    if not isinstance(code, int):
        code = -32603
    return code, message if isinstance(message, str) else "an error without a message"


def _page(raw, field):
    """(iterator over the spans of the descriptors in member `field`, JSON text of nextCursor or
    None); (None, None) for no such result.
    """
    rows = following = None
    if raw[:1] == b"{":
        for key, _, lo, hi in members(raw):
            if key == field and raw[lo : lo + 1] == b"[":
                rows = lo
            elif key == b"nextCursor" and raw[lo : lo + 1] == b'"' and hi - lo > 2:
                following = raw[lo:hi]
    if rows is None:
        return None, None
    return _objects(raw, rows), following


def _objects(raw, i):
    """Yield (start, end) of each object in the JSON array at raw[i]; other values are passed
    over.
    """
    for start, end in items(raw, i):
        if raw[start] == 0x7B:
            yield start, end
