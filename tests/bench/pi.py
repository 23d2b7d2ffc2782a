"""`mcpgw pi` beside a FastMCP proxy, both in front of the same 50 boards.

The boards are processes of the unix build, with one tool each, over HTTP on this machine. The
client is a process of its own (pi_load.py), the same for both: one connection for each board, on
which the next call goes out when the answer to the last has come, so 50 calls are under way. Each
is measured a few times by turns and the best round of each counts, for this machine may have other
work. Then one board is stopped (SIGSTOP) while the others are called on.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import targets
from figures import Row
from sources import cache_dir
from waiting import ReservedPort, until

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"
sys.path.append(str(HERE.parent / "host"))
FASTMCP = "fastmcp==4.2.3"
BOARDS = 50
ROUNDS = 3
MEASURED_S = 6
# What ours must reach: times the calls per second, and part of the p99.
RATE, TAIL = 5, 5
# A stopped board may make the others' p99 this many times as long.
UNDISTURBED = 1.5


@dataclass
class Figures:
    per_s: float
    p50: float
    p99: float

    def __str__(self):
        return f"{self.per_s:,.0f} calls/s, p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms"


def rows(folder):
    """Yields the rows of the bench's table."""
    import pi_rig

    python = fastmcp()
    with contextlib.ExitStack() as stack:
        boards = [stack.enter_context(contextlib.closing(Board(n))) for n in range(BOARDS)]
        for board in boards:
            until(lambda board=board: pi_rig.listens(board.port), "a board does not serve")
        config = "".join(f'[boards.{board.name}]\nurl = "{board.url}"\n' for board in boards)
        pi = stack.enter_context(contextlib.closing(pi_rig.Pi(folder, config)))
        pi.up(*(board.name for board in boards))
        tools = [f"{board.name}_add" for board in boards]
        with contextlib.closing(Proxy(folder, python, boards)) as proxy:
            until(lambda: pi_rig.listens(proxy.port), proxy.output)
            yield from compared({"mcpgw pi": pi.port, FASTMCP: proxy.port}, tools)
        yield from stopped(pi, boards[7], tools)


def compared(ports, tools):
    found = {}
    for _ in range(ROUNDS):
        for who, port in ports.items():
            figures = of(load(port, tools))
            if who not in found or figures.per_s > found[who].per_s:
                found[who] = figures
    for who, figures in found.items():
        yield Row(f"{who}, {BOARDS} boards, {BOARDS} calls at once", str(figures))
    ours, other = found.values()
    rate, tail = ours.per_s / other.per_s, other.p99 / ours.p99
    yield Row("calls per second, times the proxy's", f"{rate:.1f}", f">= {RATE}", rate >= RATE)
    yield Row("p99, the proxy's is times ours", f"{tail:.1f}", f">= {TAIL}", tail >= TAIL)


def stopped(pi, board, tools):
    """A board that does not answer delays nobody else's calls."""
    others = [tool for tool in tools if tool != f"{board.name}_add"]
    shown = []
    for _ in range(ROUNDS):
        before = of(load(pi.port, others))
        board.process.send_signal(signal.SIGSTOP)
        try:
            during = of(load(pi.port, tools), others)
        finally:
            board.process.send_signal(signal.SIGCONT)
        shown.append((during.p99 / before.p99, before, during))
    times, before, during = min(shown, key=lambda row: row[0])
    yield Row("the other boards' calls before one is stopped", str(before))
    yield Row("while it is", str(during))
    yield Row("p99, times what it was", f"{times:.2f}", f"< {UNDISTURBED}", times < UNDISTURBED)


class Board:
    """A board as a process."""

    def __init__(self, n):
        self.name = f"b{n:02}"
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.process = subprocess.Popen(
            [str(targets.firmware("unix")), SERVERS / "ours.py", "http", str(self.port)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self._reserved.close()


class Proxy:
    """FastMCP's proxy as a process."""

    def __init__(self, folder, python, boards):
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._log = Path(folder) / "proxy.log"
        command = [python, SERVERS / "fastmcp_proxy.py", self.port]
        command += [f"{board.name}={board.url}" for board in boards]
        environment = {**os.environ, "FASTMCP_CHECK_FOR_UPDATES": "off"}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, env=environment
            )

    def output(self):
        return self._log.read_text()

    def close(self):
        self._process.kill()
        self._process.wait()
        self._reserved.close()


def load(port, tools):
    """What pi_load.py reports."""
    command = [sys.executable, HERE / "pi_load.py", port, MEASURED_S, *tools]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True)
    row = json.loads(done.stdout)
    assert not row["wrong"], row["wrong"][:3]
    return row


def of(row, tools=None):
    """Figures of the calls to these tools, or all."""
    times = sorted(
        one for tool, rows in row["times"].items() if not tools or tool in tools for one in rows
    )
    assert len(times) >= 20, "hardly any call was answered"
    return Figures(
        len(times) / MEASURED_S,
        times[len(times) // 2],
        times[min(len(times) - 1, len(times) * 99 // 100)],
    )


def fastmcp():
    """The Python of an environment with FastMCP in the cache, made when it is not there."""
    place = cache_dir() / FASTMCP.replace("==", "-")
    python = place / "bin" / "python"
    ready = place / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", FASTMCP], check=True)
        ready.touch()
    return python
