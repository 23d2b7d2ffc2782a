"""Calls that boards may send more than once, executed once: keyed ones over MCP, and batches.

The methods of mcp_gw's Server that are concerned are taken over here: tools/call with a key, and
mcp-gw/deliver. What is behind the key runs as any other call does, see inside.py.
"""

import asyncio
import contextlib
from hashlib import sha256

from mcp_gw.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    GatewayError,
    NoAnswer,
    ProtocolError,
    Unavailable,
)
from mcp_gw.protocol.framing import KEY, META, PARAMS, text
from mcp_gw.protocol.jsontext import loads, member, members, without_member
from mcp_gw.protocol.results import error, progress
from mcp_gw.protocol.server import DEFER
from mcp_gw.route.upstream import error_of

from ..bridge.calls import NoRoom
from ..bridge.deliver import MAX_KEY, Busy, Deliveries, unpack
from .gateway import DELIVER, hidden_from, is_board
from .inside import Inside, InsideSession, Port
from .slots import Slots

# The name under which keys are recorded: what boards call the paired gateway itself.
HERE = "pi"
# An outcome is waited for so many times longer than a board does: it is wanted for the record.
_LONGER = 10
_OURS = b"io.modelcontextprotocol/"


class Keyed:
    """gateway: PiGateway; calls: bridge.calls.Calls; config: Config."""

    def __init__(self, gateway, calls, config, log):
        self._gateway = gateway
        self._server = server = gateway.server
        self._calls = calls
        self._slots = Slots(config.calls, config.calls_per_board, self._at_once)
        self._log = log
        self.deliveries = Deliveries(log, config.wait_s)
        self._batch = config.batch
        self._servers = config.servers
        self._most = config.calls
        self._alone = set()  # tasks of calls that nobody waits for
        self.busy = 0  # calls that had to be put off, so far
        self._plain = server._call
        self._as_tasks = gateway.as_tasks
        server.add_methods(
            {b'"tools/call"': self._call, b'"%s"' % DELIVER.encode(): self._deliver}
        )

    async def close(self):
        """To be called after Calls.close(), which ends the calls."""
        await self.deliveries.close()
        for task in self._alone:
            task.cancel()
        await asyncio.gather(*self._alone, return_exceptions=True)

    def _at_once(self, destination):
        server = self._servers.get(destination)
        return server.calls if server else self._most

    @property
    def under_way(self):
        """Calls that run now."""
        return self._slots.taken

    async def run(self, principal, key, params, on_progress=None, job=None):
        """(ok, raw) of a tools/call under its key, executed at most once. params: JSON text of an
        object with name and _meta; job: a deliver.Job. Raises Unavailable, NoAnswer."""
        name = member(params, b"name")
        if name is None or name[:1] != b'"':
            raise ProtocolError(INVALID_PARAMS, "params.name must be a string")
        tool = loads(name, True)
        given = [member(params, field) for field in (b"requestState", b"inputResponses")]
        if any(given):  # each round of a call that was asked something is a call of its own
            key += "/" + sha256(b"\n".join(row or b"" for row in given)).hexdigest()
        known = await self._calls.known(HERE, key, tool)
        if known is not None:
            return known
        destination = self._destination(tool, principal)

        def run():
            if job is not None:
                job.begun = True
            return self._calls.run(
                HERE,
                key,
                tool,
                lambda report: self._send(principal, key, params, report),
                lambda: self._repeatable(tool),
                on_progress,
                str(principal or ""),
            )

        if self._calls.joins(HERE, key):
            return await run()
        try:
            async with self._slots.turn(principal, destination):
                return await run()
        except (Busy, NoRoom) as e:
            self.busy += 1
            if isinstance(e, NoRoom):
                self._gateway.log(str(e))
            raise

    async def _send(self, principal, key, params, on_progress):
        """Execute it."""
        inside = Inside(self._gateway, HERE, principal, InsideSession)
        meta = member(params, b"_meta") or b"{}"
        extra = [b'"mcp-gw/key":"%s"' % key.encode()] if _plain_key(key) else []
        can = b"{}"
        for field, start, lo, hi in members(meta) if meta[:1] == b"{" else ():
            if field == b"io.modelcontextprotocol/clientCapabilities":
                can = meta[lo:hi]
            elif field not in (b"progressToken", b"mcp-gw/key") and not field.startswith(_OURS):
                extra.append(meta[start:hi])
        extra.append(b'"progressToken":1')
        rest = without_member(params, b"_meta")
        parts = [b'{"_meta":', inside.meta(b",".join(extra), can), b",", rest[1:]]
        timeout_ms = self._gateway.config["call_timeout_ms"] * _LONGER
        ok, raw = await inside.request("tools/call", parts, timeout_ms, on_progress, can)
        if not ok:
            code, message = error_of(raw)
            if code == UPSTREAM_UNAVAILABLE:
                raise Unavailable(message)
            if code == UPSTREAM_TIMEOUT:
                raise NoAnswer(message)
        return ok, raw

    def _destination(self, tool, principal):
        """The name of the upstream that has a tool, "" for the gateway itself. Raises Unavailable
        for one that may be known later."""
        gateway = self._gateway
        if tool in gateway.registry.tools:
            return ""
        route = gateway.hub.router.find(tool)
        hides = hidden_from(principal)
        if route is not None and not (hides and hides(route.upstream)):
            return route.upstream.name
        away = self.away(tool, hides)
        if away is not None:
            raise Unavailable(self._absence(away))
        raise ProtocolError(INVALID_PARAMS, "unknown tool " + tool)

    def away(self, tool, hides=None):
        """The name of an upstream that may have a tool (exposed name), but was not there since
        the start; None if there is none."""
        router = self._gateway.hub.router
        for name, upstream in router.upstreams.items():
            mine = tool.startswith(name + "_") and not (hides and hides(upstream))
            if mine and not any(row[3] is upstream for row in router._listed):
                return name
        return None

    def _absence(self, name):
        """What to tell whoever asks for an upstream that is not there."""
        upstream = self._gateway.hub.router.upstreams[name]
        return upstream.absence() if is_board(upstream) else f"{name} is not reachable yet"

    async def _repeatable(self, tool):
        """Whether a tool says that calling it twice is as good as once."""
        gateway = self._gateway
        for _, raw in (*gateway.registry.tools.rows(0), *gateway.hub.router.rows(0)):
            row = loads(raw, True)
            if row.get("name") == tool:
                hints = row.get("annotations")
                if not isinstance(hints, dict):
                    return False
                return hints.get("idempotentHint") is True or hints.get("readOnlyHint") is True
        return False

    # The methods. They run before the next message comes: buf holds the request's text.

    def _call(self, request, buf, spans):
        if spans[2 * KEY] < 0 or isinstance(request.session, InsideSession):
            found = self._plain(request, buf, spans)
            self._check_there(found)
            if spans[2 * KEY] >= 0:
                found.key = text(buf, spans, KEY)
            return self._as_tasks.take(found, buf, spans)
        key = text(buf, spans, KEY) if buf[spans[2 * KEY]] == 0x22 else ""
        if not 0 < len(key) <= MAX_KEY:
            raise ProtocolError(INVALID_PARAMS, f"mcp-gw/key: 1 to {MAX_KEY} characters")
        self._plain(request, buf, spans)  # checks it
        params = bytes(memoryview(buf)[spans[2 * PARAMS] : spans[2 * PARAMS + 1]])
        request.kind = DEFER
        request.start_task = lambda request, port: self._begin(
            request, port, self._answered(request, port, key, params)
        )
        return request

    def _check_there(self, request):
        """Raises ProtocolError for a tool that a client may not call, or of an upstream that was
        not there yet."""
        name = request.name
        if name in self._gateway.registry.tools:
            return
        route = self._gateway.hub.router.find(name)
        hides = hidden_from(request.session.principal)
        if route is None:
            away = self.away(name, hides)
            if away is not None:
                raise ProtocolError(UPSTREAM_UNAVAILABLE, self._absence(away))
        elif hides and hides(route.upstream):
            raise ProtocolError(INVALID_PARAMS, "unknown tool " + name)

    def _deliver(self, request, buf, spans):
        if spans[2 * PARAMS] < 0:
            raise ProtocolError(INVALID_PARAMS, "params are missing")
        params = bytes(memoryview(buf)[spans[2 * PARAMS] : spans[2 * PARAMS + 1]])
        jobs, max_bytes = unpack(params, self._batch)
        meta = b"{}" if spans[2 * META] < 0 else member(params, b"_meta")
        request.kind = DEFER
        request.start_task = lambda request, port: self._begin(
            request, port, self._delivered(request, jobs, max_bytes, meta)
        )
        return request

    def _begin(self, request, port, steps):
        try:
            request.begin(self._gateway.config["max_calls"], port)
        except ProtocolError:
            steps.close()
            raise
        task = self._gateway.work(self._conclude(request, port, steps))
        request.on_cancel = task.cancel

    async def _conclude(self, request, port, steps):
        try:
            parts = await steps
        except Unavailable as e:
            data = {"retry_ms": e.retry_ms} if isinstance(e, (Busy, NoRoom)) else None
            parts = error(request.id, UPSTREAM_UNAVAILABLE, str(e), data)
        except NoAnswer as e:
            parts = error(request.id, UPSTREAM_TIMEOUT, str(e))
        except ProtocolError as e:
            parts = error(request.id, e.code, e.message, e.data)
        except GatewayError as e:
            parts = error(request.id, INTERNAL_ERROR, str(e))
        except asyncio.CancelledError:
            raise
        except Exception as e:  # somebody waits for an answer
            self._gateway.log_exception(e)
            parts = error(request.id, INTERNAL_ERROR, "internal error")
        if request.end():
            port.answer(parts)

    async def _answered(self, request, port, key, params):
        def report(raw):
            if request.stale or request.token is None:
                return
            row = loads(raw, True)
            told = [row.get(field) for field in ("progress", "total", "message")]
            with contextlib.suppress(ValueError):  # what came is no report
                port.send(progress(request, *told))

        call = self.run(request.session.principal, key, params, report)
        # On a line a board says that it wants a call no longer; over HTTP its connection ends, but
        # so it does when the board has waited too long. Then the outcome is wanted all the same.
        ok, raw = await self._patient(call, isinstance(port, Port))
        if not ok:
            return [b'{"jsonrpc":"2.0","id":', request.id, b',"error":', raw, b"}"]
        if not request.revision.modern:
            from mcp_gw.route.passage import readable

            raw = readable(request.revision, raw)
        return [b'{"jsonrpc":"2.0","id":', request.id, b',"result":', raw, b"}"]

    async def _patient(self, call, ends):
        """What a keyed call comes to; a board that has waited long enough learns it later. ends:
        whether the call ends with who waits for it."""
        timeout_s = self._gateway.config["call_timeout_ms"] / 1000
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait([task], timeout=timeout_s)
        except asyncio.CancelledError:
            if ends:
                task.cancel()
            else:
                self._let_go(task)
            raise
        if not task.done():
            self._let_go(task)
            raise NoAnswer(f"no answer within {timeout_s:g} s; ask again with the same key")
        return task.result()

    def _let_go(self, task):
        """Nobody waits for a call any more; it goes on."""
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _delivered(self, request, jobs, max_bytes, meta):
        principal = request.session.principal

        def execute(job):
            return self.run(principal, job.key, _with_meta(job.params, meta), None, job)

        raw = await self.deliveries.run(jobs, max_bytes, execute)
        return [b'{"jsonrpc":"2.0","id":', request.id, b',"result":', raw, b"}"]


def _plain_key(key):
    """Whether a key can stand in JSON as it is."""
    return key.isascii() and key.isprintable() and '"' not in key and "\\" not in key


def _with_meta(params, meta):
    """The params of a call in a batch with the _meta of the batch where they have none."""
    if member(params, b"_meta") is not None:
        return params
    return b'{"_meta":' + meta + (b"," if len(params.strip()) > 2 else b"") + params.strip()[1:]
