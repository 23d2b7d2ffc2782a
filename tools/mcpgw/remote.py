"""A running board through its raw REPL, by way of mpremote's transport.

Opening one interrupts whatever the board runs (Ctrl-C), also a serving gateway; `restart()` sets
it going again.
"""

import contextlib
import io
import json
import os
import time

from . import UserError

BAUD = 115200
# mpremote reads two bytes at a time in raw-paste mode and takes a short read for a protocol error,
# so this is long for a slow board rather than short for us.
_READ_TIMEOUT_S = 5
# How long to wait for the raw REPL, one attempt after the other: the first Ctrl-C may arrive while
# the board erases flash, or what it answers be mixed into what a gateway was just sending.
_ATTEMPTS_S = (3, 5, 10)
# One exec carries this many bytes of a file in base64: the board holds the source line and the
# decoded bytes at once.
CHUNK = 1536


class RemoteError(UserError):
    """The board, or the way to it, failed. error_output: its traceback, "" when it gave none."""

    def __init__(self, text, error_output=""):
        super().__init__(text)
        self.error_output = error_output


class Remote:
    """The raw REPL of the board on one port; a context manager.

    port: device name; fresh: soft-reset the board first (its main.py does not run), so that its
    memory is empty and nothing of the interrupted program is left.
    """

    def __init__(self, port, fresh=True):
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        self.port = port
        try:
            self._transport = SerialTransport(port, baudrate=BAUD, timeout=_READ_TIMEOUT_S)
        except (TransportError, OSError, ValueError) as e:
            raise RemoteError(why_not_open(port, e)) from None
        # mpremote polls a pty by blocking reads, which never end when the board says nothing.
        self._transport.is_pty = False
        try:
            self._enter(fresh)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def serial(self):
        """The open pyserial object, for what comes after `restart()`."""
        return self._transport.serial

    def close(self):
        # A board that was unplugged or reset itself has taken the port with it.
        with contextlib.suppress(OSError):
            self._transport.close()

    def exec(self, code):
        """Run code on the board and return what it printed, as bytes. Raises RemoteError."""
        from mpremote.transport import TransportError, TransportExecError

        try:
            return self._transport.exec(code)
        except TransportExecError as e:
            last = e.error_output.strip().splitlines()[-1] if e.error_output.strip() else "error"
            raise RemoteError(f"the board failed: {last}", e.error_output) from None
        except (TransportError, OSError) as e:
            raise RemoteError(f"lost the board on {self.port}: {e}") from None

    def ask(self, expression):
        """The value of an expression, through JSON. Raises RemoteError."""
        # Not by print(): an interrupted gateway may have left its own in place.
        out = self.exec(f"import json, sys\nsys.stdout.write('\\n' + json.dumps({expression}))")
        try:
            return json.loads(out.rstrip().rsplit(b"\n", 1)[-1])
        except ValueError:
            raise RemoteError(f"the board answered {out[-60:]!r}") from None

    def identity(self):
        """What runs there: dict of platform, machine, version, release and mpy (.mpy format)."""
        return self.ask(
            "(lambda s: {'platform': s.platform, 'version': s.version,"
            " 'machine': getattr(s.implementation, '_machine', '?'),"
            " 'release': '.'.join(str(n) for n in s.implementation.version[:3]),"
            " 'mpy': getattr(s.implementation, '_mpy', 0)})(__import__('sys'))"
        )

    def write_file(self, path, data, progress=lambda n: None):
        """Write data to path (its folder exists). progress: function(bytes just written)."""
        from binascii import b2a_base64

        code = f"from binascii import a2b_base64 as a\nf = open({path!r}, 'wb')\n"
        for at in range(0, len(data), CHUNK):
            chunk = data[at : at + CHUNK]
            self.exec(code + f"f.write(a({b2a_base64(chunk, newline=False)!r}))")
            code = ""
            progress(len(chunk))
        self.exec(code + "f.close()")

    def bootloader(self):
        """Restart the board into its boot loader. The port disappears."""
        with contextlib.suppress(OSError):
            self._transport.exec_raw_no_follow("import machine\nmachine.bootloader()")

    def leave(self):
        """Leave the raw REPL for the friendly one; nothing is started."""
        with contextlib.suppress(OSError):
            self._transport.exit_raw_repl()

    def restart(self):
        """Soft reset out of the raw REPL: boot.py and main.py run. The stream is theirs now."""
        try:
            self._transport.exit_raw_repl()
            self._transport.read_until(1, b">>> ", timeout=3)
            self.serial.write(b"\x04")
        except OSError as e:
            raise RemoteError(f"lost the board on {self.port}: {e}") from None

    def _enter(self, fresh):
        from mpremote.transport import TransportError

        for timeout in _ATTEMPTS_S:
            heard = io.StringIO()
            try:
                with contextlib.redirect_stdout(heard):  # mpremote prints what it did not expect
                    self._transport.enter_raw_repl(soft_reset=fresh, timeout_overall=timeout)
                return
            except TransportError:
                time.sleep(0.2)
            except OSError as e:
                raise RemoteError(f"lost the board on {self.port}: {e}") from None
        silent = heard.getvalue().strip() in ("", "b''")
        raise RemoteError(
            f"{self.port} does not answer as MicroPython does ("
            + ("it says nothing" if silent else f"it says {heard.getvalue().strip()[:80]}")
            + "); press the board's reset button, or flash it first: mcpgw flash BOARD"
        )


def connect(port, seconds, fresh=False):
    """A Remote on a port that has just appeared. Raises RemoteError after so many seconds.

    The system may still be setting its permissions, or its modem manager be trying it out.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return Remote(port, fresh)
        except RemoteError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.5)


def why_not_open(port, error):
    """One line about a port that could not be opened."""
    if os.path.exists(port) and not os.access(port, os.R_OK | os.W_OK):
        return f"no permission for {port}: {permission_advice()}"
    if os.name == "posix" and port.startswith("/") and not os.path.exists(port):
        return f"{port} does not exist; is the board plugged in?"
    text = str(error)
    if "failed to access" in text or "exclusively lock" in text:
        return f"{port} is in use by another program (a bridge, an editor, a terminal?)"
    return f"cannot open {port}: {text}"


def permission_advice():
    """How a Linux user is let at serial ports."""
    return "sudo usermod -aG dialout $USER, then log out and in again"
