"""The bridge with the real gateway: the unix build on a pty as the board, the SDK's client."""

import json
import os
import subprocess
import sys
import threading
import time
import tty

import anyio
import pytest
import targets
from bridge_rig import Bridge, Upstream, environment
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from waiting import PATIENCE_S
from wire_record import LOGS

PATIENCE = str(PATIENCE_S)
APP = """
from mcp_gw import Gateway, Param

gw = Gateway("bench", version="1.0")

@gw.tool("Sum", a=Param(int, "first"), b=Param(int, "second"))
def add(a, b):
    return a + b

@gw.tool("Prints without a line end")
def chatty():
    print("watering", end="")
    return "watered"

@gw.resource("board://status", "Status")
def status():
    return {"ok": True}

gw.upstream("pi")
gw.run()
"""


class UnixBoard:
    """A pty with the unix build on it: started again whenever it ends, as a board would be.

    first: arguments of the first start; later ones run the app. None is the real REPL. app: its
    text; path: where modules are found.
    """

    def __init__(self, folder, first="app.py", app=APP, path=".frozen"):
        self.folder = folder
        self._micropython = targets.firmware("unix")
        (folder / "app.py").write_text(app)
        self._modules = path
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path = folder / "board"
        self.path.symlink_to(os.ttyname(self.slave))
        self.starts = 0
        self._first = first
        self._alive = True
        self.process = None
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while self._alive:
            app = self._first if self.starts == 0 else "app.py"
            self.starts += 1
            self.process = subprocess.Popen(
                [self._micropython, *([app] if app else [])],
                stdin=self.slave,
                stdout=self.slave,
                stderr=self.slave,
                cwd=self.folder,
                env=environment() | {"MICROPYPATH": self._modules, "TERM": "dumb"},
                start_new_session=True,
            )
            self.process.wait()
            time.sleep(0.2)  # booting

    def reset(self):
        self.process.kill()

    def close(self):
        self._alive = False
        self.process.kill()
        self.process.wait()
        self.path.unlink()


class Wire:
    """Relays the pty's master to a second pty, whose slave the bridge opens."""

    def __init__(self, board, path):
        self.board = board
        self.far, near = os.openpty()
        tty.setraw(near)
        self._near = near
        path.symlink_to(os.ttyname(near))
        for a, b in ((board.master, self.far), (self.far, board.master)):
            threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    def _copy(self, source, sink):
        while True:
            data = os.read(source, 65536)
            while data:
                data = data[os.write(sink, data) :]


@pytest.fixture
def make(tmp_path):
    made = []

    def board(first="app.py"):
        folder = tmp_path / "unix"
        folder.mkdir()
        made.append(UnixBoard(folder, first))
        Wire(made[-1], tmp_path / "port")
        return made[-1]

    board.path = tmp_path / "port"
    yield board
    for one in made:
        one.close()


def ready(bridge):
    bridge.request("ready", "ping")
    while (answer := bridge.get()).get("id") != "ready":
        pass
    assert answer["result"] == {}


def run(command, mode, folder, scenario):
    """Run scenario(client) with the SDK's client connected to a stdio command."""

    async def main():
        program, *arguments = LOGS.command(command)
        env = environment() | LOGS.environment
        parameters = StdioServerParameters(command=program, args=arguments, env=env)
        with open(folder / "bridge.log", "a") as log:
            with anyio.fail_after(2 * PATIENCE_S):
                async with Client(stdio_client(parameters, errlog=log), mode=mode) as client:
                    await scenario(client)

    anyio.run(main)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_official_client_over_the_bridge(make, tmp_path, mode):
    board = make()

    async def scenario(client):
        modern = "2026-07-28" if mode == "auto" else "2025-11-25"
        assert client.protocol_version == modern
        with anyio.fail_after(PATIENCE_S):
            while True:
                names = {tool.name for tool in (await client.list_tools()).tools}
                if "pi_add" in names:
                    break
                await anyio.sleep(0.2)
        assert {"add", "chatty", "pi_steps"} <= names
        assert (await client.call_tool("add", {"a": 2, "b": 3})).content[0].text == "5"
        assert (await client.call_tool("chatty", {})).content[0].text == "watered"
        assert (await client.call_tool("pi_add", {"a": 4, "b": 3})).content[0].text == "7"
        (content,) = (await client.read_resource("board://status")).contents
        assert json.loads(content.text) == {"ok": True}
        with pytest.raises(MCPError):
            await client.read_resource("board://none")
        assert (await client.call_tool("pi_fails", {})).is_error
        heard = []

        async def progress(done, total, message):
            heard.append(done)

        await client.call_tool("pi_steps", {"count": 3}, progress_callback=progress)
        assert heard == [1, 2, 3]
        # The board restarts under the client, which goes on as if nothing had been.
        board.reset()
        with anyio.fail_after(PATIENCE_S):
            while True:
                try:
                    answer = await client.call_tool("add", {"a": 20, "b": 3})
                    break
                except MCPError as e:
                    assert e.code == -32013
        assert answer.content[0].text == "23"
        assert board.starts == 2

    with Upstream(tmp_path) as upstream:
        command = [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", make.path]
        command += ["--upstream", f"pi={upstream.url}", "--state", tmp_path / "state"]
        run(command, mode, tmp_path, scenario)
    log = (tmp_path / "bridge.log").read_text()
    assert "board: watering" in log
    assert "Traceback" not in log


def test_a_board_left_at_its_prompt_is_brought_back(make):
    board = make(first=None)
    with Bridge(make.path, "--wait", PATIENCE, genuine=True) as bridge:
        ready(bridge)
        assert board.starts == 2
        assert "bench 1.0 serves" in bridge.text()


def test_a_program_that_is_interrupted_under_a_client_is_started_again(make):
    board = make()
    with Bridge(make.path, "--wait", PATIENCE, genuine=True) as bridge:
        ready(bridge)
        os.kill(board.process.pid, 2)
        ready(bridge)
        assert board.starts == 2
        assert bridge.close() == 0


def test_the_serving_board_is_not_disturbed_by_a_poke(make):
    board = make()
    with Bridge(make.path, genuine=True) as bridge:
        ready(bridge)
    with open(make.path, "r+b", buffering=0) as port:
        port.write(b"\r\x02\n\x04\n")
        time.sleep(0.3)
    with Bridge(make.path, genuine=True) as bridge:
        ready(bridge)
    assert board.starts == 1
