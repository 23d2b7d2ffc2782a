"""The paired gateway as a process, and servers behind it, for tests."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import nodejs
import targets
from http_tap import HTTPTap
from waiting import PATIENCE_S, ReservedPort, until

HERE = Path(__file__).parent
MCPGW = [sys.executable, "-m", "mcpgw"]
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def environment(**more):
    paths = os.pathsep.join(map(str, (targets.ROOT / "tools", targets.ROOT)))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", **more}


class Process:
    """A program whose output goes to a file."""

    def __init__(self, folder, name, command, **options):
        self.log = Path(folder) / f"{name}.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*map(str, command)],
                stdin=options.pop("stdin", subprocess.DEVNULL),
                stdout=options.pop("stdout", log),
                stderr=log,
                env=options.pop("env", None) or environment(),
                **options,
            )

    def output(self):
        return self.log.read_text()

    def close(self):
        self.process.kill()
        self.process.wait()


class SDKServer(Process):
    """An official SDK's server as a process. ledger(): what its tools did."""

    def __init__(self, folder, *options, name="office"):
        self._reserved = ReservedPort()
        self._folder, self._options, self._name = folder, options, name
        self.port = self._reserved.number
        self.file = Path(folder) / f"{name}-ledger.txt"
        self.start()

    def start(self):
        program = HERE / "bridge_upstream.py"
        command = [sys.executable, program, "--port", self.port, "--ledger", self.file]
        super().__init__(self._folder, self._name, [*command, *self._options])
        until(lambda: listens(self.port), self.output)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def ledger(self):
        return self.file.read_text().splitlines() if self.file.exists() else []

    def release(self):
        """Let the tools end that wait for it."""
        self.file.with_suffix(".release").touch()

    def forget(self):
        """As if nothing had happened yet."""
        self.file.unlink(missing_ok=True)
        self.file.with_suffix(".release").unlink(missing_ok=True)

    def close(self):
        super().close()
        self._reserved.close()


def listens(port):
    import socket

    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def typescript_stdio():
    """The command of the official TypeScript SDK's server on stdio."""
    program = targets.ROOT / "tests" / "bench" / "servers" / "typescript_sdk.mjs"
    return [str(nodejs.node()), str(program), str(nodejs.modules()), "stdio"]


def python_stdio():
    """The same of the Python SDK."""
    program = targets.ROOT / "tests" / "bench" / "servers" / "python_sdk.py"
    return [sys.executable, str(program), "stdio"]


class Pi(Process):
    """`mcpgw pi`. config: TOML beside what the rig puts in; options: of the command line."""

    def __init__(self, folder, config="", *options, pi="", **more):
        self.folder = Path(folder)
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.config = self.folder / "mcp-edge.toml"
        state = json.dumps(str(self.folder / "state"))
        self.config.write_text(
            f"[pi]\nport = {self.port}\nstate = {state}\n{pi}\n[discovery]\nserial = false\n"
            + config
        )
        self._options, self._more = options, more
        self._tap = None
        self.start()

    def start(self):
        super().__init__(
            self.folder,
            "pi",
            [*MCPGW, "pi", "--config", self.config, *self._options],
            **self._more,
        )
        until(self._serves, self.output)

    def _serves(self):
        assert self.process.poll() is None, self.output()
        return listens(self.port)

    @property
    def url(self):
        """Of its MCP endpoint; what passes is recorded and judged by the protocol's schemas."""
        if self._tap is None:
            self._tap = HTTPTap(f"http://127.0.0.1:{self.port}/mcp")
        return self._tap.url

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self):
        return self.folder / "state" / "pi.sqlite"

    def health(self):
        return httpx.get(self.address + "/health", timeout=PATIENCE_S).json()

    def up(self, *names):
        """Wait until these servers or boards are there, and their tools listed."""

        def there():
            listed = {tool["name"].partition("_")[0] for tool in self.tools()}
            return listed.issuperset(names)

        until(there, self.output)
        return self

    def tools(self):
        return self.request("tools/list")["result"]["tools"]

    def request(self, method, params=None, name=None, meta=None, token=None, **options):
        """One request of 2026-07-28; returns the whole answer (dict)."""
        params = {"_meta": META | (meta or {}), **(params or {})}
        row = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        fields = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": method,
        }
        if name:
            fields["Mcp-Name"] = name
        if token:
            fields["Authorization"] = f"Bearer {token}"
        options = {"timeout": PATIENCE_S, **options}
        answer = httpx.post(self.address + "/mcp", json=row, headers=fields, **options)
        if answer.headers["content-type"].startswith("text/event-stream"):
            events = re.findall(r"^data: (.+)$", answer.text, re.MULTILINE)
            return json.loads(events[-1])
        return answer.json()

    def call(self, tool, arguments=None, key=None, **more):
        meta = {"mcp-gw/key": key} if key else None
        params = {"name": tool, "arguments": arguments or {}}
        return self.request("tools/call", params, tool, meta, **more)

    def deliver(self, calls, max_bytes=100_000, **more):
        """A batch. calls: [(key, tool, arguments)]; returns key -> outcome."""
        rows = [
            {"key": key, "params": {"name": tool, "arguments": arguments}}
            for key, tool, arguments in calls
        ]
        answer = self.request("mcp-gw/deliver", {"calls": rows, "max_bytes": max_bytes}, **more)
        assert "result" in answer, answer
        assert answer["result"]["resultType"] == "complete"
        return {row.pop("key"): row for row in answer["result"]["outcomes"]}

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def close(self):
        super().close()
        if self._tap is not None:
            self._tap.close()
        self._reserved.close()


def mcpgw(*arguments, check=True, **more):
    """Run the command in this process; returns what it printed (str), or, not `check`, an object
    with returncode, stdout and stderr."""
    from unittest.mock import patch

    from mcpgw import cli

    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.dict(os.environ, more),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as e:
            code = e.code
    done = SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())
    if not check:
        return done
    assert code == 0, done.stderr
    return done.stdout


def server_table(name, **keys):
    """A [servers.NAME] section."""
    rows = "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())
    return f"[servers.{name}]\n{rows}"


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)  # texts, numbers and lists of them are written alike
