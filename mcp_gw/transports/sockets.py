"""Non-blocking sockets, the same on MicroPython and CPython, with or without TLS."""

import socket
from errno import (
    EAGAIN,
    EALREADY,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTUNREACH,
    EINPROGRESS,
    ETIMEDOUT,
)

from ..compat import MICROPYTHON, sleep_ms, ticks_diff, ticks_ms

if MICROPYTHON:
    LATER = ()  # what is not possible now is told by None, or by EAGAIN

    def receive(sock, buf):
        """Read into buf what there is: number of bytes, 0 at the end, None: nothing now."""
        return sock.readinto(buf)

    def transmit(sock, buf, lo, hi):
        """Send what can be sent now of buf[lo:hi]; how many bytes, None: none now."""
        return sock.write(buf, lo, hi - lo)

    def address_of(peer):
        """The text of what accept() or recvfrom() says of the other end."""
        if isinstance(peer, tuple):
            return peer[0]
        try:
            row = socket.sockaddr(peer)
            return socket.inet_ntop(row[0], row[1])
        except (AttributeError, OSError, ValueError, IndexError):
            return ""

else:
    from ssl import SSLWantReadError, SSLWantWriteError

    LATER = (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)

    def receive(sock, buf):
        try:
            return sock.recv_into(buf)
        except LATER:
            return None

    def transmit(sock, buf, lo, hi):
        try:
            return sock.send(memoryview(buf)[lo:hi])
        except LATER:
            return None

    def address_of(peer):
        return peer[0]


_LOOK_MS = 20
_UNDER_WAY = (EINPROGRESS, EALREADY, EAGAIN)
_FAILED = (ECONNABORTED, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ETIMEDOUT)


async def connect(host, port, timeout_ms):
    """A connected, non-blocking TCP socket. Raises OSError. Resolving a name blocks a board."""
    row = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(row[0], socket.SOCK_STREAM)
    begun = ticks_ms()
    again = False
    try:
        sock.setblocking(False)
        while not _connected(sock, row[-1], again):
            again = True
            if ticks_diff(ticks_ms(), begun) > timeout_ms:
                raise OSError("no answer within %d ms" % timeout_ms)
            await sleep_ms(_LOOK_MS)
    except BaseException:
        sock.close()
        raise
    if hasattr(socket, "TCP_NODELAY"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _connected(sock, address, again):
    """Begin to connect, or (again) ask how far it is."""
    try:
        sock.connect(address)
    except OSError as e:
        if e.errno in _UNDER_WAY:
            return False
        if not again or e.errno in _FAILED:
            raise
        # Ports differ in how they say "connected already"; if it is not, the first write tells.
    return True
