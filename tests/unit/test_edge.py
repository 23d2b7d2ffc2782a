"""A board's configuration: read, completed by the app, refused when it is damaged."""

import json
import os
import sys
from binascii import crc32, hexlify

import spi_chip
from test_forward import Wire

from mcp_gw import edge
from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.errors import ConfigError
from mcp_gw.gateway import Gateway

PATH = "edge-%s.json" % hexlify(os.urandom(6)).decode()


def compiled(rows):
    text = json.dumps(dict(rows, v=edge.VERSION)).encode()
    return text[:-1] + b',"crc":"%08x"}' % crc32(text[:-1])


class Configured:
    """A file with a configuration while the block runs; gateway(): one that reads it."""

    def __init__(self, data):
        self.data = compiled(data) if isinstance(data, dict) else data

    def __enter__(self):
        with open(PATH, "wb") as file:
            file.write(self.data)
        return self

    def __exit__(self, *_):
        os.remove(PATH)

    def gateway(self, *args, **kw):
        return Gateway(*args, edge=PATH, **kw)


class Log:
    """Serves a gateway on a wire in memory; text: what it logged since."""

    def __init__(self, gw, *transports, **options):
        self.gw = gw
        self.text = ""
        gw.log = self.take
        gw.open(*transports, **options)

    def take(self, text):
        self.text += text


def refused(parse):
    try:
        parse()
    except ValueError as e:
        return str(e)
    raise AssertionError("it was accepted")


def test_what_is_damaged_is_refused():
    good = compiled({"board": {"name": "bed"}})
    assert edge.parse(good)["board"] == {"name": "bed"}
    for i in range(len(good)):
        for bit in (1, 128):
            bad = bytearray(good)
            bad[i] ^= bit
            refused(lambda bad=bad: edge.parse(bytes(bad)))
        refused(lambda i=i: edge.parse(good[:i]))
    assert "longer than 4096" in refused(lambda: edge.parse(good + b" " * 4096))
    assert "damaged" in refused(lambda: edge.parse(good[:-1]))
    assert "version 9" in refused(lambda: edge.parse(versioned(9)))


def versioned(v):
    text = b'{"v":%d' % v
    return text + b',"crc":"%08x"}' % crc32(text)


def test_a_file_of_the_longest_size_is_read_and_one_byte_more_is_not():
    row = {"board": {"name": "b", "x": ""}}
    row["board"]["x"] = "y" * (edge.MAX_FILE - len(compiled(row)))
    data = compiled(row)
    assert len(data) == edge.MAX_FILE
    with Configured(data) as one:
        assert one.gateway().name == "b"
    row["board"]["x"] += "y"
    with Configured(row) as one:
        gw = one.gateway()
        log = Log(gw, Wire(gw))
        assert gw.name == "mcpgw" and "longer than 4096 bytes" in log.text
        gw.close()


def test_settings_and_name_complete_what_the_app_gives():
    rows = {"board": {"name": "bed2"}, "settings": {"max_depth": 9, "page_size": 5}}
    with Configured(rows) as one:
        gw = one.gateway()
        assert (gw.name, gw.config["max_depth"], gw.config["page_size"]) == ("bed2", 9, 5)
        gw = one.gateway("own", page_size=6)
        assert (gw.name, gw.config["max_depth"], gw.config["page_size"]) == ("own", 9, 6)
        gw = Gateway("other", edge="")
        assert gw.name == "other" and gw.config["max_depth"] == 32


def test_a_setting_that_this_firmware_has_not_is_told_and_the_others_hold():
    with Configured({"settings": {"max_depth": 9, "no_such": 1, "page_size": 0}}) as one:
        gw = one.gateway()
        assert gw.config["max_depth"] == 9
        log = Log(gw, Wire(gw))
        assert "configuration: unknown setting no_such" in log.text
        assert "page_size must be from" in log.text
        gw.close()


def test_a_missing_or_damaged_file_is_told_and_the_gateway_serves():
    gw = Gateway("x", edge="no-such-file.json")
    wire = Wire(gw)
    log = Log(gw, wire)
    assert "no-such-file.json cannot be used" in log.text and "serving without it" in log.text
    assert wire.message({"jsonrpc": "2.0", "id": 1, "method": "ping"})[0]["result"] == {}
    gw.close()
    for data in (b"", b"{}", b"[]" + b" " * 30, compiled({})[:-1] + b" ", b"\xff" * 100):
        with Configured(data) as one:
            gw = one.gateway("x")
            log = Log(gw, Wire(gw))
            assert "cannot be used" in log.text, data
            gw.close()


def test_sections_of_a_wrong_kind_do_no_harm():
    # The checksum is right, so it was compiled by something else than ours.
    for value in (None, 7, "text", [1], True):
        flat = dict.fromkeys(("board", "settings", "upstreams", "time", "queue"), value)
        for rows in (flat, {"upstreams": {"office": value}}):
            with Configured(rows) as one:
                gw = one.gateway("x")
                log = Log(gw, Wire(gw))
                assert "is no table" in log.text, (value, log.text)
                gw.close()


def test_the_bridge_that_comes_later_is_told():
    with Configured(b"damaged") as one:
        gw = one.gateway("x")
        wire = Wire(gw)
        wire.turn()
        _, more = wire.hello()
        told = "".join(json.loads(row[1]) for row in more if row[0] == "l")
        assert "configuration: " in told and "cannot be used" in told
        gw.close()


def test_an_upstream_of_the_configuration_is_there():
    with Configured({"upstreams": {"office": {"queueable": ["log"], "expiry_s": 60}}}) as one:
        gw = one.gateway("x")
        gw.queue(ram())
        log = Log(gw, Wire(gw))
        assert list(gw.upstreams.router.upstreams) == ["office"], log.text
        route = gw.upstreams.router.find("office_log")
        assert route.upstream.name == "office" and not route.upstream.up
        gw.close()


def test_a_tool_of_which_only_the_newest_call_waits():
    tools = {"set": {"key": "zone", "policy": "latest", "expiry_s": 60, "priority": 2}}
    with Configured({"upstreams": {"office": {"queueable": tools}}}) as one:
        gw = one.gateway("x")
        gw.queue(ram())
        waits = gw.upstream("office") and gw.upstreams.router.find("office_set").waits
        assert (waits.priority, waits.policy, waits.expiry_s) == (2, "latest", 60)
        gw = one.gateway("x")
        gw.queue(ram())
        gw.upstream("office", queueable=("other",))  # the app's own goes before
        assert gw.upstreams.router.find("office_set") is None
    with Configured({"upstreams": {"office": {"queueable": {"set": {"policy": "odd"}}}}}) as one:
        gw = one.gateway("x")
        log = Log(gw, Wire(gw))
        assert "policy is all, latest or merge" in log.text
        gw.close()


def ram():
    from mcp_gw.queue.nor_kept import RamNor

    return RamNor(8)


def test_what_the_app_says_of_an_upstream_goes_before():
    rows = {"upstreams": {"office": {"url": "http://127.0.0.1:9/mcp", "token": "secret"}}}
    with Configured(rows) as one:
        gw = one.gateway("x")
        upstream = gw.upstream("office", offers=("tools",))
        assert b"Authorization: Bearer secret" in bytes(upstream.post_head)
        assert upstream.offers == ("tools",)
        gw = one.gateway("x")
        upstream = gw.upstream("office", "http://127.0.0.1:10/mcp")
        assert b"secret" not in bytes(upstream.post_head), "a token went to another place"
        assert b"127.0.0.1:10" in bytes(upstream.post_head)


def test_an_upstream_that_cannot_be_made_as_configured_is_told():
    rows = {"upstreams": {"office": {"url": "https://127.0.0.1/mcp", "ca": "no-such.pem"}}}
    with Configured(rows) as one:
        gw = one.gateway("x")
        assert gw.upstream("office").tells_state  # over the link, then
        log = Log(gw, Wire(gw))
        assert "upstream office: " in log.text
        gw.close()
        gw = one.gateway("x")
        try:
            gw.upstream("office", "ftp://x")
        except ConfigError as e:
            assert "office" in str(e)
        else:
            raise AssertionError("the app's own mistake was swallowed")


def test_a_queue_in_ram_as_configured():
    rows = {"queue": {"device": "ram", "bytes": 16384}, "upstreams": {"o": {"queueable": ["a"]}}}
    with Configured(rows) as one:
        gw = one.gateway("x")
        gw.upstream("o")
        assert gw.upstreams.forwarder.outbox is not None
    with Configured(
        {"queue": {"device": "file", "path": "no/such/folder", "bytes": 16384}}
    ) as one:
        gw = one.gateway("x")
        gw.queue()
        log = Log(gw, Wire(gw))
        assert "configuration: queue: " in log.text, log.text
        gw.close()


def test_a_queue_on_a_chip_behind_spi():
    chip = spi_chip.Chip(1 << 17)
    asked = []

    class Machine:
        @staticmethod
        def SPI(bus, hz, **pins):  # noqa: N802 (its name there)
            asked.append((bus, hz, sorted(pins)))
            return spi_chip.SPI(chip)

        @staticmethod
        def Pin(name):  # noqa: N802
            asked.append(name)
            return spi_chip.Pin(chip)

    before = sys.modules.get("machine")
    sys.modules["machine"] = Machine
    try:
        row = {"device": "spi", "cs": 17, "sck": "GP2", "start": 4096, "bytes": 65536, "bus": 1}
        with Configured({"queue": row}) as one:
            gw = one.gateway("x")
            outbox = gw.queue()
            outbox.put(b"key-00001", "office", "log", [b"{}"], 60)
    finally:
        del sys.modules["machine"]
        if before:
            sys.modules["machine"] = before
    assert asked == ["GP2", (1, 10000000, ["sck"]), 17], asked
    used = bytes(chip.array)
    assert b"key-00001" in used[4096:69632] and used[:4096] == b"\xff" * 4096


def test_http_is_served_where_the_configuration_says_so():
    with Configured({"board": {"serve": ["http"]}, "http": {"port": 0, "path": "/m"}}) as one:
        gw = one.gateway("x")
        log = Log(gw)
        assert not gw.ports and len(gw._http) == 1, log.text
        gw.close()
        gw = one.gateway("x")  # the app wants its own
        wire = Wire(gw)
        Log(gw, wire)
        assert len(gw.ports) == 1 and not gw._http
        gw.close()


class WithConsole(Gateway):
    """Its console is a wire in memory."""

    def open(self, *transports, take=None, **options):
        if transports == ("serial",):
            transports = (Wire(self),)
        super().open(*transports, take=take, **options)


def test_http_that_cannot_be_served_is_told_and_the_console_is_served():
    with Configured({"board": {"serve": ["http"]}, "http": {"host": "0.0.0.0", "port": 0}}):
        gw = WithConsole("x", edge=PATH)
        log = Log(gw)
        assert "http is not served: " in log.text and "token" in log.text
        assert len(gw.ports) == 1
        gw.close()


def test_what_needs_a_network_that_is_not_there_is_told():
    rows = {"wifi": {"ssid": "home"}}
    with Configured(rows) as one:
        gw = one.gateway("x")
        log = Log(gw, Wire(gw))
        assert "no Wi-Fi" in log.text
        gw.close()


async def _nap():
    await sleep_ms(20)


def test_what_runs_beside_ends_with_the_gateway():
    rows = {"time": {"sntp": ["127.0.0.1:9"], "every_s": 64, "system": False}}
    with Configured(rows) as one:
        gw = one.gateway("x")
        Log(gw, Wire(gw))
        assert not gw.clock.system and gw.clock.unix() is None
        run_until(_nap())
        tasks = list(gw._work)
        assert len(tasks) == 1 and not tasks[0].done()
        gw.close()
        run_until(_nap())
        assert tasks[0].done()
