"""What the bridge's tests share: a scripted board on a pty, and the bridge as a process."""

import contextlib
import json
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

from waiting import PATIENCE_S, ReservedPort, until
from wire_record import Recorder

from mcp_gw.transports import link

ROOT = Path(__file__).resolve().parents[2]
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def environment():
    """This process's environment with both packages importable and no proxy in the way."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    hidden = ("http_proxy", "https_proxy", "all_proxy", "mcpgw_port", "mcpgw_debug")
    kept = {k: v for k, v in os.environ.items() if k.lower() not in hidden}
    return kept | {"PYTHONPATH": path}


class FakeBoard:
    """Speaks the board's end of the link on a pty; a symbolic link names it, as udev would.

    answer: function(request dict) -> result dict, or None for no answer yet. What came in is in
    `messages` (dicts, MCP), `hellos`, `upstream` ((name, dict) of channel u) and `raw` (bytes).
    """

    def __init__(self, path, rx=8192):
        self.path = Path(path)
        self.rx = rx
        self.boots = 0
        self.greeted = None  # the boot id of the last answer to a hello
        self.answer = lambda request: {"echo": request["method"]}
        self.says_hello = True
        self.messages = queue.Queue()
        self.hellos = queue.Queue()
        self.upstream = queue.Queue()
        self.states = []
        self.changes = queue.Queue()
        self.errors = queue.Queue()
        self.raw = bytearray()
        self._last_id = 100
        self._thread = None
        self.plug()

    @property
    def boot(self):
        return f"{0xB0070000 + self.boots:08x}"

    def plug(self):
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.slave))
        self._alive = True
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def unplug(self):
        self._alive = False
        self._thread.join()
        self.path.unlink()
        os.close(self.master)
        os.close(self.slave)

    def restart(self, text=b"\r\nMPY: soft reboot\r\n"):
        """What a reset does: another boot id, and perhaps a word on the console."""
        self.boots += 1
        self.write(text)

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.master, view) :]

    def send(self, message):
        self.write(json.dumps(message).encode() + b"\n")

    def frame(self, channel, payload):
        self.write(b"".join(link.encode(channel, [payload])))

    def ask(self, name, method, params=None, meta=None, id=None):
        """Send a request to an upstream; returns its id."""
        if id is None:
            self._last_id += 1
            id = self._last_id
        params = dict(params or {}, _meta=META | (meta or {}))
        request = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        self.frame(b"u", name.encode() + b" " + json.dumps(request).encode())
        return id

    def reply(self, id, timeout=PATIENCE_S):
        """The upstream's answer to ask(); progress that comes before it is in `progress`."""
        self.progress = []
        end = time.monotonic() + timeout
        while True:
            _, message = self.upstream.get(timeout=max(0.01, end - time.monotonic()))
            if message.get("id") == id:
                return message
            self.progress.append(message)

    def call(self, name, tool, arguments=None, timeout=PATIENCE_S, **meta):
        """tools/call at an upstream, and its answer. Keywords go to _meta (key is mcp-gw/key)."""
        meta = {"mcp-gw/key" if k == "key" else k: v for k, v in meta.items()}
        params = {"name": tool, "arguments": arguments or {}}
        return self.reply(self.ask(name, "tools/call", params, meta), timeout)

    def wait_states(self, wanted):
        """Until the bridge says that the upstreams are in these states."""
        until(
            lambda: self.states and self.states[-1] == wanted,
            lambda: f"{wanted} expected, got {self.states}",
        )

    def wait_greeted(self):
        """Until a hello has been answered with the id of this boot."""
        until(lambda: self.greeted == self.boot, "the bridge does not say hello")

    def _work(self):
        data = bytearray()
        while self._alive:
            if not select.select([self.master], [], [], 0.05)[0]:
                continue
            chunk = os.read(self.master, 65536)
            self.raw += chunk
            data += chunk
            *lines, data = data.split(b"\n")
            for line in lines:
                self._line(bytes(line))

    def _line(self, line):
        if line[:1] == b"{":
            message = json.loads(line)
            self.messages.put(message)
            if "id" in message and "method" in message:
                result = self.answer(message)
                if result is not None:
                    self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})
        elif line[:1] == b"\x1e":
            channel, start, end = link.decode(line, 0, len(line))
            payload = line[start:end]
            if channel == ord("h"):
                hello = json.loads(payload)
                self.hellos.put(hello)
                if self.says_hello:
                    self.hello(hello["id"])
            elif channel == ord("u"):
                name, _, message = payload.partition(b" ")
                self.upstream.put((name.decode(), json.loads(message)))
            elif channel == ord("c"):
                self.changes.put(json.loads(payload))
            elif channel == ord("s"):
                self.states.append(json.loads(payload))
            elif channel == ord("e"):
                self.errors.put(json.loads(payload))

    def hello(self, id, **more):
        boot = self.boot
        fields = {"v": 1, "id": id, "boot": boot, "name": "fake", "version": "1.0"}
        fields |= {"rx": self.rx, "pending": 0}
        self.frame(b"h", json.dumps(fields | more).encode())
        self.greeted = boot


class Bridge:
    """`mcpgw bridge` as a process; lines of its stdout come out of `get`. genuine: a real gateway
    is on the port, so that what comes is recorded and judged."""

    def __init__(self, port, *options, state=None, stderr=None, genuine=False):
        self.recorder = Recorder() if genuine else None
        command = [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", str(port)]
        command += ["--state", str(state or Path(port).with_suffix(".sqlite")), *options]
        self.log = Path(stderr or Path(port).with_suffix(".log"))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
            )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            if self.recorder:
                self.recorder.received(line)
            self.lines.put(line)
        self.lines.put(b"")

    def write(self, data):
        if self.recorder:
            self.recorder.sent(data)
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message):
        self.write(json.dumps(message).encode() + b"\n")

    def request(self, id, method, params=None):
        self.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})

    def get(self, timeout=PATIENCE_S):
        """The next message to the client; checks that it is JSON-RPC."""
        line = self.lines.get(timeout=timeout)
        assert line.endswith(b"\n"), f"the bridge ended: {self.text()}"
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        return message

    def nothing(self, seconds=0.3):
        """Check that no message comes to the client."""
        with contextlib.suppress(queue.Empty):
            raise AssertionError(self.lines.get(timeout=seconds))

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_text(self, wanted, times=1):
        """Until the log holds a text so many times."""
        until(
            lambda: self.text().count(wanted) >= times,
            lambda: f"{wanted!r} is not in: {self.text()}",
        )

    def close(self, timeout=PATIENCE_S):
        """End it as a client does; returns the exit code."""
        if not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        return self.process.wait(timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.kill()
        self.process.stdin.close()


class Upstream:
    """A server made with the official SDK, as a process. `url` stays the same over restarts."""

    def __init__(self, folder, *options, start=True):
        self.ledger = Path(folder) / "ledger"
        self.ledger.touch()
        self._log = Path(folder) / "upstream.log"
        self._release = Path(folder) / "ledger.release"
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._options = options
        self.process = None
        if start:
            self.start()

    def start(self):
        command = [sys.executable, str(Path(__file__).with_name("bridge_upstream.py"))]
        command += ["--port", str(self.port), "--ledger", str(self.ledger), *self._options]
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
        until(self._listens, "the upstream does not start")

    def _listens(self):
        assert self.process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def executed(self):
        return self.ledger.read_text().splitlines()

    def release(self):
        """Let the tool `held` end, from now on."""
        self._release.touch()

    def wait_executed(self, line):
        until(lambda: line in self.executed(), lambda: f"{line!r} not in {self.executed()}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
        self._reserved.close()
