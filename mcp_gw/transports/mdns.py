"""Announces a gateway that serves HTTP in the local network, as _mcp-gw._tcp (RFC 6762, RFC 6763):
the paired gateway (`mcpgw pi`) finds it without an address.

    gw.run("http", host="0.0.0.0", token="...", announce=True)

It answers for its own few records and nothing else. What comes in may be anything: packets over
1500 bytes are cut, names, questions and pointers are counted, and what is malformed is dropped.
"""

import socket
from binascii import hexlify

from ..compat import const, ticks_add, ticks_diff, ticks_ms
from ..errors import ConfigError
from ..reactor import unwatch, watch
from .link import random_hex
from .sockets import LATER, address_of

GROUP = "224.0.0.251"
PORT = const(5353)
_SERVICE = (b"_mcp-gw", b"_tcp", b"local")
_KINDS = (b"_services", b"_dns-sd", b"_udp", b"local")

_A = const(1)
_PTR = const(12)
_TXT = const(16)
_SRV = const(33)
_ANY = const(255)
_UNIQUE = const(0x8001)  # class IN, and nobody else has a record of this name
_TTL_S = const(120)
_MAX_PACKET = const(1500)
_MAX_QUESTIONS = const(32)
_MAX_RECORDS = const(64)
_MAX_JUMPS = const(8)
_MAX_NAME = const(255)
_MAX_PATH = const(240)
_MAX_PACKETS = const(16)  # read at a time
# The same records are said once a second at most, however often they are asked for.
_PAUSE_MS = const(1000)
# Between looks at our address, and tries to begin.
_LOOK_MS = const(10000)
# The first announcements: after so long, in so many steps.
_PROBE_MS = const(250)
_PROBES = const(3)
_ANNOUNCEMENTS = const(2)
_RENAMES = const(8)


def announcer(gateway, path, tls, guarded, given):
    """A function(port) -> Announcer. given: True, or a dict of its last options. Raises
    ConfigError."""
    given = {} if given is True else given
    if len(path) > _MAX_PATH:
        raise ConfigError("announce: a path of at most %d characters" % _MAX_PATH)
    for key in given:
        if key not in ("address", "interface", "id"):
            raise ConfigError("announce: %s is not known; address, interface and id are" % key)
        if key != "id":
            try:
                _four(given[key])
            except (ValueError, AttributeError):
                raise ConfigError("announce: %s must be like 192.168.1.20" % key) from None
    return lambda port: Announcer(gateway.name, port, path, tls, guarded, gateway.log, **given)


class Malformed(ValueError):
    """A packet that is no DNS message."""


class Announcer:
    """name: of the gateway; port: that it listens on; path: of its MCP endpoint; tls, guarded:
    whether it speaks TLS, and wants a token; log: function(text); address: of this board
    ("192.168.1.20"), None: found out; interface: address of the network interface to use, None:
    the default; id: tells boards of one name apart, None: made up or the chip's.
    """

    def __init__(self, name, port, path, tls, guarded, log, address=None, interface=None, id=None):
        self._plain = name
        self._number = port
        self._log = log
        self._address = address
        self._given = address is not None
        self._interface = interface
        self._id = id or _own_id()
        rows = ["v=1", "path=" + path, "id=" + self._id]
        rows += ["tls=1"] if tls else []
        rows += ["auth=1"] if guarded else []
        self._text = b"".join([bytes([len(row)]) + row.encode() for row in rows])
        self._host = (("mcp-gw-" + self._id)[:40].encode(), b"local")
        self._renames = 0
        self._sock = None
        self._open = False
        self._said = None  # what was wrong
        self._look = ticks_ms()  # when to look at our address the next time
        self._step = 0  # of the beginning: probes, then announcements
        self._due = None  # when to speak next, ticks in ms
        self._spoke = ticks_add(ticks_ms(), -_PAUSE_MS)
        self._probe = b""
        self.instance = self._label(name)

    def listen(self):
        """Begin. The network may not be there yet, and need not let us: the log says so."""
        self._open = True
        self._due = self._look = ticks_ms()

    def tick(self, now):
        """Now and then, with ticks in ms."""
        if not self._open:
            return
        if ticks_diff(now, self._look) >= 0:
            self._look = ticks_add(now, _LOOK_MS)
            self._moved(_own_address())
        if self._due is None or ticks_diff(now, self._due) < 0:
            return
        self._due = None
        try:
            if self._sock is None:
                self._sock = _open(self._interface)
                watch(self._sock, self._ready)
                self._begin()
            self._speak(now)
        except (OSError, AttributeError) as e:
            self._later(now, str(e) or "no multicast here")

    def close(self):
        """Say goodbye."""
        self._open = False
        if self._sock is not None and self._address is not None and self._step >= _PROBES:
            self._send(self.records(0))
        self._let_go()

    # Inside.

    def _speak(self, now):
        """Say what is due: the beginning's next words, or the records."""
        self._due = None
        if self._step < _PROBES:
            self._step += 1
            self._due = ticks_add(now, _PROBE_MS)
            self._send(self._probe)
        elif self._address is None:
            self._later(now, "this board's address is not known")
        else:
            self._spoke = now
            self._send(self.records(_TTL_S))
            if self._step < _PROBES + _ANNOUNCEMENTS - 1:
                self._step += 1
                self._due = ticks_add(now, _PAUSE_MS)

    def _later(self, now, why):
        """It cannot be done now."""
        self._let_go()
        self._due = ticks_add(now, _LOOK_MS)
        if why != self._said:
            self._said = why
            self._log("mdns: cannot announce yet: %s\n" % why)

    def _let_go(self):
        if self._sock is not None:
            unwatch(self._sock)
            self._sock.close()
            self._sock = None

    def _moved(self, address):
        """The port says this is our address (str), or None."""
        if not self._given and address is not None and address != self._address:
            self._address = address
            self._let_go()
            self._due = ticks_ms()

    def _label(self, text):
        return text.encode()[:63]

    def _begin(self):
        self._step = 0
        self._due = ticks_ms()
        self._probe = _packet(0, 1, 0) + _name((self.instance,) + _SERVICE) + _pair(_ANY, 1)

    def _ready(self):
        """Packets have come in."""
        for _ in range(_MAX_PACKETS):
            try:
                data, peer = self._sock.recvfrom(_MAX_PACKET)
            except LATER:
                return
            except OSError:
                return
            try:
                self._take(data, peer)
            except (Malformed, IndexError, ValueError):
                pass  # it was not for us
            if self._sock is None:
                return

    def _take(self, data, peer):
        if data == self._probe and self._address is None:
            # Our own voice: this is the address that others see.
            self._address = address_of(peer)
            return
        if len(data) < 12:
            return
        if data[2] & 0x80:
            self._check(data)
        elif self._step >= _PROBES and self.asked(data) and self._due is None:
            now = ticks_ms()
            free = ticks_add(self._spoke, _PAUSE_MS)
            self._due = free if ticks_diff(free, now) > 0 else now

    def asked(self, data):
        """Whether a query (bytes) asks for something of ours. Raises Malformed."""
        at = 12
        mine, host = _lower((self.instance,) + _SERVICE), _lower(self._host)
        for _ in range(min(data[4] << 8 | data[5], _MAX_QUESTIONS)):
            labels, at = read_name(data, at)
            kind = data[at] << 8 | data[at + 1]
            at += 4
            if labels in (_SERVICE, _KINDS):
                wanted = (_ANY, _PTR)
            elif labels == mine:
                wanted = (_ANY, _SRV, _TXT)
            else:
                wanted = (_ANY, _A) if labels == host else ()
            if kind in wanted:
                return True
        return False

    def _check(self, data):
        """Whether somebody else answers under our name: then we take another."""
        mine = _lower((self.instance,) + _SERVICE)
        at = 12
        for _ in range(min(data[4] << 8 | data[5], _MAX_QUESTIONS)):
            _, at = read_name(data, at)
            at += 4
        for _ in range(min(data[6] << 8 | data[7], _MAX_RECORDS)):
            labels, at = read_name(data, at)
            kind = data[at] << 8 | data[at + 1]
            size = data[at + 8] << 8 | data[at + 9]
            at += 10
            if kind == _SRV and labels == mine:
                target, _ = read_name(data, at + 6)
                if target != _lower(self._host) and self._renames < _RENAMES:
                    self._renames += 1
                    suffix = "-" + self._id[-4:] if self._renames == 1 else random_hex(4)
                    self.instance = self._label(self._plain[:50] + suffix)
                    self._begin()
                    return
            at += size

    def records(self, ttl):
        """The packet (bytes) that says all there is; ttl 0: that it is no more."""
        service, host = _name(_SERVICE), _name(self._host)
        instance = _name((self.instance,) + _SERVICE)
        srv = b"\0\0\0\0" + bytes([self._number >> 8, self._number & 255]) + host
        address = _four(self._address)
        return b"".join(
            (
                _packet(0x8400, 0, 5),
                _record(_name(_KINDS), _PTR, 1, ttl, service),
                _record(service, _PTR, 1, ttl, instance),
                _record(instance, _SRV, _UNIQUE, ttl, srv),
                _record(instance, _TXT, _UNIQUE, ttl, self._text),
                _record(host, _A, _UNIQUE, ttl, address),
            )
        )

    def _send(self, data):
        try:
            self._sock.sendto(data, _group())
        except OSError:
            pass  # no network now; whoever looks for us asks again


def read_name(data, at):
    """(tuple of lower-case labels (bytes), index behind it) of the name at data[at]. Raises
    Malformed."""
    labels = []
    end = None
    size = jumps = 0
    while True:
        if at >= len(data):
            raise Malformed("a name that has no end")
        n = data[at]
        if n >= 0xC0:
            if at + 1 >= len(data):
                raise Malformed("a name that has no end")
            if end is None:
                end = at + 2
            to = (n & 0x3F) << 8 | data[at + 1]
            jumps += 1
            if to >= at or jumps > _MAX_JUMPS:
                raise Malformed("a pointer that leads nowhere")
            at = to
            continue
        if n > 63:
            raise Malformed("a label of a kind that is not known")
        at += 1
        if n == 0:
            return tuple(labels), at if end is None else end
        size += n + 1
        if size > _MAX_NAME or at + n > len(data):
            raise Malformed("a name that is too long")
        labels.append(bytes(data[at : at + n]).lower())
        at += n


def _lower(labels):
    return tuple([label.lower() for label in labels])


def _pair(kind, klass):
    return bytes([kind >> 8, kind & 255, klass >> 8, klass & 255])


def _packet(flags, questions, answers):
    head = (0, 0, flags >> 8, flags & 255, 0, questions, 0, answers, 0, 0, 0, 0)
    return bytes(head)


def _name(labels):
    return b"".join([bytes([len(label)]) + label for label in labels]) + b"\0"


def _record(name, kind, klass, ttl, data):
    tail = bytes([0, 0, ttl >> 8, ttl & 255, len(data) >> 8, len(data) & 255])
    return name + _pair(kind, klass) + tail + data


def _group():
    return socket.getaddrinfo(GROUP, PORT, 0, socket.SOCK_DGRAM)[0][-1]


def _open(interface):
    """A socket in the group. Raises OSError."""
    row = socket.getaddrinfo("0.0.0.0", PORT, 0, socket.SOCK_DGRAM)[0]
    sock = socket.socket(row[0], socket.SOCK_DGRAM)
    try:
        for option in (getattr(socket, "SO_REUSEADDR", 2), getattr(socket, "SO_REUSEPORT", 15)):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
            except OSError:
                pass  # lwIP knows the first one only
        sock.bind(row[-1])
        own = _four(interface or "0.0.0.0")
        join = getattr(socket, "IP_ADD_MEMBERSHIP", 35)
        sock.setsockopt(0, join, _four(GROUP) + own)
        if interface:
            sock.setsockopt(0, getattr(socket, "IP_MULTICAST_IF", 32), own)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _four(address):
    four = bytes([int(part) for part in address.split(".")])
    if len(four) != 4:
        raise ValueError(address)
    return four


def _own_address():
    """This board's address (str), or None where the port does not tell."""
    try:
        import network

        for kind in (network.STA_IF, network.AP_IF):
            wlan = network.WLAN(kind)
            if wlan.active() and wlan.ifconfig()[0] != "0.0.0.0":
                return wlan.ifconfig()[0]
    except (ImportError, AttributeError, OSError):
        pass
    return None


def _own_id():
    try:
        from machine import unique_id

        return hexlify(unique_id()).decode()
    except ImportError:
        return random_hex(12)
