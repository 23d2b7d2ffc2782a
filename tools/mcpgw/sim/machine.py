"""A simulated board as a process and a serial port: what PicoSim and CortexSim share."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from pathlib import Path

from .errors import SimError


class Machine:
    """One simulated board. A context manager: entering starts it, leaving ends it.

    firmware: path of what to run. link: path of a symbolic link to keep at the serial port;
    without it a private one is made, so that `port` stays the same when the board is power-cycled.
    tcp: serve the console on this TCP port of localhost instead of a pty (0: any free one).
    """

    name = "board"
    make_target = ""

    def __init__(self, firmware, *, link=None, tcp=None):
        self.firmware = Path(firmware) if firmware else None
        self.exit_code = None
        self._tcp = tcp if os.name == "posix" or tcp is not None else 0
        self._scratch = None
        self._link = str(link) if link else None
        self._process = None
        self._pty = None
        self._sock = None
        self._stderr = None
        self._port = None

    # --- life ------------------------------------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    @property
    def running(self):
        """Whether the board has power."""
        return self._process is not None and self._process.poll() is None

    @property
    def port(self):
        """What to connect to: the path of the pty's link, or socket://... for TCP. The link is
        there while the board is plugged in."""
        if not self._port:
            raise SimError(f"the {self.name} has not been started")
        return self._port

    def start(self, timeout=60):
        """Power on. Returns self when the console can be used; raises SimError if it cannot be
        within `timeout` seconds."""
        if self.running:
            raise SimError(f"the {self.name} is running already")
        if self.firmware and not self.firmware.exists():
            raise SimError(f"no firmware at {self.firmware}: run `{self.make_target}`")
        if self._link and os.path.isdir(self._link) and not os.path.islink(self._link):
            raise SimError(f"{self._link} is a folder: --link names a link to be made")
        self.exit_code = None
        if self._stderr:
            self._stderr.close()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed with the board
        try:
            self._launch(timeout)
        except BaseException:
            self._end()
            raise
        return self

    def stop(self):
        """Power off and forget the scratch files. May be called twice."""
        self._end()
        if self._scratch:
            self._remove()
            self._scratch = None

    def kill(self):
        """Take the power away now. Returns the exit code."""
        self._end()
        return self.exit_code

    def restart(self, timeout=60):
        """Take the power away if it is on, and switch on again."""
        self._end()
        return self.start(timeout)

    def wait_exit(self, timeout=60):
        """Wait until the board loses its power by itself; 137 means a power cut. Returns the exit
        code; raises SimError after `timeout` seconds."""
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise SimError(f"the {self.name} still runs after {timeout} s") from None
        self._end()
        return self.exit_code

    def _launch(self, timeout):
        raise NotImplementedError

    def _end(self):
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.kill()
            self.exit_code = process.wait()
        self._ended()
        self._unplug()
        for stream in (process.stdin, process.stdout) if process else ():
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._sock:
            self._sock.close()
            self._sock = None
        self._process = None

    def _ended(self):
        """Hook: the process is gone."""

    # --- the console -----------------------------------------------------------------------------

    def scratch(self):
        """A private directory that lives until stop()."""
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="mcpgw-sim-")
            self._remove = weakref.finalize(self, shutil.rmtree, self._scratch, True)
        return Path(self._scratch)

    def _socketpair(self):
        self._sock, theirs = socket.socketpair()
        return theirs

    def _plug(self, on_open=None):
        """Make the pty. Without one (TCP) the port stays as it is."""
        from .pty_port import PtyPort

        link = self._link or str(self.scratch() / "port")
        self._pty = PtyPort(self._sock, link, on_open)
        self._port = link

    def _unplug(self):
        if self._pty:
            self._pty.close()
            self._pty = None

    @property
    def device(self):
        """The pty behind `port`, None while unplugged or with TCP."""
        return self._pty.path if self._pty else None

    def open(self, **options):
        """The console as an open serial.Serial; `options` as for pyserial."""
        import serial

        options.setdefault("timeout", 5)
        return serial.serial_for_url(self.port, **options)

    def errors(self):
        """What the emulator wrote to its standard error so far."""
        if not self._stderr:
            return ""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()

    def _failed(self, what):
        text = self.errors()
        return SimError(f"{what}: {text}" if text else what)


class Lines:
    """Waits for things that a reader thread puts into a list."""

    def __init__(self):
        self.items = []
        self.changed = threading.Condition()
        self.ended = False

    def put(self, item):
        with self.changed:
            self.items.append(item)
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def take(self, wanted, timeout):
        """Remove and return the first item for which wanted(item); None after `timeout` seconds or
        when no more can come."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                for index, item in enumerate(self.items):
                    if wanted(item):
                        return self.items.pop(index)
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    return None
                self.changed.wait(left)
