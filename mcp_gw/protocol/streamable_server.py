"""Streamable HTTP, the server's part, both eras, without I/O: which requests are let in, and how
they are to be treated.

That follows from a request's head alone, so it is kept with the head as a Plan: clients repeat
their heads from request to request.
"""

from ..compat import const, ticks_diff
from .framing import REQUEST
from .header_check import HeaderCheck
from .http import field
from .http_exchange import EVENTS, FIRST, JSON, LEGACY, MODERN, Exchange
from .jsonvalue import dumps
from .revisions import BY_NAME, SUPPORTED
from .session import Session

# How long what a guard said of a head holds.
_GUARD_MS = const(1000)
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: Accept, Authorization, Content-Type, Last-Event-ID, "
    b"Mcp-Method, Mcp-Name, MCP-Protocol-Version, Mcp-Session-Id"
)
_KEEP_PREFLIGHT = b"\r\nAccess-Control-Max-Age: 600\r\n"
_EXPOSED = b"Access-Control-Expose-Headers: Mcp-Session-Id, WWW-Authenticate\r\nVary: Origin\r\n"
_ALLOW = b"Allow: GET, POST, DELETE, OPTIONS\r\n"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Plan:
    """How requests with one head are treated.

    run: function(connection, head, buf, lo, hi); refused: None or (status, fields, parts), the
    answer whatever the body says; fields: header lines (bytes) for any answer.
    """

    run = None
    refused = None
    fields = b""
    principal = None
    asked = 0  # when the guard was asked last
    json = events = False  # what the client accepts
    era = MODERN
    http_session = None
    mirror = None  # the HeaderCheck of a modern request


class Site:
    """Who may come from where.

    hosts, origins: sets of str, lower-case, that are let in beside what follows from `loopback`:
    whether only this machine can reach us. A web page of a stranger can make a browser send
    requests here, and by changing what its name resolves to even read the answers; its own name
    then stands in Host and Origin.
    """

    def __init__(self, loopback, hosts, origins):
        self._loopback = loopback
        self._hosts = hosts
        self._origins = origins

    def host_known(self, host):
        """host: value of the Host header, str."""
        name = _name(host)
        if self._loopback and name in _LOOPBACK:
            return True
        if self._loopback or self._hosts:
            return name in self._hosts or host.lower() in self._hosts
        return True

    def origin_allowed(self, origin, host):
        """origin: value of the Origin header, str."""
        origin = origin.lower()
        if origin in self._origins:
            return True
        scheme, found, authority = origin.partition("://")
        if not found or scheme not in ("http", "https"):
            return False
        name = _name(authority)
        if self._loopback:
            return name in _LOOPBACK
        # The same server; a name must be known, for anybody can make one resolve to us.
        if authority != host.lower():
            return False
        if name in self._hosts or name[:1] == "[":
            return True
        return name != "" and not name.strip("0123456789.")


def _name(authority):
    """The host of an authority, lower-case, without its port; "" if it is none."""
    end = authority.find("]") + 1 if authority[:1] == "[" else authority.find(":")
    port = authority[end + 1 :] if end >= 0 else ""
    if end < 0:
        end = len(authority)
    if authority[end : end + 1] not in ("", ":") or (port and not port.isdigit()):
        return ""
    return authority[:end].lower()


class StreamableServer:
    """The application of a Connection.

    take: Dispatch's; leave: Gateway's; tools: name -> tool, dict-like; sessions: Sessions;
    path: of the MCP endpoint; site: a Site; guard, endpoints: None or the hooks that
    transports/tcp.py describes; log: function(exception).
    """

    def __init__(self, take, leave, tools, sessions, path, site, guard, endpoints, log):
        self._take = take
        self._leave = leave
        self._tools = tools
        self.sessions = sessions
        self._path = path
        self._site = site
        self._guard = guard
        self._endpoints = endpoints
        self._log = log
        self.now = 0  # ticks in ms, set now and then
        self._lost = []  # Sessions of connections that are over

    # What a Connection tells.

    def head(self, connection, head):
        plan = self._planned(connection, head)
        if plan.refused is not None:
            connection.requests.discard = True
            if head.expects:
                connection.answer(*plan.refused)

    def request(self, connection, head, buf, lo, hi):
        plan = head.plan
        if plan.asked != 0 and ticks_diff(self.now, plan.asked) > _GUARD_MS:
            plan = self._planned(connection, head)
        if plan.refused is not None:
            connection.answer(*plan.refused)
            return
        try:
            plan.run(connection, head, buf, lo, hi)
        except Exception as e:
            self._log(e)
            exchange, connection.exchange = connection.exchange, None
            if exchange is not None:
                exchange.gone()
            connection.fail()

    def quiet(self, connection):
        if connection.exchange is not None:
            connection.exchange.quiet()

    def gone(self, connection):
        exchange, connection.exchange = connection.exchange, None
        if connection.session is not None:
            # Not at once: it may be work of this very client that found the connection broken.
            self._lost.append(connection.session)
        if exchange is not None:
            exchange.gone()

    def tick(self, now):
        """Now and then, with ticks in ms."""
        self.now = now
        while self._lost:
            self._leave(self._lost.pop())
        self.sessions.tick(now)

    # What a head means.

    def _planned(self, connection, head):
        plan = head.plan = Plan()
        try:
            self._plan(plan, connection, head)
        except Exception as e:
            self._log(e)
            self._refuse(plan, 500, "internal error")
        return plan

    def _plan(self, plan, connection, head):
        headers = head.headers
        host = headers.get(b"host", b"").decode()
        if host and not self._site.host_known(host):
            return self._refuse(plan, 403, "this Host is not served here")
        raw = headers.get(b"origin")
        if raw is not None:
            origin = _text(raw)
            if not self._site.origin_allowed(origin, host):
                return self._refuse(plan, 403, "this Origin is not allowed")
            plan.fields = b"Access-Control-Allow-Origin: " + raw + b"\r\n" + _EXPOSED
        if head.method == "OPTIONS":
            return self._options(plan, headers)
        if self._guard is not None:
            plan.asked = self.now or 1
            said = self._guard.check(head.method, head.path, headers, connection.peer)
            if isinstance(said, tuple):
                return self._hook_answer(plan, *said)
            plan.principal = said
        if head.path != self._path:
            plan.run = self._elsewhere
        elif head.method == "POST":
            self._plan_post(plan, headers)
        elif head.method in ("GET", "DELETE"):
            self._plan_session(plan, head)
        else:
            self._refuse(plan, 405, "POST, GET and DELETE are served here", _ALLOW)

    def _refuse(self, plan, status, text, fields=b""):
        body = dumps({"jsonrpc": "2.0", "error": {"code": -32600, "message": text}})
        plan.refused = status, JSON + plan.fields + fields, (body,)

    def _hook_answer(self, plan, status, fields, body):
        lines = b"".join([field(*row) for row in fields])
        plan.refused = status, lines + plan.fields, (body,) if body else ()

    def _options(self, plan, headers):
        fields = plan.fields + _ALLOW
        if plan.fields and b"access-control-request-method" in headers:
            # Mcp-Param-* names are the tools': those that the page asks for.
            asked = _text(headers.get(b"access-control-request-headers", b"")).split(",")
            names = [name.strip() for name in asked]
            more = [name for name in names if name.lower().startswith("mcp-param-")]
            fields += _PREFLIGHT + "".join([", " + name for name in more]).encode()
            fields += _KEEP_PREFLIGHT
        plan.refused = 204, fields, ()

    def _plan_post(self, plan, headers):
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return self._refuse(plan, 415, "Content-Type must be application/json")
        _accepts(plan, headers.get(b"accept"))
        if not plan.json and not plan.events:
            text = "Accept must include application/json and text/event-stream"
            return self._refuse(plan, 406, text)
        plan.run = self._post
        version = _text(headers.get(b"mcp-protocol-version", b""))
        revision = BY_NAME.get(version)
        if version and (revision is None or revision.modern):
            plan.mirror = HeaderCheck(headers, self._tools)
            return None
        id = headers.get(b"mcp-session-id")
        if id is None:
            plan.era = FIRST
            return None
        plan.era = LEGACY
        self._find(plan, id)
        return None

    def _find(self, plan, id):
        one = plan.http_session = self.sessions.get(id, plan.principal)
        if one is None:
            self._refuse(plan, 404, "no such session")

    def _plan_session(self, plan, head):
        headers = head.headers
        version = _text(headers.get(b"mcp-protocol-version", b""))
        revision = BY_NAME.get(version)
        id = headers.get(b"mcp-session-id")
        if id is None or (revision is not None and revision.modern):
            return self._refuse(plan, 405, "there is no session", _ALLOW)
        if version and revision is None:
            text = "MCP-Protocol-Version is one of " + ", ".join(SUPPORTED)
            return self._refuse(plan, 400, text)
        self._find(plan, id)
        if plan.refused is None and head.method == "DELETE":
            plan.run = self._delete
            return None
        _accepts(plan, headers.get(b"accept"))
        if plan.refused is None and not plan.events:
            return self._refuse(plan, 406, "Accept must include text/event-stream")
        plan.run = self._get
        return None

    # What is done then.

    def _post(self, connection, head, buf, lo, hi):
        plan = head.plan
        exchange = connection.exchange
        if exchange is None:
            exchange = connection.exchange = Exchange(self, connection)
        one = exchange.http_session = plan.http_session
        if one is not None:
            if not one.alive:
                self._plan_again(connection, head)
                return
            one.used = self.now
            exchange.session = one.session
        elif plan.era == MODERN:
            session = connection.session
            if session is None:
                session = connection.session = Session()
            session.check = plan.mirror.check
            session.principal = plan.principal
            exchange.session = session
        else:
            exchange.session = Session()
            exchange.session.check = exchange.check_first
        exchange.plan = plan
        exchange.answered = False
        kind = self._take(exchange, buf, lo, hi)
        if exchange.answered:
            return
        if kind == REQUEST:
            if one is not None:
                one.wait(exchange)
            return
        exchange.answered = True
        if plan.fields:
            connection.answer(202, plan.fields, ())
        else:
            connection.answer_nothing()
        if one is not None:
            one.settle()

    def _plan_again(self, connection, head):
        plan = self._planned(connection, head)
        if plan.refused is None:
            self._refuse(plan, 404, "no such session")
        connection.answer(*plan.refused)

    def _get(self, connection, head, buf, lo, hi):
        plan = head.plan
        one = plan.http_session
        if not one.alive:
            return self._plan_again(connection, head)
        one.used = self.now
        last = head.headers.get(b"last-event-id")
        stream = one.streams[0]
        after = stream.seen
        if last:
            stream, after = one.find(last)
            if stream is None:
                text = "no such event: Last-Event-ID is too old"
                return self._refuse_once(connection, plan, 400, text)
        elif stream.connection is not None:
            text = "this session's stream is open on another connection"
            return self._refuse_once(connection, plan, 409, text)
        connection.exchange = stream
        connection.begin(EVENTS + plan.fields)
        stream.attach(connection, after)
        return None

    def _refuse_once(self, connection, plan, status, text):
        """Refuse this request, but not the next that has the same head."""
        self._refuse(plan, status, text)
        refused, plan.refused = plan.refused, None
        connection.answer(*refused)

    def _delete(self, connection, head, buf, lo, hi):
        if not head.plan.http_session.alive:
            return self._plan_again(connection, head)
        self.sessions.end(head.plan.http_session)
        connection.answer(204, head.plan.fields, ())
        return None

    def _elsewhere(self, connection, head, buf, lo, hi):
        plan = head.plan
        reply = _Reply(connection, plan.fields)
        method = "GET" if head.method == "HEAD" else head.method
        body = bytes(memoryview(buf)[lo:hi])
        served = self._endpoints is not None and self._endpoints.handle(
            method, head.path, head.query, head.headers, body, reply.respond
        )
        if not served:
            connection.exchange = None
            self._refuse(plan, 404, "there is nothing here; MCP is at " + self._path)
            connection.answer(*plan.refused)


class _Reply:
    """Takes the answer of an endpoint, which may come when its client is gone."""

    def __init__(self, connection, fields):
        self._connection = connection
        self._fields = fields
        connection.exchange = self

    def respond(self, status, fields, parts):
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.exchange = None
            lines = b"".join([field(*row) for row in fields])
            connection.answer(status, lines + self._fields, parts)

    def quiet(self):
        """It takes its time."""

    def gone(self):
        self._connection = None


def _text(raw):
    """A header value as str, "" where it is none that makes sense."""
    return raw.decode() if all(0x20 <= c <= 0x7E for c in raw) else ""


def _accepts(plan, accept):
    """Note what the Accept header (bytes or None) allows. A client that names event streams first
    gets its answers as events."""
    if accept is None:
        plan.json = plan.events = True
        return
    for row in accept.lower().split(b","):
        kind, _, more = row.partition(b";")
        kind = kind.strip()
        if more.replace(b" ", b"") in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"):
            continue
        if kind in (b"application/json", b"application/*", b"*/*"):
            plan.json = plan.json or not plan.events
        if kind in (b"text/event-stream", b"text/*", b"*/*"):
            plan.events = True
