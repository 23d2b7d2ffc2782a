"""The unix build beside the official SDKs: one tool with two arguments, served by each.

HTTP: wrk with 10 keep-alive connections and one thread. stdio: stdio_load.c, one call at a time;
it and the server share a processor, since with one always waiting for the other a second one would
only have to be woken.

Each is measured a few times and the best round counts, for this machine may have other work.
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import nodejs
import rig
import targets
from waiting import PATIENCE_S, ReservedPort

HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"
CONNECTIONS = 10
WARM_UP_S, MEASURED_S = 2, 2
ROUNDS = 3
ERAS = {"legacy": rig.LEGACY, "modern": rig.MODERN}
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
}


@dataclass
class Program:
    """A server program. calls: how many to make over stdio; sessions: whether a legacy call over
    HTTP needs one; eras: those it speaks."""

    name: str
    command: list
    calls: int
    sessions: bool = False
    eras: tuple = ("legacy", "modern")


@dataclass
class Figures:
    """What was measured of one server. Times: p50 and p99 in us, first (start to first answer) in
    ms; peak resident memory in KB."""

    per_s: float
    p50_us: float
    p99_us: float
    first_ms: float
    rss_kb: int


@dataclass
class Target:
    """What ours must reach against another program: other(figure) / ours(figure), or the other
    way round for what is better when larger, is at least `times`."""

    how: str
    who: str
    figure: str
    times: float
    what: str

    def ratio(self, ours, other):
        a, b = getattr(ours, self.figure), getattr(other, self.figure)
        return a / b if self.figure == "per_s" else b / a


TARGETS = (
    Target("http", "python", "per_s", 20, "HTTP requests per second, times Python's"),
    Target("http", "typescript", "per_s", 7, "HTTP requests per second, times TypeScript's"),
    Target("http", "python", "p99_us", 5, "HTTP p99, Python's is times ours"),
    Target("http", "python", "rss_kb", 10, "HTTP peak memory, Python's is times ours"),
    Target("http", "python", "first_ms", 20, "HTTP start to first answer, Python's is times ours"),
    Target("stdio", "python", "per_s", 15, "stdio calls per second, times Python's"),
    Target("stdio", "python", "p99_us", 5, "stdio p99, Python's is times ours"),
    Target("stdio", "python", "rss_kb", 10, "stdio peak memory, Python's is times ours"),
    Target(
        "stdio", "python", "first_ms", 20, "stdio start to first answer, Python's is times ours"
    ),
)


def programs():
    modules = nodejs.modules()
    return {
        "ours": Program(
            "mcp_gw, unix build",
            [targets.firmware("unix"), SERVERS / "ours.py"],
            50_000,
            sessions=True,
        ),
        "python": Program("Python SDK", [sys.executable, SERVERS / "python_sdk.py"], 3_000),
        "typescript": Program(
            "TypeScript SDK",
            [nodejs.node(), SERVERS / "typescript_sdk.mjs", modules],
            5_000,
            eras=("legacy",),
        ),
    }


def on_last_processor():
    """For the process about to start."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])


def best(measure):
    """The row with the most calls per second of a few."""
    return max((measure() for _ in range(ROUNDS)), key=lambda row: row["per_s"])


# --- stdio ---------------------------------------------------------------------------------------


def stdio_load():
    """The load generator, built if its source is newer."""
    source = HERE / "stdio_load.c"
    program = targets.BUILD / "bench" / "stdio_load"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program


def over_stdio(program, era):
    command = [stdio_load(), era, str(program.calls), *program.command, "stdio"]

    def measure():
        done = subprocess.run(
            list(map(str, command)),
            env=rig.environment(),
            preexec_fn=on_last_processor,
            stdout=subprocess.PIPE,
            timeout=300,
            check=True,
        )
        return json.loads(done.stdout)

    return figures(best(measure))


def figures(row, **more):
    row |= more
    return Figures(**{key: row[key] for key in Figures.__dataclass_fields__})


# --- HTTP ----------------------------------------------------------------------------------------


def over_http(program, era):
    port = ReservedPort()
    command = [*program.command, "http", port.number]
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), env=rig.environment())
    try:
        while (session := first_answer(process, port.number, program, era)) is None:
            assert time.monotonic() - began < PATIENCE_S, f"{program.name} does not answer"
            time.sleep(0.0005)
        first_ms = (time.monotonic() - began) * 1000
        load(port.number, era, session, WARM_UP_S)
        row = best(lambda: load(port.number, era, session, MEASURED_S))
        for a in range(20):
            call(port.number, era, session, a)
        return figures(row, first_ms=first_ms, rss_kb=peak_memory(process.pid))
    finally:
        process.kill()
        process.wait()
        port.close()


def first_answer(process, port, program, era):
    """Call the tool once; returns the session's id ("" without one), None while nobody
    listens."""
    assert process.poll() is None, f"{program.name} has ended"
    session = ""
    try:
        if program.sessions and era == "legacy":
            session = ask(port, era, "", "initialize", rig.INITIALIZE)[0]
        call(port, era, session, 3)
    except ConnectionError:
        return None
    return session


def call(port, era, session, a):
    """One call, whose answer is looked at."""
    params = {"name": "add", "arguments": {"a": a, "b": 7}}
    if era == "modern":
        params["_meta"] = rig.META
    answer = ask(port, era, session, "tools/call", params)[1]
    assert answer["result"]["content"] == [{"type": "text", "text": str(a + 7)}], answer


def ask(port, era, session, method, params):
    """One request on a connection of its own: (session id of the answer, answer)."""
    fields = HEADERS | {"MCP-Protocol-Version": ERAS[era]}
    if session:
        fields["Mcp-Session-Id"] = session
    if era == "modern":
        fields |= {"Mcp-Method": method, "Mcp-Name": "add"}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/mcp", json.dumps(message), fields)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text)
        return answer.headers.get("Mcp-Session-Id", ""), json.loads(text)
    finally:
        connection.close()


def load(port, era, session, seconds):
    """What call.lua reports. Every answer has had a status below 400."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"]
    command += ["-s", HERE / "call.lua", f"http://127.0.0.1:{port}/mcp", "--", era, session]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["requests"] and not row["bad"], (row, done.stderr)
    return row


def peak_memory(pid):
    """VmHWM of a process in KB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


# --- the table -----------------------------------------------------------------------------------


def compare():
    """Measure all, print the table; returns how many targets are missed."""
    assert shutil.which("wrk"), "wrk is not installed: run  make setup"
    found = {}
    for how, measure in (("http", over_http), ("stdio", over_stdio)):
        with_what = (
            f"HTTP: wrk, {CONNECTIONS} connections kept alive"
            if how == "http"
            else "stdio: stdio_load.c, one call at a time, on one processor with the server"
        )
        print(f"\n{with_what}")
        print(f"  {'':30}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'RSS MB':>9}{'first ms':>10}")
        for key, program in programs().items():
            for era in program.eras:
                row = measure(program, era)
                found.setdefault((how, key), {})[era] = row
                print(
                    f"  {program.name + ', ' + ERAS[era]:30}{row.per_s:>9,.0f}"
                    f"{row.p50_us / 1000:>9.3f}{row.p99_us / 1000:>9.3f}"
                    f"{row.rss_kb / 1024:>9.1f}{row.first_ms:>10.1f}",
                    flush=True,
                )
    print()
    missed = 0
    for target in TARGETS:
        # Like with like: each era has to reach it in which both are at home.
        ours, other = found[target.how, "ours"], found[target.how, target.who]
        ratio = min(target.ratio(ours[era], other[era]) for era in other)
        missed += ratio < target.times
        verdict = "met" if ratio >= target.times else "MISSED"
        print(f"  {target.what:52}{ratio:>7.1f}  [>= {target.times:g}: {verdict}]")
    return missed
