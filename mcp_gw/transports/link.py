"""The serial link: frames beside MCP on one byte stream (docs/serial-link.md), board's end.

`encode` and `decode` are the codec of both ends; `Link` is the state of the board's end.
"""

import json
from binascii import crc32, hexlify

from ..compat import const, ticks_add, ticks_diff, ticks_ms

VERSION = const(1)
RS = 0x1E
MAX_PAYLOAD = const(0xFFFFFF)
# A host that has been silent for this long is gone.
SILENCE_MS = const(10_000)
# A tick() this long after the one before: the board was busy with something else.
_AWAY_MS = const(1000)
# Log text that is kept while no bridge listens; the oldest goes first.
_LOG_KEPT = const(1024)
_LOG_CHUNK = const(240)


def encode(channel, parts):
    """One frame as a list of bytes-like parts: header, payload parts, LF.

    channel: one lower-case ASCII letter as bytes; parts: list of bytes-like, the payload.
    """
    crc = crc32(channel)
    n = 0
    for part in parts:
        crc = crc32(part, crc)
        n += len(part)
    if n > MAX_PAYLOAD:
        raise ValueError("payload of %d bytes" % n)
    frame = [("\x1e%s %x %08x " % (chr(channel[0]), n, crc)).encode()]
    frame.extend(parts)
    frame.append(b"\n")
    return frame


def decode(buf, lo, hi):
    """Check the frame buf[lo:hi] (no LF) and return (channel byte, payload start, payload end).

    Raises ValueError saying what is wrong: "header", "length" or "crc".
    """
    view = memoryview(buf)
    head = bytes(view[lo : min(hi, lo + 20)])
    fields = head.split(b" ", 3)
    if len(fields) < 3 or len(fields[0]) != 2 or fields[0][0] != RS or len(fields[2]) != 8:
        raise ValueError("header")
    if not 97 <= fields[0][1] <= 122:
        raise ValueError("header")
    try:
        n = int(fields[1], 16)
        crc = int(fields[2], 16)
    except ValueError:
        raise ValueError("header") from None
    start = lo + 13 + len(fields[1])
    if start + n != hi or n > MAX_PAYLOAD:
        raise ValueError("length")
    if crc32(view[start:hi], crc32(fields[0][1:2])) != crc:
        raise ValueError("crc")
    return fields[0][1], start, hi


def _ignore(name):
    """A gateway without upstreams does not care."""


class Link:
    """The board's end of the link on one port: hello, log text, conversations with upstreams.

    write: function(parts) that puts one whole line on the wire, starting on a new line.
    on_hello: function(dict of the host's hello) -> dict of what this board says of itself.
    on_change: function(name): an upstream became reachable or not, or its tools may have changed;
    function(None): the bridge is new or gone.
    """

    def __init__(self, write):
        self._write = write
        self.on_hello = None
        self.on_change = _ignore
        self.session = None  # id of the bridge's hello, while the bridge is there
        self.host = None  # the last such id: silence alone does not make it another bridge
        self._ticked = ticks_ms()
        self._names = ()
        self._heard = 0
        self._log = b""
        self.peer_rx = 0
        self.deliver = None  # what the bridge says of batches of queued calls
        self.states = {}
        self.conversations = {}  # upstream's name -> function(buf, start, end) for its messages

    @property
    def up(self):
        """Whether a bridge is there."""
        return self.session is not None

    def tick(self):
        """Notice that the bridge has gone silent."""
        now = ticks_ms()
        away = ticks_diff(now, self._ticked)
        self._ticked = now
        if away > _AWAY_MS:
            # Nobody listened meanwhile (a tool blocked the board): it may have spoken.
            self._heard = ticks_add(self._heard, min(away, max(0, ticks_diff(now, self._heard))))
        if self.session and ticks_diff(now, self._heard) > SILENCE_MS:
            self.session = None
            self.states = {}
            self.on_change(None)

    @property
    def settling(self):
        """Whether the bridge has yet to say which of its upstreams can be reached."""
        return self.up and any(name not in self.states for name in self._names)

    def send(self, channel, parts):
        self._write(encode(channel, parts))

    def line(self, buf, lo, hi):
        """One line that begins with RS has come in."""
        try:
            channel, start, end = decode(buf, lo, hi)
            if channel == 0x75:  # u
                self._message(buf, start, end)
                return
            value = json.loads(bytes(memoryview(buf)[start:end]))
            if channel == 0x68:  # h
                self._on_hello(value)
            elif channel == 0x73:  # s
                self._on_states(value)
            elif channel == 0x63:  # c
                self.on_change(value)
        except Exception as e:
            # Whatever it was, the next line is served.
            self.refuse(str(e) or type(e).__name__)

    def refuse(self, why):
        """Tell the host that a frame was dropped."""
        if self.session:
            self.send(b"e", [json.dumps(why).encode()])

    def _message(self, buf, start, end):
        at = start
        while at < end and buf[at] != 0x20:
            at += 1
        take = self.conversations.get(bytes(memoryview(buf)[start:at]).decode())
        if take is None:
            raise ValueError("no such upstream")
        take(buf, at + 1, end)

    def _on_hello(self, host):
        if host["v"] != VERSION:
            self.send(b"h", [b'{"v":%d}' % VERSION])
            return
        new = self.session is None or host["id"] != self.host
        self.peer_rx = int(host["rx"])
        self._names = host["upstreams"]
        self.deliver = host.get("deliver")
        if new:
            self.session = None  # what is given up now does not concern this bridge
        answer = self.on_hello(host)
        answer["v"] = VERSION
        answer["id"] = self.session = self.host = str(host["id"])
        self._heard = ticks_ms()
        self.send(b"h", [json.dumps(answer).encode()])
        if new:
            self.states = {}
            self.on_change(None)
            if self._log:
                kept, self._log = self._log, b""
                self._send_log(kept)

    def _on_states(self, states):
        before = self.states
        self.states = {str(name): bool(up) for name, up in states.items()}
        for name, up in self.states.items():
            if before.get(name) != up:
                self.on_change(name)

    def log(self, text):
        """Send log text, or keep the last KB of it until a bridge is there."""
        data = text.encode()
        if self.up:
            self._send_log(data)
        else:
            self._log = (self._log + data)[-_LOG_KEPT:]

    def _send_log(self, data):
        while data:
            n = min(len(data), _LOG_CHUNK)
            while n < len(data) and n and data[n] & 0xC0 == 0x80:
                n -= 1  # never cut a character in two
            self.send(b"l", [json.dumps(_text(data[: n or _LOG_CHUNK])).encode()])
            data = data[n or _LOG_CHUNK :]


def _text(data):
    """Decode what was kept; a character whose head fell off the front is dropped."""
    i = 0
    while i < len(data) and data[i] & 0xC0 == 0x80:
        i += 1
    return data[i:].decode()


def random_hex(n, entropy=b""):
    """n hexadecimal digits, unpredictable where the port has os.urandom, mixed with `entropy`."""
    from hashlib import sha256

    try:
        from os import urandom

        seed = urandom(16)
    except ImportError:
        import random

        seed = b"%d %d" % (random.getrandbits(30), ticks_ms())
    return hexlify(sha256(seed + entropy).digest()).decode()[:n]
