"""The product in one story, on the emulated Pico with the real firmware.

An MCP client and an upstream server nobody here wrote (the official SDK's) talk to a board that
answers,
forwards, queues through a power cut, and delivers once. Exit code 1 if anything was not as it
should be.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcpgw.sim import PicoSim
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
FIRMWARE = ROOT / "build" / "pico" / "firmware.uf2"
APP = ROOT / "examples" / "forwarding.py"
MCPGW = [sys.executable, "-m", "mcpgw"]
LOG_READING = "office_log_reading"


class Story:
    """Carries out the steps and keeps what was checked."""

    def __init__(self, folder):
        self.folder = folder
        self.console = Console(highlight=False, width=110)
        self.rows = []
        self.start = time.monotonic()
        self.sim = PicoSim(
            FIRMWARE, flash=folder / "flash.img", link=folder / "board", adc={1: "1.65V"}
        )
        self.ledger = folder / "ledger.jsonl"
        self.ledger.touch()
        self.upstream = None
        self.upstream_port = free_port()
        self.bridge_log = open(folder / "bridge.log", "w")  # noqa: SIM115 closed with the story

    def say(self, text):
        self.console.print(f"[dim]{time.monotonic() - self.start:6.1f} s[/]  {text}")

    def check(self, what, ok, seen=""):
        """Record a check and show it as it happens."""
        self.rows.append((what, bool(ok), str(seen)))
        self.say(f"{'[green]ok[/]  ' if ok else '[red]FAIL[/]'} {what}  [dim]{seen}[/]")

    # What stands around the board.

    def start_upstream(self):
        script = ROOT / "tools" / "demo_upstream.py"
        command = [sys.executable, str(script), str(self.upstream_port), str(self.ledger)]
        self.upstream = subprocess.Popen(command)
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.upstream_port), 1):
                return
            time.sleep(0.05)
        raise SystemExit("the upstream server does not start")

    def stop_upstream(self):
        if self.upstream:
            self.upstream.kill()
            self.upstream.wait()
            self.upstream = None

    def executions(self, plot):
        """How often the upstream executed log_reading for this plot."""
        lines = self.ledger.read_text().splitlines()
        return sum(json.loads(line)["plot"] == plot for line in lines)

    def client(self, mode):
        """The official SDK's client, on the bridge, on the board's USB port."""
        command = [
            *MCPGW[1:],
            "bridge",
            "--port",
            str(self.folder / "board"),
            "--upstream",
            f"office=http://127.0.0.1:{self.upstream_port}/mcp",
            "--state",
            str(self.folder / "bridge.sqlite"),
        ]
        server = StdioServerParameters(command=MCPGW[0], args=command, env=dict(os.environ))
        return Client(stdio_client(server, errlog=self.bridge_log), mode=mode)

    def close(self):
        self.stop_upstream()
        self.sim.stop()
        self.bridge_log.close()

    # The story.

    def boot(self):
        size = FIRMWARE.with_suffix(".bin").stat().st_size
        self.say(f"an emulated RP2040 boots build/pico/firmware.uf2 ({size // 1024} KB)")
        began = time.monotonic()
        self.sim.start()
        ready = f"USB console after {self.sim.ns / 1e9:.2f} s emulated"
        self.check("the firmware boots", True, f"{ready}, {time.monotonic() - began:.1f} s here")

    def deploy(self):
        self.say("[bold]mcpgw deploy examples/forwarding.py[/] over its USB port")
        command = [*MCPGW, "deploy", str(APP), "--port", str(self.folder / "board")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        self.check("the app is on the board and answers", done.returncode == 0, " ".join(last))
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)

    async def speak(self, mode):
        """Everything that works while all links are up, in one protocol era."""
        async with self.client(mode) as client:
            revision = client.protocol_version
            self.check("the client and the board agree on a revision", True, revision)
            names = {tool.name for tool in (await client.list_tools()).tools}
            expected = {"moisture", LOG_READING, "office_forecast"}
            self.check(
                "local and upstream tools are listed", names >= expected, ", ".join(sorted(names))
            )
            result, ms = await timed(client.call_tool("moisture", {"plot": 1}))
            self.check(
                "the board answers by itself", text(result) == "50", f"{text(result)} %, {ms}"
            )
            result, ms = await timed(client.call_tool("moisture", {"plot": 7}))
            self.check("a wrong argument is named", result.is_error, text(result))
            result, ms = await timed(client.call_tool("office_forecast", {"place": "Oslo"}))
            self.check("the board forwards", "Oslo" in text(result), f"{text(result)}, {ms}")
            with suppress(MCPError):
                await client.read_resource("board://nothing")
                self.check("an unknown resource is an error", False)

    async def survive(self):
        """Link lost, power lost in mid-write, and what was accepted arrives, once."""
        async with self.client("auto") as client:
            await client.list_tools()
            self.say("[bold]the upstream server goes away[/]")
            self.stop_upstream()
            first = await self.queue(client, 1)
            state = await self.status(client, first)
            self.check("a call is queued in flash", state["state"] == "queued", first)

            self.say("[bold]the power goes in the middle of the next call's flash write[/]")
            self.sim.power_cut_at(1, bytes=40)
            lost = None
            try:
                await client.call_tool(LOG_READING, {"plot": 2, "percent": 20})
            except MCPError as error:
                lost = error
            code = self.sim.wait_exit()
            self.check(
                "the power was cut in the write", code == 137, f"emulator's exit code {code}"
            )
            self.check("the client is told that its call was lost", lost, lost)

            self.say("[bold]the power comes back[/], same flash, same client, same bridge")
            self.sim.restart()
            state = await self.status(client, first)
            self.check(
                "the accepted call is still there", state["state"] == "queued", state["state"]
            )

            self.say(
                "[bold]the upstream server comes back[/], and the power goes once it has executed"
            )
            began = time.monotonic()
            self.start_upstream()
            for _ in range(400):
                if self.executions(1):
                    break
                await anyio.sleep(0.05)
            self.check("the upstream has executed the call", self.executions(1) == 1)
            # The server takes another second to answer.
            self.sim.power_cut_at(1, bytes=100)
            code = self.sim.wait_exit()
            self.check("the power was cut while the outcome was being stored", code == 137)
            self.sim.restart()
            state = await self.outcome(client, first)
            took = f"{time.monotonic() - began:.1f} s later"
            self.check("the outcome can be read", state["state"] == "done", took)
            told = state.get("result", {}).get("content", [{}])[0].get("text")
            self.check(
                "it is the upstream's own answer", told == "noted: plot 1 at 10 percent", told
            )
            await anyio.sleep(1)
            times = self.executions(1)
            self.check("delivered twice, executed once", times == 1, f"{times} execution(s)")
            times = self.executions(2)
            self.check("what was never accepted was never executed", times == 0, f"{times}")
            result, ms = await timed(client.call_tool("moisture", {"plot": 1}))
            self.check("the board serves on", text(result) == "50", ms)

    async def queue(self, client, plot):
        """Call log_reading while the upstream is away; returns the id under which it was
        queued."""
        result = await client.call_tool(LOG_READING, {"plot": plot, "percent": 10 * plot})
        meta = (result.meta or {}).get("mcp-gw/queued")
        if not meta:
            raise SystemExit(f"the call was not queued: {result}")
        return meta["id"]

    async def status(self, client, key):
        contents = (await client.read_resource(f"queue://{key}", cache_mode="bypass")).contents
        return json.loads(contents[0].text)

    async def outcome(self, client, key):
        for _ in range(150):
            state = await self.status(client, key)
            if state["state"] not in ("queued", "sending"):
                break
            await anyio.sleep(0.2)
        return state

    async def tell(self):
        self.boot()
        self.deploy()
        self.start_upstream()
        for mode in ("legacy", "auto"):
            await self.speak(mode)
        await self.survive()

    def report(self):
        """Show the table; returns whether every check was passed."""
        table = Table(title="What was checked", title_justify="left")
        for column in ("", "check", "seen"):
            table.add_column(column, overflow="fold")
        for what, ok, seen in self.rows:
            table.add_row("[green]ok[/]" if ok else "[red]FAIL[/]", what, seen)
        self.console.print(table)
        failed = sum(not ok for _, ok, _ in self.rows)
        took = time.monotonic() - self.start
        self.console.print(
            f"{len(self.rows) - failed} checks passed, {failed} failed, {took:.1f} s"
        )
        return not failed


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def text(result):
    return result.content[0].text if result.content else ""


async def timed(call):
    began = time.monotonic()
    result = await call
    return result, f"{(time.monotonic() - began) * 1000:.0f} ms round trip"


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder for flash image, logs and ledger")
    keep = parser.parse_args().keep
    async with AsyncExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpgw-")))
        folder.mkdir(parents=True, exist_ok=True)
        story = Story(folder)
        stack.callback(story.close)
        try:
            with anyio.fail_after(240):
                await story.tell()
        except BaseException:
            story.report()
            print((folder / "bridge.log").read_text()[-4000:], file=sys.stderr)
            raise
        return story.report()


if __name__ == "__main__":
    sys.exit(0 if anyio.run(main) else 1)
