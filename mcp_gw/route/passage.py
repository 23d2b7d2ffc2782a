"""One request of a client on its way to an upstream, and its outcome on the way back."""

from ..errors import (
    INTERNAL_ERROR,
    RESOURCE_NOT_FOUND,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    GatewayError,
    NoAnswer,
    Unavailable,
)
from ..protocol.framing import META, NAME, PARAMS
from ..protocol.jsontext import joined, loads, member, one_line, without_member
from ..protocol.jsonvalue import dumps
from ..protocol.results import progress
from ..protocol.revisions import AUDIO, LINKS, TASKS
from .upstream import error_of

_CAPABILITIES = b"io.modelcontextprotocol/clientCapabilities"
# What a server may ask of its client; other capabilities do not concern those behind us.
_ASKABLE = ("elicitation", "roots", "sampling")


class Passage:
    """forwarder: the Forwarder; request, port: of the client; method: of the request; name: raw
    JSON of params.name for the upstream, None to leave it; waits: whether it may wait in the
    queue: seconds, a Queueable, or None: not at all."""

    # What most requests do without costs them no RAM.
    key = None
    can = b"{}"  # what the upstream may ask, JSON text of capabilities
    again = None  # JSON text of params for further rounds: less _meta and answers
    passed_on = False  # the client has to answer, and will come back
    kept = None  # params for the queue
    as_task = False  # the client of 2025-11-25 wants a task
    timeout_ms = None  # less than the gateway's own

    def __init__(self, forwarder, request, port, upstream, method, name=None, waits=None):
        self.forwarder = forwarder
        self.request = request
        self.port = port
        self.upstream = upstream
        self.method = method
        self.name = name
        self.waits = waits

    def begin(self, buf, spans):
        """Send it; its params are spans of `buf`. Raises ProtocolError."""
        request = self.request
        upstream = self.upstream
        can = _can(request, upstream.sampling)
        if can != b"{}":
            self.can = can
        lo, hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
        returned = None
        if request.revision.modern and (
            buf.find(b'"requestState"', lo, hi) >= 0 or buf.find(b'"inputResponses"', lo, hi) >= 0
        ):
            from .questions import returned as taken

            returned = taken(self, bytes(memoryview(buf)[lo:hi]))
        if self.key is None:
            self.key = getattr(request, "key", None)
        if self.key is None and self.waits is not None:
            self.key = self.forwarder.new_key()
            if self.forwarder.outbox is not None and returned is None:
                why = self._keep(buf, spans)
                if why is not None:
                    self.finish(False, None, Unavailable(why))
                    return
        if returned is not None:
            parts = [b'{"_meta":', self._meta(), b",", returned[1:]]
        else:
            if can != b"{}" and (upstream.sampling or not request.revision.modern):
                again = bytes(joined(spliced(buf, spans, self.name, b"{}")))
                self.again = without_member(again, b"_meta")
            parts = spliced(buf, spans, self.name, self._meta())
        start = getattr(upstream, "begin", None)
        if start is None:
            # An asynchronous upstream takes its time, and the buffer is wanted back.
            self._work(self._ask([joined(parts)]))
            return
        try:
            timeout_ms = self.timeout_ms or self.forwarder.timeout_ms
            id = start(self.method, parts, timeout_ms, self.done, self.on_progress)
            request.on_cancel = lambda: upstream.give_up(id)
        except Unavailable as e:
            self.done(False, None, e)

    def _keep(self, buf, spans):
        """Make what waits in the queue. Returns why it goes there without being sent first (str),
        or None."""
        kept = bytes(joined(spliced(buf, spans, self.name, b"{" + self._extra() + b"}")))
        self.kept = kept
        if b'"task"' in kept and self.request.revision.features & TASKS:
            task = member(kept, b"task")
            if task is not None and task[:1] == b"{":
                # Durable before the client has its handle.
                self.kept = without_member(kept, b"task")
                self.as_task = True
                return "as asked"
        if hasattr(self.waits, "waits"):
            if self.waits.waits(self.forwarder.outbox, self.upstream.name, kept):
                return "others about the same thing wait for %s" % self.upstream.name
        return None

    def _work(self, steps):
        self.request.on_cancel = self.forwarder.work(steps).cancel

    def _extra(self):
        return ('"mcp-gw/key":"%s"' % self.key).encode() if self.key else b""

    def _meta(self):
        extra = self._extra()
        if self.request.token is not None:
            token = '"progressToken":%d' % self.upstream.next_token()
            extra += (b"," if extra else b"") + token.encode()
        return self.upstream.meta(extra, self.can)

    async def _ask(self, parts):
        self.done(*await self._outcome(parts))

    async def _outcome(self, parts):
        """(ok, raw, error) of a request; error: None, Unavailable or NoAnswer."""
        try:
            ok, raw = await self.upstream.request(
                self.method,
                parts,
                self.timeout_ms or self.forwarder.timeout_ms,
                self.on_progress,
                self.can,
            )
        except GatewayError as e:
            return False, None, e
        except Exception as e:
            # Whatever went wrong, somebody waits for an answer.
            return False, None, NoAnswer("%s: %s" % (type(e).__name__, e))
        return ok, one_line(raw), None

    async def next_round(self, state, answers):
        """Make the request again. state: JSON text of the requestState, or None; answers: JSON
        text of inputResponses. Returns as _outcome()."""
        parts = [b'{"_meta":', self._meta(), b',"inputResponses":', answers, b","]
        if state is not None:
            parts += [b'"requestState":', state, b","]
        parts.append(self.again[1:])
        return await self._outcome([joined(parts)])

    def on_progress(self, raw):
        """Pass on what the upstream reports (JSON text of the params)."""
        request = self.request
        if request.stale or request.token is None:
            return
        params = loads(raw, b"\\" in raw)
        row = [params.get(key) for key in ("progress", "total", "message")]
        try:
            self.port.send(progress(request, *row))
        except ValueError:
            pass  # what the upstream sent is no report

    def done(self, ok, raw, err):
        """The upstream has answered: ok, raw (bytes-like; valid during the call only), or err."""
        if ok and self.upstream.asks(raw):
            from .questions import settle

            self._work(settle(self, bytes(raw)))
        else:
            self.finish(ok, raw, err)

    def finish(self, ok, raw, err):
        """Give the outcome to the client."""
        if not self.request.end():
            return
        try:
            self._answer(ok, raw, err)
        except Exception as e:
            # No memory, a flash that fails: somebody waits for an answer all the same.
            self._refuse(INTERNAL_ERROR, "%s: %s" % (type(e).__name__, e))

    def _answer(self, ok, raw, err):
        request = self.request
        code = None
        if not ok and err is None:
            code, message = error_of(bytes(raw))
            if code == UPSTREAM_UNAVAILABLE:
                err = Unavailable(message)
            elif code == UPSTREAM_TIMEOUT:
                err = NoAnswer(message)
        if err is not None:
            if self.kept is not None:
                self.forwarder.queued().queue(self, err)
                return
            code = UPSTREAM_TIMEOUT if isinstance(err, NoAnswer) else UPSTREAM_UNAVAILABLE
            self._refuse(code, str(err))
            return
        if raw[0] != 0x7B:
            told = "%s answered with something that is no JSON object" % self.upstream.name
            self._refuse(INTERNAL_ERROR, told)
            return
        if code is not None and not _well_formed(bytes(raw)):
            self._refuse(code, message)  # clients do not take it for an answer
            return
        if code == RESOURCE_NOT_FOUND and self.method == "resources/read":
            self._refuse(request.revision.resource_not_found, message)
            return
        parts = [b'{"jsonrpc":"2.0","id":', request.id]
        if not ok:
            self.forwarder.counters.error(code)
            parts.extend((b',"error":', raw, b"}"))
        elif request.revision.modern and not self.upstream.modern:
            # A legacy upstream's result, for a client of the modern revision.
            head = b',"result":{' + request.revision.result_members
            if self.method == "resources/read":
                head += request.revision.cache_members
            at = 1
            while raw[at] in b" \t":
                at += 1
            parts.extend((head[:-1] if raw[at] == 0x7D else head, raw[at:], b"}"))
        else:
            if not request.revision.modern and self.method != "resources/read":
                raw = readable(request.revision, bytes(raw))
            parts.extend((b',"result":', raw, b"}"))
        self.port.answer(parts)

    def _refuse(self, code, told):
        self.forwarder.refuse(self.request, self.port, code, told)


def _well_formed(raw):
    """Whether an error object's JSON text has what it must."""
    error = loads(raw, b"\\" in raw)
    return type(error.get("code")) is int and isinstance(error.get("message"), str)


def readable(revision, raw):
    """The JSON text of a result as a client of an older revision can read it."""
    features = revision.features
    if (
        (b'"resource_link"' in raw and not features & LINKS)
        or (b'"audio"' in raw and not features & AUDIO)
        or (
            b'"structuredContent"' in raw and (member(raw, b"structuredContent") or b"{")[0] != 123
        )
    ):
        from . import older

        return older.readable(revision, raw)
    return raw


def _can(request, sampling):
    """What an upstream may ask in a request: JSON text of capabilities. sampling: whether this
    gateway answers for the client's model."""
    if request.revision.modern:
        raw = member(request.meta, _CAPABILITIES)
        has = loads(raw, b"\\" in raw) if raw != b"{}" else None
    else:
        has = request.session.capabilities
    found = {}
    if has:
        for key in _ASKABLE:
            if isinstance(has.get(key), dict):
                found[key] = has[key]
    if sampling:
        found["sampling"] = {}
    return dumps(found) if found else b"{}"


def spliced(buf, spans, name, meta):
    """The params of the message in `buf` as parts, with another name (raw JSON; None: as it is)
    and _meta."""
    view = memoryview(buf)
    lo, hi = spans[2 * PARAMS], spans[2 * PARAMS + 1]
    cuts = [(spans[2 * META], spans[2 * META + 1], meta)]
    if name is not None:
        cuts.append((spans[2 * NAME], spans[2 * NAME + 1], name))
    parts = []
    if cuts[0][0] < 0:
        parts = [b'{"_meta":', meta, b","]
        del cuts[0]
        lo += 1
    cuts.sort()
    for start, end, new in cuts:
        parts.append(view[lo:start])
        parts.append(new)
        lo = end
    parts.append(view[lo:hi])
    return parts
