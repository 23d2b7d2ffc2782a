"""Where the fixture server runs while a suite talks to it: context managers that give its URL."""

import contextlib
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import rig
import targets
from http_tap import HTTPTap
from mcpgw.sim import PicoSim
from waiting import ReservedPort, until

HERE = Path(__file__).parent
SERVER = HERE / "server.py"
PARTS = [HERE / "media.py", *sorted(HERE.glob("fixtures_*.py"))]


@contextlib.contextmanager
def unix():
    """The unix build, which listens itself."""
    with _listening(targets.firmware("unix"), SERVER) as url:
        yield url


@contextlib.contextmanager
def pico():
    """The emulated Pico, with an HTTP front end before its serial port."""
    with tempfile.TemporaryDirectory() as folder:
        sim = PicoSim(targets.firmware("pico"), flash=Path(folder) / "flash.img", speed=0)
        with sim:
            _deploy(sim)
            with _listening(sys.executable, HERE / "shim.py", sim.port) as url:
                yield url


@contextlib.contextmanager
def asgi():
    """CPython, behind uvicorn: how the paired gateway serves."""
    with _listening(sys.executable, HERE.parent / "asgi_server.py", SERVER) as url:
        yield url


PLACES = {"unix": unix, "pico": pico, "asgi": asgi}
# Checks that cannot be made in a place, and why.
BEYOND = {
    "unix": {},
    "asgi": {},
    "pico": {
        "server-sse-polling: server-sse-disconnect-resume": "a serial port has no streams that "
        "the board could end before the answer",
    },
}


def _deploy(sim):
    command = [sys.executable, "-m", "mcpgw", "deploy", SERVER, "--mpy", "--port", sim.port]
    for part in PARTS:
        command += ["--with", part]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=rig.environment()
    )
    assert done.returncode == 0, done.stdout


@contextlib.contextmanager
def _listening(*command):
    """Run a server whose last argument is the port to listen on; gives the URL."""
    port = ReservedPort()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, str(port.number)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=rig.environment(),
        )

        def said():
            log.seek(0)
            return log.read()

        try:
            until(lambda: process.poll() is not None or _accepts(port.number), said)
            assert process.poll() is None, said()
            with HTTPTap(f"http://localhost:{port.number}/mcp") as tap:
                yield tap.url
            assert process.poll() is None, f"the server has ended:\n{said()}"
        finally:
            process.terminate()
            process.wait()
            port.close()
        assert "Traceback" not in said(), said()


def _accepts(port):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False
