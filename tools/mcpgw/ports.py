"""Which serial ports have a board on them, and which one a command should use.

`find_ports()` lists what the operating system reports, best candidates first; `choose_port()`
settles on one or raises `PortError` with one line that says what was looked at and what to do.
Nothing here opens a port, so it never disturbs a running board.
"""

import os
import time
from dataclasses import dataclass

from . import UserError

# USB vendor ids. A native one means that the board's own USB speaks MicroPython's console; a
# bridge chip only means that something with a UART hangs behind it.
NATIVE = {
    0x2E8A: "Raspberry Pi",
    0xF055: "MicroPython",
    0x303A: "Espressif",
    0x0483: "STMicroelectronics",  # but see _STLINK
    0x239A: "Adafruit",
    0x2341: "Arduino",
    0x1B4F: "SparkFun",
    0x2886: "Seeed",
}
UART_BRIDGES = {
    0x10C4: "CP210x",
    0x1A86: "CH340",
    0x0403: "FTDI",
    0x067B: "PL2303",
}
# A debug probe has a serial port too, and no MicroPython behind it; the one of an ST-LINK on a
# Nucleo or Discovery board is wired to the microcontroller's UART.
_PROBES = {(0x2E8A, 0x0004), (0x2E8A, 0x000C)}
_STLINK = {(0x0483, pid) for pid in (0x374B, 0x374E, 0x374F, 0x3752, 0x3753, 0x3754)}

ENV = "MCPGW_PORT"
# The operating system sets a new port's permissions a moment after it shows it.
_SETTLE_S = 0.5
_ADVICE = "plug it in with a USB cable that carries data, or name its port with --port"


class PortError(UserError):
    """No port, or no single port, to use."""


class NoBoard(PortError):
    """Nothing that looks like a board is plugged in. looked: what there is instead."""

    def __init__(self, looked, advice):
        super().__init__(f"no board found: {looked}; {advice}")
        self.looked = looked


@dataclass(frozen=True)
class Port:
    """One serial port.

    kind: "native", "uart" or "other"; vid, pid, serial: of its USB device, None when it has none.
    """

    device: str
    kind: str
    label: str
    vid: int | None = None
    pid: int | None = None
    serial: str | None = None

    def __str__(self):
        ids = f" ({self.vid:04x}:{self.pid:04x})" if self.vid is not None else ""
        return f"{self.device} {self.label}{ids}"


_RANK = {"native": 0, "uart": 1, "other": 2}


def find_ports(vids=None):
    """List of Port, likeliest boards first, ports that are not on USB last.

    vids: an iterable of USB vendor ids keeps only those.
    """
    from serial.tools import list_ports

    found = []
    for info in list_ports.comports():
        port = _classify(info)
        if vids is None or port.vid in vids:
            found.append(port)
    return sorted(found, key=lambda p: (_RANK[p.kind], p.device))


def choose_port(wanted=None, vids=None):
    """The device to open: wanted, else $MCPGW_PORT, else the one port that looks like a board.

    wanted may be a device ("/dev/ttyACM0", "COM5", a pty, a pyserial URL) or "id:SERIAL", the USB
    serial number. Raises PortError.
    """
    wanted = wanted or os.environ.get(ENV) or None
    if wanted is not None:
        return _named(wanted)
    ports = find_ports(vids)
    for kind in ("native", "uart"):
        some = [p for p in ports if p.kind == kind]
        if len(some) == 1:
            return some[0].device
        if some:
            names = ", ".join(str(p) for p in some)
            raise PortError(f"several boards: {names}; choose one with --port")
    raise NoBoard(_looked_at(ports, vids), _ADVICE)


def wait_for_port(device, before, vids, seconds):
    """The port of a board that restarted: device again, or one not among before; None: no show.

    device: where it was, or None; before: names of all ports then; vids: USB vendor ids.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for port in find_ports(vids):
            if port.device == device or port.device not in before:
                time.sleep(_SETTLE_S)
                return port.device
        time.sleep(0.25)
    return None


def _named(wanted):
    if wanted.startswith("id:"):
        for port in find_ports():
            if port.serial == wanted[3:]:
                return port.device
        raise PortError(f"no board with the USB serial number {wanted[3:]!r}")
    if wanted.startswith("/") and not os.path.exists(wanted):
        others = ", ".join(p.device for p in find_ports() if p.kind != "other")
        raise PortError(
            f"{wanted} does not exist; "
            + (f"there is {others}" if others else "is the board plugged in?")
        )
    return wanted


def _classify(info):
    """A Port from a pyserial ListPortInfo."""
    if info.vid is None:
        return Port(info.device, "other", info.description or "serial port")
    if (info.vid, info.pid) in _PROBES:
        kind, label = "other", "debug probe"
    elif (info.vid, info.pid) in _STLINK:
        kind, label = "uart", "ST-LINK"
    elif info.vid in NATIVE:
        kind, label = "native", NATIVE[info.vid]
    elif info.vid in UART_BRIDGES:
        kind, label = "uart", UART_BRIDGES[info.vid]
    else:
        kind, label = "other", info.manufacturer or "USB serial port"
    return Port(info.device, kind, label, info.vid, info.pid, info.serial_number)


def _looked_at(ports, vids):
    if ports:
        return "looked at " + ", ".join(str(p) for p in ports)
    if vids:
        return "no USB serial port of " + ", ".join(
            NATIVE.get(v, f"{v:04x}") for v in sorted(vids)
        )
    return "this machine shows no serial port"
