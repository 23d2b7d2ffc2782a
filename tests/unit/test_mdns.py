"""mDNS announcements: what is said, what is answered, and packets that are hostile."""

import random

import soak

from mcp_gw.errors import ConfigError
from mcp_gw.transports import mdns
from mcp_gw.transports.mdns import Announcer, Malformed, read_name

SERVICE = (b"_mcp-gw", b"_tcp", b"local")
A, PTR, TXT, SRV, ANY = 1, 12, 16, 33, 255


class Socket:
    """What an Announcer says and hears."""

    def __init__(self):
        self.sent = []
        self.due = []

    def sendto(self, data, to):
        self.sent.append(bytes(data))

    def recvfrom(self, size):
        if not self.due:
            raise OSError(11)
        return self.due.pop(0)[:size], ("10.0.0.9", 5353)

    def close(self):
        pass


def made(name="kiln", address="10.0.0.7", id="a1b2c3d4"):
    """An Announcer that has said its first words."""
    one = Announcer(name, 8080, "/mcp", False, True, lambda text: None, address, None, id)
    begin(one)
    for _ in range(5):
        one.tick(one._due)
        if one._due is None:
            break
    return one


def begin(one):
    """Give it a Socket in the place of the network's."""
    one.listen()
    one._sock = Socket()
    one._begin()


def name(labels):
    return b"".join([bytes([len(label)]) + label for label in labels]) + b"\0"


def query(*questions):
    """questions: (name as bytes, type)."""
    head = bytes([0, 0, 0, 0, 0, len(questions), 0, 0, 0, 0, 0, 0])
    return head + b"".join([labels + bytes([0, kind, 0, 1]) for labels, kind in questions])


def rows(data):
    """[(name, type, ttl, value)] of a packet's answers."""
    at = 12
    for _ in range(data[4] << 8 | data[5]):
        at = read_name(data, at)[1] + 4
    found = []
    for _ in range(data[6] << 8 | data[7]):
        labels, at = read_name(data, at)
        size = data[at + 8] << 8 | data[at + 9]
        ttl = data[at + 6] << 8 | data[at + 7]
        found.append((labels, data[at + 1], ttl, data[at + 10 : at + 10 + size]))
        at += 10 + size
    assert at == len(data)
    return found


def test_what_is_announced():
    one = made()
    instance = (b"kiln",) + SERVICE
    probes = one._sock.sent[:3]
    assert probes == [query((name(instance), ANY))] * 3
    found = {(row[0], row[1]): row for row in rows(one._sock.sent[3])}
    assert one._sock.sent[3] == one._sock.sent[4]
    assert found[SERVICE, PTR][3] == name(instance)
    assert found[(b"_services", b"_dns-sd", b"_udp", b"local"), PTR][3] == name(SERVICE)
    srv = found[instance, SRV][3]
    assert srv[:6] == b"\0\0\0\0" + bytes([8080 >> 8, 8080 & 255])
    host = (b"mcp-gw-a1b2c3d4", b"local")
    assert read_name(srv, 6)[0] == host
    assert found[host, A][3] == bytes([10, 0, 0, 7])
    assert found[instance, TXT][3] == b"\x03v=1\x09path=/mcp\x0bid=a1b2c3d4\x06auth=1"
    one.close()
    assert one._sock is None


def test_goodbye():
    one = made()
    sock = one._sock
    one.close()
    assert [row[2] for row in rows(sock.sent[-1])] == [0] * 5


def test_what_is_asked_for():
    one = made()
    instance = name((b"KILN",) + SERVICE)  # names are the same in capitals
    host = name((b"mcp-gw-a1b2c3d4", b"local"))
    service = name(SERVICE)
    kinds = name((b"_services", b"_dns-sd", b"_udp", b"local"))
    for labels, kind in (
        (service, PTR),
        (service, ANY),
        (kinds, PTR),
        (instance, SRV),
        (instance, TXT),
        (instance, ANY),
        (host, A),
    ):
        assert one.asked(query((name((b"x", b"local")), A), (labels, kind))), (labels, kind)
    for labels, kind in ((service, A), (instance, A), (host, SRV), (name((b"kiln",)), ANY)):
        assert not one.asked(query((labels, kind))), (labels, kind)


def test_a_pointer_in_a_question():
    one = made()
    data = query((name((b"x",) + SERVICE), PTR), (b"\xc0\x0e", PTR))  # behind the "x"
    assert one.asked(data)


def test_answers_come_once_a_second():
    one = made()
    sock = one._sock
    before = len(sock.sent)
    for _ in range(100):
        sock.due.append(query((name(SERVICE), PTR)))
    for _ in range(10):
        one._ready()
    assert one._due is not None and len(sock.sent) == before
    one.tick(one._due)
    assert len(sock.sent) == before + 1 and one._due is None
    sock.due.append(query((name(SERVICE), PTR)))
    one._ready()
    assert one._due is not None


def response(labels, target):
    record = name(labels) + bytes([0, SRV, 0, 1, 0, 0, 0, 120])
    value = b"\0\0\0\0\x1f\x90" + name(target)
    record += bytes([0, len(value)]) + value
    return bytes([0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0]) + record


def test_another_of_our_name():
    one = made()
    ours = (b"kiln",) + SERVICE
    one._sock.due.append(response(ours, (b"mcp-gw-a1b2c3d4", b"local")))  # our own voice
    one._ready()
    assert one.instance == b"kiln"
    one._sock.due.append(response(ours, (b"other", b"local")))
    one._ready()
    assert one.instance == b"kiln-c3d4" and one._step == 0 and one._due is not None
    # Somebody who claims every name does not make it change for ever.
    for _ in range(20):
        one._sock.due.append(response((one.instance,) + SERVICE, (b"other", b"local")))
        one._ready()
    assert one._renames == 8


def test_its_own_voice_tells_the_address():
    one = Announcer("kiln", 8080, "/mcp", False, False, lambda text: None, None, None, "a1b2")
    begin(one)
    one.tick(one._due)
    one._sock.due.append(one._sock.sent[0])
    one._ready()
    assert one._address == "10.0.0.9"


def test_an_address_that_is_not_known_yet_and_one_that_changes():
    said = []
    one = Announcer("kiln", 8080, "/mcp", False, False, said.append, None, None, "a1b2")
    begin(one)
    for _ in range(4):
        one.tick(one._due)
    assert len(said) == 1 and "address is not known" in said[0]
    assert one._sock is None and one._due is not None  # it is tried again, and not said again
    one._moved("10.0.0.7")  # Wi-Fi has come
    begin(one)
    sock = one._sock
    for _ in range(5):
        one.tick(one._due)
        if one._due is None:
            break
    assert [row[3] for row in rows(sock.sent[-1]) if row[1] == A] == [bytes([10, 0, 0, 7])]
    one._moved("10.0.0.7")
    assert one._sock is sock
    one._moved("10.0.0.8")
    assert one._sock is None and one._due is not None and one._address == "10.0.0.8"
    one.close()
    assert len(said) == 1


def test_names_that_are_none():
    for data in (
        b"",
        b"\x05abc",
        b"\xc0",
        b"\xc0\x00",  # itself
        b"\xc0\x05",  # further on
        b"\x40abc\0",
        b"\x80\x00",
        (b"\x3f" + b"x" * 63) * 5 + b"\0",
        b"\x01a\xc0\x00",  # round and round
    ):
        try:
            read_name(data, 0)
        except Malformed:
            continue
        raise AssertionError(data)
    # Pointers to pointers, more of them than anybody needs.
    chain = b"\x01a\0" + b"".join([bytes([0xC0, 3 + 2 * (i - 1) if i else 0]) for i in range(12)])
    assert read_name(chain, 3) == ((b"a",), 5)
    try:
        read_name(chain, 3 + 2 * 11)
        raise AssertionError("no end to pointers")
    except Malformed:
        pass


def test_hostile_packets():
    """Whatever comes in, it is dropped or answered, and the next question is answered."""
    one = made()
    sock = one._sock
    rng = random
    rng.seed(soak.seed("mdns"))
    instance = (b"kiln",) + SERVICE
    whole = [
        query((name(SERVICE), PTR), (name(instance), SRV)),
        response((b"other",) + SERVICE, (b"other", b"local")),
        one.records(120),
        one._probe,
    ]
    for _ in range(soak.count(400, 40000)):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randint(0, len(data) - 1)] = rng.getrandbits(8)
        if rng.getrandbits(2) == 0:
            data = data[: rng.randint(0, len(data))]
        sock.due.append(bytes(data))
        one._ready()
        if one._due is not None:
            one.tick(one._due)
        del sock.sent[:]
    sock.due.append(bytes([0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]) + b"\0" * 1488)
    one._ready()
    one = made()
    one._sock.due.append(query((name(SERVICE), PTR)))
    one._ready()
    assert one._due is not None


class Gateway:
    name = "kiln"

    def log(self, text):
        pass


def test_options_that_are_none():
    for given in ({"adress": "10.0.0.1"}, {"address": "pi.local"}, {"interface": "10.0.0"}):
        try:
            mdns.announcer(Gateway(), "/mcp", False, False, given)
        except ConfigError:
            continue
        raise AssertionError(given)
    one = mdns.announcer(Gateway(), "/mcp", True, False, {"address": "10.0.0.1"})(8443)
    assert b"tls=1" in one._text and b"auth" not in one._text
