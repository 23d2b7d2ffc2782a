"""A gateway mounted in a real Microdot application, on both interpreters, and clients of it."""

import json
import socket
from pathlib import Path

import anyio
import httpx
import pytest
from http_program import INTERPRETERS, Program, sdk_client
from mcp.types import ElicitResult
from waiting import PATIENCE_S, until

APP = Path(__file__).with_name("microdot_app.py")
TOKEN = "a-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module", params=INTERPRETERS)
def start(request, tmp_path_factory):
    """start(**options of mount): the program; those with the same options are one."""
    programs = {}

    def start(**options):
        key = json.dumps(options)
        if key not in programs:
            folder = tmp_path_factory.mktemp("microdot")
            programs[key] = Program(folder, request.param, APP, options).listening()
        return programs[key]

    start.interpreter = request.param
    yield start
    for program in programs.values():
        program.close()


@pytest.fixture
def kitchen(start):
    return start(token=TOKEN, endpoints=True, authorization_servers=["https://as.example"])


def drive(url, mode, scenario, **options):
    async def main():
        with anyio.fail_after(3 * PATIENCE_S):
            async with sdk_client(url, mode, BEARER, **options) as client:
                await scenario(client)

    anyio.run(main)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_official_client(kitchen, mode):
    heard = []

    async def on_progress(progress, total, message):
        heard.append((progress, total, message))

    async def on_elicit(context, params):
        assert params.message == "How many?"
        return ElicitResult(action="accept", content={"n": 4})

    async def scenario(client):
        assert client.server_info.name == "kitchen"
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"add", "progress", "ask"} <= names
        result = await client.call_tool("add", {"a": 2, "b": 3})
        assert result.structured_content == {"sum": 5}
        result = await client.call_tool("cannot", {})
        assert result.is_error and result.content[0].text == "no flour"
        result = await client.call_tool("progress", {"count": 3}, progress_callback=on_progress)
        assert result.content[0].text == "done"
        with anyio.fail_after(PATIENCE_S):
            while len(heard) < 3:
                await anyio.sleep(0.01)
        assert heard == [(1, 3, "step 0"), (2, 3, "step 1"), (3, 3, "step 2")]
        (contents,) = (await client.read_resource("kitchen://menu")).contents
        assert contents.text == "soup"
        result = await client.call_tool("ask", {})
        assert "accept" in result.content[0].text and "4" in result.content[0].text
        result = await client.call_tool("much", {"size": 100_000})
        assert len(result.content[0].text) == 100_000
        async with anyio.create_task_group() as group:
            for n in range(5):
                group.start_soon(client.call_tool, "steps", {"count": n})

    drive(kitchen.url(), mode, scenario, elicitation_callback=on_elicit)


def test_own_routes_and_endpoints(kitchen):
    assert httpx.get(kitchen.url("/")).text == "the application's own page"
    assert httpx.get(kitchen.url("/nothing")).status_code == 404
    assert httpx.get(kitchen.url("/health")).json() == {"status": "ok"}
    assert httpx.get(kitchen.url("/health"), headers=BEARER).json()["name"] == "kitchen"
    assert "mcpgw_info{" in httpx.get(kitchen.url("/metrics"), headers=BEARER).text
    body = {"tool": "add", "arguments": {"a": 1, "b": 1}}
    done = httpx.post(kitchen.url("/v1/mcp/completions"), json=body, headers=BEARER)
    assert done.json()["structuredContent"] == {"sum": 2}
    done = httpx.post(kitchen.url("/v1/mcp/completions"), json={"tool": "ask"}, headers=BEARER)
    assert done.status_code == 200 and done.json()["isError"]  # there is nobody to ask
    head = httpx.head(kitchen.url("/health"))
    assert head.status_code == 200 and not head.content


def test_refused(kitchen):
    url = kitchen.url()
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    known = kitchen.url("/.well-known/oauth-protected-resource/mcp")
    for headers in ({}, {"Authorization": "Bearer other"}):
        done = httpx.post(url, json=body, headers={**ACCEPT, **headers})
        assert done.status_code == 401
        assert f'resource_metadata="{known}"' in done.headers["www-authenticate"]
    assert httpx.get(known).json()["resource"] == url
    for path in ("/metrics", "/v1/queue/status"):
        assert httpx.get(kitchen.url(path)).status_code == 401
    assert httpx.put(url, headers=BEARER).status_code == 405
    done = httpx.post(url, json=body, headers={**ACCEPT, **BEARER, "Origin": "https://evil"})
    assert done.status_code == 403
    done = httpx.get(url, headers={**ACCEPT, **BEARER, "Mcp-Session-Id": "0" * 32})
    assert done.status_code == 404
    for text in (b"", b"{", b"[1]", b"\xff" * 100):
        headers = {**ACCEPT, **BEARER, "Content-Type": "application/json"}
        done = httpx.post(url, content=text, headers=headers)
        assert done.status_code == 400 and "error" in done.json()


def test_behind_a_proxy(start):
    """Clients know us by a URL that has nothing in common with ours."""
    us = "https://example.org/boards/7/mcp"
    kitchen = start(token=TOKEN, resource=us, authorization_servers=["https://as.example"])
    done = httpx.post(kitchen.url(), json={}, headers=ACCEPT)
    path = "/.well-known/oauth-protected-resource/boards/7/mcp"
    assert f'resource_metadata="https://example.org{path}"' in done.headers["www-authenticate"]
    assert httpx.get(kitchen.url(path)).json()["resource"] == us
    assert httpx.get(kitchen.url("/.well-known/oauth-protected-resource")).json()["resource"] == us
    assert httpx.get(kitchen.url(path + "/x")).status_code == 404


def test_nothing_is_left_behind(start):
    """Of requests that were answered, refused, or left."""
    kitchen = start(token=TOKEN, endpoints=True)

    def round_trip():
        session = initialize(kitchen)
        done = httpx.post(kitchen.url(), json=call("progress", {"count": 3}, 5), headers=session)
        assert "done" in done.text
        httpx.post(kitchen.url(), json={}, headers=ACCEPT)
        with httpx.stream("GET", kitchen.url(), headers=session, timeout=PATIENCE_S):
            pass
        assert httpx.delete(kitchen.url(), headers=session).status_code == 204

    figures = []
    for _ in range(3):
        for _ in range(20):
            round_trip()
        text = httpx.get(kitchen.url("/collected")).text
        figures.append(int(text))
    assert figures[2] - figures[1] < 20 * 200, figures


def test_only_this_machine_without_a_token(start):
    kitchen = start()
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    done = httpx.post(kitchen.url(), json=body, headers=ACCEPT)
    if start.interpreter == "micropython":
        # The unix port does not tell who is at the other end, so nobody is known to be here.
        assert done.status_code == 403 and "token" in done.json()["error"]["message"]
    else:
        assert done.status_code == 400  # a ping without a session
        done = httpx.post(kitchen.url(), json=body, headers={**ACCEPT, "Host": "evil.example"})
        assert done.status_code == 403
    insecure = start(insecure=True)
    assert httpx.post(insecure.url(), json=body, headers=ACCEPT).status_code == 400


def test_options_that_cannot_be(start, tmp_path):
    for options, told in (({"tokens": "a"}, "tokens"), ({"path": "mcp"}, "path begins with /")):
        program = Program(tmp_path, start.interpreter, APP, options)
        program.process.wait(PATIENCE_S)
        assert "ConfigError" in program.output() and told in program.output()
        program.close()


def initialize(kitchen):
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    done = httpx.post(kitchen.url(), json=body, headers={**ACCEPT, **BEARER})
    assert done.status_code == 200
    session = {**ACCEPT, **BEARER, "Mcp-Session-Id": done.headers["mcp-session-id"]}
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert httpx.post(kitchen.url(), json=body, headers=session).status_code == 202
    return session


def call(name, arguments=None, token=None):
    params = {"name": name, "arguments": arguments or {}}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def test_sessions_begin_and_end(kitchen):
    session = initialize(kitchen)
    done = httpx.post(kitchen.url(), json=call("add", {"a": 1, "b": 2}), headers=session)
    assert done.json()["result"]["structuredContent"] == {"sum": 3}
    assert httpx.delete(kitchen.url(), headers=session).status_code == 204
    done = httpx.post(kitchen.url(), json=call("add", {"a": 1, "b": 2}), headers=session)
    assert done.status_code == 404
    # Ending it ends its streams.
    session = initialize(kitchen)
    with httpx.stream("GET", kitchen.url(), headers=session, timeout=PATIENCE_S) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert httpx.delete(kitchen.url(), headers=session).status_code == 204
        stream.read()


def test_quiet_calls_are_kept_alive(kitchen):
    session = initialize(kitchen)
    with httpx.stream(
        "POST", kitchen.url(), json=call("wait"), headers=session, timeout=PATIENCE_S
    ) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        comments = 0
        for line in stream.iter_lines():
            comments += line == ":"
            if comments == 3:
                break
    httpx.delete(kitchen.url(), headers=session)


def test_a_client_that_leaves(kitchen):
    """The work of a modern request ends with its connection."""
    before = len(httpx.get(kitchen.url("/left")).json()["left"])
    body = call("wait")
    body["params"]["_meta"] = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        **ACCEPT,
        **BEARER,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "wait",
    }
    with httpx.stream(
        "POST", kitchen.url(), json=body, headers=headers, timeout=PATIENCE_S
    ) as stream:
        next(stream.iter_lines())
    until(lambda: len(httpx.get(kitchen.url("/left")).json()["left"]) > before)


@pytest.mark.parametrize("size, status", [(4_000, 200), (12_000, 200), (20_000, 413)])
def test_sizes_of_bodies(kitchen, size, status):
    """In memory, left in the stream, and over Microdot's limit."""
    session = initialize(kitchen)
    body = call("add", {"a": 1, "b": 2})
    body["params"]["_meta"] = {"padding": "x" * size}
    done = httpx.post(kitchen.url(), json=body, headers=session)
    assert done.status_code == status
    if status == 200:
        assert done.json()["result"]["structuredContent"] == {"sum": 3}
    assert httpx.delete(kitchen.url(), headers=session).status_code == 204


def test_served_from_the_start(start):
    kitchen = start(token=TOKEN, serve=["stdio"] if start.interpreter == "micropython" else [])
    session = initialize(kitchen)
    for id in (7, 8):
        if start.interpreter == "micropython":  # the other has no console for MCP
            body = json.dumps({"jsonrpc": "2.0", "id": id, "method": "ping"})
            kitchen.process.stdin.write(body + "\n")
            kitchen.process.stdin.flush()
            pong = f'{{"jsonrpc":"2.0","id":{id},"result":{{}}}}'
            until(lambda pong=pong: pong in kitchen.output())
        done = httpx.post(kitchen.url(), json=call("add", {"a": 1, "b": 2}), headers=session)
        assert done.json()["result"]["structuredContent"] == {"sum": 3}


def test_peers_that_do_not_finish(kitchen):
    """They hold nobody up."""
    stuck = []
    for text in (
        b"",
        b"POST /mcp HTTP/1.1\r\n",
        b"POST /mcp HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ):
        one = socket.create_connection(("127.0.0.1", kitchen.port))
        one.sendall(text)
        stuck.append(one)
    session = initialize(kitchen)
    assert httpx.delete(kitchen.url(), headers=session).status_code == 204
    for one in stuck:
        one.close()
    assert httpx.get(kitchen.url("/health")).status_code == 200
