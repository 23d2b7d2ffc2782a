"""HTTP behind TLS, with and without client certificates: the whole server, real clients."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import httpx
import httpx2
import pytest
from authority import CA, LOCAL
from http_program import INTERPRETERS, Program, sdk_client
from waiting import PATIENCE_S

APP = Path(__file__).with_name("guarded_app.py")
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return CA(tmp_path_factory.mktemp("theirs"), "theirs")


@pytest.fixture(params=INTERPRETERS)
def start(request, tmp_path, ours):
    programs = []

    def start(**options):
        cert, key = ours.issue("vault", LOCAL)
        options = {"cert": str(cert), "key": str(key), **options}
        programs.append(Program(tmp_path, request.param, APP, options))
        return programs[-1].listening()

    yield start
    for program in programs:
        program.close()


def context(authority, own=None):
    made = ssl.create_default_context(cafile=authority.path)
    if own:
        made.load_cert_chain(*own)
    return made


def health(vault, authority, own=None):
    return httpx.get(
        vault.url("/health", "https"), verify=context(authority, own), timeout=PATIENCE_S
    ).json()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_official_client(start, ours, mode):
    vault = start(token="t0ken", client_ca=str(ours.path))
    own = ours.issue("client", [])
    heard = []

    async def on_progress(progress, total, message):
        heard.append(progress)

    async def main():
        http = httpx2.AsyncClient(
            verify=context(ours, own),
            headers={"Authorization": "Bearer t0ken"},
            timeout=PATIENCE_S,
        )
        with anyio.fail_after(PATIENCE_S):
            async with sdk_client(vault.url(scheme="https"), mode, http) as client:
                result = await client.call_tool("whoami", {})
                assert result.content[0].text == "token"
                # More than a TLS record and the socket's buffers hold.
                result = await client.call_tool("much", {"size": 200_000})
                assert len(result.content[0].text) == 200_000
                await client.call_tool("progress", {"count": 20}, progress_callback=on_progress)
                while len(heard) < 20:
                    await anyio.sleep(0.01)

    anyio.run(main)
    assert heard == list(range(1, 21))


def test_client_certificates(start, ours, theirs):
    vault = start(client_ca=str(ours.path))
    good = ours.issue("good", [])
    assert health(vault, ours, good)["name"] == "vault"
    for own in (None, theirs.issue("foreign", [])):
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            health(vault, ours, own)
        assert health(vault, ours, good)["name"] == "vault"
    with pytest.raises(httpx.ConnectError):
        health(vault, theirs, good)
    with pytest.raises(httpx.TransportError):
        httpx.get(vault.url("/health"))  # not https
    assert health(vault, ours, good)["name"] == "vault"


def test_a_client_certificate_lets_us_listen_to_others(start, ours):
    vault = start(client_ca=str(ours.path), host="0.0.0.0")
    assert health(vault, ours, ours.issue("client", []))["name"] == "vault"


def test_metadata_is_https(start, ours):
    vault = start(token="a", authorization_servers=["https://as.example"])
    url = vault.url(scheme="https")
    done = httpx.post(url, json={}, verify=context(ours))
    known = vault.url("/.well-known/oauth-protected-resource/mcp", "https")
    assert f'resource_metadata="{known}"' in done.headers["www-authenticate"]
    assert httpx.get(known, verify=context(ours)).json()["resource"] == url


def test_those_who_begin_and_leave_it_at_that(start, ours):
    """Handshakes that were begun, or never were, hold nobody up."""
    vault = start()
    with contextlib.ExitStack() as stack:
        for text in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n") * 5:
            one = stack.enter_context(socket.create_connection(("127.0.0.1", vault.port)))
            one.sendall(text)
        assert health(vault, ours)["name"] == "vault"
    assert health(vault, ours)["name"] == "vault"


def test_many_at_once_and_kept_alive(start, ours):
    vault = start()
    body = {"tool": "much", "arguments": {"size": 30_000}}

    def work(_):
        with httpx.Client(verify=context(ours), timeout=PATIENCE_S) as client:
            for _ in range(5):
                done = client.post(vault.url("/v1/mcp/completions", "https"), json=body)
                assert len(done.json()["content"][0]["text"]) == 30_000

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    figures = httpx.get(vault.url("/metrics", "https"), verify=context(ours)).text
    count = next(x for x in figures.split("\n") if x.startswith("mcpgw_http_connections_total"))
    assert int(count.split()[1]) < 15  # connections were used again


def test_a_client_that_stops_reading(start, ours):
    """What it does not take waits, and others are served meanwhile."""
    vault = start()
    count, size = 30, 200_000  # more than the system's buffers take
    body = b'{"tool":"much","arguments":{"size":%d}}' % size
    head = b"POST /v1/mcp/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
    head = head % len(body) + b"Content-Type: application/json\r\n\r\n"
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(PATIENCE_S)
        plain.connect(("127.0.0.1", vault.port))
        with context(ours).wrap_socket(plain, server_hostname="localhost") as stream:
            stream.sendall((head + body) * count)
            begun = -1
            while begun != (begun := calls(vault, ours)):
                time.sleep(0.2)
            assert begun < count
            # And then it reads after all.
            with stream.makefile("rb") as file:
                for _ in range(count):
                    length = 0
                    while (line := file.readline()) != b"\r\n":
                        if line.startswith(b"Content-Length:"):
                            length = int(line[15:])
                    row = json.loads(file.read(length))
                    assert row["content"][0]["text"] == "x" * size


def test_a_client_that_does_not_wait_for_its_answer(start, ours):
    """What it sends meanwhile stays in the network; nothing is lost, and others are served."""
    vault = start()
    ask = b"POST /v1/mcp/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    ask += b"\r\nContent-Length: %d\r\n\r\n%s"
    first = b'{"tool":"wait","arguments":{"ms":2000}}'
    more = b'{"tool":"whoami"}' + b" " * 2000
    count = 8000  # some 16 MB

    async def main():
        # Both directions in one thread: a TLS connection must not be used by two at a time.
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", vault.port, ssl=context(ours), server_hostname="localhost"
        )
        writer.write(ask % (len(first), first))
        writer.write(ask % (len(more), more) * count)
        for i in range(count + 1):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            assert head[0] == "HTTP/1.1 200 OK"
            length = next(int(row[15:]) for row in head if row.startswith("Content-Length:"))
            row = json.loads(await reader.readexactly(length))
            assert row["content"][0]["text"] == ("None" if i else "waited")
        writer.close()

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE_S))


def calls(vault, ours):
    """How many tools were called so far."""
    figures = httpx.get(vault.url("/metrics", "https"), verify=context(ours)).text
    rows = [row for row in figures.split("\n") if 'method="tools/call"' in row]
    return int(rows[0].split()[1]) if rows else 0
