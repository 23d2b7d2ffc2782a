"""A configuration on the unix build, where there is a network: what it says is in force."""

import http.client
import http.server
import inspect
import json
import socket
import struct
import subprocess
import threading
import time

import pytest
import rig
import targets
from mcpgw.edge import compiled, table
from waiting import PATIENCE_S, ReservedPort, until

from mcp_gw import auth, edge, edge_network, tls_server
from mcp_gw.gateway import Gateway
from mcp_gw.route.http_upstream import HttpUpstream
from mcp_gw.transports.dial import Dial
from mcp_gw.transports.tcp import HttpServer

APP = """\
from mcp_gw import Gateway
gw = Gateway(version="1")
@gw.tool("The time")
def now():
    return gw.clock.unix() or 0
gw.run()
"""
EPOCH = 2208988800  # of NTP, in seconds before 1970
LATER = 1925002800  # a time that nobody has on his own: 2031-01-01 03:00 UTC


class Served:
    """The unix build with APP and a configuration (TOML) that has http at `port`."""

    def __init__(self, folder, toml):
        self.reserved = ReservedPort()
        self.port = self.reserved.number
        app = folder / "app.py"
        app.write_text(APP)
        file = folder / "mcp-edge.json"
        toml = toml.replace("PORT", str(self.port))
        file.write_bytes(compiled.compile_config(compiled.check_text(toml)))
        self.errors = folder / "stderr.txt"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [targets.firmware("unix"), app],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env=rig.environment() | {"MCPGW_CONFIG": str(file)},
                cwd=folder,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.reserved.close()

    @property
    def log(self):
        return self.errors.read_text()

    def ask(self, method, params, token=None):
        """(status, answer or None) of one request of MCP."""
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": rig.META, **params}}
        )
        fields = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": rig.MODERN,
            "Mcp-Method": method,
        }
        if "name" in params:
            fields["Mcp-Name"] = params["name"]
        if token:
            fields["Authorization"] = f"Bearer {token}"
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            link.request("POST", "/edge", body, fields)
            answer = link.getresponse()
            data = answer.read()
        finally:
            link.close()
        return answer.status, json.loads(data) if answer.status == 200 else None

    def answers(self):
        """Wait until it serves."""

        def tried():
            try:
                return self.ask("server/discover", {}, "abc")
            except OSError:
                return None

        return until(tried, lambda: self.log)

    def now(self):
        _, answer = self.ask("tools/call", {"name": "now", "arguments": {}}, "abc")
        return int(answer["result"]["content"][0]["text"])


HTTP = '[http]\nport = PORT\npath = "/edge"\ntoken = {abc = "me"}\n'


def test_http_is_served_as_configured(tmp_path):
    toml = f'[board]\nname = "bed2"\nserve = ["http"]\n{HTTP}[settings]\nmax_depth = 6\n'
    with Served(tmp_path, toml) as one:
        status, answer = one.answers()
        assert status == 200, one.log
        assert answer["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "bed2"
        assert one.ask("server/discover", {}, "abd")[0] == 401
        assert one.ask("server/discover", {})[0] == 401
        deep = {"name": "now", "arguments": {"a": {"b": {"c": {"d": {}}}}}}
        assert one.ask("tools/call", deep, "abc")[0] == 400
        assert abs(one.now() - time.time()) < 60


def test_a_file_that_is_not_there_is_told(tmp_path):
    app = tmp_path / "app.py"
    app.write_text(APP)
    done = subprocess.run(
        [targets.firmware("unix"), app],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=rig.environment() | {"MCPGW_CONFIG": str(tmp_path / "none.json")},
    )
    assert done.returncode == 0
    assert f"configuration: {tmp_path}/none.json cannot be used" in done.stderr


# --- the time ------------------------------------------------------------------------------------


class TimeServer:
    """answers: function(request bytes) -> list of packets."""

    def __init__(self, answers):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.name = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.asked = 0
        self._answers = answers
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                data, peer = self.socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            for packet in self._answers(data):
                self.socket.sendto(packet, peer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def answer(request, unix_s=LATER, mode=4, stratum=1, leap=0, reference=b"GPS\0", origin=None):
    """What a server says to a client's packet, field by field (RFC 5905, 7.3; RFC 4330, 4)."""
    assert len(request) == 48 and request[0] & 7 == 3 and 3 <= request[0] >> 3 & 7 <= 4
    sent = unix_s + EPOCH & 0xFFFFFFFF
    head = struct.pack(">BBbbII4s", leap << 6 | 4 << 3 | mode, stratum, 6, -20, 0, 10, reference)
    origin = request[40:48] if origin is None else origin
    return head + struct.pack(">Q", 0) + origin + struct.pack(">IIII", sent, 0, sent, 1)


def timed(servers):
    names = ", ".join(f'"{server.name}"' for server in servers)
    return f'[board]\nserve = ["http"]\n{HTTP}[time]\nsystem = false\nsntp = [{names}]\n'


def test_a_time_server_sets_the_clock(tmp_path):
    good = TimeServer(lambda data: [answer(data)])
    with good, Served(tmp_path, timed([good])) as one:
        one.answers()
        until(lambda: abs(one.now() - LATER) < 60, lambda: one.log)
        assert f"time: {good.name}: 2031-01-01T03:00:0" in one.log


def test_the_clock_is_not_set_by_those_who_lie(tmp_path):
    """Wrong packets before the right one; a server that turns us away, one that does not know the
    time, one that says nothing: the next is asked."""

    def noisy(data):
        yield b""
        yield b"x" * 48
        yield answer(data, 2000000000, origin=b"\0" * 8)
        yield answer(data, 2000000000, mode=3)
        yield answer(data, 2000000000)[:47]
        yield answer(data) + b"\0" * 20

    with (
        TimeServer(lambda data: [answer(data, 0, stratum=0, reference=b"DENY")]) as denies,
        TimeServer(lambda data: [answer(data, 2000000000, leap=3, stratum=16)]) as lost,
        TimeServer(lambda data: [b"y" * 48] * 40) as floods,
        TimeServer(noisy) as good,
        Served(tmp_path, timed([denies, lost, floods, good])) as one,
    ):
        one.answers()
        until(lambda: abs(one.now() - LATER) < 60, lambda: one.log)
        assert denies.asked == lost.asked == floods.asked == good.asked == 1
        assert "2033" not in one.log


def test_without_a_server_the_time_is_not_known_and_requests_are_served(tmp_path):
    with TimeServer(lambda data: []) as silent, Served(tmp_path, timed([silent])) as one:
        one.answers()
        until(lambda: silent.asked, lambda: one.log)
        assert one.now() == 0
        until(lambda: "no answer within 4000 ms" in one.log, lambda: one.log)
        assert one.now() == 0


class Dated(http.server.BaseHTTPRequestHandler):
    """An upstream that cannot do anything but tell the time."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response_only(404)
        self.send_header("Date", "Wed, 01 Jan 2031 03:00:00 GMT")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        """Nobody is told."""


@pytest.mark.parametrize("believed", [True, False])
def test_the_date_of_an_upstream_sets_the_clock(tmp_path, believed):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dated)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flag = str(believed).lower()
    toml = (
        f'[board]\nserve = ["http"]\n{HTTP}[time]\nsystem = false\nupstreams = {flag}\n'
        f'[upstreams.pi]\nurl = "http://127.0.0.1:{server.server_port}/mcp"\n'
    )
    try:
        with Served(tmp_path, toml) as one:
            one.answers()
            until(lambda: "pi: its tools cannot be listed" in one.log, lambda: one.log)
            if believed:
                until(lambda: abs(one.now() - LATER) < 60, lambda: one.log)
            else:
                assert one.now() == 0
    finally:
        server.shutdown()
        server.server_close()


# --- the checker and the board know the same keys ------------------------------------------------


def parameters(*functions):
    return {name for function in functions for name in inspect.signature(function).parameters}


def test_the_board_has_a_place_for_every_key():
    http_options = parameters(HttpServer.__init__) | set(auth._OPTIONS)
    http_options |= {"cert", "key", "client_ca"}
    assert "client_ca" in inspect.getsource(tls_server.tls_from)
    assert set(table.HTTP) <= http_options
    upstream = parameters(Gateway.upstream, HttpUpstream.__init__)
    assert set(table.UPSTREAM) - {"token"} <= upstream
    assert set(table.DIAL_OUT) <= parameters(Dial.__init__)
    source = inspect.getsource(edge) + inspect.getsource(edge_network)
    for section in ("board", "queue", "time"):
        for key in set(dict(table.SECTIONS[section][1])) - {"id", "every_s"}:
            assert f'"{key}"' in source, (section, key)
    for section in [*table.SECTIONS, "routing"]:
        assert f'part("{section}")' in source, section
