"""Joining a wireless network, over a radio that the test plays: no board with one is emulated."""

import sys

from mcp_gw.compat import run_until

WRONG_PASSWORD = -3
NOT_FOUND = -2
CONNECTING = 1


class Stop(Exception):
    """The test has seen enough."""


class Radio:
    """network.WLAN as the rp2 and esp32 ports have it. story: what the n-th look at it finds:
    (joined, status)."""

    def __init__(self, *story):
        self.story = list(story)
        self.did = []
        self.waited = []

    def active(self, on):
        self.did.append(("active", on))

    def connect(self, *args):
        self.did.append(("connect",) + args)

    def disconnect(self):
        self.did.append(("disconnect",))

    def isconnected(self):
        return self.story[0][0]

    def status(self):
        return self.story[0][1]

    def ifconfig(self):
        return ("192.168.1.7", "255.255.255.0", "192.168.1.1", "192.168.1.1")

    async def sleep_ms(self, ms):
        self.waited.append(ms)
        self.story.pop(0)
        if not self.story:
            raise Stop


class Network:
    STA_IF = 0
    STAT_WRONG_PASSWORD = WRONG_PASSWORD
    STAT_NO_AP_FOUND = NOT_FOUND

    def __init__(self, radio):
        self._radio = radio
        self.said = []

    def WLAN(self, kind):  # noqa: N802 (its name there)
        return self._radio

    def country(self, code):
        self.said.append(code)

    def hostname(self, name):
        self.said.append(name)


def story(row, *looks):
    """(the Radio, the Network, what was logged) after this story."""
    radio = Radio(*looks)
    network = Network(radio)
    before = sys.modules.get("network")
    sys.modules["network"] = network
    sys.modules.pop("mcp_gw.wifi", None)
    log = []
    try:
        import mcp_gw.wifi as wifi

        wifi.network = network
        wifi.sleep_ms = radio.sleep_ms
        wlan = wifi.begin(row)
        try:
            run_until(wifi.keep(wlan, row, log.append))
        except Stop:
            log.append(None)
    finally:
        sys.modules.pop("mcp_gw.wifi", None)
        if before is None:
            del sys.modules["network"]
        else:
            sys.modules["network"] = before
    assert log.pop() is None, "it gave up"
    return radio, network, log


HOME = {"ssid": "home", "password": "correct horse"}


def test_it_joins_and_says_its_address():
    radio, network, log = story(
        dict(HOME, country="DE", hostname="bed2"), (False, CONNECTING), (True, 3), (True, 3)
    )
    assert radio.did == [("active", True), ("connect", "home", "correct horse")]
    assert network.said == ["DE", "bed2"]
    assert log == ["wifi home: joined, address 192.168.1.7\n"]


def test_an_open_network_needs_no_password():
    radio, _, _ = story({"ssid": "open"}, (True, 3))
    assert radio.did[1] == ("connect", "open")


def test_a_wrong_password_is_said_once_and_tried_again_ever_more_slowly():
    radio, _, log = story(HOME, *[(False, WRONG_PASSWORD)] * 9)
    assert log == ["wifi home: wrong password\n"]
    assert radio.waited == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000]
    assert radio.did.count(("connect", "home", "correct horse")) == 9
    assert radio.did.count(("disconnect",)) == 8


def test_a_network_that_comes_and_goes():
    radio, _, log = story(
        HOME,
        (False, NOT_FOUND),
        (True, 3),  # joined
        (True, 3),
        (False, CONNECTING),  # lost
        *[(False, CONNECTING)] * 39,
        (False, CONNECTING),
        (True, 3),
        (True, 3),
    )
    assert log == [
        "wifi home: no such network in reach\n",
        "wifi home: joined, address 192.168.1.7\n",
        "wifi home: not joined (status 1)\n",
        "wifi home: joined, address 192.168.1.7\n",
    ], log
    # 20 s for each try to join, and the pause begins anew after the network was there.
    assert radio.waited[0] == 1000 and radio.waited.count(1000) == 2


def test_a_port_without_a_radio():
    class Cable:
        pass

    before = sys.modules.get("network")
    sys.modules["network"] = Cable()
    sys.modules.pop("mcp_gw.wifi", None)
    try:
        import mcp_gw.wifi as wifi

        wifi.network = sys.modules["network"]
        try:
            wifi.begin(HOME)
        except ImportError:
            pass
        else:
            raise AssertionError("it began")
    finally:
        sys.modules.pop("mcp_gw.wifi", None)
        if before is None:
            del sys.modules["network"]
        else:
            sys.modules["network"] = before
