"""Cortex-M boards (Arm MPS2) in QEMU: CortexM3Sim, CortexM4FSim."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from .errors import SimError
from .machine import Machine

SETTLE_S = 0.1  # how long QEMU takes to refuse its arguments, at most
ROM_START = 0x21400000  # where the firmware looks for a ROM file system (boards/*/profile.json)
ROM_BYTES = 12 << 20


class CortexSim(Machine):
    """One of QEMU's MPS2 boards with the firmware's console on a pty.

    icount: None, or n: one instruction takes 2**n nanoseconds of simulated time, so that costs
    measured with the board's timer are the same in every run, to a tick. rom: file with an image
    of a ROM file system that the board has at /rom. machine.reset() ends the board, as QEMU stops
    then.
    """

    make_target = "make qemu"
    qemu_machine = ""

    def __init__(self, firmware, *, link=None, tcp=None, icount=None, rom=None):
        super().__init__(firmware, link=link, tcp=tcp)
        self.icount = icount
        self.rom = Path(rom) if rom else None

    def _launch(self, timeout):
        qemu = shutil.which("qemu-system-arm")
        if not qemu:
            raise SimError(
                "qemu-system-arm is not on this machine (Debian: apt install qemu-system-arm)"
            )
        with open(self.firmware, "rb") as file:
            if file.read(4) != b"\x7fELF":
                raise SimError(f"{self.firmware} is not an ELF file")
        command = [qemu, "-machine", self.qemu_machine, "-display", "none", "-monitor", "none"]
        command += ["-semihosting", "-kernel", str(self.firmware), "-serial", "chardev:console"]
        if self.icount is not None:
            command += ["-icount", f"shift={self.icount},sleep=on"]
        if self.rom:
            command += ["-device", self._loader()]
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

    def _loader(self):
        """QEMU's option that puts the ROM's image into the board's memory."""
        if not self.rom.is_file():
            raise SimError(f"{self.rom} does not exist")
        if self.rom.stat().st_size > ROM_BYTES:
            raise SimError(f"{self.rom} is larger than the board's ROM, {ROM_BYTES} bytes")
        # A comma in the name is written twice, or it would end it.
        name = str(self.rom).replace(",", ",,")
        return f"loader,file={name},addr={ROM_START:#x},force-raw=on"


class CortexM3Sim(CortexSim):
    """QEMU's mps2-an385; see CortexSim."""

    name = "Cortex-M3 board"
    default_firmware = Path("build/cortex-m3/firmware.elf")
    qemu_machine = "mps2-an385"

    def __init__(self, firmware=default_firmware, **options):
        super().__init__(firmware, **options)


class CortexM4FSim(CortexSim):
    """QEMU's mps2-an386, with FPU and DSP instructions; see CortexSim."""

    name = "Cortex-M4F board"
    default_firmware = Path("build/cortex-m4f/firmware.elf")
    qemu_machine = "mps2-an386"

    def __init__(self, firmware=default_firmware, **options):
        super().__init__(firmware, **options)
