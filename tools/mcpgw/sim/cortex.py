"""A Cortex-M3 board (MPS2 AN385) in QEMU: CortexM3Sim."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from .errors import SimError
from .machine import Machine

SETTLE_S = 0.1  # how long QEMU takes to refuse its arguments, at most
DEFAULT_FIRMWARE = Path("build/cortex-m3/firmware.elf")


class CortexM3Sim(Machine):
    """QEMU's mps2-an385 with the firmware's console on a pty.

    icount: None, or n: one instruction takes 2**n nanoseconds of simulated time, so that costs
    measured with the board's timer are the same in every run, to a tick. machine.reset() ends the
    board, as QEMU stops then.
    """

    name = "Cortex-M3 board"
    make_target = "make qemu"

    def __init__(self, firmware=DEFAULT_FIRMWARE, *, link=None, tcp=None, icount=None):
        super().__init__(firmware, link=link, tcp=tcp)
        self.icount = icount

    def _launch(self, timeout):
        qemu = shutil.which("qemu-system-arm")
        if not qemu:
            raise SimError(
                "qemu-system-arm is not on this machine (Debian: apt install qemu-system-arm)"
            )
        with open(self.firmware, "rb") as file:
            if file.read(4) != b"\x7fELF":
                raise SimError(f"{self.firmware} is not an ELF file")
        command = [qemu, "-machine", "mps2-an385", "-display", "none", "-monitor", "none"]
        command += ["-semihosting", "-kernel", str(self.firmware), "-serial", "chardev:console"]
        if self.icount is not None:
            command += ["-icount", f"shift={self.icount},sleep=on"]
        if self._tcp is None:
            end = self._socketpair()
            chardev = f"fd={end.fileno()}"
        else:
            end = socket.create_server(("127.0.0.1", self._tcp))
            number = end.getsockname()[1]
            self._port = f"socket://127.0.0.1:{number}"
            # Windows cannot pass sockets on: there QEMU opens the port itself.
            where = f"fd={end.fileno()}" if os.name == "posix" else f"host=127.0.0.1,port={number}"
            chardev = f"{where},server=on,wait=off"
        with end:
            fds = (end.fileno(),) if os.name == "posix" else ()
            if not fds:
                end.close()
            command += ["-chardev", f"socket,id=console,{chardev}"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=fds,
            )
        # It ends at once if it does not like something.
        try:
            self._process.wait(SETTLE_S)
        except subprocess.TimeoutExpired:
            if self._tcp is None:
                self._plug()
        else:
            raise self._failed("QEMU did not start")
