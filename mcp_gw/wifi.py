"""Joining a wireless network, and staying in it, without holding up anything else."""

import network

from .compat import const, sleep_ms

_LOOK_MS = const(500)
_JOIN_MS = const(20000)  # for one try to join
# Between two tries; doubled each time.
_FIRST_MS = const(1000)
_LONGEST_MS = const(60000)


def begin(row):
    """Switch the radio on and begin to join. row: [wifi] of the configuration.

    Returns the network.WLAN. Raises ImportError where the port has none, OSError and the like as
    the port does.
    """
    if not hasattr(network, "WLAN"):
        raise ImportError("network.WLAN")
    if row.get("country"):
        network.country(row["country"])
    if row.get("hostname"):
        network.hostname(row["hostname"])
    wlan = network.WLAN(getattr(network, "STA_IF", 0))
    wlan.active(True)
    _connect(wlan, row)
    return wlan


def _connect(wlan, row):
    if row.get("password"):
        wlan.connect(row["ssid"], row["password"])
    else:
        wlan.connect(row["ssid"])


async def keep(wlan, row, log):
    """Join again whenever the network is lost, for ever. log: function(text)."""
    told = None
    wait = _FIRST_MS
    while True:
        left = _JOIN_MS
        while not wlan.isconnected() and left > 0 and not _refused(wlan):
            await sleep_ms(_LOOK_MS)
            left -= _LOOK_MS
        joined = wlan.isconnected()
        what = "joined, address %s" % wlan.ifconfig()[0] if joined else _why(wlan)
        if what != told:
            told = what
            log("wifi %s: %s\n" % (row["ssid"], what))
        if joined:
            wait = _FIRST_MS
            while wlan.isconnected():
                await sleep_ms(_LOOK_MS)
        else:
            await sleep_ms(wait)
            wait = min(2 * wait, _LONGEST_MS)
        try:
            wlan.disconnect()  # some ports refuse to connect() while they are still trying
            _connect(wlan, row)
        except OSError as e:
            log("wifi %s: %s\n" % (row["ssid"], e))


def _state(name):
    return getattr(network, name, None)


def _refused(wlan):
    """Whether this try has failed already."""
    return wlan.status() in (_state("STAT_WRONG_PASSWORD"), _state("STAT_NO_AP_FOUND"))


def _why(wlan):
    status = wlan.status()
    if status == _state("STAT_WRONG_PASSWORD"):
        return "wrong password"
    if status == _state("STAT_NO_AP_FOUND"):
        return "no such network in reach"
    return "not joined (status %s)" % status
