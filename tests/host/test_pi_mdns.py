"""Boards that announce themselves: the unix build's announcements as zeroconf reads them, and
`mcpgw pi` that finds boards so, on the loopback interface."""

import socket
import struct

import pytest
from board_rig import QUICK, HttpBoard, text_of
from mcpgw.pi.mdns_browser import _described
from pi_rig import Pi
from waiting import until
from zeroconf import ServiceInfo

GROUP = "224.0.0.251"
CONFIG = QUICK + 'mdns = true\ninterfaces = ["127.0.0.1"]\n'


def _multicast_works():
    """Whether what is sent to mDNS's group on the loopback interface comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", 0))
            own = socket.inet_aton("127.0.0.1")
            member = struct.pack("4s4s", socket.inet_aton(GROUP), own)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            sock.settimeout(5)
            sock.sendto(b"?", (GROUP, sock.getsockname()[1]))
            return sock.recv(10) == b"?"
        except OSError:
            return False


def on_loopback(test):
    return pytest.mark.skipif(
        not _multicast_works(), reason="multicast does not work on this machine's loopback"
    )(test)


@pytest.fixture
def boards(tmp_path):
    made = []

    def make(name, options="", announce="{'interface': '127.0.0.1'}"):
        options = f"announce={announce}{options and ', ' + options}"
        made.append(HttpBoard(tmp_path, name, options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def pi_with(folder, more=""):
    pi = Pi(folder, CONFIG + more)
    return pi


@on_loopback
def test_boards_are_found_lost_and_found_again(tmp_path, boards):
    pi = pi_with(tmp_path)
    try:
        board = boards("kiln")
        pi.up("kiln")
        assert text_of(pi.call("kiln_add", {"a": 20, "b": 22})) == "42"
        other = boards("mill")  # while the other is there
        pi.up("kiln", "mill")
        board.process.kill()
        board.process.wait()
        until(lambda: pi.health()["boards"]["kiln"] == "down", pi.output)
        assert text_of(pi.call("mill_add", {"a": 20, "b": 22})) == "42"
        board.start()
        pi.up("kiln")
        other.close()
    finally:
        pi.close()


@on_loopback
def test_a_board_that_wants_a_token(tmp_path, boards):
    boards("kiln", "token='of-the-kiln-which-is-long-enough'")
    boards("mill", "token='of-the-mill-which-is-long-enough'")
    pi = pi_with(tmp_path, "[discovery.tokens]\nkiln = 'of-the-kiln-which-is-long-enough'\n")
    try:
        pi.up("kiln")
        until(lambda: "mill" in pi.output(), pi.output)
        assert "mdns: mill" in pi.output() and "wants a token" in pi.output()
        assert set(pi.health()["boards"]) == {"kiln"}
    finally:
        pi.close()


@on_loopback
def test_two_boards_of_one_name(tmp_path, boards):
    made = [
        HttpBoard(tmp_path / label, "kiln", f"announce={{'interface': '127.0.0.1', 'id': {id!r}}}")
        for label, id in (("one", "00000001"), ("two", "00000002"))
        if (tmp_path / label).mkdir() is None
    ]
    pi = pi_with(tmp_path)
    try:
        until(lambda: len(pi.health()["boards"]) == 2, pi.output)
        found = set(pi.health()["boards"])
        assert found & {"kiln", "kiln-0001", "kiln-0002"} == found
        pi.up(*found)
    finally:
        pi.close()
        for one in made:
            one.close()


def info(properties, address="10.0.0.7", port=8080):
    return ServiceInfo(
        "_mcp-gw._tcp.local.",
        "kiln._mcp-gw._tcp.local.",
        addresses=[socket.inet_aton(address)],
        port=port,
        properties=properties,
        server="kiln.local.",
    )


def test_what_an_announcement_says():
    assert _described(info({"v": "1", "path": "/mcp"})) == ("http://10.0.0.7:8080/mcp", False)
    assert _described(info({"v": "1", "path": "/x", "tls": "1", "auth": "1"})) == (
        "https://10.0.0.7:8080/x",
        True,
    )
    assert _described(info({"v": "1"}))[0] == "http://10.0.0.7:8080/mcp"


@pytest.mark.parametrize(
    "wrong",
    [
        info({}),
        info({"v": "2"}),
        info({"v": "1", "path": "mcp"}),
        info({"v": "1", "path": "/a b"}),
        info({"v": "1", "path": "/\x00"}),
        info({"v": "1", "path": "/" + "x" * 240 + "\u00e9"}),
        info({"v": b"\xff\xfe"}),
        info({"v": None}),
        info({"v": "1"}, address="8.8.8.8"),
        info({"v": "1"}, port=0),
    ],
)
def test_announcements_of_strangers(wrong):
    with pytest.raises(ValueError, match=r"announcement|path|address"):
        _described(wrong)
