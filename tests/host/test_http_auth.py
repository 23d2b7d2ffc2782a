"""Authorisation over HTTP against real clients: the official SDK's OAuth client finds its way from
the 401 to a token and to the tools."""

import socket
import threading
import time
from pathlib import Path

import anyio
import httpx
import httpx2
import jwt
import pytest
import uvicorn
from http_program import INTERPRETERS, Program, sdk_client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import (
    extract_field_from_www_auth,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
)
from mcp.shared.auth import ProtectedResourceMetadata
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from waiting import PATIENCE_S, until

APP = Path(__file__).with_name("guarded_app.py")
SECRET = "a secret of at least thirty-two bytes"
ACCEPT = {"Accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class AuthorizationServer:
    """Issues signed tokens to whoever has the client's credentials. seconds: how long they last;
    scope: what is granted, None: what is asked for."""

    def __init__(self):
        self.seconds = 3600
        self.scope = None
        self.asked = []  # forms of token requests
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.issuer = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = Starlette(
            routes=[
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/token", self._token, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        until(lambda: self._server.started)

    async def _metadata(self, request):
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "response_types_supported": ["code"],
                "grant_types_supported": ["client_credentials"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _token(self, request):
        form = dict(await request.form())
        self.asked.append(form)
        scope = form.get("scope", "") if self.scope is None else self.scope
        token = self.issue(form["resource"], scope, self.seconds)
        row = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope}
        return JSONResponse(row)

    def issue(self, resource, scope="", seconds=3600, key=SECRET, **more):
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "robot-7", "aud": resource, "scope": scope}
        claims |= {"iat": now, "exp": now + seconds, **more}
        return jwt.encode(claims, key, "HS256", headers={"typ": "at+jwt"})

    def close(self):
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture
def authority():
    server = AuthorizationServer()
    yield server
    server.close()


@pytest.fixture(params=INTERPRETERS)
def start(request, tmp_path):
    programs = []

    def start(**options):
        programs.append(Program(tmp_path, request.param, APP, options))
        return programs[-1].listening()

    yield start
    for program in programs:
        program.close()


class Storage:
    """What the SDK's client remembers."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def ask(program, token=None, **more):
    headers = {**ACCEPT, "Authorization": f"Bearer {token}"} if token else ACCEPT
    return httpx.post(program.url(**more), json=PING, headers=headers)


def admitted(program, token):
    done = ask(program, token)
    assert done.status_code in (400, 401, 403), done.text
    return done.status_code == 400  # a ping without a session


def oauth_error(done):
    return extract_field_from_www_auth(
        httpx2.Response(done.status_code, headers=dict(done.headers)), "error"
    )


def signed(authority, **more):
    """Options of a program that takes the authority's tokens."""
    return {"jwt_secret": SECRET, "issuer": authority.issuer, "resource": "{url}", **more}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_official_oauth_client(start, authority, mode):
    vault = start(**signed(authority, scopes=["vault:use"]))
    storage = Storage()

    async def main():
        provider = ClientCredentialsOAuthProvider(
            vault.url(), storage, "robot-7", "password", issuer=authority.issuer
        )
        http = httpx2.AsyncClient(auth=provider, timeout=PATIENCE_S)
        with anyio.fail_after(PATIENCE_S):
            async with sdk_client(vault.url(), mode, http) as client:
                result = await client.call_tool("whoami", {})
                assert result.content[0].text == "robot-7"
                result = await client.call_tool("much", {"size": 100_000})
                assert len(result.content[0].text) == 100_000

    anyio.run(main)
    (form,) = authority.asked
    assert form["resource"] == vault.url() and form["scope"] == "vault:use"
    assert storage.tokens.access_token not in vault.output()


def test_tokens_of_the_authority(start, authority):
    vault = start(**signed(authority, scopes=["a"], scope_implies={"all": ["a"]}))
    us = vault.url()
    assert admitted(vault, authority.issue(us, "a b"))
    assert admitted(vault, authority.issue([us, "x"], "all"))
    for wrong in (
        authority.issue(us + "/", "a"),
        authority.issue(us, "a", -100),
        authority.issue(us, "a", key=SECRET + "."),
        authority.issue(us, "a", iss="https://other"),
        authority.issue(us, "a", nbf=time.time() + 100),
        authority.issue(us, "a")[:-1],
        "x",
    ):
        done = ask(vault, wrong)
        assert done.status_code == 401 and oauth_error(done) == "invalid_token"
        assert wrong not in done.text + str(done.headers) + vault.output() or wrong == "x"
    done = ask(vault, authority.issue(us, "b"))
    assert done.status_code == 403 and oauth_error(done) == "insufficient_scope"
    for refusal in (done, ask(vault)):
        shown = httpx2.Response(refusal.status_code, headers=dict(refusal.headers))
        assert extract_scope_from_www_auth(shown) == "a"
        known = extract_resource_metadata_from_www_auth(shown)
        row = ProtectedResourceMetadata.model_validate_json(httpx.get(known).content)
        assert str(row.resource) == us and row.scopes_supported == ["a"]
        assert [str(url).rstrip("/") for url in row.authorization_servers] == [authority.issuer]


def test_tokens_end_while_a_connection_lasts(start, authority):
    vault = start(**signed(authority, leeway=0))
    token = authority.issue(vault.url(), seconds=3)
    headers = {**ACCEPT, "Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers) as client:
        assert client.post(vault.url(), json=PING).status_code == 400
        until(lambda: client.post(vault.url(), json=PING).status_code == 401)


def test_sessions_belong_to_who_began_them(start):
    vault = start(token={"one": "alice", "two": "bob"})
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers = {**ACCEPT, "Authorization": "Bearer one"}
    done = httpx.post(vault.url(), json=body, headers=headers)
    headers["Mcp-Session-Id"] = done.headers["mcp-session-id"]
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    call["params"] = {"name": "whoami", "arguments": {}}
    for _ in range(2):
        done = httpx.post(vault.url(), json=call, headers=headers)
        assert done.json()["result"]["content"][0]["text"] == "alice"
        stolen = {**headers, "Authorization": "Bearer two"}
        assert httpx.post(vault.url(), json=call, headers=stolen).status_code == 404
        assert httpx.delete(vault.url(), headers=stolen).status_code == 404
        assert httpx.get(vault.url(), headers=stolen).status_code == 404
        assert httpx.post(
            vault.url(), json=call, headers=ACCEPT | {"Mcp-Session-Id": "x"}
        ).is_error


def test_verifier(start):
    table = {
        "good": {"sub": "carol", "scope": "s"},
        "plain": "dave",
        "poor": {"sub": "x"},
        "odd": 7,
    }
    vault = start(verifier=table, scopes=["s"])
    assert admitted(vault, "good") and admitted(vault, "plain")
    assert [ask(vault, token).status_code for token in ("poor", "odd", "x")] == [403, 500, 401]
    assert "the token verifier failed" in vault.output() and "odd" not in vault.output()


def test_everything_but_the_least_needs_the_token(start):
    vault = start(token="t0ken")
    for path in ("/metrics", "/v1/queue/status", "/mcp", "/", "/nothing", "/health/x"):
        done = httpx.get(vault.url(path))
        assert done.status_code == 401 and done.headers["www-authenticate"] == "Bearer", path
        assert httpx.get(vault.url(path + "?access_token=t0ken")).status_code == 401
    assert httpx.get(vault.url("/health")).json() == {"status": "ok"}
    assert (
        httpx.get(vault.url("/health"), headers={"Authorization": "Bearer x"}).status_code == 401
    )
    known = httpx.get(vault.url("/health"), headers={"Authorization": "Bearer t0ken"}).json()
    assert known["name"] == "vault" and "t0ken" not in vault.output()


def test_options_that_cannot_be(tmp_path):
    for options, told in (
        ({"tokens": "a"}, "option tokens of http is not known"),
        ({"jwt_secret": "short", "audience": "x"}, "at least 32 bytes"),
        ({"token": "a", "audience": "x"}, "jwt_secret="),
        ({"scopes": ["a"]}, "scopes= needs"),
        ({"host": "0.0.0.0"}, "insecure=True"),
        ({"cert": "/nowhere"}, "/nowhere cannot be read"),
    ):
        program = Program(tmp_path, "micropython", APP, options)
        program.process.wait(PATIENCE_S)
        assert "ConfigError" in program.output() and told in program.output(), program.output()
        program.close()
