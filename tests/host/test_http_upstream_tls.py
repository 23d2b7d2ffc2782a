"""HttpUpstream over https: whose certificate is taken, and what a refusal means for the call."""

import ssl

import pytest
from authority import CA, DAY, LOCAL, NOW
from cryptography import x509
from http_upstream_rig import INTERPRETERS, Driver, RawServer, SDKServer, http, modern, result
from waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def ours(folder):
    return CA(folder, "ours")


@pytest.fixture(scope="module")
def theirs(folder):
    return CA(folder, "theirs")


@pytest.fixture
def serve():
    """serve((certificate, key)): a RawServer behind TLS that answers every call."""
    servers = []

    def make(paths, **limits):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*paths)
        for key, value in limits.items():
            setattr(context, key, value)
        servers.append(RawServer(modern(lambda n, head, body: [http(result(body))]), context))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(params=INTERPRETERS)
def drive(request):
    drivers = []

    def make(**options):
        drivers.append(Driver(request.param, **options))
        drivers[-1].interpreter = request.param
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def test_private_authority(drive, serve, ours, theirs):
    server = serve(ours.issue("good", LOCAL))
    both = (theirs.pem + ours.pem).hex()
    for ca in (
        {"ca": str(ours.path)},
        {"ca_hex": ours.pem.hex()},
        {"ca_hex": ours.der.hex()},
        {"ca_hex": both},
    ):
        for host in ("localhost", "127.0.0.1"):
            connections = server.connections
            up = drive(url=f"https://{host}:{server.port}/mcp", **ca)
            for _ in range(3):
                out = up.call("t")
                assert out.get("ok"), (ca, host, out)
            assert server.connections == connections + 1


def test_tls_1_2(drive, serve, ours):
    server = serve(ours.issue("old", LOCAL), maximum_version=ssl.TLSVersion.TLSv1_2)
    up = drive(url=f"https://localhost:{server.port}/mcp", ca=str(ours.path))
    assert up.call("t")["ok"] and up.call("t")["ok"]


def test_refused_certificates(drive, serve, ours, theirs):
    week = 7 * DAY
    for label, authority, names, times, host in (
        ("unknown", theirs, LOCAL, {}, "localhost"),
        ("other-name", ours, [x509.DNSName("elsewhere")], {}, "localhost"),
        ("other-address", ours, [x509.DNSName("localhost")], {}, "127.0.0.1"),
        ("expired", ours, LOCAL, {"begin": NOW - 2 * week, "end": NOW - week}, "localhost"),
        ("too-early", ours, LOCAL, {"begin": NOW + week, "end": NOW + 2 * week}, "localhost"),
    ):
        server = serve(authority.issue(label, names, **times))
        url = f"https://{host}:{server.port}/mcp"
        up = drive(url=url, ca=str(ours.path), timeout_ms=1000 * PATIENCE_S)
        for _ in range(2):
            out = up.call("t")
            assert out.get("raised") == "Unavailable", (label, out)
            assert "certificate" in out["text"].lower(), (label, out)
        assert not server.requests
        # Taken when told to take anything.
        assert drive(url=url, verify=False).call("t")["ok"], label


def test_without_ca(drive, serve, ours):
    server = serve(ours.issue("plain", LOCAL))
    up = drive(url=f"https://localhost:{server.port}/mcp")
    if up.interpreter == "micropython":
        assert up.made["raised"] == "ConfigError" and "ca=" in up.made["text"]
    else:  # the system's store does not know it
        assert up.call("t")["raised"] == "Unavailable"
    assert not server.requests


def test_peers_that_do_not_speak_tls(drive, ours):
    def script(n, head, body):
        return []

    for greeting in (b"220 mail ESMTP\r\n", None):
        server = RawServer(script, greeting=greeting)
        up = drive(url=f"https://localhost:{server.port}/mcp", ca=str(ours.path), timeout_ms=800)
        out = up.call("t")
        assert out["raised"] == "Unavailable" and out["seconds"] < PATIENCE_S, (greeting, out)
        server.close()


def test_tls_spoken_to_as_plain_http(drive, serve, ours):
    server = serve(ours.issue("tls-only", LOCAL))
    up = drive(url=f"http://localhost:{server.port}/mcp")
    assert up.call("t")["raised"] == "Unavailable"


def test_official_server_over_tls(drive, ours, tmp_path):
    certificate, key = ours.issue("sdk", LOCAL)
    server = SDKServer(tmp_path / "ledger", "sse", "--cert", str(certificate), "--key", str(key))
    try:
        up = drive(
            url=f"https://localhost:{server.port}/mcp",
            ca=str(ours.path),
            heap="32m",
            max_body=1 << 21,
        )
        assert up.text("add", {"a": 1, "b": 2}) == "3"
        assert len(up.call("steps", {"count": 3}, token=5)["progress"]) == 3
        # Larger than a TLS record and than the socket's buffers, both ways.
        assert up.text("blob", {"size": 300_000}) == "x" * 300_000
        assert up.text("routed", {"region": "z" * 5000}) == "z" * 5000
        up.send("request", "tools/call", '{"name":"slow","arguments":{"seconds":1000}}')
        until(lambda: server.executed("slow"))
        server.kill()
        assert up.take()["raised"] == "NoAnswer"
        assert up.call("add", {"a": 1, "b": 2})["raised"] == "Unavailable"
    finally:
        if server.process.poll() is None:
            server.kill()
