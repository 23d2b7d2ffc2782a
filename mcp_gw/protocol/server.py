"""The server's state machine: one message in, parts of an answer or a request to carry out come
back.

No I/O, no clock, no await. What a request needs from outside (running a tool, reading a resource,
forwarding) comes back as a `Request`, and the caller brings its outcome to one of the `*_result`
functions.
"""

from ..compat import const
from ..errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    ProtocolError,
)
from ..registry import checked, dumps
from .framing import (
    ARGUMENTS,
    E_BATCH,
    E_DEPTH,
    E_DUPLICATE,
    E_ENVELOPE,
    E_NOT_OBJECT,
    E_SYNTAX,
    E_UTF8,
    ERROR_AT,
    ESCAPES,
    ID,
    META,
    METHOD,
    NAME,
    NOTIFICATION,
    PARAMS,
    REQUEST,
    TOKEN,
    VERSION,
    new_spans,
    scan,
    text,
)
from .jsontext import loads
from .revisions import BY_NAME, LATEST_LEGACY, SUPPORTED
from .session import Request

CALL = const(1)
READ = const(2)
LIST_TOOLS = const(3)

# A client's _meta is the same from request to request; one up to this size is recognised.
_META_KEPT = const(512)
_CAPABILITIES_KEY = b'"io.modelcontextprotocol/clientCapabilities"'
_WHY = {
    E_SYNTAX: (PARSE_ERROR, "not valid JSON"),
    E_UTF8: (PARSE_ERROR, "not valid UTF-8"),
    E_DEPTH: (INVALID_REQUEST, "nested too deeply"),
    E_DUPLICATE: (INVALID_REQUEST, "a key of the envelope occurs twice"),
    E_BATCH: (INVALID_REQUEST, "batches are not part of this revision"),
    E_NOT_OBJECT: (INVALID_REQUEST, "not a JSON object"),
    E_ENVELOPE: (INVALID_REQUEST, "not a JSON-RPC 2.0 message"),
}


class Server:
    """Answers for one gateway; serves any number of sessions, which hold what differs between
    them.

    registry: a Registry; name, version, instructions: of this server;
    more_tools, more_resources, templates: functions giving further descriptors (JSON bytes) for
    the lists.
    """

    def __init__(self, registry, name, version, instructions=None, max_depth=32):
        self.registry = registry
        self.info = dumps({"name": name, "version": version})
        self._stamp = b'"_meta":{"io.modelcontextprotocol/serverInfo":' + self.info
        self.instructions = instructions
        self.max_depth = max_depth
        self.spans = new_spans()
        self.more_tools = self.more_resources = self.templates = tuple
        self._methods = {
            b'"initialize"': self._initialize,
            b'"server/discover"': self._discover,
            b'"ping"': self._ping,
            b'"tools/list"': self._list_tools,
            b'"tools/call"': self._call,
            b'"resources/list"': self._list_resources,
            b'"resources/templates/list"': self._list_templates,
            b'"resources/read"': self._read,
        }

    def receive(self, session, buf, lo, hi):
        """Take the message buf[lo:hi].

        Returns None (nothing to answer), a list of bytes-like parts (the whole answer) or a
        Request.
        A Request's arguments are still spans of `buf` (self.spans) and valid until the buffer
        changes.
        """
        spans = self.spans
        kind = scan(buf, lo, hi, spans, self.max_depth)
        try:
            if kind == REQUEST:
                return self._request(session, buf, spans)
            if kind == NOTIFICATION:
                if text(buf, spans, METHOD) == "notifications/initialized":
                    session.initialized = session.revision is not None
                return None
            if kind > 0:
                return None  # an answer to something that was never asked
            raise self._malformed(kind, lo)
        except ProtocolError as e:
            return error(self.id_of(buf), e.code, e.message, e.data)

    def oversized(self, buf, lo, hi, cap):
        """The answer to a message longer than `cap`, of which buf[lo:hi] is the beginning."""
        scan(buf, lo, hi, self.spans, self.max_depth)
        why = "message is longer than %d bytes" % cap
        return error(self.id_of(buf), INVALID_REQUEST, why)

    def id_of(self, buf):
        """The id (raw JSON) of the message just received, b"null" where it has none that may be
        one."""
        lo, hi = self.spans[2 * ID], self.spans[2 * ID + 1]
        if lo >= 0:
            id = bytes(memoryview(buf)[lo:hi])
            if id[0] == 0x22 or id[id[0] == 0x2D :].isdigit():
                return id
        return b"null"

    def _malformed(self, kind, lo):
        code, why = _WHY[kind]
        at = self.spans[ERROR_AT]
        return ProtocolError(code, "%s (at byte %d)" % (why, at - lo) if at >= 0 else why)

    def _request(self, session, buf, spans):
        view = memoryview(buf)
        id = bytes(view[spans[2 * ID] : spans[2 * ID + 1]])
        if id in session.under_way:
            raise ProtocolError(INVALID_REQUEST, "this id is in use by a request under way")
        if spans[ESCAPES] & (1 << METHOD):
            method = dumps(text(buf, spans, METHOD))
        else:
            method = bytes(view[spans[2 * METHOD] : spans[2 * METHOD + 1]])
        handler = self._methods.get(method)
        revision = self._revision(session, buf, spans, method)
        if handler is None or (method == b'"ping"' and not revision.ping):
            raise ProtocolError(METHOD_NOT_FOUND, "unknown method " + method.decode())
        request = Request(None, session, revision, id)
        lo = spans[2 * TOKEN]
        if lo >= 0 and buf[lo] in b'"-0123456789':  # anything else is no token
            request.token = bytes(view[lo : spans[2 * TOKEN + 1]])
        return handler(request, buf, spans)

    def _revision(self, session, buf, spans, method):
        if spans[2 * VERSION] >= 0:
            meta = memoryview(buf)[spans[2 * META] : spans[2 * META + 1]]
            if meta == session.meta:
                return session.meta_revision  # as in the last request
            name = text(buf, spans, VERSION)
            revision = BY_NAME.get(name)
            if revision is None or not revision.modern:
                data = {"supported": SUPPORTED, "requested": name}
                raise ProtocolError(UNSUPPORTED_VERSION, "unsupported protocol version", data)
            meta = bytes(meta)
            if _CAPABILITIES_KEY not in meta:
                raise ProtocolError(
                    INVALID_PARAMS, "_meta lacks io.modelcontextprotocol/clientCapabilities"
                )
            if len(meta) <= _META_KEPT:
                session.meta = meta
                session.meta_revision = revision
            return revision
        if method == b'"initialize"' or (session.revision is None and method == b'"ping"'):
            return BY_NAME[LATEST_LEGACY]
        if session.revision is None:
            raise ProtocolError(
                INVALID_PARAMS,
                "no protocol revision: send initialize first, or"
                " _meta with io.modelcontextprotocol/protocolVersion in every request",
                {"supported": SUPPORTED},
            )
        if method == b'"server/discover"':
            raise ProtocolError(
                INVALID_PARAMS, "_meta lacks io.modelcontextprotocol/protocolVersion"
            )
        return session.revision

    # Methods. Each returns the answer's parts or a Request.

    def _initialize(self, request, buf, spans):
        if request.revision.modern:
            raise ProtocolError(METHOD_NOT_FOUND, "initialize has no place in this revision")
        params = self._params(buf, spans)
        asked = params.get("protocolVersion")
        if not isinstance(asked, str) or not isinstance(params.get("clientInfo"), dict):
            raise ProtocolError(INVALID_PARAMS, "protocolVersion and clientInfo are required")
        revision = BY_NAME.get(asked)
        if revision is None or revision.modern:
            revision = BY_NAME[LATEST_LEGACY]
        request.session.reset(revision)
        request.revision = revision
        head = ('"protocolVersion":"%s",' % revision.name).encode()
        return self.result(
            request,
            [
                head,
                b'"capabilities":{"tools":{"listChanged":true},"resources":{}},"serverInfo":',
                self.info,
                self._instructions(),
            ],
        )

    def _discover(self, request, buf, spans):
        if not request.revision.modern:
            raise ProtocolError(METHOD_NOT_FOUND, "unknown method server/discover")
        names = [name for name in SUPPORTED if BY_NAME[name].modern]
        return self.result(
            request,
            [
                b'"supportedVersions":',
                dumps(names),
                b',"capabilities":{"tools":{},"resources":{}}',
                self._instructions(),
            ],
            cache=True,
        )

    def _instructions(self):
        if not self.instructions:
            return b""
        return b',"instructions":' + dumps(self.instructions)

    def _ping(self, request, buf, spans):
        return self.result(request, [])

    def _list_tools(self, request, buf, spans):
        self._no_cursor(buf, spans)
        request.kind = LIST_TOOLS
        return request

    def tools_result(self, request):
        """The answer to a LIST_TOOLS request: the registry's descriptors, then more_tools()."""
        tools = self.registry.tools
        rows = [tools[name].descriptor for name in self.registry.order]
        return self._list(request, b'"tools":[', rows, self.more_tools())

    def _list_resources(self, request, buf, spans):
        self._no_cursor(buf, spans)
        resources = self.registry.resources
        rows = [resources[uri].descriptor for uri in self.registry.uris]
        return self._list(request, b'"resources":[', rows, self.more_resources())

    def _list_templates(self, request, buf, spans):
        self._no_cursor(buf, spans)
        return self._list(request, b'"resourceTemplates":[', (), self.templates())

    def _list(self, request, head, rows, more):
        parts = [head]
        for group in (rows, more):
            for row in group:
                if len(parts) > 1:
                    parts.append(b",")
                parts.append(row)
        parts.append(b"]")
        return self.result(request, parts, cache=True)

    def _call(self, request, buf, spans):
        if spans[2 * NAME] < 0 or buf[spans[2 * NAME]] != 0x22:
            raise ProtocolError(INVALID_PARAMS, "params.name must be a string")
        if spans[2 * ARGUMENTS] >= 0 and buf[spans[2 * ARGUMENTS]] != 0x7B:
            raise ProtocolError(INVALID_PARAMS, "params.arguments must be an object")
        request.kind = CALL
        request.name = text(buf, spans, NAME)
        return request

    def arguments(self, buf):
        """The arguments of the CALL just received, as a dict."""
        spans = self.spans
        lo = spans[2 * ARGUMENTS]
        if lo < 0:
            return {}
        data = bytes(memoryview(buf)[lo : spans[2 * ARGUMENTS + 1]])
        return loads(data, spans[ESCAPES] & (1 << ARGUMENTS))

    def _read(self, request, buf, spans):
        uri = self._params(buf, spans).get("uri")
        if not isinstance(uri, str):
            raise ProtocolError(INVALID_PARAMS, "params.uri must be a string")
        request.kind = READ
        request.name = uri
        return request

    def _params(self, buf, spans):
        lo = spans[2 * PARAMS]
        if lo < 0:
            return {}
        data = bytes(memoryview(buf)[lo : spans[2 * PARAMS + 1]])
        return loads(data, spans[ESCAPES] & (1 << PARAMS))

    def _no_cursor(self, buf, spans):
        # Lists come in one page, so no cursor was ever given out.
        if self._params(buf, spans).get("cursor") is not None:
            raise ProtocolError(INVALID_PARAMS, "unknown cursor")

    # Answers.

    def result(self, request, members, cache=False, meta=b""):
        """A successful answer. members: parts of JSON members of the result, no leading comma;
        meta: further members of the result's _meta, each with a leading comma when the stamp is
        there."""
        revision = request.revision
        parts = [b'{"jsonrpc":"2.0","id":', request.id, b',"result":{', revision.result_members]
        if cache:
            parts.append(revision.cache_members)
        if revision.modern:
            parts.append(self._stamp)
            if meta:
                parts.append(b",")
                parts.append(meta)
            parts.append(b"}," if members else b"}")
        elif meta:
            parts.append(b'"_meta":{')
            parts.append(meta)
            parts.append(b"}," if members else b"}")
        parts.extend(members)
        parts.append(b"}}")
        return parts

    def tool_result(self, request, value, is_error=False, meta=b""):
        """The answer to a CALL from what the tool returned (or the text of its error).

        str: a text; None: no content; dict: structured content and its text; anything else: its
        JSON as text.
        """
        members = None
        if isinstance(value, str):
            members = [b'"content":[{"type":"text","text":', dumps(value), b"}]"]
        elif value is None:
            members = [b'"content":[]']
        else:
            data = checked(value)
            if data is None:
                value = "the tool returned a %s that has no JSON form" % type(value).__name__
                return self.tool_result(request, value, True)
            members = [b'"content":[{"type":"text","text":', dumps(data.decode()), b"}]"]
            if isinstance(value, dict):
                members.append(b',"structuredContent":')
                members.append(data)
        if is_error:
            members.append(b',"isError":true')
        return self.result(request, members, meta=meta)

    def read_result(self, request, value, mime_type):
        """The answer to a READ from what the resource's function returned: str, bytes or
        JSON-able."""
        field = b'"text":'
        if isinstance(value, (bytes, bytearray, memoryview)):
            from binascii import b2a_base64

            field = b'"blob":'
            data = dumps(b2a_base64(value).decode().strip())
        elif isinstance(value, str):
            data = dumps(value)
        else:
            data = checked(value)
            if data is None:
                raise ProtocolError(INTERNAL_ERROR, "the resource's value has no JSON form")
            data = dumps(data.decode())
            mime_type = mime_type or "application/json"
        members = [b'"contents":[{"uri":', dumps(request.name), b","]
        if mime_type:
            members.extend((b'"mimeType":', dumps(mime_type), b","))
        members.extend((field, data, b"}]"))
        return self.result(request, members, cache=True)

    def not_found(self, request):
        """The answer to a READ of a URI that nobody has."""
        return error(
            request.id,
            request.revision.resource_not_found,
            "resource not found",
            {"uri": request.name},
        )

    def progress(self, request, progress, total=None, message=None):
        """A progress notification, or None for a request without a token.

        progress, total: finite numbers; message: str. Raises ValueError where they are not.
        """
        if not _finite(progress) or not (total is None or _finite(total)):
            raise ValueError("progress is a number, or a tuple: progress, total, message")
        if message is not None and not isinstance(message, str):
            raise ValueError("the message of a progress report is a str")
        if request.token is None:
            return None
        row = {"progress": progress}
        if total is not None:
            row["total"] = total
        if message is not None:
            row["message"] = message
        return [
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":',
            request.token,
            b",",
            dumps(row)[1:],
            b"}",
        ]


def notification(method):
    """A notification without params, as parts."""
    return [('{"jsonrpc":"2.0","method":"%s"}' % method).encode()]


def error(id, code, message, data=None):
    """An error answer as parts. id: raw JSON bytes, b"null" where it could not be read."""
    row = {"code": code, "message": message}
    if data is not None:
        row["data"] = data
    return [b'{"jsonrpc":"2.0","id":', id, b',"error":', dumps(row), b"}"]


def _finite(value):
    return type(value) in (int, float) and value - value == 0
