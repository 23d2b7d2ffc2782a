"""Two upstreams that offer the same, one made with the official Python SDK and one with the
TypeScript SDK: what becomes of requests when one of them goes."""

import contextlib
import json
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import anyio
import nodejs
import pytest
import rig
import targets
from bridge_rig import environment
from http_program import Program, sdk_client
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from test_bridge_gateway import UnixBoard, Wire
from waiting import PATIENCE_S, ReservedPort, until
from wire_record import LOGS

HERE = Path(__file__).parent
APP = str(HERE / "routing_app.py")
# The interpreter of the gateway, and which server is preferred.
PAIRS = [("cpython", "typescript"), ("micropython", "python")]
NAMES = {"complete", "pi_add", "pi_level", "pi_once", "pi_only_python", "pi_grow"}


class Server:
    """One of the two servers, as a process. `url` stays the same when it is started again."""

    def __init__(self, folder, kind):
        self.ledger = folder / f"{kind}.ledger"
        self.ledger.touch()
        self.log = folder / f"{kind}.log"
        self._reserved = ReservedPort()
        port = str(self._reserved.number)
        self.url = f"http://127.0.0.1:{port}/mcp"
        if kind == "python":
            program = [sys.executable, HERE / "routing_server.py"]
        else:
            program = [nodejs.node(), HERE / "routing_server.mjs", nodejs.modules()]
        self._command = [*program, port, self.ledger]
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment()
            )

    def ready(self):
        until(self._listens, lambda: self.log.read_text())
        return self

    def _listens(self):
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self._reserved.number), 1).close()
            return True

    def kill(self):
        self.process.kill()
        self.process.wait()

    def executed(self, line):
        return self.ledger.read_text().splitlines().count(line)

    def wait(self, line, count=1):
        until(lambda: self.executed(line) >= count, lambda: self.ledger.read_text())

    def release(self):
        """Let what is held end, from now on."""
        self.ledger.with_suffix(".release").touch()

    def close(self):
        self.kill()
        self._reserved.close()


class Rig:
    """Both servers and a gateway in front of them, over HTTP. first: which is preferred."""

    def __init__(self, folder, interpreter, first, routing):
        kinds = ["python", "typescript"]
        if first == "typescript":
            kinds.reverse()
        self.first, self.second = (Server(folder, kind) for kind in kinds)
        for server in (self.first, self.second):
            server.ready()
        self.program = self.serve(folder, interpreter, routing)

    def serve(self, folder, interpreter, routing):
        listen = routing.pop("listen", True)
        rows = [{"name": "pi", "url": self.first.url, "listen": listen}]
        rows.append({"name": "cloud", "url": self.second.url, "same_as": "pi"})
        options = {"upstreams": rows, "routing": routing}
        return Program(folder, interpreter, APP, options).listening()

    def close(self):
        for part in (self.program, self.first, self.second):
            part.close()

    def client(self, mode):
        return sdk_client(self.program.url(), mode)

    def run(self, scenario, mode="auto"):
        """Run scenario(client) once the tools of both are listed."""

        async def main():
            with anyio.fail_after(2 * PATIENCE_S):
                async with self.client(mode) as client:
                    names = set()
                    while not {"pi_add", "pi_only_python"} <= names:
                        names = {tool.name for tool in (await client.list_tools()).tools}
                    assert names - {"pi_complete"} == NAMES
                    await scenario(client)

        anyio.run(main)

    def metrics(self):
        with urllib.request.urlopen(self.program.url("/metrics"), timeout=PATIENCE_S) as answer:
            rows = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines()]
        return {row[0]: int(row[1]) for row in rows if row[0][0] != "#"}


BOARD = """
from mcp_gw import Gateway, Param

gw = Gateway("board", version="1")

@gw.tool("Continues a text", text=Param(str, "what to continue"))
def complete(text):
    return "here: " + text

gw.upstream("pi")
gw.upstream("cloud", same_as="pi")
gw.routing(ROUTING)
gw.run()
"""


class SerialRig(Rig):
    """The same behind the bridge. place: "unix", on a serial line, or "pico", the emulated one."""

    def serve(self, folder, place, routing):
        self._folder = folder
        app = BOARD.replace("ROUTING", repr(routing))
        if place == "pico":
            board = targets.make_target("pico", folder)
            self._port = board.sim.port
            rig.put(board, app)
            return board
        (folder / "unix").mkdir()
        board = UnixBoard(folder / "unix", app=app, path=f"{targets.ROOT}:.frozen")
        self._port = folder / "port"
        Wire(board, self._port)
        return board

    @contextlib.asynccontextmanager
    async def client(self, mode):
        command = [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", self._port]
        command += ["--state", self._folder / "state", "--upstream", f"pi={self.first.url}"]
        command += ["--upstream", f"cloud={self.second.url}"]
        program, *arguments = LOGS.command(command)
        env = environment() | LOGS.environment
        parameters = StdioServerParameters(command=program, args=arguments, env=env)
        with open(self._folder / "bridge.log", "a") as log:
            async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
                yield client


@pytest.fixture(params=["micropython"])
def make(request, tmp_path):
    made = []

    def both(first="python", **routing):
        made.append(Rig(tmp_path, request.param, first, routing))
        return made[-1]

    yield both
    for each in made:
        each.close()


def text(result):
    return result.content[0].text


async def routes(client):
    (content,) = (await client.read_resource("gateway://routes")).contents
    return json.loads(content.text)


@pytest.mark.parametrize("make, first", PAIRS, indirect=["make"])
def test_failover_while_one_is_killed(make, first):
    both = make(first, breaker_ms=600_000, breaker_failures=2, health_ms=0)

    async def scenario(client):
        for i in range(3):
            assert text(await client.call_tool("pi_add", {"a": i, "b": 1})) == str(i + 1)
        assert both.first.executed("add") == 3 and both.second.executed("add") == 0
        both.first.kill()
        for i in range(5):
            assert text(await client.call_tool("pi_add", {"a": i, "b": 2})) == str(i + 2)
        assert both.second.executed("add") == 5
        told = await routes(client)
        # After two refusals the breaker keeps further calls away from it.
        assert told["places"]["pi"]["breaker"] == "open" and told["places"]["pi"]["failed"] == 2
        assert told["failovers"] == 2
        assert told["decisions"]["pi_add"] == {"pi": 5, "cloud": 5}
        both.second.kill()
        with pytest.raises(MCPError) as refused:
            await client.call_tool("pi_add", {"a": 1, "b": 2})
        assert refused.value.code == -32010 and "cloud" in str(refused.value)

    both.run(scenario, "legacy" if first == "typescript" else "auto")
    metrics = both.metrics()
    assert metrics['mcpgw_routes_total{what="pi_add",where="cloud"}'] >= 6
    assert metrics['mcpgw_upstream_breaker{name="pi"}'] == 1
    assert metrics['mcpgw_upstream_failed_total{name="pi"}'] == 2
    assert metrics['mcpgw_upstream_requests{name="pi"}'] == 0


@pytest.mark.parametrize("make, first", PAIRS, indirect=["make"])
def test_the_first_goes_in_the_middle_of_a_call(make, first):
    both = make(first, retries=0)

    async def scenario(client):
        heard = []
        out = {}

        async def progress(done, total, message):
            heard.append(done)

        async def call(name):
            try:
                result = await client.call_tool(name, {}, progress_callback=progress)
                out[name] = text(result)
            except MCPError as e:
                out[name] = e.code

        async with anyio.create_task_group() as group:
            group.start_soon(call, "pi_level")
            group.start_soon(call, "pi_once")
            await anyio.to_thread.run_sync(both.first.wait, "level")
            await anyio.to_thread.run_sync(both.first.wait, "once")
            while max(heard, default=0) < 3:
                await anyio.sleep(0.01)
            both.first.kill()
            # What may be executed twice begins again at the other one, and reports from there.
            await anyio.to_thread.run_sync(both.second.wait, "level")
            both.second.release()
        kind = "typescript" if first == "python" else "python"
        assert out == {"pi_level": f"level by {kind}", "pi_once": -32011}
        assert both.second.executed("once") == 0

    both.run(scenario)


def test_cancelling_passes_through_and_frees_the_place(make):
    both = make(max_requests=1)

    async def scenario(client):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "pi_once", {})
                await anyio.to_thread.run_sync(both.first.wait, "once")
                # The first has all it takes at once.
                assert text(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"
                assert both.second.executed("add") == 1
                scope.cancel()
        await anyio.to_thread.run_sync(both.first.wait, "once cancelled")
        while (await routes(client))["places"]["pi"]["requests"]:
            await anyio.sleep(0.02)
        assert text(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"
        assert both.first.executed("add") == 1

    both.run(scenario)


def test_what_may_be_kept_is_asked_for_once(make):
    both = make("python")

    async def scenario(client):
        uris = ()
        while "note://sky" not in uris:  # they are asked for after the tools
            uris = [str(row.uri) for row in (await client.list_resources()).resources]
        for _ in range(4):
            (content,) = (await client.read_resource("note://sky")).contents
            assert content.text == "blue"
        assert both.first.executed("sky") == 1
        cache = (await routes(client))["cache"]
        assert cache["hits"] == 3 and cache["entries"] == 1
        # It is given even while nobody is there to be asked.
        both.first.kill()
        both.second.kill()
        (content,) = (await client.read_resource("note://sky")).contents
        assert content.text == "blue"

    both.run(scenario, "legacy")
    assert both.metrics()["mcpgw_cache_hits_total"] == 4


def test_lists_are_asked_for_again_when_they_hold_no_longer(make):
    both = make(listen=False)

    async def scenario(client):
        assert text(await client.call_tool("pi_grow", {})) == "grown"
        names = ()
        while "pi_grown" not in names:
            names = [tool.name for tool in (await client.list_tools()).tools]
            await anyio.sleep(0.05)
        assert text(await client.call_tool("pi_grown", {})) == "grown"

    both.run(scenario, "legacy")


def test_one_that_comes_back_is_found_by_asking_after_it(make):
    both = make(breaker_failures=1, breaker_ms=200, breaker_max_ms=400, health_ms=100)

    async def state(client, wanted):
        while (await routes(client))["places"]["pi"]["breaker"] not in wanted:
            await anyio.sleep(0.05)

    async def scenario(client):
        both.first.kill()
        await state(client, ("open", "half-open"))  # though nobody has called
        assert text(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"
        assert both.second.executed("add") == 1
        both.first.start()
        await state(client, ("closed",))
        assert text(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"
        assert both.first.executed("add") == 1

    both.run(scenario)


def test_a_tool_that_is_here_and_elsewhere(make):
    both = make(strategy="complexity", tools={"complete": {"elsewhere": "pi", "local_tokens": 12}})

    async def scenario(client):
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "pi_complete" not in names and "complete" in names
        assert text(await client.call_tool("complete", {"text": "short"})) == "here: short"
        long = "a long text " * 10
        assert text(await client.call_tool("complete", {"text": long})) == "python: " + long
        both.first.kill()
        assert text(await client.call_tool("complete", {"text": long})) == "typescript: " + long
        both.second.kill()
        assert text(await client.call_tool("complete", {"text": long})) == "here: " + long
        counts = (await routes(client))["decisions"]["complete"]
        assert counts["local"] == 2 and counts["cloud"] == 2 and counts["pi"] >= 2

    both.run(scenario)


@pytest.mark.parametrize("place", ["unix", "pico"])
def test_two_upstreams_behind_the_bridge(place, tmp_path):
    """All of it over a serial line, where the bridge says which of them can be reached."""
    row = {"elsewhere": "pi", "strategy": "complexity", "local_tokens": 12}
    routing = {"tools": {"complete": row}, "breaker_ms": 500}
    routing["strategy"] = "complexity"
    both = SerialRig(tmp_path, place, "typescript", routing)

    async def scenario(client):
        out = {}
        heard = []

        async def progress(done, total, message):
            heard.append(done)

        async def call(name):
            try:
                out[name] = text(await client.call_tool(name, {}, progress_callback=progress))
            except MCPError as e:
                out[name] = e.code

        while not (await routes(client))["places"]["pi"]["up"]:
            await anyio.sleep(0.1)
        assert text(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"
        assert both.first.executed("add") == 1
        async with anyio.create_task_group() as group:
            group.start_soon(call, "pi_level")
            group.start_soon(call, "pi_once")
            await anyio.to_thread.run_sync(both.first.wait, "level")
            await anyio.to_thread.run_sync(both.first.wait, "once")
            while max(heard, default=0) < 3:
                await anyio.sleep(0.01)
            both.first.kill()
            await anyio.to_thread.run_sync(both.second.wait, "level")
            both.second.release()
        assert out == {"pi_level": "level by python", "pi_once": -32011}
        assert both.second.executed("once") == 0
        assert text(await client.call_tool("pi_add", {"a": 2, "b": 2})) == "4"
        assert both.second.executed("add") == 1
        long = "a long text " * 10
        assert text(await client.call_tool("complete", {"text": long})) == "python: " + long
        assert text(await client.call_tool("complete", {"text": "short"})) == "here: short"
        both.first.start()
        while not (await routes(client))["places"]["pi"]["up"]:
            await anyio.sleep(0.1)
        while text(await client.call_tool("complete", {"text": long})) != "typescript: " + long:
            await anyio.sleep(0.1)  # its breaker may be open for a while

    try:
        both.run(scenario)
    finally:
        both.close()
    # What the bridge says to a board at its prompt is a syntax error there, and nothing else is.
    assert "mcp_gw/" not in (tmp_path / "bridge.log").read_text()
