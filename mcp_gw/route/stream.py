"""One outgoing TCP or TLS byte stream, the same on MicroPython and CPython.

What asyncio's own streams do not tell, and a gateway that must not execute a call twice has to
know: whether a request was handed to the network as a whole. `sent` says so.
"""

import asyncio
import sys

from ..errors import Unavailable
from ..pem import certificates  # noqa: F401 (for those who import this module)

_MICRO = sys.implementation.name == "micropython"

if _MICRO:
    try:
        import socket
    except ImportError:  # a board without a network
        socket = None
    from asyncio import core
    from errno import (
        ECONNABORTED,
        ECONNREFUSED,
        ECONNRESET,
        EHOSTUNREACH,
        EINPROGRESS,
        ETIMEDOUT,
    )

    _FAILED = (ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ETIMEDOUT)


class Unsent(Unavailable):
    """The connection broke before all of a request was handed over: it cannot be acted on."""


def client_context(ca, verify):
    """A TLS context for clients. ca: list of DER certificates (bytes) to trust, or None: the
    system's (CPython only).

    verify=False accepts any certificate. Raises ValueError for a certificate that cannot be read.
    """
    if _MICRO:
        import tls

        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        if verify:
            for der in ca:
                context.load_verify_locations(der)
        else:
            context.verify_mode = tls.CERT_NONE
        return context
    import ssl

    if ca is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for der in ca:
            context.load_verify_locations(cadata=der)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _MicroStream:
    """Over a non-blocking socket and the asyncio poller. One buffer is made at connect and reused
    by every read.

    buf: what read() read. sent: whether the last send() handed over everything.
    """

    CHUNK = 2048  # bytes read at once
    NEEDS_CA = True  # there is no system store of certificates

    def __init__(self):
        self.buf = bytearray(self.CHUNK)
        self.sent = False
        self._s = None

    async def connect(self, host, port, context):
        """Raises OSError, or ValueError for a certificate that is not acceptable. getaddrinfo
        blocks the board.
        """
        family, kind, proto, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
        s = socket.socket(family, kind, proto)
        try:
            s.setblocking(False)
            try:
                s.connect(address)
            except OSError as e:
                if e.errno != EINPROGRESS:
                    raise
            await _writable(s)
            try:
                s.connect(address)  # once more: tells how the attempt ended
            except OSError as e:
                # Ports differ in how they say "connected"; if it is not, send() will find out.
                if e.errno in _FAILED:
                    raise
            if context:
                s = context.wrap_socket(s, server_hostname=host, do_handshake_on_connect=False)
            self._s = s
        finally:
            if self._s is None:
                s.close()

    async def send(self, data):
        """Send all of data; the TLS handshake happens here. Raises Unsent."""
        self.sent = False
        view = memoryview(data)
        done = 0
        while True:
            try:
                n = self._s.write(view[done:])
            except (OSError, ValueError) as e:
                raise Unsent(describe(e))
            done += n or 0
            if done == len(data):
                self.sent = True
                return
            await _writable(self._s)

    async def read(self):
        """Wait for bytes: n > 0 of them are in buf; 0 at the end of the stream. Raises OSError or
        ValueError.
        """
        while True:
            await _readable(self._s)
            n = self._s.readinto(self.buf)
            if n is not None:
                return n

    async def stale(self):
        """Whether an idle connection is closed or holds bytes nobody asked for."""
        try:
            return self._s.read(1) is not None
        except (OSError, ValueError):
            return True

    def close(self):
        if self._s:
            self._s.close()
            self._s = None


def _writable(s):
    yield core._io_queue.queue_write(s)


def _readable(s):
    yield core._io_queue.queue_read(s)


class _Stream:
    """The same over CPython's asyncio streams."""

    CHUNK = 65536
    NEEDS_CA = False

    def __init__(self):
        self.buf = b""
        self.sent = False
        self._reader = self._writer = None

    async def connect(self, host, port, context):
        name = host if context else None
        self._reader, self._writer = await asyncio.open_connection(
            host, port, ssl=context, server_hostname=name, limit=self.CHUNK
        )
        # drain() shall wait until the kernel has everything.
        self._writer.transport.set_write_buffer_limits(high=1, low=0)

    async def send(self, data):
        self.sent = False
        transport = self._writer.transport
        if transport.is_closing():
            raise Unsent("the connection was closed")
        self._writer.write(data)
        if transport.is_closing():  # the kernel refused it at once
            raise Unsent("the connection was reset")
        if transport.get_write_buffer_size():
            try:
                await self._writer.drain()
            except OSError as e:
                raise Unsent(describe(e)) from None
            except asyncio.CancelledError:
                self.sent = not transport.get_write_buffer_size()
                raise
        self.sent = True

    async def read(self):
        self.buf = await self._reader.read(self.CHUNK)
        return len(self.buf)

    async def stale(self):
        # Two turns of the loop: one to poll the socket, one for the reader to be told.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The buffer is the only witness of bytes nobody asked for (a 408 before the close).
        return (
            self._writer.transport.is_closing()
            or self._reader.at_eof()
            or len(getattr(self._reader, "_buffer", b"")) > 0
        )

    def close(self):
        if self._writer:
            self._writer.transport.abort()  # what is still buffered must not be sent later
            self._writer = None


Stream = _MicroStream if _MICRO else _Stream
HAS_NETWORK = not _MICRO or socket is not None


def describe(e):
    """A short text for an OSError or ValueError of the network."""
    text = str(e).strip()
    return text.replace("\n", "; ") or type(e).__name__
