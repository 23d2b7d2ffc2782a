"""The time from time servers: one UDP packet there and one back (SNTP: RFC 4330; RFC 5905).

A packet that answers nothing we asked is passed over; a server that says that it does not know the
time, or that it does not want to be asked, is believed.
"""

import asyncio
import os
import socket
import struct
from errno import EAGAIN

from .clock import iso_time
from .compat import const, sleep_ms, ticks_diff, ticks_ms
from .errors import GatewayError
from .reactor import adopt, unwatch, watch

_PORT = const(123)
_SIZE = const(48)
_MAX_PACKET = const(512)  # extension fields and signatures behind the 48 bytes are not looked at
_REPLY_MS = const(4000)
_MAX_STRAYS = const(16)  # packets that are no answer to us, while we wait for one
# Seconds from 1900, where NTP's time begins, to 1970; its 32 bits began anew in 2036.
_EPOCH = const(2208988800)
_MAX_DELAY = const(0x10000)  # 1 s, as 16.16 fixed point: of a server's way to its own reference
# Seconds until the servers are asked again when none has answered, doubled each time; and when the
# time was not believed yet.
_FIRST_S = const(2)
_AGAIN_S = const(64)


class Stray(GatewayError):
    """The packet is no answer to our request."""


class Unusable(GatewayError):
    """The server answers, but not with a time to be believed."""


class Kiss(Unusable):
    """The server wants to be asked less often (code "RATE"), or not at all. code: str."""

    def __init__(self, code):
        super().__init__("it turns us away (%s)" % code)
        self.code = code


def request(nonce):
    """The packet that asks. nonce: 8 random bytes, in place of our time: the answer repeats them,
    and nobody learns our clock (draft-ietf-ntp-data-minimization)."""
    return b"\x23" + b"\0" * 39 + nonce


def parse(data, nonce):
    """(unix seconds, milliseconds) at which the answer left the server.

    Raises Stray, Unusable or Kiss.
    """
    if len(data) < _SIZE:
        raise Stray("short")
    first, stratum = data[0], data[1]
    if first & 7 != 4 or not 3 <= first >> 3 & 7 <= 4:
        raise Stray("not a server's")
    if data[24:32] != nonce:
        raise Stray("for another request")
    if stratum == 0:
        code = data[12:16]
        raise Kiss(code.decode() if all(32 < c < 127 for c in code) else "?")
    if first >> 6 == 3 or stratum > 15:
        raise Unusable("it does not know the time itself")
    delay, dispersion = struct.unpack_from(">iI", data, 4)
    if not -_MAX_DELAY < delay < _MAX_DELAY or dispersion >= _MAX_DELAY:
        raise Unusable("its time is too uncertain")
    received, sent, fraction = struct.unpack_from(">I4xII", data, 32)
    if not any(data[40:48]) or (sent - received) & 0xFFFFFFFF > 1:
        raise Unusable("its times do not fit together")
    unix_s = sent - _EPOCH
    if sent < 0x80000000:
        unix_s += 1 << 32
    return unix_s, fraction * 1000 >> 32


def split_host(text):
    """(host, port) of "host", "host:port", "[IPv6]:port" or an IPv6 address. Raises ValueError."""
    host, found, port = text.rpartition(":")
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        found, port = port[:1], port[1:]
    elif ":" in host or not found:
        host, found = text, ""
    port = int(port) if found else _PORT
    if not host or not 0 < port < 65536:
        raise ValueError("no host and port: %s" % text)
    return host, port


class _Asked:
    """One request under way."""

    def __init__(self, sock, nonce):
        self._sock = sock
        self._nonce = nonce
        self._strays = 0
        self.came = asyncio.Event()
        self.error = self.time = None

    def ready(self):
        try:
            data = self._sock.recv(_MAX_PACKET)
        except OSError as e:
            if e.errno == EAGAIN:
                return
            self._end(e)
            return
        try:
            self.time = parse(data, self._nonce)
        except Stray as e:
            self._strays += 1
            if self._strays >= _MAX_STRAYS:
                self._end(e)
            return
        except Unusable as e:
            self._end(e)
            return
        self._end(None)

    def _end(self, error):
        self.error = error
        unwatch(self._sock)
        self.came.set()


async def ask(server):
    """The time now (unix seconds) of a server: "host" or "host:port".

    Raises OSError where it cannot be reached or does not answer within 4 s, Stray where only wrong
    packets came, Unusable and Kiss. Resolving a name blocks a board.
    """
    host, port = split_host(server)
    row = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    sock = socket.socket(row[0], socket.SOCK_DGRAM)
    nonce = os.urandom(8)
    asked = _Asked(sock, nonce)
    try:
        sock.setblocking(False)
        sock.connect(row[4])  # packets from elsewhere are not for us
        adopt()
        watch(sock, asked.ready)
        begun = ticks_ms()
        sock.send(request(nonce))
        try:
            await asyncio.wait_for(asked.came.wait(), _REPLY_MS / 1000)
        except asyncio.TimeoutError:
            raise OSError("no answer within %d ms" % _REPLY_MS)
    finally:
        unwatch(sock)
        sock.close()
    if asked.error:
        raise asked.error
    # The answer was under way for half of the time that both took.
    unix_s, ms = asked.time
    return unix_s + (ms + ticks_diff(ticks_ms(), begun) // 2) // 1000


async def keep(clock, log, servers, every_s):
    """Set a Clock from the first of `servers` that answers, every `every_s` seconds, for ever.

    A server that turned us away is not asked again. log: function(text).
    """
    servers = list(servers)
    told = None
    wait = _FIRST_S
    while servers:
        pause = wait
        for server in servers[:]:
            try:
                unix_s = await ask(server)
            except (OSError, ValueError, GatewayError) as e:
                news = what = "%s: %s" % (server, e)
                if isinstance(e, Kiss):
                    if e.code == "RATE":
                        pause = every_s
                    else:
                        servers.remove(server)
            else:
                believed = clock.set(unix_s, 1)
                pause = every_s if believed or clock.system else _AGAIN_S
                what = "the clock is set" if believed else "another time than before"
                what = "%s: %s (%s)" % (server, iso_time(unix_s), what)
                news = server if believed else what  # that it is later now is none
                break
        else:
            wait = min(2 * wait, every_s)
        if news != told:
            told = news
            log("time: %s\n" % what)
        await sleep_ms(pause * 1000)
