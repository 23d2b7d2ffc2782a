"""The server's state machine: one message in, parts of an answer or a request to carry out come
back.

No I/O, no clock, no await. What a request needs from outside (running a tool, reading a resource,
forwarding) comes back as a `Request`, whose outcome result() makes an answer of.
"""

from ..compat import const
from ..errors import INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION, ProtocolError
from .counters import Counters
from .faults import STATUS, malformed, unknown
from .framing import (
    ARGUMENTS,
    ERROR,
    ERROR_AT,
    ESCAPES,
    ID,
    META,
    METHOD,
    NAME,
    NOTIFICATION,
    PARAMS,
    REQUEST,
    RESPONSE,
    RESULT,
    TOKEN,
    VERSION,
    new_spans,
    scan,
    text,
)
from .jsontext import has_object, loads, members
from .jsonvalue import dumps
from .pages import cursor_of, page
from .results import LEVELS, error
from .revisions import BY_NAME, LATEST_LEGACY, MODERN, SUPPORTED
from .session import Request

# Kinds of Request.
CALL = const(1)
READ = const(2)
LIST_TOOLS = const(3)
GET_PROMPT = const(4)
COMPLETE = const(5)
LISTEN = const(6)
DEFER = const(7)  # request.start_task(request, port) carries it out

# A client's _meta is the same from request to request; one up to this size is recognised.
_META_KEPT = const(512)
_CAPABILITIES_KEY = b'"io.modelcontextprotocol/clientCapabilities"'
_LEVEL = "io.modelcontextprotocol/logLevel"
_LEVEL_KEY = b'"io.modelcontextprotocol/logLevel"'


class Server:
    """Answers for one gateway; serves any number of sessions, which hold what differs between
    them.

    registry: a Registry; info: JSON text (bytes) of this server's Implementation object;
    capabilities: function(revision) -> dict; page_size: items in one page of a list.
    more_tools, more_resources, more_prompts: functions(after) yielding (seq, descriptor), further
    rows of the lists; their numbers are apart from the registry's. older_tools: more_tools for
    revisions with a handshake; more_methods: function(method) that gives one when asked for.
    """

    def __init__(self, registry, info, capabilities, instructions, max_depth, page_size):
        self.registry = registry
        self.info = info
        self.stamp = b'"_meta":{"io.modelcontextprotocol/serverInfo":' + info
        self.instructions = instructions
        self.max_depth = max_depth
        self.page_size = page_size
        self.spans = new_spans()
        self.capabilities = capabilities
        self.more_tools = self.older_tools = self.more_resources = lambda after: ()
        self.more_templates = self.more_prompts = self.more_methods = self.more_tools
        self.on_cancelled = None  # function(Request), for notifications/cancelled
        self.counters = Counters()
        self.status = 200  # the HTTP status that the answer just returned goes with
        self._methods = {  # plain functions: a method of an object takes 16 bytes
            b'"initialize"': Server._initialize,
            b'"server/discover"': Server._discover,
            b'"ping"': Server._ping,
            b'"tools/list"': Server._list_tools,
            b'"tools/call"': Server._call,
            b'"resources/list"': Server._list_resources,
            b'"resources/templates/list"': Server._list_templates,
            b'"resources/read"': Server._read,
            b'"prompts/list"': Server._list_prompts,
            b'"prompts/get"': Server._get_prompt,
            b'"completion/complete"': Server._complete,
            b'"logging/setLevel"': Server._set_level,
            b'"resources/subscribe"': Server._subscribe,
            b'"resources/unsubscribe"': Server._unsubscribe,
            b'"subscriptions/listen"': Server._listen,
        }

    def add_methods(self, methods):
        """methods: dict of method (JSON bytes) -> function(request, buf, spans). Returns all."""
        for name, call in methods.items():
            self._methods[name] = lambda _, *given, call=call: call(*given)
        return self._methods

    def receive(self, session, buf, lo, hi):
        """Take the message buf[lo:hi].

        Returns None (nothing to answer), a list of bytes-like parts (the whole answer; its HTTP
        status is in `status`) or a Request. `kind` is what the scanner found it to be.
        A Request's arguments are still spans of `buf` (self.spans) and valid until the buffer
        changes.
        """
        spans = self.spans
        self.status = 200
        self.kind = kind = scan(buf, lo, hi, spans, self.max_depth)
        try:
            if kind == REQUEST:
                return self._request(session, buf, spans)
            if kind < 0:
                self.status = 400
                raise malformed(kind, spans[ERROR_AT] - lo)
            if session.check:
                session.check(kind, buf, spans)
            if kind == NOTIFICATION:
                self._notified(session, buf, spans)
            else:
                self._answered(session, kind, buf, spans)
            return None
        except ProtocolError as e:
            self.status = self.status_of(e)
            self.counters.error(e.code)
            return error(self.id_of(buf), e.code, e.message, e.data)

    def status_of(self, e):
        """The HTTP status that a ProtocolError goes with."""
        return e.status or self.status

    def oversized(self, session, buf, lo, hi, cap):
        """The answer to a message longer than `cap`, of which buf[lo:hi] is the beginning. None if
        it seems to answer a question of ours, which counts as refused then."""
        spans = self.spans
        scan(buf, lo, hi, spans, self.max_depth)
        why = "message is longer than %d bytes" % cap
        answered = self._asked(session, buf, spans) if spans[2 * METHOD] < 0 else None
        if answered:
            answered(False, dumps({"code": INVALID_REQUEST, "message": why}))
            return None
        return error(self.id_of(buf), INVALID_REQUEST, why)

    def id_of(self, buf):
        """The id (raw JSON) of the message just received, None where it has none that may be
        one."""
        lo, hi = self.spans[2 * ID], self.spans[2 * ID + 1]
        if lo >= 0:
            id = bytes(memoryview(buf)[lo:hi])
            if id[0] == 0x22 or id[id[0] == 0x2D :].isdigit():
                return id
        return None

    def _request(self, session, buf, spans):
        view = memoryview(buf)
        id = bytes(view[spans[2 * ID] : spans[2 * ID + 1]])
        if spans[ESCAPES] & (1 << METHOD):
            method = dumps(text(buf, spans, METHOD))
        else:
            method = bytes(view[spans[2 * METHOD] : spans[2 * METHOD + 1]])
        # A client that begins anew knows nothing of the ids in use.
        if id in session.under_way and method != b'"initialize"':
            raise ProtocolError(INVALID_REQUEST, "this id is in use by a request under way")
        request = Request(None, session, None, id)
        revision = request.revision = self._revision(session, request, buf, spans, method)
        if session.check:
            session.check(REQUEST, buf, spans)
        handler = self._methods.get(method) or self.more_methods(method)
        try:
            if not handler:
                raise unknown(method)
            self.counters.request(method)
            lo = spans[2 * TOKEN]
            if lo >= 0 and buf[lo] in b'"-0123456789':  # anything else is no token
                request.token = bytes(view[lo : spans[2 * TOKEN + 1]])
            return handler(self, request, buf, spans)
        except ProtocolError as e:
            if revision.modern and not e.status:
                e.status = STATUS.get(e.code)
            raise

    def _revision(self, session, request, buf, spans, method):
        if spans[2 * VERSION] >= 0:
            return self._stateless(session, request, buf, spans)
        if method == b'"initialize"' or (session.revision is None and method == b'"ping"'):
            return BY_NAME[LATEST_LEGACY]
        if session.revision is None:
            why = "no protocol revision: initialize first, or say it in each request's _meta"
            raise ProtocolError(INVALID_PARAMS, why, {"supported": SUPPORTED}, 400)
        lo = spans[2 * META]
        if lo >= 0 and buf[lo] == 0x7B:  # {
            request.meta = bytes(memoryview(buf)[lo : spans[2 * META + 1]])
        return session.revision

    def _stateless(self, session, request, buf, spans):
        meta = memoryview(buf)[spans[2 * META] : spans[2 * META + 1]]
        if meta == session.meta:  # as in the last request
            request.meta = session.meta
            return session.meta_revision
        request.meta = meta = bytes(meta)
        name = text(buf, spans, VERSION) if buf[spans[2 * VERSION]] == 0x22 else None
        revision = BY_NAME.get(name)
        if revision is None or not revision.modern:
            if session.check:  # a header that differs is the nearer cause
                session.check(REQUEST, buf, spans)
            data = {"supported": MODERN, "requested": str(name)}
            raise ProtocolError(UNSUPPORTED_VERSION, "unsupported protocol version", data, 400)
        if not has_object(meta, _CAPABILITIES_KEY):
            why = "_meta lacks io.modelcontextprotocol/clientCapabilities, an object"
            raise ProtocolError(INVALID_PARAMS, why, None, 400)
        if _LEVEL_KEY in meta and loads(meta, b"\\" in meta).get(_LEVEL) not in LEVELS:
            raise ProtocolError(INVALID_PARAMS, _LEVEL + " is one of " + ", ".join(LEVELS))
        if len(meta) <= _META_KEPT:
            session.meta = meta
            session.meta_revision = revision
        return revision

    # What needs no answer.

    def _notified(self, session, buf, spans):
        method = text(buf, spans, METHOD)
        if method == "notifications/initialized":
            session.initialized = session.revision is not None
        elif method == "notifications/cancelled" and spans[2 * PARAMS] >= 0:
            params = self._params_text(buf, spans)
            for key, _, lo, hi in members(params) if params[:1] == b"{" else ():
                if key == b"requestId":
                    request = session.under_way.get(params[lo:hi])
                    if request and self.on_cancelled:
                        self.on_cancelled(request)

    def _asked(self, session, buf, spans):
        """Who waits for the answer just received: a function, or None."""
        lo, hi = spans[2 * ID], spans[2 * ID + 1]
        id = bytes(memoryview(buf)[lo:hi]) if 0 <= lo and hi - lo <= 10 else b""
        return session.asked.pop(int(id), None) if id.isdigit() else None

    def _answered(self, session, kind, buf, spans):
        answered = self._asked(session, buf, spans)
        if answered:
            field = RESULT if kind == RESPONSE else ERROR
            raw = bytes(memoryview(buf)[spans[2 * field] : spans[2 * field + 1]])
            answered(kind == RESPONSE, raw)

    # Methods. Each returns the answer's parts or a Request.

    def _initialize(self, request, buf, spans):
        _legacy_only(request, b'"initialize"')
        params = self.params(buf, spans)
        asked = params.get("protocolVersion")
        client = params.get("clientInfo")
        if not isinstance(asked, str) or not isinstance(client, dict):
            raise ProtocolError(INVALID_PARAMS, "protocolVersion and clientInfo are required")
        revision = BY_NAME.get(asked)
        if revision is None or revision.modern:
            revision = BY_NAME[LATEST_LEGACY]
        session = request.session
        session.drop(revision)
        session.client = client
        capabilities = params.get("capabilities")
        session.capabilities = capabilities if isinstance(capabilities, dict) else {}
        request.revision = revision
        head = '"protocolVersion":"%s","capabilities":' % revision.name
        return self.result(
            request,
            [
                head.encode(),
                dumps(self.capabilities(revision)),
                b',"serverInfo":',
                self.info,
                self._instructions(),
            ],
        )

    def _discover(self, request, buf, spans):
        if not request.revision.modern:
            raise unknown(b"server/discover")
        return self.result(
            request,
            [
                b'"supportedVersions":',
                dumps(MODERN),
                b',"capabilities":',
                dumps(self.capabilities(request.revision)),
                self._instructions(),
            ],
            cache=True,
        )

    def _instructions(self):
        return b',"instructions":' + dumps(self.instructions) if self.instructions else b""

    def _ping(self, request, buf, spans):
        _legacy_only(request, b'"ping"')
        return self.result(request, [])

    def _set_level(self, request, buf, spans):
        _legacy_only(request, b'"logging/setLevel"')
        level = self.params(buf, spans).get("level")
        if level not in LEVELS:
            raise ProtocolError(INVALID_PARAMS, "level is one of " + ", ".join(LEVELS))
        request.session.log_level = LEVELS.index(level)
        return self.result(request, [])

    def _subscribe(self, request, buf, spans):
        _legacy_only(request, b'"resources/subscribe"')
        session = request.session
        uri = self._uri(buf, spans)
        if session.subscribed is None:
            session.subscribed = set()
        if uri not in session.subscribed and len(session.subscribed) >= self.page_size:
            raise ProtocolError(INVALID_REQUEST, "too many subscriptions")
        session.subscribed.add(uri)
        return self.result(request, [])

    def _unsubscribe(self, request, buf, spans):
        _legacy_only(request, b'"resources/unsubscribe"')
        if request.session.subscribed:
            request.session.subscribed.discard(self._uri(buf, spans))
        return self.result(request, [])

    def _listen(self, request, buf, spans):
        if not request.revision.modern:
            raise unknown(b"subscriptions/listen")
        request.kind = LISTEN
        return request

    # Lists.

    def _list_tools(self, request, buf, spans):
        request.name = self._cursor(buf, spans)
        request.kind = LIST_TOOLS
        return request

    def tools_result(self, request):
        """The answer to a LIST_TOOLS request: the registry's descriptors, then more_tools'."""
        more = self.more_tools if request.revision.modern else self.older_tools
        return self._page(request, b'"tools":[', self.registry.tools, more)

    def _list_resources(self, request, buf, spans):
        request.name = self._cursor(buf, spans)
        return self._page(request, b'"resources":[', self.registry.resources, self.more_resources)

    def _list_templates(self, request, buf, spans):
        request.name = self._cursor(buf, spans)
        listing = self.registry.templates
        return self._page(request, b'"resourceTemplates":[', listing, self.more_templates)

    def _list_prompts(self, request, buf, spans):
        request.name = self._cursor(buf, spans)
        return self._page(request, b'"prompts":[', self.registry.prompts, self.more_prompts)

    def _cursor(self, buf, spans):
        # Most params hold nothing but _meta, which is not worth parsing for this.
        if b"cursor" in self._params_text(buf, spans) or spans[ESCAPES] & (1 << PARAMS):
            return cursor_of(self.params(buf, spans))
        return 0, 0

    def _page(self, request, head, listing, more):
        own = listing.rows if request.revision.modern else listing.older_rows
        parts = page(request.name, head, own, more, self.page_size)
        return self.result(request, parts, cache=True)

    # Requests that the gateway carries out.

    def _call(self, request, buf, spans):
        return self._named(request, CALL, buf, spans)

    def _get_prompt(self, request, buf, spans):
        return self._named(request, GET_PROMPT, buf, spans)

    def _named(self, request, kind, buf, spans):
        if spans[2 * NAME] < 0 or buf[spans[2 * NAME]] != 0x22:
            raise ProtocolError(INVALID_PARAMS, "params.name must be a string")
        if spans[2 * ARGUMENTS] >= 0 and buf[spans[2 * ARGUMENTS]] != 0x7B:
            raise ProtocolError(INVALID_PARAMS, "params.arguments must be an object")
        request.kind = kind
        request.name = text(buf, spans, NAME)
        return request

    def arguments(self, buf):
        """The arguments of the CALL or GET_PROMPT just received, as a dict."""
        lo = self.spans[2 * ARGUMENTS]
        data = memoryview(buf)[lo : self.spans[2 * ARGUMENTS + 1]] if lo >= 0 else b"{}"
        return loads(data, self.spans[ESCAPES] & (1 << ARGUMENTS))

    def arguments_text(self, buf):
        """Their JSON text (bytes), b"" where there are none."""
        lo = self.spans[2 * ARGUMENTS]
        return bytes(memoryview(buf)[lo : self.spans[2 * ARGUMENTS + 1]]) if lo >= 0 else b""

    def _read(self, request, buf, spans):
        request.kind = READ
        request.name = self._uri(buf, spans)
        return request

    def _complete(self, request, buf, spans):
        request.kind = COMPLETE
        return request

    def _uri(self, buf, spans):
        uri = self.params(buf, spans).get("uri")
        if not isinstance(uri, str):
            raise ProtocolError(INVALID_PARAMS, "params.uri must be a string")
        return uri

    def _params_text(self, buf, spans):
        return bytes(memoryview(buf)[spans[2 * PARAMS] : spans[2 * PARAMS + 1]])

    def params(self, buf, spans):
        """The params of the message just received, as a dict."""
        if spans[2 * PARAMS] < 0:
            return {}
        params = loads(self._params_text(buf, spans), spans[ESCAPES] & (1 << PARAMS))
        if not isinstance(params, dict):
            raise ProtocolError(INVALID_PARAMS, "params must be an object")
        return params

    # Answers.

    def result(self, request, members, cache=False, meta=None):
        """The answer to `request` as parts. members: JSON text of the result's own members, a list
        of bytes-like; cache: the client may keep it; meta: JSON members for its _meta."""
        revision = request.revision
        parts = [b'{"jsonrpc":"2.0","id":', request.id, b',"result":{']
        if revision.modern:
            parts.append(revision.result_members)
            if cache:
                parts.append(revision.cache_members)
            parts.append(self.stamp)
            if meta:
                parts.append(b",")
                parts.append(meta)
            parts.append(b"}," if members else b"}")
        elif meta:
            parts.extend((b'"_meta":{', meta, b"}," if members else b"}"))
        parts.extend(members)
        parts.append(b"}}")
        return parts


def _legacy_only(request, method):
    if request.revision.modern:
        raise unknown(method)
