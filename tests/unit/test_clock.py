"""The wall clock of a board that has none: whom it believes."""

import json
import struct

from test_forward import HELLO, Wire

from mcp_gw.clock import Clock, iso_time
from mcp_gw.gateway import Gateway
from mcp_gw.route.http_date import hear, parse_date

NOW = 1795175147
YEAR = 365 * 86400


def clock(uptime_s=0):
    out = Clock()
    out.system = False
    out.uptime_s = uptime_s
    return out


def test_what_is_told_first_is_believed():
    one = clock(10)
    assert one.unix() is None
    assert one.set(NOW)
    assert one.unix() == NOW
    one.uptime_s += 5
    assert one.unix() == NOW + 5


def test_a_peer_without_a_clock_of_its_own_is_not_believed():
    for time in (0, 1, 86400, 1577836800, 1 << 32, (1 << 32) + NOW, -5):
        one = clock()
        assert not one.set(time) and one.unix() is None, time


def test_small_corrections_are_taken():
    one = clock()
    one.set(NOW)
    for shift in (-100, 100, 1, -1, 0):
        one.set(NOW)
        assert one.set(NOW + shift)
        assert one.unix() == NOW + shift


def test_a_jump_has_to_be_told_for_a_minute():
    for jump in (-YEAR, -3600, 3600, YEAR):
        one = clock()
        one.set(NOW)
        for second in range(0, 60, 3):
            one.uptime_s = second
            assert not one.set(NOW + jump + second)
            assert one.unix() == NOW + second
        one.uptime_s = 60
        assert one.set(NOW + jump + 60)
        assert one.unix() == NOW + jump + 60


def test_a_jump_that_somebody_contradicts_is_not_taken():
    one = clock()
    one.set(NOW)
    for second in range(0, 300, 3):
        one.uptime_s = second
        assert not one.set(NOW + YEAR + second)
        assert one.set(NOW + second)
        assert one.unix() == NOW + second
    # Nor is one that tells something else each time.
    for n in range(100):
        one.uptime_s += 3
        assert not one.set(NOW + n * 86400 + 86400)


def test_a_time_server_goes_before_a_peer():
    one = clock()
    one.set(NOW + YEAR)
    assert one.set(NOW, 1)
    assert one.unix() == NOW
    for second in range(0, 300, 3):
        one.uptime_s = second
        assert not one.set(NOW + YEAR + second)
        assert one.set(NOW + second + 20), "it says the same"
        assert one.unix() == NOW + second, "and the server's stays"
    # Another time of a server has to be told again.
    assert not one.set(NOW + YEAR, 1)
    one.uptime_s += 64
    assert one.set(NOW + YEAR + 64, 1)


def test_a_hello_tells_the_time_and_one_without_a_clock_is_served():
    gw = Gateway("x")
    gw.clock.system = False
    wire = Wire(gw)
    try:
        row = dict(HELLO, time_ms=1000)  # a host that has just started, without a clock
        assert wire.frame(b"h", json.dumps(row).encode())[0][0] == "h"
        assert gw.clock.unix() is None
        wire.hello()
        assert abs(gw.clock.unix() - HELLO["time_ms"] // 1000) < 5
    finally:
        gw.close()


# Moments of RFC 9110, 5.6.7, of leap days, of ends of centuries: checked with date(1).
DATES = [
    (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
    (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
    (b"Tue, 29 Feb 2000 23:59:59 GMT", 951868799),
    (b"Wed, 01 Mar 2000 00:00:00 GMT", 951868800),
    (b"Thu, 29 Feb 2024 12:00:00 GMT", 1709208000),
    (b"Fri, 31 Dec 2027 23:59:60 GMT", 1830297600),
    (b"Sun, 28 Nov 2100 01:02:03 GMT", 4131046923),
]


def test_dates_of_http():
    for text, unix_s in DATES:
        assert parse_date(text) == unix_s, text
        if unix_s < 1 << 32 and not text.endswith(b":60 GMT"):
            told = iso_time(unix_s)
            assert told[11:19].encode() == text[17:25] and told[8:10].encode() == text[5:7]


def test_what_is_no_date_is_passed_over():
    good = DATES[4][0]
    bad = [b"", b"x", good[:-1], good + b" ", b"Sunday, 06-Nov-94 08:49:37 GMT"]
    bad.append(b"Sun Nov  6 08:49:37 1994     ")
    for i in range(3, len(good)):
        for c in (b"\x00", b"~"):
            bad.append(good[:i] + c + good[i + 1 :])
    bad += [good.replace(b"12:00", b"24:00"), good.replace(b":00 GMT", b":61 GMT")]
    bad += [good.replace(b"29 Feb", b"32 Feb"), good.replace(b"29 Feb", b"00 Feb")]
    bad += [good.replace(b"Feb", b"ebM"), good.replace(b"2024", b"+024")]
    for text in bad:
        try:
            parse_date(text)
        except ValueError:
            pass
        else:
            raise AssertionError(text)
        one = clock()
        hear(one, {b"date": text})
        assert one.unix() is None


def test_the_date_of_an_answer_sets_the_clock():
    one = clock()
    hear(one, {b"date": DATES[4][0], b"age": b"7000"})
    assert one.unix() is None, "it came out of a cache"
    hear(one, {})
    assert one.unix() is None
    hear(one, {b"date": b"Sat, 28 Nov 2026 11:00:00 GMT"})
    assert one.unix() == 1795863600


# --- SNTP ----------------------------------------------------------------------------------------

EPOCH = 2208988800  # of NTP, in seconds before 1970
NONCE = b"12345678"


def packet(
    unix_s=NOW,
    fraction=0x80000000,
    leap=0,
    version=4,
    mode=4,
    stratum=2,
    delay=0x1000,
    dispersion=0x800,
    reference=b"\x7f\0\0\1",
    origin=NONCE,
    received=None,
    sent=None,
):
    """A server's packet, field by field as RFC 5905 (7.3) has them."""
    ntp = (unix_s + EPOCH) & 0xFFFFFFFF
    received = ntp if received is None else received
    sent = ntp if sent is None else sent
    head = struct.pack(">BBbb", leap << 6 | version << 3 | mode, stratum, 6, -20)
    head += struct.pack(">iI4s", delay, dispersion, reference)
    head += struct.pack(">II", max(ntp - 60, 0), 0) + origin
    return head + struct.pack(">IIII", received, fraction, sent, fraction)


def test_a_servers_packet():
    from mcp_gw import sntp

    assert sntp.parse(packet(), NONCE) == (NOW, 500)
    assert sntp.parse(packet() + b"x" * 20, NONCE) == (NOW, 500)
    assert sntp.parse(packet(version=3, stratum=15, leap=1), NONCE) == (NOW, 500)
    # The 32 bits begin anew on 2036-02-07 06:28:16 UTC.
    for unix_s in (2085978495, 2085978496, 2085978497, 3000000000):
        assert sntp.parse(packet(unix_s, 1), NONCE) == (unix_s, 0)


def test_a_request_tells_nothing_but_what_it_is():
    from mcp_gw import sntp

    data = sntp.request(NONCE)
    assert len(data) == 48 and data[0] == 4 << 3 | 3 and data[40:] == NONCE
    assert not any(data[1:40])


def kind_of(data):
    from mcp_gw import sntp

    try:
        sntp.parse(data, NONCE)
    except sntp.Kiss as e:
        return e.code
    except sntp.Unusable:
        return "unusable"
    except sntp.Stray:
        return "stray"
    return "good"


def test_packets_that_are_no_answer():
    for data in (
        b"",
        packet()[:47],
        packet(mode=3),
        packet(mode=5),
        packet(mode=6),
        packet(version=2),
        packet(version=5),
        packet(origin=b"\0" * 8),
        packet(origin=b"12345679"),
        packet(stratum=0, reference=b"DENY", origin=b"\0" * 8),
    ):
        assert kind_of(data) == "stray", data


def test_servers_that_are_not_to_be_believed():
    for data in (
        packet(leap=3),
        packet(stratum=16),
        packet(stratum=255),
        packet(delay=0x10000),
        packet(delay=-0x10000),
        packet(dispersion=0x10000),
        packet(dispersion=0xFFFFFFFF),
        packet(fraction=0, sent=0, received=0),
        packet(sent=0),
        packet(received=0),
        packet(received=5),
        packet(sent=NOW + EPOCH + 2),
    ):
        assert kind_of(data) == "unusable", data


def test_the_kiss_of_death():
    for code in ("DENY", "RSTR", "RATE"):
        assert kind_of(packet(stratum=0, reference=code.encode())) == code
    assert kind_of(packet(stratum=0, leap=3, reference=b"\0\xff\0\0")) == "?"


def test_random_packets_never_do_harm():
    import random

    random.seed(4711)
    for _ in range(2000):
        data = bytearray(packet())
        for _ in range(random.randrange(1, 4)):
            data[random.randrange(48)] = random.randrange(256)
        assert kind_of(bytes(data[: random.choice((48, 48, 20))])) is not None


def test_hosts_and_ports():
    from mcp_gw.sntp import split_host

    assert split_host("time.example") == ("time.example", 123)
    assert split_host("10.0.0.1:1123") == ("10.0.0.1", 1123)
    assert split_host("[fe80::1]:124") == ("fe80::1", 124)
    assert split_host("[fe80::1]") == ("fe80::1", 123)
    assert split_host("fe80::1") == ("fe80::1", 123)
    for bad in ("", ":5", "a:", "a:0", "a:65536", "a:x"):
        try:
            split_host(bad)
        except ValueError:
            pass
        else:
            raise AssertionError(bad)
