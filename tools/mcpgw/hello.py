"""Say hello to a gateway over the serial link and see who answers (docs/serial-link.md)."""

import json
import secrets
import time
from dataclasses import dataclass

from mcp_gw.transports import link

from . import UserError, __version__

_EVERY_S = 0.5
# The REPL that a program falls back to when it ends: its banner, then its prompt.
_BANNER = b"\nMicroPython v"
_PROMPT = b">>> "
_TRACEBACK = "Traceback (most recent call last):"
# What is kept of a program's output, for the traceback at its end.
_KEPT = 16384


class NotServing(UserError):
    """The program on the board ended, or does not answer as a gateway. output: what it printed."""

    def __init__(self, text, output=""):
        super().__init__(text)
        self.output = output


@dataclass(frozen=True)
class Answer:
    """A gateway's hello. seconds: how long it took to come."""

    name: str
    version: str
    rx: int
    pending: int
    seconds: float


def frame(session=None):
    """The bytes of one hello from a host without upstreams."""
    hello = {
        "v": link.VERSION,
        "id": session or secrets.token_hex(8),
        "time_ms": time.time_ns() // 1_000_000,
        "rx": 65536,
        "upstreams": [],
        "by": f"mcpgw {__version__}",
    }
    return b"".join(link.encode(b"h", [json.dumps(hello, separators=(",", ":")).encode()]))


def await_gateway(serial, timeout_s=15, restarted=True):
    """Answer of the gateway behind an open pyserial port.

    restarted: the board was told to reset, so nothing is sent before it says so: a line sent to
    the REPL would be run as a program. Raises NotServing.
    """
    session = secrets.token_hex(8)
    begun = time.monotonic()
    next_hello = None if restarted else begun
    output = b"\n"
    line = b""
    serial.timeout = 0.05
    while (now := time.monotonic()) < begun + timeout_s:
        if next_hello is not None and now >= next_hello:
            serial.write(b"\n" + frame(session))
            next_hello = now + _EVERY_S
        line += serial.read(max(1, serial.in_waiting))
        *whole, line = line.split(b"\n")
        for text in whole:
            answer = _parse(text, session)
            if answer is not None:
                return Answer(*answer, time.monotonic() - begun)
            if next_hello is None and b"soft reboot" in text:
                next_hello = time.monotonic() + 0.1
            elif text[:1] not in (b"\x1e", b"{"):
                output = (output + text.rstrip(b"\r") + b"\n")[-_KEPT:]
        # What we said while the program was ending is echoed behind the prompt.
        if line.startswith(_PROMPT) and _BANNER in output:
            break
    else:
        raise NotServing(
            f"the program runs, but no gateway answered within {timeout_s} s "
            "(does it call gw.run()?)",
            _printed(output + line),
        )
    text = _printed(output + line)
    raise NotServing(_ended(text), text)


def traceback_in(output):
    """The last traceback in a program's output, "" when there is none."""
    at = output.rfind(_TRACEBACK)
    if at < 0:
        return ""
    return output[at:].strip()


def _parse(line, session):
    """(name, version, rx, pending) from a line that is the board's answer to us, else None."""
    line = line.rstrip(b"\r")
    if not line.startswith(b"\x1eh "):
        return None
    try:
        _, start, end = link.decode(line, 0, len(line))
        hello = json.loads(line[start:end])
    except ValueError:
        return None
    if hello.get("id") != session or "boot" not in hello:
        return None  # the port's echo of our own, or an answer to somebody before us
    return (
        str(hello.get("name", "?")),
        str(hello.get("version", "?")),
        int(hello.get("rx", 0)),
        int(hello.get("pending", 0)),
    )


def _ended(output):
    failure = traceback_in(output)
    if failure:
        return "the program failed at start: " + failure.splitlines()[-1]
    return "the program ended without serving (does it call gw.run()?)"


def _printed(output):
    """A program's output as text, without the banner and prompt of the REPL it fell back to."""
    return output.split(_BANNER)[0].decode("utf-8", "replace").replace("\r\n", "\n").strip()
