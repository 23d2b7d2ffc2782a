"""One board's conversations with its upstreams: the bridge's end of channel `u`."""

import asyncio
from functools import partial
from hashlib import sha256

from mcp_gw.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    GatewayError,
    NoAnswer,
    ProtocolError,
    Unavailable,
)
from mcp_gw.protocol.client import QUESTIONS
from mcp_gw.protocol.framing import (
    ID,
    KEY,
    META,
    METHOD,
    NAME,
    NOTIFICATION,
    PARAMS,
    REQUEST,
    TOKEN,
    new_spans,
    scan,
    text,
)
from mcp_gw.protocol.jsontext import member, members, without_member
from mcp_gw.route.upstream import LISTS, asks, unasked_type

from .calls import dump, error_object, parse, tool_error
from .deliver import METHOD as DELIVER
from .deliver import Deliveries, unpack
from .frames import compact, unescaped, with_members, with_result_type

_MAX_DEPTH = 64
# A keyed call goes on this many times longer than the board waits, so that its outcome gets known.
_PATIENCE = 10
# Frame header and JSON-RPC envelope around a result.
_OVERHEAD = 256
_MAX_UNDELIVERED = 64
# Calls of batches that run at once.
_MOST_AT_ONCE = 8
# Requests of a board that are worked on; more are refused.
_MOST_REQUESTS = 256
# Requests whose outcome so far is a question: so many are known, should they be cancelled.
_MAX_ASKED = 256
_KEYED = "keyed call"
# Parts of a descriptor that a tool can do without, in the order in which they are left out.
_DISPENSABLE = (b"icons", b"_meta", b"execution", b"outputSchema", b"title")

_CAPABILITIES = b"io.modelcontextprotocol/clientCapabilities"
# Requests passed on as they are: the member of params that a header repeats.
_NAMED = {"prompts/get": b"name", "resources/read": b"uri", "completion/complete": None}
# The board looks for this at the beginning of a result, and nowhere else.
_ASKS = b'"resultType":"input_required"'
_NOT_CACHED = b'"ttlMs":0,"cacheScope":"private"'
_KINDS = {method: kind for kind, (method, _) in LISTS.items()}


class Relay:
    """Answers the board's requests to its upstreams.

    upstreams: dict of name to HTTPUpstream; calls: Calls; deliver: function(name, message
    bytes) -> bool, False when the board is not there now; rx: function() -> longest line in
    bytes that the board takes.
    """

    def __init__(self, upstreams, calls, deliver, rx, log):
        self._upstreams = upstreams
        self._calls = calls
        self._deliver = deliver
        self._rx = rx
        self._log = log
        self._spans = new_spans()
        self._tasks = {}  # (upstream's name, raw id) -> task
        self._requests = 0  # under way; several may have come under one id
        self._orphans = set()  # tasks of keyed calls whose board has restarted
        self._undelivered = []
        self._asked = {}  # (upstream's name, raw id) -> requestState of an input_required result
        self._lists = {}  # (upstream's name, kind) -> (serial, descriptors)
        self._deliveries = Deliveries(log)
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._serial = 0

    def board_up(self, restarted):
        """The board is there (again): it gets what it missed, unless it has forgotten its
        questions.
        """
        missed, self._undelivered = self._undelivered, []
        if restarted:
            self._forget()
        else:
            for name, message in missed:
                self._send(name, message)

    def _forget(self):
        """Drop the conversations. Keyed calls go on: their outcome is recorded for the next
        question.
        """
        for at in list(self._asked):
            self._abandon(at)
        tasks, self._tasks = self._tasks, {}
        for task in tasks.values():
            if task.get_name() == _KEYED:
                self._orphans.add(task)
                task.add_done_callback(self._orphans.discard)
            else:
                task.cancel()

    async def close(self):
        """Stop answering; to be called after Calls.close(), which ends the keyed calls."""
        self._forget()
        tasks = list(self._orphans)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._deliveries.close()

    def message(self, name, line):
        """One message of the board to the upstream `name`. Raises ValueError if it is none."""
        spans = self._spans
        kind = scan(line, 0, len(line), spans, _MAX_DEPTH)
        if kind not in (REQUEST, NOTIFICATION):
            raise ValueError(f"not a request ({kind})")
        method = text(line, spans, METHOD)
        params = self._span(line, PARAMS) or b"{}"
        if kind == NOTIFICATION:
            if method == "notifications/cancelled":
                at = name, member(params, b"requestId")
                task = self._tasks.pop(at, None)
                if task:
                    task.cancel()
                self._abandon(at)
            return
        id = self._span(line, ID)
        upstream = self._upstreams.get(name)
        if self._requests >= _MOST_REQUESTS:
            answer = partial(self._fail, UPSTREAM_UNAVAILABLE, "too many requests are under way")
        elif upstream is None:
            why = f"this bridge has no upstream {name!r}; add --upstream {name}=URL"
            answer = partial(self._fail, UPSTREAM_UNAVAILABLE, why)
        elif method == "tools/call" and spans[2 * NAME] >= 0:
            tool = text(line, spans, NAME)
            key = text(line, spans, KEY) if spans[2 * KEY] >= 0 else None
            meta, token = self._span(line, META) or b"{}", self._span(line, TOKEN)
            answer = partial(self._call, upstream, tool, params, meta, key, token)
        elif method == DELIVER:
            answer = partial(self._batch, upstream, params)
        elif method in _KINDS:
            answer = partial(self._list, upstream, _KINDS[method], parse(params).get("cursor"))
        elif method in _NAMED:
            meta, token = self._span(line, META) or b"{}", self._span(line, TOKEN)
            answer = partial(self._pass, upstream, method, params, meta, token)
        elif method == "tools/call":
            answer = partial(self._fail, INVALID_PARAMS, "params.name is missing")
        else:
            answer = partial(self._fail, METHOD_NOT_FOUND, f"the bridge does not relay {method}")
        keyed = method == "tools/call" and spans[2 * KEY] >= 0
        task = asyncio.create_task(
            self._answer(name, id, answer), name=_KEYED if keyed else "upstream"
        )
        self._tasks[name, id] = task
        self._requests += 1
        task.add_done_callback(lambda _: self._done(name, id, task))

    def _done(self, name, id, task):
        self._requests -= 1
        if self._tasks.get((name, id)) is task:
            del self._tasks[name, id]
        if not task.cancelled() and task.exception():
            self._log.info(f"internal error: {task.exception()!r}")

    def _span(self, line, field):
        start = self._spans[2 * field]
        return line[start : self._spans[2 * field + 1]] if start >= 0 else None

    def _abandon(self, at):
        """Nobody will answer the question that came of a request; at: (upstream's name, id)."""
        state = self._asked.pop(at, None)
        if state is not None:
            self._upstreams[at[0]].abandon(state)

    # -- the requests

    async def _fail(self, code, why):
        return False, error_object(code, why)

    async def _call(self, upstream, tool, params, meta, key, token):
        params = without_member(params, b"_meta")
        extra, can = _split(meta)
        on_progress = self._progress(upstream, token)
        if key is None:
            ok, raw = await upstream.call(tool, params, extra, None, on_progress, can)
        else:
            ok, raw = await self._keyed(upstream, tool, params, extra, key, on_progress, can)
        return self._checked(upstream, tool, ok, raw)

    async def _pass(self, upstream, method, params, meta, token):
        params = without_member(params, b"_meta")
        extra, can = _split(meta)
        field = _NAMED[method]
        name = parse(member(params, field) or b"null") if field else None
        if field and not isinstance(name, str):
            return await self._fail(INVALID_PARAMS, f"params.{field.decode()} is missing")
        on_progress = self._progress(upstream, token)
        ok, raw = await upstream.send(method, params, extra, None, on_progress, name, None, can)
        return self._checked(upstream, method, ok, raw)

    def _progress(self, upstream, token):
        """A function that passes progress on under the board's own token; None without one."""

        def on_progress(raw):
            rest = without_member(raw, b"progressToken")
            comma = b"" if rest == b"{}" else b","
            raw = b'{"progressToken":' + token + comma + rest[1:]
            head = b'{"jsonrpc":"2.0","method":"notifications/progress","params":'
            self._deliver(upstream.name, compact(head + raw + b"}"))

        return on_progress if token else None

    def _checked(self, upstream, what, ok, raw):
        """(ok, raw) in a form that the board takes. what: the tool's name, or the method."""
        if not ok:
            return ok, raw
        if raw.lstrip()[:1] != b"{":
            raise ProtocolError(INTERNAL_ERROR, f"{upstream.name}: the result is no JSON object")
        if why := unasked_type(raw.lstrip()):
            raise ProtocolError(INTERNAL_ERROR, f"{upstream.name}: {why}")
        if asks(raw):
            raw = compact(with_members(without_member(raw, b"resultType"), _ASKS))
            if len(raw) > self._rx() - _OVERHEAD:
                state = member(raw, b"requestState")
                if state:
                    upstream.abandon(parse(state))
                why = (
                    f"{what} asks something that has {len(raw)} bytes, more than this board takes"
                )
                raise ProtocolError(INTERNAL_ERROR, why)
            return ok, raw
        raw = with_result_type(raw)
        if what == "resources/read" and member(raw, b"ttlMs") is None:
            raw = with_members(raw, _NOT_CACHED)
        return self._fitting(raw, what)

    async def _batch(self, upstream, params):
        jobs, max_bytes = unpack(params)

        async def execute(job):
            name = member(job.params, b"name")
            tool = parse(name) if name else None
            if not isinstance(tool, str):
                raise ProtocolError(INVALID_PARAMS, "params.name is missing")
            extra, can = _split(member(job.params, b"_meta") or b"{}")
            params = without_member(job.params, b"_meta")
            async with self._turns:
                job.begun = True
                ok, raw = await self._keyed(upstream, tool, params, extra, job.key, None, can)
            return self._checked(upstream, tool, ok, raw)

        room = min(max_bytes, self._rx() - _OVERHEAD)
        return True, await self._deliveries.run(jobs, room, execute)

    async def _keyed(self, upstream, tool, params, extra, key, on_progress, can):
        # Each round of a call that was asked something is executed once: its answers tell it from
        # the others.
        given = [member(params, name) for name in (b"requestState", b"inputResponses")]
        if any(given):
            key += "/" + sha256(b"\n".join(row or b"" for row in given)).hexdigest()

        def send(progress):
            patience = upstream.timeout_s * _PATIENCE
            return upstream.call(tool, params, extra, patience, progress, can)

        async def idempotent():
            if tool not in upstream.catalog:
                await upstream.list()
            hints = upstream.catalog.get(tool, {}).get("annotations")
            if not isinstance(hints, dict):
                return False
            return hints.get("idempotentHint") is True or hints.get("readOnlyHint") is True

        call = asyncio.ensure_future(
            self._calls.run(upstream.name, key, tool, send, idempotent, on_progress)
        )
        try:
            await asyncio.wait([call], timeout=upstream.timeout_s)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not call.done():
            call.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise NoAnswer(
                f"upstream {upstream.name} gave no answer within {upstream.timeout_s:g} s"
            )
        return call.result()

    async def _list(self, upstream, kind, cursor):
        at_list = upstream.name, kind
        if cursor is None:
            budget = self._rx() - _OVERHEAD - len(upstream.name)
            found = [self._trimmed(compact(raw), budget) for raw in await upstream.list(kind)]
            self._serial += 1
            self._lists[at_list] = self._serial, [raw for raw in found if raw]
            serial, at = self._serial, 0
        else:
            serial, _, at = str(cursor).partition(":")
            if serial != str(self._lists.get(at_list, (0,))[0]) or not at.isdecimal():
                raise ProtocolError(INVALID_PARAMS, "this cursor is not valid any more")
            at = int(at)
        tools = self._lists[at_list][1]
        room = self._rx() - _OVERHEAD - len(upstream.name)
        page = []
        while at < len(tools) and (not page or room > len(tools[at])):
            room -= len(tools[at]) + 1
            page.append(tools[at])
            at += 1
        more = b',"nextCursor":"%s:%d"' % (str(serial).encode(), at) if at < len(tools) else b""
        head = b'{"resultType":"complete","ttlMs":0,"cacheScope":"private","%s":['
        return True, head % LISTS[kind][1] + b",".join(page) + b"]" + more + b"}"

    def _trimmed(self, raw, budget):
        """A descriptor that fits into one line of the board, or None."""
        for part in _DISPENSABLE:
            if len(raw) > budget:
                raw = without_member(raw, part)
        if len(raw) <= budget:
            return raw
        self._log.info(f"{parse(raw).get('name')} left out: its description has {len(raw)} bytes")
        return None

    # -- answers

    async def _answer(self, name, id, answer):
        try:
            ok, raw = await answer()
        except Unavailable as e:
            ok, raw = False, error_object(UPSTREAM_UNAVAILABLE, str(e))
        except NoAnswer as e:
            ok, raw = False, error_object(UPSTREAM_TIMEOUT, str(e))
        except ProtocolError as e:
            ok, raw = False, error_object(e.code, e.message)
        except GatewayError as e:
            ok, raw = False, error_object(INTERNAL_ERROR, str(e))
        except Exception as e:  # an answer of the upstream that nobody thought of
            self._log.info(f"internal error: {e!r}")
            why = f"the bridge failed: {type(e).__name__}; the call may have been executed"
            ok, raw = False, error_object(INTERNAL_ERROR, why)
        if self._tasks.get((name, id)) is not asyncio.current_task():
            return  # cancelled, or the board has restarted
        if ok and raw.startswith(b"{" + _ASKS):
            state = parse(member(raw, b"requestState") or b"null")
            if isinstance(state, str):
                self._asked[name, id] = state
                while len(self._asked) > _MAX_ASKED:
                    del self._asked[next(iter(self._asked))]
        body = b'{"jsonrpc":"2.0","id":%s,"%s":%s}'
        self._send(name, compact(body % (id, b"result" if ok else b"error", raw)))

    def _send(self, name, message):
        if not self._deliver(name, message) and len(self._undelivered) < _MAX_UNDELIVERED:
            self._undelivered.append((name, message))

    def _fitting(self, raw, tool):
        """(ok, raw) of a result, or of what says that it does not fit into a line of the board."""
        room = self._rx() - _OVERHEAD
        size = len(compact(raw))
        if size <= room:
            return True, raw
        shorter = unescaped(compact(raw))
        if len(shorter) <= room:
            return True, shorter
        self._log.info(f"answer of {tool}: {size} bytes are more than the board takes")
        if tool in _NAMED:
            why = f"the answer has {size} bytes, more than this board takes"
            return False, error_object(INTERNAL_ERROR, why)
        lead = f"{tool} was executed. Its answer has {size} bytes, more than this board takes"
        first = _first_text(parse(raw).get("content"))
        # One character of the text takes up to 12 bytes in JSON.
        shown = first[: max(0, (room - 256) // 12)]
        return True, tool_error(f"{lead}. It begins: {shown}" if shown else f"{lead}.")


def _split(meta):
    """(extra, can) of a request's _meta: the members that are passed on, as JSON text without
    braces, and what the board's client can be asked.
    """
    rows = [
        meta[start:end]
        for name, start, _, end in members(meta)
        if name != b"progressToken" and not name.startswith(b"io.modelcontextprotocol/")
    ]
    given = parse(member(meta, _CAPABILITIES) or b"{}")
    can = {
        name: given[name]
        for name in sorted(QUESTIONS.values())
        if isinstance(given, dict) and isinstance(given.get(name), dict)
    }
    return b",".join(rows), dump(can)


def _first_text(content):
    """The first text in a result's content, which may be anything; "" when there is none."""
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return part["text"]
    return ""
