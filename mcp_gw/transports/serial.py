"""Byte streams: the console of a board (USB CDC or UART REPL), a UART, stdin and stdout of the
unix build."""

import sys

from ..compat import HAS_STDERR, const, ticks_diff, ticks_ms
from ..protocol.framing import LineBuffer
from ..protocol.jsontext import gather
from .link import RS, Link

try:
    from _mcpscan import read as _console_read
    from _mcpscan import write as _console_write
except ImportError:  # stock firmware
    _console_read = _console_write = None

_TX_SIZE = 1024 if HAS_STDERR else 512
# After this long without a byte moved a write is given up, as the console's is.
_STUCK_MS = const(2000)
_BRACE = const(0x7B)


class Console:
    """Standard input and output. On a board Ctrl-C still interrupts, as the REPL's users
    expect."""

    def __init__(self):
        self.stream = sys.stdin
        self._poll = None
        if _console_read is None:
            import select

            self._poll = select.poll()
            self._poll.register(sys.stdin, select.POLLIN)

    def read(self, buf, start, end):
        """Read what is there, at most end - start bytes, without waiting. 0: nothing; -1: end of
        file."""
        if _console_read is not None:
            return _console_read(buf, start, end)
        n = start
        view = memoryview(buf)
        while n < end and self._poll.poll(0):
            if not sys.stdin.buffer.readinto(view[n : n + 1]):
                return n - start or -1
            n += 1
        return n - start

    def write(self, buf, start, end):
        """Write all; returns how many bytes went out."""
        if _console_write is not None:
            return _console_write(buf, start, end)
        sys.stdout.buffer.write(memoryview(buf)[start:end])
        return end - start


class Uart:
    """A machine.UART, or any stream with any(), readinto() and write(). Give it RTS and CTS."""

    def __init__(self, uart):
        self.stream = uart

    def read(self, buf, start, end):
        if not self.stream.any():
            return 0
        return self.stream.readinto(memoryview(buf)[start:end]) or 0

    def write(self, buf, start, end):
        view = memoryview(buf)
        at = start
        moved = ticks_ms()
        while at < end:
            n = self.stream.write(view[at:end])
            if n:
                at += n
                moved = ticks_ms()
            elif ticks_diff(ticks_ms(), moved) > _STUCK_MS:
                break  # the other end holds CTS: it does not read
        return at - start


class Port:
    """One stream's lines: MCP messages to `server` through `take`, frames to `link`.

    io: Console, Uart or an object like them. cap: longest line in bytes.
    take: function(port, buf, lo, hi) for a message; oversized: the same for the beginning of one
    too long.
    session: what the server remembers of the client here.
    """

    def __init__(self, io, cap, take, oversized, session):
        self.io = io
        self.stream = io.stream
        self.session = session
        self.lines = LineBuffer(cap)
        self.link = Link(self.send)
        self._take = take
        self._oversized = oversized
        self._tx = bytearray(_TX_SIZE)
        self._plain = True  # no MCP message and no hello yet: a person may be looking
        self._mid_line = False
        self.ended = False  # nothing more will come in

    def fill(self):
        """Read once. Returns the number of bytes, 0 when there are none now, -1 at the end."""
        lines = self.lines
        n = self.io.read(lines.buf, lines.end, len(lines.buf))
        if n > 0:
            lines.end += n
        return n

    def drain(self):
        """Handle every complete line that has been read; returns how many there were."""
        lines = self.lines
        count = 0
        while True:
            kind = lines.next()
            if kind == 0:
                return count
            lo, hi = lines.lo, lines.hi
            while lo < hi and lines.buf[lo] in b" \t":
                lo += 1
            if lo == hi:
                continue
            count += 1
            first = lines.buf[lo]
            if first == _BRACE:
                self._plain = False
                if kind == 1:
                    self._take(self, lines.buf, lo, hi)
                else:
                    self._oversized(self, lines.buf, lo, hi)
            elif first == RS:
                self._plain = False
                if kind == 1:
                    self.link.line(lines.buf, lo, hi)
                else:
                    self.link.refuse("longer than %d bytes" % lines.cap)
            elif HAS_STDERR and first == 0x5B and kind == 1:
                # A stdio client that sends a batch deserves its error; on a shared wire it is
                # noise.
                self._take(self, lines.buf, lo, hi)

    def send(self, parts):
        """Write one line made of a list of bytes-like parts (the LF is added where it is
        missing)."""
        tx = self._tx
        start = 0
        if self._mid_line:
            self._mid_line = False
            tx[0] = 0x0A
            start = 1
        end = gather(parts, tx, start)
        if 0 <= end < _TX_SIZE:
            if tx[end - 1] != 0x0A:
                tx[end] = 0x0A
                end += 1
            self._write(tx, 0, end)
            return
        # Too long for the buffer: part by part. USB and UART drivers gather by themselves.
        if start:
            self._write(b"\n", 0, 1)
        last = b""
        for part in parts:
            if len(part):
                if not self._write(part, 0, len(part)):
                    return
                last = part
        if last[len(last) - 1] != 0x0A:
            self._write(b"\n", 0, 1)

    def answer(self, parts, status=200):
        """The answer to a request; on a line of its own, like everything else."""
        self.send(parts)

    def close_stream(self):
        """There is none: the line stays."""

    def _write(self, buf, start, end):
        if self.io.write(buf, start, end) < end - start:
            # The other end has stopped reading in the middle of a line; the next begins anew.
            self._mid_line = True
            return False
        return True

    def log(self, text):
        """What the user printed: to the bridge, else as comments while nobody has spoken MCP here
        yet."""
        if HAS_STDERR and not self.link.up:
            sys.stderr.write(text)
            return
        if not self._plain:
            self.link.log(text)
            return
        out = bytearray()
        for i, line in enumerate(text.split("\n")):
            if i:
                out.extend(b"\n")
                self._mid_line = False
            if line:
                if not self._mid_line:
                    out.extend(b"# ")
                out.extend(line.encode())
                self._mid_line = True
        self.io.write(out, 0, len(out))
