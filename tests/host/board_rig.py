"""Boards for tests of the paired gateway: the unix build as processes that serve the serial link
on a TCP port, serve HTTP, or dial in."""

import contextlib
import re
import socket
import subprocess
import sys
import threading

import targets
from mcpgw.pi.pairing import Pairing
from mcpgw.pi.store import Store
from pi_rig import MCPGW, Process, environment
from waiting import PATIENCE_S, ReservedPort, until

# Rests that are shorter than they are by default, in [discovery], where a rig leaves off.
QUICK = "grace_s = 0.3\nlook_s = 0.3\n"

HEAD = """
import sys
from mcp_gw import Context, Gateway, Param, ToolError
gw = Gateway({name!r}, version="1.0")

@gw.tool("Sum of two numbers.", a=Param(int, "one"), b=Param(int, "other"))
def add(a, b):
    return a + b

@gw.tool("Which board this is")
def who():
    return {name!r}

@gw.tool("Counts", n=Param(int, "how far"))
def steps(n):
    for i in range(n):
        yield i + 1, n
    return "counted"

@gw.tool("Waits until it is cancelled, or some seconds")
async def wait():
    import asyncio
    print("waiting")
    try:
        await asyncio.sleep(600)
    finally:
        print("waited no more")

@gw.tool("A link to the status")
def link():
    from mcp_gw import content
    return content.link("board://status", "status")

@gw.resource("board://status", "How it is")
def status():
    return {{"name": {name!r}}}

@gw.resource("board://pin/{{n}}", "One pin", n=Param(str, "which"))
def pin(n):
    return {{"pin": n}}

@gw.resource("board://door/{{side}}", "A door", side=Param(str, "", enum=["north", "south"]))
def door(side):
    return side

@gw.prompt("Ask about it", topic=Param(str, "what about"))
def ask(topic):
    return "what of the " + topic + "?"

"""


def app(name, tail="", more=""):
    """The text of a board's program. more: lines before `tail`, which runs it."""
    return HEAD.format(name=name) + more + "\n" + (tail or "gw.run('stdio')") + "\n"


def board_environment():
    return environment(MICROPYPATH=".frozen")


class LinkBoard:
    """A board at the other end of a serial line, which is a TCP connection here: a process of the
    unix build for each, as after a reset. `port` is what the configuration names."""

    def __init__(self, folder, name, more="", hello=None):
        self._program = folder / f"{name}-link.py"
        self._program.write_text(app(hello or name, more=more))
        self.log = folder / f"{name}-link.log"
        self._reserved = ReservedPort()
        self.port = f"socket://127.0.0.1:{self._reserved.number}"
        self._listener = None
        self._process = None
        self.starts = 0
        self.plug()

    def plug(self):
        self._listener = socket.create_server(("127.0.0.1", self._reserved.number))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                line = listener.accept()[0]
                with line, self.log.open("a") as log:
                    self._process = subprocess.Popen(
                        [targets.firmware("unix"), self._program],
                        stdin=line,
                        stdout=line,
                        stderr=log,
                        env=board_environment(),
                    )
                self.starts += 1

    def unplug(self):
        listener, self._listener = self._listener, None
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.reset()

    def reset(self):
        """Power it off; while it is plugged, it starts again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def output(self):
        return self.log.read_text() if self.log.exists() else ""

    def close(self):
        if self._listener is not None:
            self.unplug()
        self._reserved.close()


class UnixBoard(Process):
    """A program on the unix build, or on CPython."""

    def __init__(self, folder, label, text, interpreter="micropython"):
        self._folder, self._label, self._interpreter = folder, label, interpreter
        self._program = folder / f"{label}.py"
        self._program.write_text(text)
        self.start()

    def start(self):
        cpython = self._interpreter == "cpython"
        command = [sys.executable if cpython else targets.firmware("unix"), self._program]
        super().__init__(self._folder, self._label, command, env=board_environment())

    def wait_said(self, text):
        until(lambda: text in self.output(), lambda: f"{text!r} is not in: {self.output()}")


class HttpBoard(UnixBoard):
    """A board that serves HTTP on a port that stays the same. options: of gw.run(), as text."""

    def __init__(self, folder, name, options="", more=""):
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        run = f"gw.run('http', port={self.port}{options and ', ' + options})"
        super().__init__(folder, f"{name}-http", app(name, run, more))
        until(self.listens, self.output)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def listens(self):
        assert self.process.poll() is None, self.output()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def close(self):
        super().close()
        self._reserved.close()


class DialBoard(UnixBoard):
    """A board that dials in at `port`. code: of pairing; options: of Dial, as text."""

    def __init__(self, folder, name, port, code=None, options="", label=None, more=""):
        label = label or f"{name}-dial"
        run = (
            "from mcp_gw.transports.dial import Dial\n"
            f"gw.run(Dial(gw, '127.0.0.1', {port}, code={code!r}, "
            f"file={str(folder / (label + '.json'))!r}{options and ', ' + options}))"
        )
        super().__init__(folder, label, app(name, run, more))


def codes(pi, count):
    """So many pairing codes, without the half second that a command takes to start."""
    store = Store(pi.store, check=False)
    try:
        pairing = Pairing(store)
        return [pairing.new() for _ in range(count)]
    finally:
        store.close()


def new_code(pi, *options):
    """A pairing code, as the command prints it."""
    done = subprocess.run(
        [*MCPGW, "pi", "code", "--config", str(pi.config), *options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return re.match(r"[2-9A-Z]{4}-[2-9A-Z]{4}$", done.stdout.splitlines()[0])[0]


def text_of(answer):
    """The text of a tool's result."""
    assert "result" in answer, answer
    return answer["result"]["content"][0]["text"]
