"""The official SDK's client, this gateway (the unix build), the official SDK's server: questions,
progress and cancellation all the way, whatever era either end speaks. The client over stdio and
HTTP, the server over HTTP and over a serial line with the bridge.
"""

import os
import sys
import uuid

import anyio
import pytest
import targets
from bridge_rig import Upstream, environment
from http_program import Program, sdk_client
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent
from test_bridge_gateway import UnixBoard, Wire
from waiting import PATIENCE_S, until
from wire_record import LOGS

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the board needs a pty")

APP = """
from mcp_gw import Gateway

gw = Gateway("middle", version="1.0")
gw.upstream("pi", {options}offers=("tools", "prompts", "resources"))
gw.run("stdio")
"""
TRACEBACK = "board: Traceback (most recent call last):"
UPSTREAMS = {"modern": [], "legacy": ["--legacy", "--resumable"]}
MODES = {"auto": "2026-07-28", "legacy": "2025-11-25"}


@pytest.fixture(scope="module", params=UPSTREAMS)
def upstream(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upstream")
    with Upstream(folder, *UPSTREAMS[request.param]) as server:
        server.kind = request.param
        yield server


SERVE = 'gw.run("stdio")'
# A client over HTTP: the port is an argument.
SERVE_HTTP = 'import sys; gw.run("http", port=int(sys.argv[1]))'


@pytest.fixture(params=["stdio", "http", "serial"])
def command(request, upstream, tmp_path):
    """The command that a client starts, and its environment; or the URL it connects to."""
    environ = environment() | {"MICROPYPATH": f"{targets.ROOT}:.frozen"}
    if request.param == "http":
        app = APP.format(options=f'url="{upstream.url}", ')
        (tmp_path / "app.py").write_text(app.replace(SERVE, SERVE_HTTP))
        program = Program(tmp_path, "micropython", str(tmp_path / "app.py"), {})
        program.listening()
        yield program.url()
        program.close()
        return
    if request.param == "stdio":
        (tmp_path / "app.py").write_text(APP.format(options=f'url="{upstream.url}", '))
        yield [str(targets.firmware("unix")), str(tmp_path / "app.py")], environ
        return
    folder = tmp_path / "unix"
    folder.mkdir()
    board = UnixBoard(folder, app=APP.format(options=""), path=f"{targets.ROOT}:.frozen")
    Wire(board, tmp_path / "port")
    yield bridge(tmp_path / "port", upstream, tmp_path)
    board.close()


def bridge(port, upstream, folder):
    """The command of a bridge, and its environment."""
    command = [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", str(port)]
    command += ["--upstream", f"pi={upstream.url}", "--state", str(folder / "state")]
    return command, environment()


class Person:
    """What stands behind the client: answers questions, and remembers them."""

    def __init__(self):
        self.asked = []

    async def elicit(self, context, params):
        self.asked.append(params.message)
        content = (
            {"sure": True} if "sure" in params.requested_schema["properties"] else {"size": 3}
        )
        return ElicitResult(action="accept", content=content)

    async def sample(self, context, params):
        self.asked.append(params.messages[0].content.text)
        text = TextContent(type="text", text="fine")
        return CreateMessageResult(role="assistant", content=text, model="m")

    async def roots(self, context):
        return ListRootsResult(roots=[Root(uri="file:///home")])


def run(command, mode, folder, scenario, person=None, **callbacks):
    """Run scenario(client) with the SDK's client connected; callbacks: further ones of it."""

    async def main():
        if person:
            callbacks["elicitation_callback"] = person.elicit
            callbacks["sampling_callback"] = person.sample
            callbacks["list_roots_callback"] = person.roots
        with open(folder / "log", "a") as log, anyio.fail_after(2 * PATIENCE_S):
            if isinstance(command, str):
                connection = sdk_client(command, mode, **callbacks)
            else:
                (program, *args), environ = LOGS.command(command[0]), command[1] | LOGS.environment
                parameters = StdioServerParameters(command=program, args=args, env=environ)
                transport = stdio_client(parameters, errlog=log)
                connection = Client(transport, mode=mode, **callbacks)
            async with connection as client:
                assert client.protocol_version == MODES[mode]
                while "pi_order" not in {t.name for t in (await client.list_tools()).tools}:
                    await anyio.sleep(0.1)
                await scenario(client)

    anyio.run(main)
    # A board found at its prompt takes the bridge's hello for a statement.
    log = (folder / "log").read_text().replace(f'{TRACEBACK}\nboard:   File "<stdin>"', "")
    assert "Traceback" not in log, log


def text_of(result):
    assert not result.is_error, result
    return result.content[0].text


async def ask_questions(client):
    """Call each of the tools that ask, and three of them at once."""

    async def call(tool, **arguments):
        return text_of(await client.call_tool(tool, arguments))

    assert await call("pi_order", cup="mug") == "mug of 3"
    assert await call("pi_praise", cup="mug") == "fine"
    assert await call("pi_confirm", cup="pot") == "pot of 3: True"
    assert await call("pi_mixed", cup="pot") == "3: fine"
    assert await call("pi_where") == "file:///home"
    found = []

    async def one(cup):
        found.append(await call("pi_order", cup=cup))

    async with anyio.create_task_group() as group:
        for cup in ("a", "b", "c"):
            group.start_soon(one, cup)
    assert sorted(found) == ["a of 3", "b of 3", "c of 3"]


ASKED = ["How large a mug?", "Praise a mug", "How large a pot?", "Size 3: sure?"]


@pytest.mark.parametrize("mode", MODES)
def test_questions(command, upstream, tmp_path, mode):
    person = Person()
    before = upstream.executed().count("order")
    run(command, mode, tmp_path, ask_questions, person)
    assert person.asked[: len(ASKED)] == ASKED
    assert upstream.executed().count("order") == before + 4


@pytest.mark.parametrize("mode", MODES)
def test_questions_through_the_pico(pico, upstream, tmp_path, mode):
    person = Person()
    app = APP.format(options="").replace(SERVE, "gw.run()")
    pico.run(f"with open('/main.py', 'w') as f:\n    f.write({app!r})", timeout=PATIENCE_S)
    try:
        run(bridge(pico.sim.port, upstream, tmp_path), mode, tmp_path, ask_questions, person)
    finally:
        pico.run("import os\nos.remove('/main.py')", timeout=PATIENCE_S)
    assert person.asked[: len(ASKED)] == ASKED


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_cannot_be_asked(command, upstream, tmp_path, mode):
    before = upstream.executed().count("order")

    async def scenario(client):
        try:
            assert (await client.call_tool("pi_order", {"cup": "mug"})).is_error
        except MCPError as e:
            assert e.code in (-32021, -32601, -32603), e
        assert text_of(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"

    run(command, mode, tmp_path, scenario)
    assert upstream.executed().count("order") == before


@pytest.mark.parametrize("mode", MODES)
def test_progress_and_cancellation(command, upstream, tmp_path, mode):
    def cancelled():
        return upstream.executed().count("brew cancelled")

    before = cancelled()

    async def scenario(client):
        heard = []

        async def progress(done, total, message):
            heard.append(message)

        arguments = {"seconds": 0.25}
        assert text_of(await client.call_tool("pi_brew", arguments, progress_callback=progress))
        assert heard == [f"{i} drops" for i in range(5)]
        with anyio.move_on_after(60) as scope:

            async def give_up(done, total, message):
                scope.cancel()

            await client.call_tool("pi_brew", {"seconds": 50}, progress_callback=give_up)
        assert scope.cancelled_caught
        await anyio.to_thread.run_sync(until, lambda: cancelled() == before + 1)
        assert text_of(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"

    run(command, mode, tmp_path, scenario)


@pytest.mark.parametrize("mode", MODES)
def test_prompts_and_resources(command, upstream, tmp_path, mode):
    async def scenario(client):
        while not (prompts := (await client.list_prompts()).prompts):
            await anyio.sleep(0.1)
        assert [prompt.name for prompt in prompts] == ["pi_toast"]
        got = await client.get_prompt("pi_toast", {"to": "you"})
        assert got.messages[0].content.text == "To you!"
        while not (resources := (await client.list_resources()).resources):
            await anyio.sleep(0.1)
        assert [str(row.uri) for row in resources] == ["cup://list"]
        (content,) = (await client.read_resource("cup://list")).contents
        assert content.text == "mug, bowl"
        while not (found := (await client.list_resource_templates()).resource_templates):
            await anyio.sleep(0.1)
        assert [row.uri_template for row in found] == ["cup://{name}/data"]
        (content,) = (await client.read_resource("cup://mug/data")).contents
        assert content.text == "cup mug"
        with pytest.raises(MCPError):
            await client.read_resource("cup://none")

    run(command, mode, tmp_path, scenario)


@pytest.mark.parametrize("mode", MODES)
def test_a_new_tool_is_shown_without_asking(command, upstream, tmp_path, mode):
    name = f"new_{uuid.uuid4().hex}"  # the upstream is several tests' own
    heard = []

    async def scenario(client):
        async def names():
            return {tool.name for tool in (await client.list_tools()).tools}

        assert text_of(await client.call_tool("pi_grow", {"name": name})) == "grown"
        while f"pi_{name}" not in await names():
            await anyio.sleep(0.1)
        assert text_of(await client.call_tool(f"pi_{name}", {})) == name
        if mode == "legacy":
            while not any("tools/list_changed" in str(row.method) for row in heard):
                await anyio.sleep(0.1)

    async def hear(message):
        if hasattr(message, "method"):
            heard.append(message)

    run(command, mode, tmp_path, scenario, message_handler=hear)


SAMPLING = """
async def muse(params):
    return "I praise: " + params["messages"][0]["content"]["text"]
"""


@pytest.mark.parametrize("mode", MODES)
def test_the_gateway_answers_for_the_model(upstream, tmp_path, mode):
    app = APP.format(options=f'url="{upstream.url}", sampling=muse, ')
    (tmp_path / "app.py").write_text(SAMPLING + app)
    environ = environment() | {"MICROPYPATH": f"{targets.ROOT}:.frozen"}
    command = [str(targets.firmware("unix")), str(tmp_path / "app.py")], environ
    person = Person()

    async def scenario(client):
        said = text_of(await client.call_tool("pi_praise", {"cup": "mug"}))
        assert said == "I praise: Praise a mug"
        said = text_of(await client.call_tool("pi_mixed", {"cup": "mug"}))
        assert said == "3: I praise: Praise a mug"

    run(command, mode, tmp_path, scenario, elicitation_callback=person.elicit)
    assert person.asked == ["How large a mug?"]


@pytest.mark.parametrize("kind", UPSTREAMS)
def test_an_upstream_that_restarts(tmp_path, kind):
    """A legacy server has forgotten its session: it is opened anew, and the call sent again."""
    with Upstream(tmp_path, *UPSTREAMS[kind]) as server:
        (tmp_path / "app.py").write_text(APP.format(options=f'url="{server.url}", '))
        environ = environment() | {"MICROPYPATH": f"{targets.ROOT}:.frozen"}
        command = [str(targets.firmware("unix")), str(tmp_path / "app.py")], environ
        person = Person()

        def restart():
            server.stop()
            server.start()

        async def scenario(client):
            for _ in range(2):
                order = await client.call_tool("pi_order", {"cup": "mug"})
                assert text_of(order) == "mug of 3"
                await anyio.to_thread.run_sync(restart)
            assert text_of(await client.call_tool("pi_add", {"a": 1, "b": 2})) == "3"

        run(command, "legacy", tmp_path, scenario, person)
        assert server.executed().count("order") == 2
