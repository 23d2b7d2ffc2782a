"""Who may come in over HTTP, which statuses others get, and the hooks, in memory."""

from http_gateway import INITIALIZE, Server, request

from mcp_gw.protocol.http_connection import PENDING
from mcp_gw.protocol.streamable_server import Site


def test_hosts_and_origins():
    server = Server()
    fields = server.open()
    ping = request("ping")
    for host, origin, status in (
        ("localhost", None, 200),
        ("127.0.0.1:9", None, 200),
        ("[::1]:8080", None, 200),
        ("BOARD.local:8080", None, 200),
        ("[::1]", None, 200),
        ("localhost:", None, 200),
        ("evil.example", None, 403),
        ("[::1]x", None, 403),
        ("[::1].evil.example", None, 403),
        ("[::1]:80x", None, 403),
        ("[::1", None, 403),
        ("[::1]]", None, 403),
        ("localhost:80.evil.example", None, 403),
        ("127.0.0.1:80:80", None, 403),
        (":80", None, 403),
        ("localhost", "http://[::1]x", 403),
        ("localhost", "http://[::1].evil.example", 403),
        ("localhost", "http://localhost:x", 403),
        ("localhost.evil.example", None, 403),
        ("localhost", "http://localhost:5173", 200),
        ("localhost", "https://127.0.0.1", 200),
        ("localhost", "https://app.example", 200),
        ("localhost", "https://APP.example", 200),
        ("localhost", "https://app.example.evil", 403),
        ("localhost", "http://evil.example", 403),
        ("localhost", "http://localhost.evil.example", 403),
        ("localhost", "null", 403),
        ("localhost", "file://localhost", 403),
        ("localhost", "", 403),
    ):
        connection = server.connect()
        answer = server.ask(ping, connection, **dict(fields, Host=host, Origin=origin))
        assert answer[0] == status, (host, origin, answer)
        if origin and status == 200:
            assert answer[1][b"access-control-allow-origin"] == origin.encode()
            assert b"Mcp-Session-Id" in answer[1][b"access-control-expose-headers"]
        else:
            assert b"access-control-allow-origin" not in answer[1]
        # A refused request does no harm to the next.
        assert server.ask(ping, connection, **fields)[0] == 200


def test_origins_beyond_loopback():
    site = Site(False, set(), {"https://app.example"})
    for host, origin, allowed in (
        ("192.168.0.7:8080", "http://192.168.0.7:8080", True),
        ("192.168.0.7:8080", "http://192.168.0.7", False),
        ("[fe80::1]:8080", "http://[fe80::1]:8080", True),
        ("evil.example:8080", "http://evil.example:8080", False),
        (":8080", "http://:8080", False),
        ("[fe80::1].evil.example", "http://[fe80::1].evil.example", False),
        ("192.168.0.7:80x", "http://192.168.0.7:80x", False),
        ("192.168.0.7", "https://app.example", True),
        ("localhost", "http://localhost:3000", False),
    ):
        assert site.host_known(host)
        assert site.origin_allowed(origin, host) == allowed, (host, origin)
    site = Site(False, {"board.lan", "other.lan:81"}, set())
    assert site.host_known("Board.lan:8080") and site.host_known("other.lan:81")
    assert not site.host_known("other.lan:82") and not site.host_known("192.168.0.7")
    assert site.origin_allowed("http://board.lan:8080", "board.lan:8080")


def test_preflight():
    server = Server()
    asked = {
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "content-type, mcp-param-plot",
    }
    origin = "https://app.example"
    status, headers, body = server.ask(None, method="OPTIONS", Origin=origin, **asked)
    assert status == 204 and body == b""
    assert headers[b"access-control-allow-origin"] == origin.encode()
    assert b"DELETE" in headers[b"access-control-allow-methods"]
    assert headers[b"access-control-allow-headers"].endswith(b", mcp-param-plot")
    assert server.ask(None, method="OPTIONS", Origin="http://evil", **asked)[0] == 403
    status, headers, _ = server.ask(None, method="OPTIONS")
    assert status == 204 and b"access-control-allow-methods" not in headers


def test_other_statuses():
    server = Server()
    fields = server.open()
    ping = request("ping")
    for change, status in (
        ({"Content-Type": None}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "application/json;q=0, text/html"}, 406),
        ({"Accept": None}, 200),
        ({"Accept": "*/*"}, 200),
        ({"Accept": "application/*;q=0.1"}, 200),
        ({"path": "/"}, 404),
        ({"path": "/mcp/"}, 404),
        ({"path": "/mcp?x=y"}, 200),
        ({"method": "PUT"}, 405),
        ({"method": "HEAD"}, 405),
    ):
        connection = server.send(ping, **dict(fields, **change))
        wire = connection.take()
        assert wire[9:12] == b"%d" % status, (change, wire)
        assert connection.phase != PENDING and not connection.closed


class Guard:
    def __init__(self):
        self.asked = []
        self.known = {b"Bearer a": "ada", b"Bearer b": "bob"}

    def check(self, method, path, headers, peer):
        self.asked.append((method, path, peer))
        name = self.known.get(headers.get(b"authorization"))
        return name or (401, [("WWW-Authenticate", "Bearer")], b"")


def test_a_guard_is_asked_once_a_second_and_sessions_are_their_owners():
    guard = Guard()
    server = Server(guard=guard)
    answer = server.ask(request("ping"))
    assert answer[0] == 401 and answer[1][b"www-authenticate"] == b"Bearer"
    assert guard.asked == [("POST", "/mcp", "10.0.0.9")]
    connection = server.connect()
    answer = server.ask(request("initialize", INITIALIZE), connection, Authorization="Bearer a")
    fields = {"Mcp_Session_Id": answer[1][b"mcp-session-id"].decode()}
    fields["Authorization"] = "Bearer a"
    ping = request("ping")
    for now, asked in ((0, 1), (100, 0), (900, 0), (1100, 1), (1200, 0)):
        server.app.tick(now)
        del guard.asked[:]
        assert server.ask(ping, connection, **fields)[0] == 200
        assert len(guard.asked) == asked, now
    guard.known.pop(b"Bearer a")
    server.app.tick(2500)
    assert server.ask(ping, connection, **fields)[0] == 401
    guard.known[b"Bearer a"] = "ada"
    server.app.tick(4000)
    assert server.ask(ping, connection, **fields)[0] == 200
    for method in ("POST", "GET", "DELETE"):
        stolen = dict(fields, Authorization="Bearer b", method=method)
        assert server.ask(ping, **stolen)[0] == 404
    session = list(server.gateway.sessions)[0]
    assert session.principal == "ada"
    assert not any(row[0] == "OPTIONS" for row in guard.asked)


class Endpoints:
    def __init__(self):
        self.respond = None

    def handle(self, method, path, query, headers, body, respond):
        if path == "/now":
            text = "%s %s %s" % (method, query, body.decode())
            respond(200, [("Content-Type", "text/plain")], [text.encode()])
        elif path == "/later":
            self.respond = respond
        elif path == "/broken":
            raise ValueError("broken on purpose")
        else:
            return False
        return True


def test_other_paths_go_to_the_endpoints():
    endpoints = Endpoints()
    server = Server(endpoints=endpoints)
    server.gateway.log_exception = server.app._log = lambda e: None
    answer = server.ask(b"hi", path="/now?a=b")
    assert answer[2] == b"POST a=b hi" and answer[1][b"content-type"] == b"text/plain"
    wire = server.send(None, method="HEAD", path="/now").take()
    assert wire.endswith(b"\r\n\r\n") and b"Content-Length: 5\r\n" in wire
    connection = server.send(None, method="GET", path="/later")
    assert connection.phase == PENDING
    endpoints.respond(503, (), [b"a", b"b"])
    status, _, body = connection.answers()[0]
    assert (status, body) == (503, b"ab")
    connection = server.send(None, method="GET", path="/later")
    connection.close()
    endpoints.respond(200, (), [])
    assert not connection.sent
    assert server.ask(None, method="GET", path="/else")[0] == 404
    assert server.ask(None, method="GET", path="/broken")[0] == 500
