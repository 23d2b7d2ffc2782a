"""An MCP server that is a command: started when it is first needed, restarted when it ends."""

import asyncio
import os
import shutil

from mcp_gw.errors import NoAnswer, Unavailable
from mcp_gw.protocol import client as core
from mcp_gw.protocol.framing import LineBuffer
from mcp_gw.protocol.jsontext import joined, member
from mcp_gw.protocol.jsonvalue import dumps
from mcp_gw.route.held import Call, Held, is_new
from mcp_gw.route.upstream import Upstream, unasked_type

from .. import __version__
from ..bridge.lines import head_of, lines_of
from ..bridge.log import LineJoiner

# The longest line taken from a server, bytes.
MAX_LINE = 4 << 20
_CAPABILITIES = '{"roots":{},"sampling":{},"elicitation":{"form":{},"url":{}}}'
# How long the two steps of the opening may take: a server that knows only `initialize` may stay
# silent to the first, and one that is installed as it starts takes its time.
_DISCOVER_S, _INITIALIZE_S = 10.0, 50.0
_CHUNK = 65536
_RETRY_S = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
_STEADY_S = 30.0  # a server that ran so long is started again at once
_END_S = 2.0  # between the end of its input, SIGTERM and SIGKILL
_MAX_HELD, _ANSWER_MS = 64, 300_000
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "TEMP",
              "SYSTEMROOT", "APPDATA", "USERPROFILE")  # fmt: skip


class _Call(Call):
    """A request under way. waits: Future of (ok, raw)."""

    def __init__(self, held, on_progress, can):
        super().__init__(held, on_progress, can)
        self.id = self.token = None
        self.sent = False
        self.waits = None


class StdioUpstream(Upstream):
    """command: list of str; environment: dict of str beside PATH, HOME and the like; folder: where
    it runs; log: a bridge.log.Log, which gets what it writes to standard error."""

    offers = ("tools", "prompts", "resources")

    def __init__(self, name, command, log, environment=None, folder=None, timeout_ms=60000):
        super().__init__(name)
        self.timeout_ms = timeout_ms
        self.restarts = 0
        self._command = list(command)
        self._environment = environment or {}
        self._folder = folder
        self._log = log
        self._held = Held(_MAX_HELD, _ANSWER_MS)
        self._client = core.Client("mcpgw pi", __version__, capabilities=_CAPABILITIES)
        self._client.MAX_PENDING = 1000
        self._launching = None  # task
        self._calls = {}  # id -> _Call
        self._process = None
        self._reader = None
        self._step = None  # Future of the opening's next event
        self._asked_before = []  # ids of questions
        self._tries = 0
        self._not_before = 0.0
        self._why = ""
        self._closed = False
        self._aside = set()

    # The contract of Upstream.

    @property
    def modern(self):
        return self._client.modern

    @property
    def capabilities(self):
        return self._client.capabilities

    def meta(self, extra=b"", can=b"{}"):
        return self._client.meta(extra, can)

    async def connect(self):
        await self._open()

    async def request(self, method, params_parts, timeout_ms=None, on_progress=None, can=b"{}"):
        params = bytes(joined(params_parts))
        if can != b"{}" and self.modern is None:
            await self._open()
        call, gone = self._held.find(params) if not self.modern else (None, None)
        if gone:
            return False, gone
        if call is None:
            call = _Call(self._held, on_progress, can)
            call.start(self._request(call, method, params))
        else:
            call.on_progress, call.can = on_progress, can
        timeout_s = self.timeout_ms / 1000  # its own, whoever asks
        try:
            async with asyncio.timeout(timeout_s):
                return await self._held.outcome(call)
        except TimeoutError:
            text = f"{self.name} did not answer within {timeout_s:g} s"
            raise (NoAnswer(text) if call.sent else Unavailable(text)) from None

    def abandon(self, state):
        self._held.drop(state)

    async def close(self):
        self._closed = True
        self._held.close()
        await asyncio.sleep(0)
        if self._launching is not None:
            self._launching.cancel()
            await asyncio.gather(self._launching, return_exceptions=True)
        for task in self._aside:
            task.cancel()
        await self._end("the gateway is closing")

    # One request.

    async def _request(self, call, method, params):
        await self._open()
        client = self._client
        call.id, parts = client.request(method, [params])
        if call.on_progress is not None and b'"progressToken"' in params:
            call.token = member(member(params, b"_meta") or b"{}", b"progressToken")
        call.waits = asyncio.get_running_loop().create_future()
        self._calls[call.id] = call
        try:
            call.sent = True
            await self._write(parts)
            ok, raw = await call.waits
        except asyncio.CancelledError:
            if self._process is not None:
                self._tell(client.cancelled(call.id))
            raise
        finally:
            self._calls.pop(call.id, None)
            client.forget(call.id)
        why = ok and client.modern and unasked_type(raw)
        return (False, dumps({"code": -32603, "message": f"{self.name}: {why}"})) if why else (
            ok, raw)  # fmt: skip

    async def _write(self, parts):
        process = self._process
        if process is None:
            raise Unavailable(f"{self.name} has ended: {self._why}")
        try:
            process.stdin.write(b"".join(parts) + b"\n")
            await process.stdin.drain()
        except (OSError, RuntimeError) as e:
            raise NoAnswer(f"{self.name} has ended: {e}") from e

    def _tell(self, parts):
        """Send without waiting."""
        if self._process is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(b"".join(parts) + b"\n")

    # The process.

    async def _open(self):
        if self._process is not None and self._client.ready:
            return
        if self._launching is None or self._launching.done():
            self._launching = asyncio.ensure_future(self._launch())
            self._launching.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Who waits for it may give up; it goes on for the next.
        await asyncio.shield(self._launching)

    async def _launch(self):
        loop = asyncio.get_running_loop()
        if self._closed:
            raise Unavailable("the gateway is closing")
        if loop.time() < self._not_before:
            raise Unavailable(f"{self.name} is not there: {self._why}")
        self._tries += 1
        pause = _RETRY_S[min(self._tries, len(_RETRY_S)) - 1]
        self._not_before = loop.time() + pause
        try:
            await self._start()
            await self._handshake()
        except BaseException as e:
            await self._end(str(e) or type(e).__name__)
            raise
        self.up = True
        server = self._client.server.get("name", "a server")
        self._log.info(f"server {self.name} runs: {server}, MCP {self._client.version}")
        if self.restarts and self.on_change is not None:
            for kind in self.offers:
                self.on_change(kind)
        self.restarts += 1

    async def _start(self):
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment = inherited | self._environment
        program = shutil.which(self._command[0], path=environment.get("PATH"))
        try:
            self._process = await asyncio.create_subprocess_exec(
                program or self._command[0],
                *self._command[1:],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
                cwd=self._folder,
            )
        except (OSError, ValueError) as e:
            told = f"{self._command[0]} cannot be started: {e}"
            if told != self._why:
                self._log.info(f"server {self.name}: {told}")
            raise Unavailable(told) from e
        self._began = asyncio.get_running_loop().time()
        self._client.reset()
        self._reader = asyncio.ensure_future(self._read(self._process))

    async def _handshake(self):
        client = self._client
        client.open()
        while not client.ready:
            self._step = asyncio.get_running_loop().create_future()
            await self._write(client.out)
            limit_s = _DISCOVER_S if client.version else _INITIALIZE_S
            try:
                async with asyncio.timeout(limit_s):
                    event = await self._step
            except TimeoutError:
                event = client.rejected(f"no answer within {limit_s:g} s")
            if event == core.REFUSED:
                raise Unavailable(f"{self.name}: {client.why}")
            if event == core.READY:
                break
        if client.out is not None:
            await self._write(client.out)

    async def _read(self, process):
        errors = asyncio.ensure_future(self._read_errors(process.stderr))
        lines = LineBuffer(MAX_LINE)
        try:
            while data := await process.stdout.read(_CHUNK):
                for kind, line in lines_of(lines, data):
                    if kind == 1:
                        self._take(line)
                    else:
                        self._too_long(line)
        except Exception as e:
            self._log.info(f"server {self.name}: {e!r}")
        finally:
            if self._process is process:
                code = await self._ended(process)
                why = f"it ended with exit code {code}"
                await self._end(why)
                if not self._closed:
                    self._log.info(f"server {self.name}: {why}")
                    self._again()
            errors.cancel()

    def _again(self):
        """Start it again, for it may have news to tell; who calls meanwhile is told that it is
        not there."""
        if asyncio.get_running_loop().time() - self._began > _STEADY_S:
            self._tries = 0
            self._not_before = 0.0
        task = asyncio.ensure_future(self._revive())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _revive(self):
        loop = asyncio.get_running_loop()
        while not self._closed and self._process is None:
            await asyncio.sleep(max(0.0, self._not_before - loop.time()))
            try:
                await self._open()
            except Unavailable:
                continue

    async def _read_errors(self, stream):
        joiner = LineJoiner(self._log, self.name)
        while data := await stream.read(_CHUNK):
            joiner.add(data.decode("utf-8", "replace"))
        joiner.flush()

    async def _ended(self, process):
        """Its exit code; one that does not end by itself is ended."""
        for step in (None, process.terminate, process.kill):
            try:
                if step is not None:
                    step()
                async with asyncio.timeout(_END_S):
                    return await process.wait()
            except TimeoutError:
                continue
            except ProcessLookupError:
                break
        return await process.wait()

    async def _end(self, why):
        """Let go of the process; who waits for an answer will not get it."""
        process, self._process = self._process, None
        self.up = False
        self._why = why
        if self._step is not None and not self._step.done():
            self._step.set_exception(Unavailable(f"{self.name}: {why}"))
        for call in list(self._calls.values()):
            if not call.waits.done():
                call.waits.set_exception(NoAnswer(f"{self.name}: {why}"))
        self._client.reset()
        if process is not None:
            if process.stdin is not None:
                process.stdin.close()
            await self._ended(process)
            if self._reader is not None and self._reader is not asyncio.current_task():
                self._reader.cancel()

    # What comes.

    def _take(self, line):
        if not line.strip():
            return
        client = self._client
        event = client.receive(line, 0, len(line))
        if event in (core.ANSWER, core.FAILURE):
            call = self._calls.get(client.id)
            if call is not None and not call.waits.done():
                call.waits.set_result((event == core.ANSWER, line[client.lo : client.hi]))
        elif event in (core.SEND, core.READY, core.REFUSED):
            if self._step is not None and not self._step.done():
                self._step.set_result(event)
        elif event == core.PROGRESS:
            self._progress(line[client.lo : client.hi])
        elif event == core.CHANGED:
            if self.on_change is not None:
                self.on_change(client.method)
        elif event == core.REPLY:
            self._tell(client.out)
        elif event == core.ASKED and is_new(self._asked_before, client.asked):
            params = line[client.lo : client.hi] if client.lo >= 0 else b""
            self._asked(client.asked, client.method, params)
        elif event == core.INVALID:
            self._log.info(f"server {self.name}: {client.why}")

    def _too_long(self, line):
        """A line over the cap, of which the beginning is left. If it is an answer, whoever waits
        for it is told, or, where it cannot be seen who that is, all who wait."""
        self._log.info(f"server {self.name}: a line over {MAX_LINE} bytes")
        head = head_of(line)
        if b"method" in head or not (b"result" in head or b"error" in head):
            return
        told = f"{self.name}: an answer is longer than {MAX_LINE} bytes"
        id = head.get(b"id")
        if id is None:
            for call in self._calls.values():
                if not call.waits.done():
                    call.waits.set_exception(NoAnswer(told + ", perhaps the one to this request"))
            return
        call = self._calls.get(int(id)) if id.isdigit() and len(id) < 16 else None
        if call is not None and not call.waits.done():
            call.waits.set_result((False, dumps({"code": -32603, "message": told})))

    def _progress(self, params):
        token = member(params, b"progressToken")
        for call in self._calls.values():
            if call.on_progress is not None and call.token == token:
                call.on_progress(params)
                return

    def _asked(self, id, method, params):
        """A legacy server asks; over stdio it does not say in which call, so that it can only be
        asked by the one that is under way."""
        calls = [call for call in self._calls.values() if not call.done]
        call = calls[0] if len(calls) == 1 else _Call(self._held, None, b"{}")

        async def answer():
            ok, raw = await call.ask(method, params)
            self._tell(self._client.reply(id, ok, raw))

        task = asyncio.ensure_future(answer())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
