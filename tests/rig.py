"""What tests of a serving gateway share: apps put on targets, wires to talk on, the official SDK's
client and upstream servers made with it."""

import contextlib
import itertools
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import targets
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from waiting import PATIENCE_S, ReservedPort, until
from wire_record import LOGS, Recorder

HERE = Path(__file__).parent / "device"
APPS = HERE / "apps"
EXAMPLES = targets.ROOT / "examples"
LEGACY, MODERN = "2025-11-25", "2026-07-28"
REVISION = {"legacy": LEGACY, "auto": MODERN}  # by the SDK client's mode
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
}
INITIALIZE = {
    "protocolVersion": LEGACY,
    "capabilities": {},
    "clientInfo": {"name": "wire", "version": "1"},
}


def environment():
    """This process's environment with the tree's packages importable and no proxy in the way."""
    path = os.pathsep.join([str(targets.ROOT), str(targets.ROOT / "tools")])
    hidden = ("http_proxy", "https_proxy", "all_proxy", "mcpgw_port")
    kept = {k: v for k, v in os.environ.items() if k.lower() not in hidden}
    return kept | {"PYTHONPATH": path, "MICROPYPATH": ".frozen"}


# --- apps on targets -----------------------------------------------------------------------------


def put(target, app):
    """Make `app` (a Path or text) the board's main.py. The board is at its prompt afterwards."""
    text = targets.script_text(app)
    target.run(f"with open('/main.py', 'w') as f:\n    f.write({text!r})")


def remove(target):
    """Take main.py away again, if the board has power."""
    if target.sim.running:
        target.run("import os\nos.remove('/main.py')")


def start(port):
    """Soft-reset a board that is at its prompt: main.py starts. port: its open console."""
    port.write(b"\x04")


class Wire:
    """A byte stream to a gateway with no bridge in between. Every line that has come in is kept in
    `lines` (bytes without LF), in order; every message is judged by `recorder`.

    strict: whether every line has to be a message; frames: whether frames of the serial link may
    come as well.
    """

    def __init__(self):
        self.lines = []
        self.recorder = Recorder(noise=True)
        self.strict = False
        self.frames = False
        self.wrong = []  # lines that are no messages
        self._rest = b""
        self._at = 0
        self._ids = itertools.count(1000)

    # What a kind of wire knows: _read(timeout) -> bytes, b"" after the time; _write(data).

    def write(self, data):
        self.recorder.sent(data)
        self._write(data)

    def line(self, timeout=PATIENCE_S):
        """The next line, bytes without LF."""
        end = time.monotonic() + timeout
        while self._at == len(self.lines):
            data = self._read(max(0.0, min(0.2, end - time.monotonic())))
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._came(line)
            if not lines and time.monotonic() > end:
                seen = b"\n".join(self.lines[-20:]) + b"\n" + self._rest
                raise TimeoutError(f"no line within {timeout} s; the last ones: {seen}")
        self._at += 1
        return self.lines[self._at - 1]

    def _came(self, line):
        self.lines.append(line)
        self.recorder.received(line + b"\n")
        message = line[:1] in (b"{", b"[") and line[-1:] != b"\r"
        if self.strict and not message and not (self.frames and line[:1] == b"\x1e"):
            self.wrong.append(line)

    def message(self, timeout=PATIENCE_S):
        """The next line that begins as a message, parsed."""
        while True:
            line = self.line(timeout)
            if line[:1] == b"{":
                return json.loads(line)

    def quiet(self, seconds=0.3):
        """Check that nothing more comes."""
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"not expected: {self.line(seconds)}")

    def send(self, method, params=None, id=None, modern=False):
        """Send a request; returns its id."""
        id = next(self._ids) if id is None else id
        if modern:
            params = {**(params or {}), "_meta": {**META, **(params or {}).get("_meta", {})}}
        message = {"jsonrpc": "2.0", "id": id, "method": method}
        if params is not None:
            message["params"] = params
        self.write(json.dumps(message).encode() + b"\n")
        return id

    def answer(self, id, timeout=PATIENCE_S):
        """The answer to `id`, a dict; messages that come before it are passed over."""
        while True:
            message = self.message(timeout)
            if message.get("id") == id and "method" not in message:
                return message

    def ask(self, method, params=None, timeout=PATIENCE_S, **how):
        return self.answer(self.send(method, params, **how), timeout)

    def call(self, tool, timeout=PATIENCE_S, **arguments):
        """The result of a tool call, a dict."""
        answer = self.ask("tools/call", {"name": tool, "arguments": arguments}, timeout)
        return answer["result"]

    def wait_serving(self):
        """Wait until the gateway answers; from then on be strict, and open the legacy
        conversation. What was sent while nobody listened may be lost, so it is asked again; the
        answers to all that was not lost come before the one to initialize."""
        until(self._there, lambda: self.lines[-20:])
        self.strict = True
        return self.initialize()

    def _there(self):
        with contextlib.suppress(TimeoutError):
            return self.ask("ping", id="there?", timeout=1.0)

    def initialize(self):
        answer = self.ask("initialize", INITIALIZE)
        self.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        return answer["result"]

    def check(self):
        """Every line that came while `strict` was a valid MCP message, and no line is left
        unfinished."""
        wrong, self.wrong = self.wrong, []
        assert not wrong, wrong
        assert not self._rest, self._rest
        self.recorder.check()


MARK = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"mark","arguments":{}}}'


def marked(wire, lines):
    """Bytes that workbench.py allocates from one call of `mark` to the next, with these requests
    (bytes) in between; all go in one write, so that the event loop does not wait meanwhile."""
    lines = [MARK, *lines, MARK]
    wire.write(b"".join(line + b"\n" for line in lines))
    results = [wire.message()["result"] for _ in lines]
    first, last = (int(result["content"][0]["text"]) for result in (results[0], results[-1]))
    return last - first


class SerialWire(Wire):
    """On the console of a simulated board."""

    def __init__(self, sim):
        super().__init__()
        self.port = sim.open(timeout=0.2)

    def _read(self, timeout):
        self.port.timeout = timeout
        data = self.port.read(1)
        return data + self.port.read(self.port.in_waiting) if data else b""

    def _write(self, data):
        self.port.write(data)

    def close(self):
        self.port.close()


class ProcessWire(Wire):
    """On standard input and output of a process; `errors` has its standard error."""

    def __init__(self, command, folder):
        super().__init__()
        self.errors = folder / "stderr.txt"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
                bufsize=0,
            )

    def _read(self, timeout):
        out = self.process.stdout
        return os.read(out.fileno(), 65536) if select.select([out], [], [], timeout)[0] else b""

    def _write(self, data):
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def close(self):
        """End it as a client does."""
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@contextlib.contextmanager
def serving(target, app, *arguments):
    """A Wire to `app` served by a target (see targets.py), the legacy conversation begun."""
    if target.is_board:
        put(target, app)
        wire = SerialWire(target.sim)
        start(wire.port)
    else:
        wire = ProcessWire([target.micropython, app, *arguments], target.folder)
    try:
        wire.wait_serving()
        yield wire
    finally:
        wire.close()
        if target.is_board:
            remove(target)


# --- the official SDK ----------------------------------------------------------------------------


def sdk_client(command, mode, log, **options):
    """The official SDK's Client on a stdio server, recorded. log: an open file for the server's
    standard error."""
    program, *arguments = LOGS.command(command)
    env = environment() | LOGS.environment
    server = StdioServerParameters(command=program, args=arguments, env=env)
    return Client(stdio_client(server, errlog=log), mode=mode, **options)


def bridge(sim, folder, *options, upstream=None):
    """The command of a bridge to a simulated board. upstream: an Office, or a Gate to one."""
    command = [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", sim.port]
    command += ["--state", folder / "bridge.sqlite", *options]
    if upstream:
        command += ["--upstream", f"office={upstream.url}"]
    return command


def text_of(result):
    """The text of a tool result's first block."""
    return result.content[0].text if result.content else ""


class Office:
    """office_server.py as a process. The URL stays the same over restarts."""

    def __init__(self, folder, *options):
        self._options = options
        self.ledger = folder / "ledger.jsonl"
        self.ledger.touch()
        self._log = folder / "office.log"
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._process = None

    def start(self):
        command = [sys.executable, str(HERE / "office_server.py"), str(self.port), self.ledger]
        command += self._options
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
        until(self._listens, "the upstream does not start")
        return self

    def _listens(self):
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def stop(self):
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def executed(self):
        """What log_reading was executed with, in order: a list of dicts."""
        return [json.loads(line) for line in self.ledger.read_text().splitlines()]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self._reserved.close()


class Gate:
    """A TCP port in front of an Office that can be shut and opened at once; `url` is the way
    through. While it is shut, connections are refused."""

    def __init__(self, office):
        self._to = "127.0.0.1", office.port
        self._listener = None
        self._sockets = set()
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    def open(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self):
        """Refuse new connections and cut those there are."""
        if self._listener:
            _close(self._listener)
            self._listener = None
        for sock in list(self._sockets):
            _close(sock)

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(self._to)
                self._sockets |= {near, far}
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            _close(sock)
            self._sockets.discard(sock)


def _close(sock):
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
