"""Newline framing, and what the envelope scanner gives names to.

The scanner is the C module `_mcpscan` where the firmware has it, else its twin in scan.py.
"""

from array import array

from ..compat import const
from .jsontext import loads

try:
    from _mcpscan import find, move, scan
except ImportError:
    from .scan import find, move, scan  # noqa: F401 (scan is for those who import this module)

# Fields: spans[2 * f] and spans[2 * f + 1] say where field f lies, -1 and -1 if it is absent.
JSONRPC = const(0)
ID = const(1)
METHOD = const(2)
PARAMS = const(3)
RESULT = const(4)
ERROR = const(5)
NAME = const(6)  # params.name
ARGUMENTS = const(7)  # params.arguments
META = const(8)  # params._meta
TOKEN = const(9)  # params._meta.progressToken
VERSION = const(10)  # params._meta["io.modelcontextprotocol/protocolVersion"]
KEY = const(11)  # params._meta["mcp-gw/key"]

ESCAPES = const(24)  # spans[ESCAPES]: bit f is set if the span of field f contains a backslash
ERROR_AT = const(25)  # spans[ERROR_AT]: offset of the error, else -1
SPANS_LEN = const(26)

# Kinds of message.
REQUEST = const(1)
NOTIFICATION = const(2)
RESPONSE = const(3)
ERROR_RESPONSE = const(4)

E_SYNTAX = const(-1)  # not JSON as RFC 8259 has it
E_UTF8 = const(-2)
E_DEPTH = const(-3)  # nested deeper than max_depth; the outer object is depth 1
E_DUPLICATE = const(-4)  # a member of the envelope, of params or of _meta that we read comes twice
E_BATCH = const(-5)
E_NOT_OBJECT = const(-6)
E_ENVELOPE = const(-7)  # JSON, but no JSON-RPC 2.0 message

_LF = const(10)
_CR = const(13)


def new_spans():
    """An array for scan() to fill."""
    return array("i", [-1] * SPANS_LEN)


class LineBuffer:
    """Cuts a byte stream into lines; one buffer for all of them, allocated once.

    `cap` is the longest line in bytes, without its LF or CR LF. The reader puts bytes into
    `buf[end:]`, adds their number to `end`, and calls next() until it returns 0; then there is
    room again for at least one byte.
    """

    def __init__(self, cap):
        self.cap = cap
        # Room for CR and LF behind the longest line.
        self.buf = bytearray(cap + 2)
        self.reset()

    def reset(self):
        """Forget everything, a half line included."""
        self.lo = 0
        self.hi = 0
        self.end = 0
        self._at = 0  # where the first line that was not handed out begins
        self._seen = 0  # up to here there is no LF after _at
        self._cut = False  # the rest of an over-long line is being discarded

    def next(self):
        """The next line, if there is one; what buf[lo:hi] holds stays valid until the next call.

        Returns 1: buf[lo:hi] is a line; 2: buf[lo:hi] are the first `cap` bytes of an over-long
        line, the rest of which is dropped; 0: nothing yet.
        """
        while True:
            at = self._at
            lf = find(self.buf, _LF, self._seen, self.end)
            if lf < 0:
                return self._no_line(at)
            self._at = self._seen = lf + 1
            if self._cut:
                self._cut = False
                continue
            hi = lf
            if hi > at and self.buf[hi - 1] == _CR:
                hi -= 1
            self.lo = at
            if hi - at > self.cap:
                self.hi = at + self.cap
                return 2
            self.hi = hi
            return 1

    def _no_line(self, at):
        end = self.end
        if self._cut:
            at = end
        elif end - at == len(self.buf):
            self._cut = True
            self._at = self._seen = end
            self.lo = at
            self.hi = at + self.cap
            return 2
        # A half line moves once at most: the next time it begins at 0 already.
        if at:
            if at < end:
                move(self.buf, at, end)
            end -= at
            self._at = 0
            self.end = end
        self._seen = end
        return 0


def text(buf, spans, field):
    """The str that a field holds whose value is a JSON string."""
    lo = spans[2 * field]
    hi = spans[2 * field + 1]
    if spans[ESCAPES] >> field & 1:
        return loads(bytes(memoryview(buf)[lo:hi]), True)
    return str(memoryview(buf)[lo + 1 : hi - 1], "utf-8")
