"""The paired gateway's HTTP side: who is let in, what is too much, what it tells of itself."""

import json
import subprocess

import httpx
import pytest
from http_process import Client, called, posted
from mcpgw.pi.guard import Board, Guard
from mcpgw.pi.store import Store
from pi_rig import MCPGW, META, VERSION, Pi, environment, mcpgw
from prometheus_client.parser import text_string_to_metric_families
from waiting import PATIENCE_S, until

SETTINGS = """
[pi.settings]
max_message = 4096
http_head = 2048
http_request_s = 1
http_connections = 8
http_backlog = 65536
http_quiet_s = 1
"""
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "t", "version": "0"},
}


@pytest.fixture(scope="module")
def pi(tmp_path_factory):
    pi = Pi(tmp_path_factory.mktemp("http"), SETTINGS, pi='hosts = ["localhost", "127.0.0.1"]')
    yield pi
    pi.close()


def test_metrics_are_what_prometheus_reads(pi):
    answer = httpx.get(pi.address + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert len(found) == answer.text.count("# TYPE")
    for name in ("mcpgw_info", "mcpgw_pi_boards", "mcpgw_pi_keyed_calls", "process_cpu_seconds"):
        assert found[name].documentation and found[name].samples, name
    states = {row.labels["state"]: row.value for row in found["mcpgw_pi_boards"].samples}
    assert states == {"up": 0, "down": 0}
    outcomes = {row.labels["outcome"] for row in found["mcpgw_pi_keyed_calls"].samples}
    assert outcomes == {"new", "done", "lost", "joined", "busy"}
    assert found["mcpgw_pi_store_ok"].samples[0].value == 1


def test_health_and_the_other_endpoints(pi):
    row = pi.health()
    assert row["status"] == "ok" and row["boards"] == {} and row["store"] == "ok"
    assert httpx.get(pi.address + "/nothing").status_code == 404
    assert httpx.put(pi.address + "/mcp").status_code == 405
    assert httpx.get(pi.address + "/mcp").status_code == 405
    assert httpx.options(pi.address + "/mcp").status_code == 204
    answer = httpx.post(pi.address + "/v1/mcp/completions", json={"tool": "nothing"})
    assert answer.status_code == 404 and "unknown tool" in answer.text


def test_strangers_are_turned_away(pi):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    for fields, status in (
        ({"Host": "rebound.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": "Basic eDp5"}, 400),
        ({"Authorization": "Bearer " + "x" * 513}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Accept": "text/html"}, 406),
    ):
        with Client(pi.port) as client:
            client.post(body, **fields)
            assert client.answer()[0] == status, fields


def test_one_byte_over_each_cap_and_the_next_request_is_served(pi):
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: "
    for size, status in ((1900, 200), (2049, 431), (100_000, 431)):
        with Client(pi.port) as client:
            client.send(head + b"x" * size + b"\r\n\r\n")
            assert client.head()[0] == status, size
    with Client(pi.port) as client:  # a head that never ends
        try:
            for _ in range(100):
                client.send(b"GET /health HTTP/1.1\r\n" if _ == 0 else b"X: " + b"y" * 100)
            status = client.head()[0]
        except ConnectionError:
            status = 431
        assert status == 431
    ping = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    exact = json.dumps(ping).encode()
    for size, status in ((4096, 200), (4097, 413), (1 << 22, 413)):
        with Client(pi.port) as client:
            try:
                client.post(exact + b" " * (size - len(exact)))
            except ConnectionError:
                continue  # it did not read all of that
            assert client.head()[0] == status, size
    with Client(pi.port) as client:  # the same in chunks, whose sum nobody announces
        client.send(
            b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(5):
                client.send(b"400\r\n" + b" " * 0x400 + b"\r\n")
            client.send(b"0\r\n\r\n")
        except ConnectionError:
            pass
        assert client.head()[0] == 413
    assert pi.health()["status"] == "ok"


def test_what_is_no_http_or_no_mcp(pi):
    for data, status in (
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (posted(b"{"), 400),
        (posted(b"[]"), 400),
        (posted(b"\xff\xfe"), 400),
        (posted(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'), 400),
        (posted(b"{}", Mcp_Session_Id="nobody's"), 404),
    ):
        with Client(pi.port) as client:
            client.send(data)
            assert client.head()[0] == status, data
    assert pi.health()["status"] == "ok"


def test_slow_and_silent_clients_are_let_go(pi):
    with Client(pi.port) as client:
        client.send(posted(b"{", Content_Length=10))
        assert client.ended()
    with Client(pi.port) as client:
        client.send(b"POST /mcp HTT")
        assert client.ended()


def test_too_many_connections(pi):
    clients = [Client(pi.port) for _ in range(8)]
    try:
        until(lambda: refused(pi), "nobody was refused")
    finally:
        for client in clients:
            client.close()
    until(lambda: not refused(pi), "nobody is let in")


def refused(pi):
    try:
        return httpx.get(pi.address + "/health").status_code == 503
    except httpx.HTTPError:
        return True


def session(client):
    """Begin a legacy session; returns its id."""
    row = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
    client.post(json.dumps(row).encode())
    status, headers, _ = client.answer()
    assert status == 200
    return headers["mcp-session-id"]


def test_a_legacy_session_and_its_stream(pi):
    with Client(pi.port) as client, Client(pi.port) as stream:
        id = session(client)
        head = "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        stream.send(f"{head}Mcp-Session-Id: {id}\r\n\r\n".encode())
        status, headers = stream.head()
        assert status == 200 and headers["content-type"] == "text/event-stream"
        assert b"id: 0-0" in stream.chunk()
        assert stream.chunk().startswith(b":")  # a sign of life after a second's silence
        client.post(b'{"jsonrpc":"2.0","id":2,"method":"ping"}', Mcp_Session_Id=id)
        assert json.loads(client.answer()[2])["result"] == {}
        client.send(
            f"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {id}\r\n\r\n".encode()
        )
        assert client.answer()[0] == 204
        while stream.chunk():
            pass
        client.post(b'{"jsonrpc":"2.0","id":3,"method":"ping"}', Mcp_Session_Id=id)
        assert client.answer()[0] == 404


def test_requests_one_behind_the_other_on_one_connection(pi):
    with Client(pi.port) as client:
        client.send(b"".join(called("nothing") for _ in range(5)))
        for _ in range(5):
            assert json.loads(client.answer()[2])["error"]["code"] == -32602


def test_tokens(tmp_path):
    """A gateway that trusts nobody on this machine either."""
    pi = Pi(tmp_path, pi="trust_loopback = false")
    try:
        assert httpx.get(pi.address + "/health").json() == {"status": "ok"}
        answer = httpx.get(pi.address + "/metrics")
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        token = mcpgw("pi", "token", "add", "me", "--config", pi.config).strip()
        bearer = {"Authorization": f"Bearer {token}"}
        until(lambda: httpx.get(pi.address + "/health", headers=bearer).status_code == 200)
        assert "boards" in httpx.get(pi.address + "/health", headers=bearer).json()
        assert "it runs: ok" in mcpgw("pi", "status", "--config", pi.config)
        with Client(pi.port) as client:
            row = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
            client.post(json.dumps(row).encode(), Authorization=f"Bearer {token}")
            id = client.answer()[1]["mcp-session-id"]
            other = mcpgw("pi", "token", "add", "you", "--config", pi.config).strip()
            headers = {"Authorization": f"Bearer {other}"}
            until(lambda: httpx.get(pi.address + "/metrics", headers=headers).status_code == 200)
            ping = b'{"jsonrpc":"2.0","id":2,"method":"ping"}'
            client.post(ping, Authorization=f"Bearer {other}", Mcp_Session_Id=id)
            assert client.answer()[0] == 404  # a session is of the principal that began it
        mcpgw("pi", "token", "remove", "me", "--config", pi.config)
        until(lambda: httpx.get(pi.address + "/health", headers=bearer).status_code == 401)
    finally:
        pi.close()


def test_streams_end_with_the_token_that_opened_them(tmp_path):
    pi = Pi(tmp_path, "[pi.settings]\nhttp_quiet_s = 1\n")
    try:
        events = {"Accept": "application/json, text/event-stream"}

        def streams(name):
            """A session's stream and a subscription of 2026-07-28, opened."""
            token = mcpgw("pi", "token", "add", name, "--config", pi.config).strip()
            bearer = {"Authorization": f"Bearer {token}", **events}
            client = httpx.Client(headers=bearer, timeout=PATIENCE_S)
            until(lambda: client.get(pi.address + "/health").status_code == 200)
            row = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}
            id = client.post(pi.address + "/mcp", json=row).headers["mcp-session-id"]
            asked = {"_meta": META, "notifications": {"toolsListChanged": True}}
            row = {"jsonrpc": "2.0", "id": 2, "method": "subscriptions/listen", "params": asked}
            head = {"MCP-Protocol-Version": VERSION, "Mcp-Method": row["method"]}
            for method, fields, more in (
                ("GET", {"Mcp-Session-Id": id}, {}),
                ("POST", head, {"json": row}),
            ):
                request = client.build_request(method, pi.address + "/mcp", headers=fields, **more)
                answer = client.send(request, stream=True)
                assert answer.status_code == 200
                assert answer.headers["content-type"] == "text/event-stream"
                yield answer.iter_lines()

        mine, yours = list(streams("me")), list(streams("you"))
        for lines in (*mine, *yours):
            assert next(lines)
        mcpgw("pi", "token", "remove", "me", "--config", pi.config)
        for lines in mine:
            for _ in lines:  # until it ends
                pass
        for lines in yours:  # signs of life after a second's silence each
            for _ in range(12):
                next(lines)
    finally:
        pi.close()


def test_the_guard(tmp_path):
    store = Store(tmp_path / "pi.sqlite")
    board, client = store.add_token("shed", "board"), store.add_token("me", "client")
    guard = Guard(store, False, True, None)
    local = {b"host": b"127.0.0.1:8750"}

    def said(peer="10.0.0.7", **headers):
        rows = {name.encode(): value.encode() for name, value in headers.items()}
        return guard.check("POST", "/mcp", {**local, **rows}, peer)

    assert said("127.0.0.1") is None and said("::1") is None
    assert said("127.0.0.1", host="rebound.example")[0] == 401
    assert said("127.0.0.1", origin="https://evil.example")[0] == 401
    assert said("127.0.0.1", origin="http://localhost:3000") is None
    assert said()[0] == 401
    principal = said(authorization="Bearer " + board)
    assert principal == "shed" and isinstance(principal, Board)
    principal = said(authorization="bearer " + client)
    assert principal == "me" and not isinstance(principal, Board)
    assert said("127.0.0.1", authorization="Bearer nonsense")[0] == 401
    assert Guard(store, True, True, None).check("POST", "/mcp", local, "10.0.0.7") is None
    store.close()


def test_a_port_in_use_and_a_second_service(tmp_path, pi):
    config = tmp_path / "mcp-edge.toml"
    state = f'state = "{tmp_path / "state"}"\n'
    config.write_text(f"[pi]\nport = {pi.port}\n{state}[discovery]\nserial = false\n")
    command = [*MCPGW, "pi", "--config", str(config)]

    def said(*more):
        done = subprocess.run(
            [*command, *more],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE_S,
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert f"cannot listen on port {pi.port} of 127.0.0.1" in said()
    assert "choose another with `port` in [pi] or --port" in said()
    assert "is no address of this machine" in said("--host", "no.such.host.invalid")
    config.write_text(pi.config.read_text())
    assert f"another mcpgw pi (process {pi.process.pid})" in said("--port", "0")
    config.write_text(f'[pi]\nstate = "{pi.config}"\n')
    assert "state" in said("--port", "0") or str(pi.config) in said("--port", "0")


def test_it_ends_in_good_order(tmp_path):
    pi = Pi(tmp_path)
    try:
        with Client(pi.port) as client:
            session(client)
            assert pi.stop() == 0
        assert "Traceback" not in pi.output() and "internal error" not in pi.output()
    finally:
        pi.close()


def test_a_full_disk_while_it_runs(tmp_path):
    """Keyed calls are refused and executed nowhere; everything else goes on, and so do they once
    there is room. A limit on how long files may get stands for the disk."""
    import resource
    import signal

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    from pi_rig import SDKServer, server_table

    office = SDKServer(tmp_path)
    pi = Pi(tmp_path, server_table("office", url=office.url), preexec_fn=small)
    try:
        pi.up("office")
        for i in range(2000):
            answer = pi.call("office_text", {"size": 4000}, f"key-{i}")
            if "error" in answer:
                break
        assert answer["error"]["code"] == -32010, answer
        assert "cannot record the call's key" in answer["error"]["message"]
        row = pi.deliver([("new-1", "office_add", {"a": 1, "b": 2})])["new-1"]
        assert row["retry_ms"] > 0 and "add 1 2" not in office.ledger()
        assert pi.call("office_add", {"a": 5, "b": 2})["result"]["isError"] is False
        health = pi.health()
        assert health["status"] == "failing" and health["store"] != "ok"
        resource.prlimit(pi.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        row = pi.deliver([("new-1", "office_add", {"a": 1, "b": 2})])["new-1"]
        assert row["result"]["structuredContent"] == {"result": 3}
        assert office.ledger().count("add 1 2") == 1
        assert pi.health()["status"] == "ok"
    finally:
        pi.close()
        office.close()


def test_status_where_only_other_names_are_served(tmp_path):
    pi = Pi(tmp_path, pi='hosts = ["pi.local"]')
    try:
        assert "it runs: ok" in mcpgw("pi", "status", "--config", pi.config)
    finally:
        pi.close()


def test_https(tmp_path):
    """With a certificate of a private authority; one that does not fit its key is said so."""
    import ssl

    from authority import CA, LOCAL

    authority = CA(tmp_path, "home")
    certificate, key = authority.issue("pi", LOCAL)
    tables = f'certificate = "{certificate}"\nkey = "{key}"'
    pi = Pi(tmp_path, pi=tables)
    try:
        context = ssl.create_default_context(cafile=str(authority.path))
        url = f"https://localhost:{pi.port}/health"
        assert httpx.get(url, verify=context).json()["status"] == "ok"
        assert "it runs: ok" in mcpgw("pi", "status", "--config", pi.config)
        assert f"serves at https://127.0.0.1:{pi.port}/mcp" in pi.output()
        pi.stop()
        other = authority.issue("other", LOCAL)[1]
        pi.config.write_text(pi.config.read_text().replace(str(key), str(other)))
        done = subprocess.run(
            [*MCPGW, "pi", "--config", pi.config],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=PATIENCE_S,
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "cannot be used" in done.stderr
    finally:
        pi.close()
