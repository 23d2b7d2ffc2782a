"""The client's state machine toward one upstream server: no socket, no clock, no await.

It opens the conversation in whatever era the server speaks (server/discover of 2026-07-28 first,
else initialize), builds requests around params that are passed through as they are, and finds out
what each message that comes back is.

    c = Client("greenhouse", "1.0")
    id, parts = c.open()                 send the parts; then, for every message that arrives:
    event = c.receive(buf, start, end)   SEND: send c.out; READY: send c.out unless None, then use
    it id, parts = c.request("tools/call", [params])
    event = c.receive(buf, start, end)   ANSWER: buf[c.lo:c.hi] is the result that answers c.id
"""

import json

from ..compat import const
from ..errors import METHOD_NOT_FOUND, UNSUPPORTED_VERSION, Unavailable
from .framing import (
    ERROR,
    ERROR_RESPONSE,
    ID,
    METHOD,
    NOTIFICATION,
    PARAMS,
    REQUEST,
    RESULT,
    new_spans,
    scan,
    text,
)
from .jsontext import loads, members
from .revisions import LATEST_LEGACY, LATEST_MODERN, LEGACY

# Events of receive() and rejected().
NOTHING = const(0)  # a late or unknown answer, or something that needs no action
ANSWER = const(1)  # a result: id, buf[lo:hi]
FAILURE = const(2)  # an error object: id, buf[lo:hi]
SEND = const(3)  # the opening's next message, `out`, is to be sent; `out_id` awaits its answer
READY = const(4)  # the opening is complete; `out` is to be sent unless it is None
REFUSED = const(5)  # the opening failed; `why` says how
PROGRESS = const(6)  # notifications/progress: params are buf[lo:hi]; see progress_token()
CHANGED = const(7)  # a list has changed: `method` is "tools", "resources" or "prompts"
NOTICE = const(8)  # another notification: `method`, params buf[lo:hi] (lo == hi: none)
INVALID = const(9)  # no JSON-RPC message; `why` says what is wrong
REPLY = const(10)  # the server asked what is answered here: `out` is the reply to send
ASKED = const(11)  # the server asked the client: `asked` (raw id), `method`, params buf[lo:hi]

_NEW = const(0)
_DISCOVER = const(1)
_INITIALIZE = const(2)
_OPEN = const(3)
_SHUT = const(4)

# What a server may ask of its client: the capability that it needs.
QUESTIONS = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}


class Client:
    """One conversation with one server.

    name, version: of this gateway, as told to the server. modern=True skips the opening: the peer
    is known to speak 2026-07-28 (the serial link). capabilities: JSON text (str), declared in
    initialize: what those who use this conversation may be asked; in 2026-07-28 each request
    declares it anew, see meta().
    After READY: modern (bool), version (the agreed revision, str), server (dict: name, version),
    capabilities (dict).
    """

    MAX_PENDING = 32  # requests under way
    MAX_ID = 128  # bytes of a server request's id that is echoed
    MAX_DEPTH = 64  # nesting of JSON taken from the server; the outer object is depth 1

    def __init__(self, name, version, modern=False, capabilities="{}"):
        info = json.dumps({"name": name, "version": version})
        self._envelope = (
            '"io.modelcontextprotocol/protocolVersion":"%s",'
            '"io.modelcontextprotocol/clientInfo":%s,"io.modelcontextprotocol/clientCapabilities":'
            % (LATEST_MODERN, info)
        ).encode()
        self._initialize = (
            '{"protocolVersion":"%s","capabilities":%s,"clientInfo":%s}'
            % (LATEST_LEGACY, capabilities, info)
        ).encode()
        self._spans = new_spans()
        self._last_id = 0
        self._known_modern = modern
        self.reset()

    def reset(self):
        """Forget the conversation (not the ids used): the connection or the server's session is
        gone.
        """
        self._pending = set()
        self._close()

    def _close(self):
        self._state = _OPEN if self._known_modern else _NEW
        self._retried = False
        self.modern = True if self._known_modern else None
        self.version = LATEST_MODERN if self._known_modern else None
        self.server = {}
        self.capabilities = {}
        self.id = self.out_id = None
        self.lo = self.hi = 0
        self.exact = False
        self.out = self.method = self.why = self.asked = None

    @property
    def ready(self):
        return self._state == _OPEN

    # What goes out.

    def open(self):
        """Start the opening (anew). Returns (id, parts) of the first message to send.

        Requests under way stay known: their answers may still come.
        """
        self._close()
        return self._step(_DISCOVER)

    def request(self, method, params_parts):
        """Build a request. params_parts: list of bytes-like that together are the JSON text of
        params, _meta included.

        Returns (id, parts). The id stays known until its answer came or forget(id).
        Raises Unavailable when MAX_PENDING requests are under way.
        """
        if len(self._pending) >= self.MAX_PENDING:
            raise Unavailable("%d requests are under way upstream" % self.MAX_PENDING)
        self._last_id = self._last_id % 0x3FFFFFFF + 1
        id = self._last_id
        self._pending.add(id)
        start = '{"jsonrpc":"2.0","id":%d,"method":"%s","params":' % (id, method)
        return id, [start.encode()] + list(params_parts) + [b"}"]

    def forget(self, id):
        """Give a request up: its answer, should it still come, is ignored."""
        self._pending.discard(id)

    def meta(self, extra=b"", capabilities=b"{}"):
        """JSON text of the _meta object of a request in the agreed revision.

        extra: b"" or further members without braces; capabilities: what whoever makes this request
        can be asked (JSON text). Before READY the members of 2026-07-28 are included; a legacy
        server ignores them.
        """
        if self.modern is False:
            return b"{" + extra + b"}"
        return b"{" + self._envelope + capabilities + (b"," if extra else b"") + extra + b"}"

    def reply(self, id, ok, raw):
        """The reply to a question (ASKED), as parts. id: its raw id; raw: JSON text of the result,
        or, ok=False, of an error object."""
        return [b'{"jsonrpc":"2.0","id":', id, b',"result":' if ok else b',"error":', raw, b"}"]

    def cancelled(self, id):
        """The notification that a request is given up, as parts."""
        return [
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,' % id,
            b'"_meta":',
            self.meta(),
            b"}}",
        ]

    def _step(self, state):
        self._state = state
        if state == _DISCOVER:
            self.version = LATEST_MODERN  # of this message; the transport names it in a header
            self.out_id, self.out = self.request(
                "server/discover", (b'{"_meta":{', self._envelope, b"{}}}")
            )
        else:
            self.version = None
            self.out_id, self.out = self.request("initialize", (self._initialize,))
        return self.out_id, self.out

    # What comes in.

    def receive(self, buf, start, end, sole=None):
        """Take one message, buf[start:end]; returns an event.

        sole: on a transport that carries the answer to one request only (an HTTP response), its
        id. Other answers are ignored then, and an error that names no known id is taken for that
        request's; `exact` tells whether the answer named the id itself.
        """
        spans = self._spans
        kind = scan(buf, start, end, spans, self.MAX_DEPTH)
        if kind < 0:
            self.why = "not a JSON-RPC message (%d)" % kind
            return INVALID
        if kind == REQUEST:
            return self._asked(buf, spans)
        if kind == NOTIFICATION:
            return self._notified(buf, spans)
        id = self._answered_id(buf, spans)
        self.exact = id in self._pending
        if not self.exact and kind == ERROR_RESPONSE:
            id = sole
        if id not in self._pending or (sole is not None and id != sole):
            return NOTHING
        self._pending.discard(id)
        self.id = id
        field = ERROR if kind == ERROR_RESPONSE else RESULT
        self.lo, self.hi = spans[2 * field], spans[2 * field + 1]
        if id == self.out_id and self._state in (_DISCOVER, _INITIALIZE):
            self.out_id = None
            return self._opened(kind, bytes(memoryview(buf)[self.lo : self.hi]))
        return FAILURE if kind == ERROR_RESPONSE else ANSWER

    def rejected(self, why):
        """The transport turned the opening's message down before it reached a JSON-RPC peer (an
        HTTP status).

        Returns SEND (the next way to open is in out) or REFUSED.
        """
        self.forget(self.out_id)
        if self._state == _DISCOVER:
            self._step(_INITIALIZE)
            return SEND
        return self._refuse(why)

    def progress_token(self, buf):
        """After PROGRESS: the token's JSON text (bytes)."""
        params = bytes(memoryview(buf)[self.lo : self.hi])
        for key, _, lo, hi in members(params):
            if key == b"progressToken":
                return params[lo:hi]

    def _is_progress(self, buf):
        """Whether the params have what they must, so that those they are passed to can rely on
        it.
        """
        if self.lo < 0:
            return False
        params = bytes(memoryview(buf)[self.lo : self.hi])
        found = 0
        for key, _, lo, _ in members(params):
            if (key == b"progress" and params[lo] in b"-0123456789") or (
                key == b"progressToken" and params[lo] in b'"-0123456789'
            ):
                found += 1
        return found == 2

    def _answered_id(self, buf, spans):
        lo, hi = spans[2 * ID], spans[2 * ID + 1]
        if lo < 0 or hi - lo > 10 or buf[lo] in b'n"':  # absent, null, or not one of ours
            return None
        return int(bytes(memoryview(buf)[lo:hi]))

    def _asked(self, buf, spans):
        """A request of the server, as the legacy revisions have them."""
        lo, hi = spans[2 * ID], spans[2 * ID + 1]
        if self.modern or hi - lo > self.MAX_ID:
            return NOTHING
        id = bytes(memoryview(buf)[lo:hi])
        method = text(buf, spans, METHOD)
        if method in QUESTIONS and self._state == _OPEN:
            self.asked = id
            self.method = method
            self.lo, self.hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
            return ASKED
        if method == "ping":
            rest = b',"result":{}}'
        else:
            rest = (
                b',"error":{"code":%d,"message":"not supported by this client"}}'
                % METHOD_NOT_FOUND
            )
        self.out = [b'{"jsonrpc":"2.0","id":', id, rest]
        return REPLY

    def _notified(self, buf, spans):
        method = text(buf, spans, METHOD)
        self.lo, self.hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
        if method == "notifications/progress":
            return PROGRESS if self._is_progress(buf) else NOTHING
        self.method = method
        if method.startswith("notifications/") and method.endswith("/list_changed"):
            self.method = method[14:-13]
            return CHANGED
        return NOTICE

    def _opened(self, kind, raw):
        """The answer to a step of the opening."""
        try:
            body = loads(raw, b"\\" in raw)
        except (ValueError, MemoryError):
            body = None
        if not isinstance(body, dict):
            body = {}
        if self._state == _DISCOVER:
            return self._discovered(kind, body)
        if kind == ERROR_RESPONSE:
            if LATEST_MODERN in _supported(body) and not self._retried:
                # It answers initialize like a modern server after all: its first answer was about
                # something else.
                self._retried = True
                self._step(_DISCOVER)
                return SEND
            return self._refuse("initialize was refused: %s" % body.get("message"))
        version = body.get("protocolVersion")
        if version not in LEGACY:
            return self._refuse("the server wants revision %s" % version)
        self._agree(False, version, body.get("serverInfo"), body)
        self.out = [b'{"jsonrpc":"2.0","method":"notifications/initialized"}']
        return READY

    def _discovered(self, kind, body):
        if kind != ERROR_RESPONSE:
            versions = body.get("supportedVersions")
            if isinstance(versions, list) and LATEST_MODERN in versions:
                meta = body.get("_meta")
                info = (
                    meta.get("io.modelcontextprotocol/serverInfo")
                    if isinstance(meta, dict)
                    else None
                )
                self._agree(True, LATEST_MODERN, info, body)
                self.out = None
                return READY
        elif body.get("code") == UNSUPPORTED_VERSION:
            # Positive evidence of a modern server; worth a handshake only if it names a revision
            # that has one.
            versions = _supported(body)
            if versions and not any(v in LEGACY for v in versions):
                return self._refuse(
                    "no revision in common; the server speaks %s" % ", ".join(versions)
                )
        if self._retried:
            return self._refuse("neither server/discover nor initialize opens this server")
        self._step(_INITIALIZE)
        return SEND

    def _agree(self, modern, version, info, body):
        self._state = _OPEN
        self.modern = modern
        self.version = version
        self.server = info if isinstance(info, dict) else {}
        capabilities = body.get("capabilities")
        self.capabilities = capabilities if isinstance(capabilities, dict) else {}

    def _refuse(self, why):
        self._state = _SHUT
        self.out = self.out_id = None
        self.why = why
        return REFUSED


def _supported(error):
    """The revisions that an error object of code -32022 names; an empty list when it does not."""
    data = error.get("data")
    versions = data.get("supported") if isinstance(data, dict) else None
    if error.get("code") != UNSUPPORTED_VERSION or not isinstance(versions, list):
        return []
    return [v for v in versions if isinstance(v, str)][:16]
