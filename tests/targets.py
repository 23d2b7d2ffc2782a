"""What device tests run on: the unix build, the Cortex-M3 firmware in QEMU, the emulated Pico.

A target runs a script on the real firmware and gives back what it printed. All three have mcp_gw
frozen in and are used with that copy, not with the tree's.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest
from mcpgw.sim import CortexM3Sim, CortexM4FSim, PicoSim
from waiting import PATIENCE_S

ROOT = Path(__file__).parents[1]
BUILD = Path(os.environ.get("MCPGW_BUILD") or ROOT / "build")
FIRMWARE = {
    "unix": "unix/micropython",
    "unix-asan": "unix-asan/micropython",
    "cortex-m3": "cortex-m3/firmware.elf",
    "cortex-m4f": "cortex-m4f/firmware.elf",
    "pico": "pico/firmware.uf2",
}
MAKE = {
    "unix": "unix",
    "unix-asan": "unix-asan",
    "cortex-m3": "qemu",
    "cortex-m4f": "qemu",
    "pico": "pico",
}


AGAIN_S = 3  # of silence, before a board is asked again for its raw REPL


class TargetError(AssertionError):
    """The script raised, crashed or ran too long; the text holds what it printed."""


def firmware(name):
    """The path of a target's firmware, below build/ or $MCPGW_BUILD. Fails the test if it is not
    built, or skips it if MCPGW_ALLOW_MISSING is set."""
    path = BUILD / FIRMWARE[name]
    if not path.exists():
        reason = f"{path} is not built: make {MAKE[name]}"
        if os.environ.get("MCPGW_ALLOW_MISSING"):
            pytest.skip(reason)
        pytest.fail(reason)
    return path


def script_text(script):
    """The text of a script given as text or as a Path."""
    return script.read_text() if isinstance(script, Path) else script


class UnixTarget:
    """The unix build: each script is a process of its own."""

    name = "unix"
    is_board = False

    def __init__(self, folder):
        self.folder = folder
        self.micropython = firmware("unix")
        self.runs = 0

    def run(self, script, timeout=PATIENCE_S):
        """Run a script (text or Path); returns its output. Raises TargetError."""
        self.runs += 1
        file = self.folder / f"script{self.runs}.py"
        file.write_text(script_text(script))
        try:
            done = subprocess.run(
                [self.micropython, str(file)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                cwd=self.folder,
                env={**os.environ, "MICROPYPATH": ".frozen"},
            )
        except subprocess.TimeoutExpired as error:
            text = (error.stdout or b"").decode(errors="replace")
            raise TargetError(f"still running after {timeout} s; it printed:\n{text}") from None
        if done.returncode:
            raise TargetError(f"exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def close(self):
        """Nothing to end."""


class BoardTarget:
    """A simulated board: scripts go through the raw REPL, each after a soft reset."""

    is_board = True

    def __init__(self, name, sim):
        self.name = name
        self.sim = sim

    def run(self, script, timeout=PATIENCE_S):
        """Run a script (text or Path); returns its output with LF line ends. Raises TargetError.
        After a time-out the board is power-cycled."""
        if not self.sim.running:
            self.sim.restart()
        try:
            with self.sim.open(timeout=0.2) as port:
                out, error = RawREPL(port, timeout).run(script_text(script))
        except TimeoutError as stuck:
            self.sim.restart()
            raise TargetError(str(stuck)) from None
        if error:
            raise TargetError(f"{out}\n{error}")
        return out

    def close(self):
        self.sim.stop()


def run(sim, script, timeout=PATIENCE_S):
    """Run a script on a running simulated board; see BoardTarget.run()."""
    return BoardTarget(sim.name, sim).run(script, timeout)


def prompt(port, timeout=PATIENCE_S):
    """Interrupt what runs on the board of an open port, and wait for the REPL's prompt: what is
    sent right behind a Ctrl-C may still be read by the program that it ends."""
    port.write(b"\r\x03\x03")
    RawREPL(port, timeout).until(b">>> ", again=b"\r\x03")


class RawREPL:
    """MicroPython's raw REPL on an open serial port; `timeout` seconds for all of run()."""

    BANNER = b"raw REPL; CTRL-B to exit\r\n>"

    def __init__(self, port, timeout):
        self.port = port
        self.deadline = time.monotonic() + timeout
        self.pending = b""

    def _fill(self, so_far):
        data = self.port.read(max(1, self.port.in_waiting))
        if not data and time.monotonic() > self.deadline:
            text = so_far.decode(errors="replace")
            raise TimeoutError(f"the board is silent or still running; it printed:\n{text}")
        self.pending += data

    def until(self, ending, again=b""):
        """Read up to and including `ending`; returns what came before it. again: what to send each
        time that nothing more comes for a while."""
        seen = 0
        heard = time.monotonic()
        while (at := self.pending.find(ending, seen)) < 0:
            seen = max(0, len(self.pending) - len(ending))
            before = len(self.pending)
            self._fill(self.pending)
            if len(self.pending) > before:
                heard = time.monotonic()
            elif again and time.monotonic() - heard > AGAIN_S:
                self.port.write(again)
                heard = time.monotonic()
        found, self.pending = self.pending[:at], self.pending[at + len(ending) :]
        return found

    def take(self, size):
        while len(self.pending) < size:
            self._fill(self.pending)
        found, self.pending = self.pending[:size], self.pending[size:]
        return found

    def enter(self):
        """Interrupt what runs, soft-reset into the raw REPL."""
        self.port.write(b"\r\x03\x03\r\x01")
        # A program that the interrupt catches as it reads may have taken what follows it. Asked
        # twice, the board says so twice before it comes to the reset.
        self.until(self.BANNER, again=b"\r\x01")
        self.port.write(b"\x04")
        self.until(b"soft reboot\r\n")
        self.until(self.BANNER)

    def run(self, script):
        """Soft-reset, run, leave. Returns (output, traceback), both with LF line ends."""
        self.enter()
        self.paste(script.encode())
        out = self.until(b"\x04")
        error = self.until(b"\x04")
        self.port.write(b"\r\x02")
        return tuple(part.replace(b"\r\n", b"\n").decode() for part in (out, error))

    def paste(self, script):
        """Send the script by raw paste, which has flow control and compiles as it reads."""
        self.port.write(b"\x05A\x01")
        if self.take(2) != b"R\x01":
            raise TargetError("the board has no raw paste mode")
        window = room = int.from_bytes(self.take(2), "little")
        while script:
            while room == 0 or self.pending or self.port.in_waiting:
                if self.take(1) == b"\x04":  # it gave up: a syntax error
                    self.port.write(b"\x04")
                    return
                room += window
            self.port.write(script[:room])
            script, room = script[room:], max(0, room - len(script))
        self.port.write(b"\x04")
        self.until(b"\x04")


def make_target(name, folder):
    """A target by its name; `folder`: where it may put files."""
    if name == "unix":
        return UnixTarget(folder)
    if name == "pico":
        sim = PicoSim(firmware(name), flash=folder / "pico-flash.img")
    elif name == "cortex-m4f":
        sim = CortexM4FSim(firmware(name), icount=6)  # board_cost counts instructions on it
    else:
        sim = CortexM3Sim(firmware(name))
    return BoardTarget(name, sim.start())
