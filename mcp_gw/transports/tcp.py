"""Streamable HTTP over TCP, with or without TLS: listening, connections, time-outs.

Two hooks let other parts of a gateway take part without this file knowing them.

guard: an object with check(method, path, headers, peer), asked once the head of a request is
complete and before its body is read, for every path and method except a CORS preflight.
    method: str such as "POST"; path: str, the request target without its query, as it was sent;
    headers: dict of lower-case name -> value, both bytes, repeated fields joined with ", ";
    peer: str, the address at the other end without its port, "" where the port cannot tell.
    Returns the principal (str, or None for anybody) to let the request pass; the principal goes
    to session.principal, and a session belongs to the principal that began it. Or returns a tuple
    (status, fields, body), which is the answer, whatever its status: fields is an iterable of
    (name, value) str pairs, Content-Type among them where body (bytes) is not empty;
    Content-Length is added. It must not wait. A head that repeats on a connection is asked about
    once a second, not once a request.

endpoints: an object with handle(method, path, query, headers, body, respond), asked for every
path other than that of MCP, after guard, when the body is complete.
    method: "GET" (for HEAD too, whose body is then left out), "POST", ...; path, headers: as
    above; query: str, what follows "?", "" without one; body: bytes;
    respond(status, fields, parts): sends the answer, now or later, once; fields as above, parts: a
    list of bytes-like. Returns whether there is such a path; False gets a 404.
"""

import socket
from errno import EAGAIN, ECONNABORTED

from ..compat import HAS_STDERR, const, ticks_diff, ticks_ms
from ..errors import ConfigError
from ..http_app import http_app
from ..protocol.http_connection import (
    CLOSED,
    CLOSING,
    IDLE,
    PENDING,
    RECEIVING,
    Connection,
    Limits,
)
from ..reactor import adopt, unwatch, watch
from .sockets import address_of, receive, transmit

_IN_SIZE = 65536 if HAS_STDERR else 2048
_OUT_SIZE = 32768 if HAS_STDERR else 2048
# Connections that are told 503, beside those that are served; more are closed without a word.
_REFUSED = const(4)
# Who has to make room for a new connection, in this order: phase, ms spent in it, and whether only
# those have to that never sent a request.
_GIVEN_UP = (
    (CLOSING, 200, False),
    (IDLE, 0, True),
    (RECEIVING, 1000, False),
    (IDLE, 1000, False),
)
_ACCEPTS = const(16)  # connections taken at a time
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class TCPConnection(Connection):
    """A Connection on a socket."""

    def __init__(self, server, sock, peer, tls):
        super().__init__(server.app, server.limits, peer)
        self._server = server
        self._sock = sock
        self._tls = tls
        self._busy = False
        self._broken = False
        self._reads = True  # what comes in is wanted
        self._left = False  # TLS holds some of it that no poll tells of
        self.ready = self._ready  # one bound method, not a new one each time
        watch(sock, self.ready)

    def transmit(self, buf, lo, hi):
        try:
            return transmit(self._sock, buf, lo, hi) or 0
        except (OSError, ValueError):  # ValueError: TLS
            self._broken = True
            return hi - lo

    def watch(self, read, write):
        self._reads = read
        if read or write:
            watch(self._sock, self.ready, read, write)
        else:
            unwatch(self._sock)

    def close(self):
        if self.phase != CLOSED:
            unwatch(self._sock)
            self._sock.close()
            self._server.forget(self)
            super().close()

    def tick(self, now):
        if self._broken:
            self.close()
            return
        super().tick(now)
        if self._left and self._reads:
            self._ready()

    def _ready(self):
        """The socket can be read, or written, or is broken."""
        if self._busy:  # a tool that runs for this very connection runs the event loop
            return
        server = self._server
        buf, server.buf = server.buf, None
        if buf is None:
            buf = bytearray(_IN_SIZE)
        self._busy = True
        try:
            if self.waiting:
                self.flush()
            while self._reads and self.phase != CLOSED:
                n = receive(self._sock, buf)
                if n:
                    self.feed(buf, 0, n)
                elif n == 0:
                    self.close()
                # Of a record that fills the buffer TLS may hold more.
                self._left = self._tls and n == len(buf)
                if not self._left:
                    break
            if self._broken:
                self.close()
        except (OSError, ValueError):
            self.close()
        except Exception as e:  # no memory: what was read is lost
            self.close()
            server.log(e)
        finally:
            self._busy = False
            server.buf = buf


class HttpServer:
    """Serves a gateway over HTTP.

    host, port: where to listen; path: of the MCP endpoint; insecure: listen beyond loopback
    although nobody has to show a token; hosts: names (with or without port) under which clients
    reach us, beside loopback's; origins: of web pages ("https://app.example") whose scripts may
    use us; tls: a TLS context for servers; guard: the hook above; endpoints: the other, or whether
    to have those of endpoints.py; announce: tell the local network that we are here
    (mdns.py): True, or a dict with address, interface or id as its Announcer has them. Further
    options are those of auth.guard_from() and tls_server.tls_from(). Raises ConfigError.
    """

    def __init__(
        self,
        gateway,
        host="127.0.0.1",
        port=8080,
        path="/mcp",
        insecure=False,
        hosts=(),
        origins=(),
        tls=None,
        guard=None,
        endpoints=True,
        announce=False,
        **more,
    ):
        mutual = more.get("client_ca") is not None
        if more:
            from ..auth import guard_from
            from ..tls_server import tls_from

            tls = tls_from(more) or tls
            scheme = "http" if tls is None else "https"
            guard = guard_from(more, gateway.clock.unix, gateway.log, path, scheme) or guard
            if more:
                raise ConfigError("option %s of http is not known" % sorted(more)[0])
        loopback = host in _LOOPBACK
        if not (loopback or guard is not None or mutual or insecure):
            raise ConfigError(
                "listening on %s lets others in: give token= (or another guard, or client_ca=),"
                " or insecure=True if everybody there may use every tool" % host
            )
        if type(port) is not int or not 0 <= port <= 65535:
            raise ConfigError("port must be from 0 to 65535")
        self._host = host
        self._port = port
        self._tls = tls
        self.log = gateway.log_exception
        config = gateway.config
        self._most = config["http_connections"]
        self.limits = Limits(
            config["http_head"],
            config["max_message"],
            config["http_backlog"],
            config["http_idle_s"] * 1000,
            config["http_request_s"] * 1000,
            config["http_quiet_s"] * 1000,
            _OUT_SIZE,
        )
        self.app = http_app(
            gateway, path, loopback, hosts, origins, guard, endpoints, self._figures
        )
        self.buf = bytearray(_IN_SIZE)  # what comes in, of whichever connection
        self.connections = []
        self.accepted = self.refused = 0  # connections so far
        self._announcer = None
        self._announced = None  # function that makes it
        if announce:
            from .mdns import announcer

            guarded = guard is not None or mutual
            self._announced = announcer(gateway, path, tls is not None, guarded, announce)
        self._listener = None
        self._resting = False  # accept() has failed, and is tried again with the next tick
        self.limits.now = self.app.now = ticks_ms()

    def listen(self):
        """Begin to listen. Raises OSError."""
        row = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)[0]
        listener = socket.socket(row[0], socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(row[4])
            listener.listen(min(self._most + 8, 128))
            listener.setblocking(False)
        except OSError as e:
            listener.close()
            told = "cannot listen on port %d of %s (%s)" % (self._port, self._host, e)
            raise OSError(e.errno, told) from e
        self._listener = listener
        watch(listener, self._accept)
        if self._announced is not None:
            self._announcer = self._announced(self.port)
            self._announcer.listen()

    @property
    def port(self):
        """The port we listen on."""
        if self._port == 0 and hasattr(self._listener, "getsockname"):
            return self._listener.getsockname()[1]
        return self._port

    def tick(self, now):
        """To be called now and then, with ticks in ms, from a task of the event loop."""
        adopt()
        self.limits.now = now
        if self._resting:
            self._resting = False
            watch(self._listener, self._accept)
        self.app.tick(now)
        if self._announcer is not None:
            self._announcer.tick(now)
        for connection in self.connections[:]:
            try:
                connection.tick(now)
            except Exception as e:
                self.log(e)
                connection.close()

    def close(self):
        """Stop listening, close all connections, forget the sessions."""
        self._resting = False
        if self._announcer is not None:
            self._announcer.close()
            self._announcer = None
        if self._listener is not None:
            unwatch(self._listener)
            self._listener.close()
            self._listener = None
        self.app.sessions.close()
        for connection in self.connections[:]:
            connection.close()
        self.app.tick(self.limits.now)

    def _figures(self):
        """Rows for /metrics."""
        sessions = len(self.app.sessions)
        pending = sum(one.phase == PENDING for one in self.connections)
        return [
            ("http_connections", "gauge", "HTTP connections now", len(self.connections)),
            ("http_requests_pending", "gauge", "HTTP requests without an answer yet", pending),
            ("http_connections_total", "counter", "HTTP connections so far", self.accepted),
            ("http_refused_total", "counter", "Connections there was no room for", self.refused),
            ("http_sessions", "gauge", "Sessions of legacy clients over HTTP", sessions),
        ]

    def forget(self, connection):
        """A connection has closed."""
        self.connections.remove(connection)

    def _accept(self):
        for _ in range(_ACCEPTS):
            if self._listener is None:
                return
            try:
                sock, peer = self._listener.accept()
            except OSError as e:
                if e.errno not in (EAGAIN, ECONNABORTED):
                    # No descriptors, no memory: not again and again, but once in a while.
                    unwatch(self._listener)
                    self._resting = True
                return
            try:
                self._take(sock, address_of(peer))
            except Exception as e:  # a TLS context that does not fit, no memory
                sock.close()
                self.log(e)

    def _take(self, sock, peer):
        sock.setblocking(False)
        self.accepted += 1
        room = len(self.connections) < self._most or self._make_room()
        self.refused += not room
        if not room and len(self.connections) >= self._most + _REFUSED:
            sock.close()
            return
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        elif hasattr(socket, "TCP_NODELAY"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = TCPConnection(self, sock, peer, self._tls is not None)
        self.connections.append(connection)
        if not room:
            connection.refuse(503, "too many connections", b"Retry-After: 2\r\n")

    def _make_room(self):
        """Close the connection that can best be spared, of several the oldest. False if there is
        none."""
        now = self.limits.now
        for phase, patience, unused in _GIVEN_UP:
            found = None
            for one in self.connections:
                age = ticks_diff(now, one.since)
                if one.phase != phase or age < patience or (unused and one.head is not None):
                    continue
                if found is None or age > ticks_diff(now, found.since):
                    found = one
            if found is not None:
                if phase == RECEIVING:
                    found.refuse(408, "the request took too long")
                found.close()
                return True
        return False
