"""What lies on the wire: a client plugged straight into the board sees MCP and nothing else, and
neither prints nor mpremote nor resets nor a pulled cable spoil a conversation."""

import json
import subprocess
import sys
import time

import anyio
import pytest
import rig
import targets
from mcp.shared.exceptions import MCPError
from rig import text_of
from waiting import PATIENCE_S, until

from mcp_gw.transports import link

MODES = ["legacy", "auto"]
WORKBENCH = rig.APPS / "workbench.py"
TALKATIVE = rig.APPS / "talkative.py"
BOARD_RESET = -32013
HALF, LINES = "half a line", "one, 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("wire")


@pytest.fixture(scope="module")
def board(folder):
    """A Pico of this module's own."""
    target = targets.make_target("pico", folder)
    yield target
    target.close()


def mpremote(sim, *arguments):
    command = [sys.executable, "-m", "mpremote", "connect", sim.port, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- straight into the board ---------------------------------------------------------------------


def prints_everywhere(wire):
    """Call every tool of talkative.py: the answers are what they return."""
    for tool in ("half", "lines", "during", "half", "errors", "leaves", "breaks"):
        result = wire.call(tool)
        assert result["content"][0]["text"] == {
            "during": "done",
            "breaks": "the tool failed: ValueError: on purpose",
        }.get(tool, "said")
    # A print longer than any buffer on the way, and one that looks like MCP or a frame.
    assert wire.call("much", n=5000)["content"][0]["text"] == "said"
    wire.call("half", text='\n{"jsonrpc":"2.0","id":1,"result":{}}\n')
    wire.call("half", text="\x1eh 2 00000000 {}\n")
    wire.call("half", text="é€𝄞" * 100)


def test_prints_never_show_during_a_conversation(board):
    with rig.serving(board, TALKATIVE) as wire:
        prints_everywhere(wire)
        wire.quiet()
        wire.check()


def test_prints_go_to_standard_error_where_there_is_one(tmp_path):
    target = targets.UnixTarget(tmp_path)
    with rig.serving(target, TALKATIVE) as wire:
        prints_everywhere(wire)
        wire.check()
    # All of it, from the first message on.
    assert [line[:1] for line in wire.lines if line] == [b"{"] * len(wire.lines)
    errors = wire.errors.read_text()
    assert HALF in errors and LINES in errors and "ValueError: on purpose" in errors
    assert "ValueError: in a task of its own" in errors


def test_prints_before_the_conversation_are_comments(board):
    rig.put(board, TALKATIVE)
    wire = rig.SerialWire(board.sim)
    try:
        rig.start(wire.port)
        while wire.line() != b"# ready to serve":
            pass
        wire.strict = True
        # The line that is not finished yet is ended before the first message.
        first = wire.send("initialize", rig.INITIALIZE)
        assert wire.line() == b"# and waiting"
        wire.wrong.clear()
        assert json.loads(wire.line())["id"] == first
        prints_everywhere(wire)
        wire.check()
        assert not any(
            line[:1] == b"{" for line in wire.lines[: wire.lines.index(b"# and waiting")]
        )
    finally:
        wire.close()


def test_every_kind_of_message_is_valid(board):
    """All methods in both eras, progress included."""
    with rig.serving(board, WORKBENCH) as wire:
        for modern in (False, True):
            methods = ["tools/list", "resources/list", "resources/templates/list"]
            methods += ["server/discover"] if modern else ["ping"]
            for method in methods:
                assert "result" in wire.ask(method, modern=modern), method
            for uri in ("board://status", "board://blob", "queue://none"):
                answer = wire.ask("resources/read", {"uri": uri}, modern=modern)
                assert ("error" if uri == "queue://none" else "result") in answer
            for name, arguments in (
                ("echo", {"text": "x"}),
                ("add", {"a": 1}),
                ("add", {}),
                ("fails", {}),
                ("breaks", {}),
                ("office_log_reading", {"plot": 1}),
                ("nothing", {}),
            ):
                params = {"name": name, "arguments": arguments}
                wire.ask("tools/call", params, modern=modern)
            params = {"name": "steps", "arguments": {"n": 3}, "_meta": {"progressToken": "t"}}
            before = len(wire.lines)
            wire.ask("tools/call", params, modern=modern)
            kinds = [json.loads(line).get("method") for line in wire.lines[before:]]
            assert kinds == ["notifications/progress"] * 3 + [None]
        wire.quiet()
        wire.check()


def test_no_frame_before_a_hello_and_none_after_the_bridge_went(board):
    """A bridge that says hello gets frames, whole ones; ten seconds after it fell silent there
    are none."""
    with rig.serving(board, TALKATIVE) as wire:
        wire.call("half")
        wire.check()
        wire.frames = True
        hello = {"v": 1, "id": "0123456789abcdef", "time_ms": 1795175147000, "rx": 65536}
        hello |= {"upstreams": [], "by": "test"}
        wire.write(b"".join(link.encode(b"h", [json.dumps(hello).encode()])))
        channel, value = frame(wire.line())
        assert (channel, value["id"], value["name"]) == ("h", hello["id"], "talkative")
        assert (value["v"], value["rx"], value["pending"]) == (1, 8192, 0)
        # What was printed while nobody listened comes now: all since the first message.
        channel, value = frame(wire.line())
        assert channel == "l" and value in (HALF, "ready to serve\nand waiting" + HALF)
        since = len(wire.lines)
        wire.initialize()
        prints_everywhere(wire)
        logged = "".join(frame(line)[1] for line in wire.lines[since:] if line[:1] == b"\x1e")
        assert logged.startswith(HALF + LINES + '\n{"jsonrpc":"2.0",')
        assert "to the stream\n\n\nthreeat 0;at 1;at 2;" + HALF + "an errorin a task" in logged
        assert "ValueError: in a task of its own\nbefore" in logged
        assert "x" * 5000 in logged and logged.endswith("é€𝄞" * 100)
        silent = board.sim.ns
        until(lambda: board.sim.ns - silent > 11e9)
        since = len(wire.lines)
        wire.call("half")
        wire.quiet()
        assert [line[:1] for line in wire.lines[since:]] == [b"{"]
        wire.check()


def frame(line):
    """(channel, value) of a frame of the serial link."""
    channel, start, end = link.decode(line, 0, len(line))
    return chr(channel), json.loads(line[start:end])


# --- with a bridge -------------------------------------------------------------------------------


class Joined:
    """The SDK's client on the bridge on the board; `log` is the bridge's standard error."""

    def __init__(self, board, folder, mode):
        self.board = board
        self.folder = folder
        self.mode = mode
        self.log_path = folder / f"{mode}.log"

    def run(self, scenario):
        async def main():
            command = rig.bridge(self.board.sim, self.folder)
            with open(self.log_path, "a") as log, anyio.fail_after(4 * PATIENCE_S):
                async with rig.sdk_client(
                    command, self.mode, log, message_handler=self.heard
                ) as client:
                    assert client.protocol_version == rig.REVISION[self.mode]
                    await scenario(client)

        self.wrong = []
        anyio.run(main)
        assert not self.wrong

    async def heard(self, message):
        """What the client takes for a server's message and cannot parse comes as an exception."""
        if isinstance(message, Exception):
            self.wrong.append(message)

    @property
    def log(self):
        return self.log_path.read_text()


@pytest.fixture(params=MODES)
def joined(request, board, tmp_path):
    return Joined(board, tmp_path, request.param)


async def works(client):
    result = await client.call_tool("echo", {"text": "é"})
    assert text_of(result) == "é"


def test_prints_arrive_in_the_log_of_the_bridge(joined):
    async def scenario(client):
        for tool in ("half", "lines", "during", "half"):
            result = await client.call_tool(tool, {})
            assert text_of(result) == ("done" if tool == "during" else "said")
        result = await client.call_tool("much", {"n": 5000})
        assert text_of(result) == "said"
        result = await client.call_tool("breaks", {})
        assert "on purpose" in text_of(result)

    rig.put(joined.board, TALKATIVE)
    joined.run(scenario)
    assert f"{HALF}{LINES}\n" in joined.log
    assert "board: to the stream\n" in joined.log
    assert f"threeat 0;at 1;at 2;{HALF}" + "x" * 100 in joined.log
    assert "ValueError: on purpose" in joined.log
    assert "dropped" not in joined.log


def test_mpremote_takes_the_board_and_gives_it_back(board, tmp_path):
    """Interrupt a serving gateway, work with the board, and the next client is served again."""
    sim = board.sim
    joined = Joined(board, tmp_path, "auto")
    rig.put(board, WORKBENCH)
    joined.run(works)
    # It serves, and nobody has the port open.
    assert mpremote(sim, "exec", "import sys; print(sys.platform)") == "rp2\n"
    joined.run(works)
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "there.py").write_text("print('ran from the host')")
    mpremote(sim, "fs", "cp", tmp_path / "data.bin", ":data.bin")
    joined.run(works)
    mpremote(sim, "fs", "cp", ":data.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == (tmp_path / "data.bin").read_bytes()
    assert "ran from the host" in mpremote(sim, "mount", tmp_path, "exec", "import there")
    joined.run(works)


def test_mpremote_and_a_client_without_a_bridge(board):
    """After mpremote reset the gateway serves at once; from the prompt a soft reset starts it."""
    with rig.serving(board, WORKBENCH) as wire:
        wire.check()
        for arguments in (["exec", "x = 1", "reset"], ["exec", "x = 1"], ["soft-reset"]):
            wire.close()
            mpremote(board.sim, *arguments)
            if arguments[-1] == "reset":
                board.sim.wait_event("reset")
                board.sim.wait_ready()
            wire.__init__(board.sim)
            if arguments[-1] != "reset":
                rig.start(wire.port)
            wire.wait_serving()
            assert wire.call("add", a=1)["structuredContent"] == {"sum": 2}
            wire.quiet()
            wire.check()


WAYS = ["button", "machine.reset", "soft reset", "power"]


@pytest.mark.parametrize("way", WAYS)
def test_a_reset_under_a_live_client(joined, way):
    """What was under way is answered with an error; the next call works in the same
    conversation."""
    sim = joined.board.sim

    def away_and_back():
        if way == "button":
            sim.reset()
        else:
            sim.kill()
            time.sleep(1)
            sim.restart()

    async def reset(client):
        if way in ("button", "power"):
            await anyio.to_thread.run_sync(away_and_back)
            return
        how = "hard" if way == "machine.reset" else "soft"
        with pytest.raises(MCPError) as raised:
            await client.call_tool("reset", {"how": how})
        assert raised.value.code == BOARD_RESET

    async def scenario(client):
        await works(client)
        failed = []

        async def call_under_way():
            try:
                await client.call_tool("slow", {"ms": 300_000})
            except MCPError as error:
                failed.append(error)

        for _ in range(2):
            async with anyio.create_task_group() as group:
                group.start_soon(call_under_way)
                await anyio.wait_all_tasks_blocked()
                await works(client)  # behind the call, which is then under way
                await reset(client)
            await works(client)
            assert {tool.name for tool in (await client.list_tools()).tools} >= {"echo", "slow"}
        assert [error.code for error in failed] == [BOARD_RESET] * 2
        print(way, joined.mode, failed[0])

    rig.put(joined.board, WORKBENCH)
    joined.run(scenario)
    boots = {
        line.partition("(boot ")[2][:8] for line in joined.log.splitlines() if "(boot " in line
    }
    assert len(boots) == 3, joined.log
