"""Guard: which requests it lets in, and what it tells those it refuses."""

import json
import random
from binascii import b2a_base64

from mcp_gw.auth import Principal, guard_from
from mcp_gw.errors import ConfigError
from mcp_gw.hmac256 import hmac_sha256

NOW = 1_800_000_000
KEY = b"0123456789abcdef0123456789abcdef"
US = "https://board.example/mcp"
ORIGIN = "http://127.0.0.1:8080"

logged = []


def guard(path="/mcp", now=NOW, **options):
    made = guard_from(options, lambda: now, logged.append, path)
    assert not options  # its own are taken out
    return made


def b64(data):
    text = b2a_base64(data).strip().rstrip(b"=")
    return text.replace(b"+", b"-").replace(b"/", b"_")


def sign(text, key=KEY):
    return text + b"." + b64(hmac_sha256(key, text))


def jwt(key=KEY, header=None, raw=None, **claims):
    row = {"sub": "alice", "aud": US, "exp": NOW + 60}
    row.update(claims)
    row = {name: value for name, value in row.items() if value is not None}
    header = json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()
    return sign(b64(header) + b"." + b64(json.dumps(row).encode() if raw is None else raw), key)


def bearer(token):
    return b"Bearer " + (token if isinstance(token, bytes) else token.encode())


def check(guard, authorization, path="/mcp", method="POST", host=b"127.0.0.1:8080"):
    headers = {b"accept": b"*/*"}
    if authorization is not None:
        headers[b"authorization"] = authorization
    if host is not None:
        headers[b"host"] = host
    return guard.check(method, path, headers, "10.0.0.1")


def refused(guard, authorization, **how):
    answer = check(guard, authorization, **how)
    assert isinstance(answer, tuple), "it was let in as %s" % answer
    status, fields, body = answer
    row = dict(fields)
    assert row["Content-Type"] == "application/json" and row["Cache-Control"] == "no-store"
    told = json.loads(body)
    assert told["jsonrpc"] == "2.0" and told["error"]["code"] == -32600
    if authorization and 20 < len(authorization) < 4000:
        assert authorization[7:] not in body, "the answer repeats the token"
    return status, row.get("WWW-Authenticate"), told["error"]["message"]


def who(guard, authorization):
    """The principal; guard and principal() are of one mind."""
    principal = guard.principal(authorization, ORIGIN)
    assert check(guard, authorization) == principal.name
    return principal


def config_error(**options):
    try:
        guard(**options)
    except ConfigError as e:
        return str(e)
    raise AssertionError("accepted: %r" % options)


def test_no_token_is_no_guard():
    options = {"port": 1}
    assert guard_from(options, None, None) is None and options == {"port": 1}
    for name in ("issuer", "audience", "scopes", "authorization_servers", "resource", "leeway"):
        assert name in config_error(**{name: "https://a.example"})


def test_one_token():
    g = guard(token="s3cret~token")
    assert who(g, b"Bearer s3cret~token").name == "token"
    assert who(g, b"bearer   s3cret~token ").scopes is None
    assert refused(g, None) == (401, "Bearer", "a bearer token is needed")
    assert refused(g, b"Basic czNjcmV0")[:2] == (401, "Bearer")
    for wrong in ("s3cret~toke", "s3cret~token1", "S3cret~token", "x"):
        status, challenge, told = refused(g, bearer(wrong))
        assert status == 401 and told == "the token is not known"
        assert challenge.startswith('Bearer error="invalid_token", error_description="')


def test_malformed():
    g = guard(token="abc")
    for value in (
        b"Bearer ",
        b"Bearer a b",
        b"Bearer abc, Bearer abc",
        b"Bearer =",
        b"Bearer \xff",
    ):
        assert refused(g, value)[0] == 400, value
    status, challenge, _ = refused(g, bearer("a" * 4097))
    assert status == 401 and "too long" in challenge
    assert refused(g, bearer("a" * 4096))[2] == "the token is not known"


def test_several_tokens():
    g = guard(token=["one", "two"])
    assert who(g, b"Bearer one").name == who(g, b"Bearer two").name == "token"
    g = guard(token={"one": "alice", "two": {"sub": "bob", "scope": "read"}}, scopes=["read"])
    assert who(g, b"Bearer one").name == "alice"
    assert who(g, b"Bearer two").name == "bob" and who(g, b"Bearer two").scopes == ("read",)


def test_tokens_that_cannot_be():
    for token in ("", "two words", "caf\xe9", [], "=", "a" * 5000, [3], {"a": 3}, {"a": {}}):
        assert "token" in config_error(token=token), token


def test_signed_token():
    g = guard(jwt_secret=KEY, audience=US, issuer="https://as.example")
    token = jwt(iss="https://as.example", scope="read write")
    for _ in range(2):  # the second time it is remembered
        p = who(g, bearer(token))
        assert isinstance(p, Principal)
        assert (p.name, p.scopes, p.expires) == ("alice", ("read", "write"), NOW + 60)
    assert who(g, bearer(jwt(iss="https://as.example", sub=None, client_id="c"))).name == "c"
    assert who(g, bearer(jwt(iss="https://as.example", aud=["x", US]))).expires == NOW + 60


def test_signed_token_refused():
    g = guard(jwt_secret=KEY, resource=US)
    week = 604800
    none = b64(b'{"alg":"none"}') + b"." + jwt().split(b".")[1]
    for token, why in (
        (jwt(exp=NOW - 60), "expired"),
        (jwt(exp=None), "never expires"),
        (jwt(exp="soon"), "its exp is no time"),
        (jwt(exp=True), "its exp is no time"),
        (jwt(raw=b'{"sub":"a","aud":"x","exp":1e999}'), "its exp is no time"),
        (jwt(exp=-1), "its exp is no time"),
        (jwt(nbf=NOW + 61), "not valid yet"),
        (jwt(iat=NOW + 61), "issued in the future"),
        (jwt(aud=None), "somebody else"),
        (jwt(aud="https://board.example"), "somebody else"),
        (jwt(aud=[US + "/", 3]), "somebody else"),
        (jwt(aud={US: 1}), "somebody else"),
        (jwt(sub=None), "sub or scope"),
        (jwt(sub=5), "sub or scope"),
        (jwt(scope=5), "sub or scope"),
        (jwt(key=b"x" * 32), "signature"),
        (jwt()[:-43] + b"A" * 43, "signature"),
        (jwt()[:-3], "signature"),
        (jwt(header={"alg": "none"}), "HS256"),
        (jwt(header={"alg": "HS512"}), "HS256"),
        (jwt(header={"alg": ["HS256"]}), "HS256"),
        (jwt(header={"typ": "JWT"}), "HS256"),
        (jwt(header={"alg": "HS256", "typ": "dpop+jwt"}), "access token"),
        (jwt(header={"alg": "HS256", "typ": 1}), "access token"),
        (jwt(header={"alg": "HS256", "crit": ["b64"], "b64": False}), "critical"),
        (none + b".", "HS256"),
        (none + b".AAAA", "HS256"),
        (b"a.b", "not a signed JWT"),
        (b"a.b.c.d.e", "not a signed JWT"),
        (b"a.b.c", "base64url"),
        (b"AA.AAA.AB", "no JSON object"),
        (b"AB.AAA.AA", "base64url"),
        (b"...", "not a signed JWT"),
        (b"..", "base64url"),
        (b"a+/b.a.a", "base64url"),
        (jwt(raw=b"[]"), "no JSON object"),
        (jwt(raw=b"{}x"), "no JSON object"),
        (jwt(raw=b'{"a":' * 8 + b"1" + b"}" * 8), "never expires"),
        (jwt(raw=b'{"a":' * 9 + b"1" + b"}" * 9), "no JSON object"),
        (jwt(raw=b'"' + b"a" * 50), "no JSON object"),
        (jwt(raw=b'{"exp":NaN}'), "no JSON object"),
        (jwt(raw=b'{"sub":"\xff"}'), "no JSON object"),
    ):
        status, challenge, told = refused(g, bearer(token))
        assert status == 401 and why in told, (token, why, told)
        assert 'error="invalid_token"' in challenge
    # Within the leeway, and at its very end.
    for fine in (jwt(exp=NOW - 59), jwt(nbf=NOW + 60), jwt(iat=NOW + 60), jwt(exp=NOW + week)):
        who(g, bearer(fine))
    assert (
        "another issuer"
        in refused(guard(jwt_secret=KEY, issuer="me", audience=US), bearer(jwt()))[2]
    )
    assert refused(guard(jwt_secret=KEY, audience=US, leeway=0), bearer(jwt(exp=NOW)))[0] == 401
    who(guard(jwt_secret=KEY, audience=US, leeway=0), bearer(jwt(exp=NOW + 1)))


def test_access_token_type():
    who(guard(jwt_secret=KEY, audience=US), bearer(jwt(header={"alg": "HS256", "typ": "at+JWT"})))


def test_remembered_tokens_expire_and_are_few():
    now = [NOW]
    g = guard_from({"jwt_secret": KEY, "audience": US}, lambda: now[0], logged.append)
    tokens = [jwt(exp=NOW + 10 + i) for i in range(20)]
    for token in tokens:
        who(g, bearer(token))
        assert len(g._signed) <= 8
    now[0] = NOW + 29 + 60
    status, _, told = refused(g, bearer(tokens[-1]))
    assert status == 401 and told == "it has expired"


def test_keys_that_follow_each_other():
    new = b"n" * 32
    g = guard(jwt_secret=[new, KEY.decode()], audience=[US, "other"])
    assert who(g, bearer(jwt())) and who(g, bearer(jwt(key=new, aud="other")))
    assert refused(g, bearer(jwt(key=b"o" * 32)))[0] == 401


def test_keys_that_cannot_be():
    assert "32" in config_error(jwt_secret="short", audience=US)
    assert "32" in config_error(jwt_secret=[], audience=US)
    assert "audience" in config_error(jwt_secret=KEY)
    assert "jwt_secret" in config_error(token="a", audience=US)
    assert "jwt_secret" in config_error(token="a", issuer="me")
    assert "leeway" in config_error(token="a", leeway=-1)
    assert "resource" in config_error(jwt_secret=KEY, resource="board/mcp")
    assert "scopes" in config_error(token="a", scopes='a"b')
    assert "scopes" in config_error(token="a", scopes=[1])


def test_clock_not_set():
    status, challenge, _ = refused(guard(now=None, jwt_secret=KEY, audience=US), bearer(jwt()))
    assert status == 503 and challenge is None


def test_scopes():
    options = {
        "jwt_secret": KEY,
        "audience": US,
        "scopes": ["mcp:call", "mcp:read"],
        "scope_implies": {"admin": ["mcp:call"], "mcp:call": ["mcp:read"], "mcp:read": "admin"},
        "authorization_servers": "https://as.example",
    }
    g = guard(**options)
    for scope in ("mcp:call mcp:read", "mcp:call", "x admin", ["admin"]):
        who(g, bearer(jwt(scope=scope)))
    options["scope_implies"] = None
    g = guard(**options)
    for scope, lacking in (("mcp:read", "mcp:call"), ("", "mcp:call mcp:read"), ([3], "mcp:call")):
        status, challenge, told = refused(g, bearer(jwt(scope=scope)))
        assert status == 403 and told.startswith("the token lacks the scope " + lacking)
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="mcp:call mcp:read"' in challenge
        assert ' resource_metadata="http' in challenge
    # What is needed is told in advance, and no error where there was no token.
    status, challenge, _ = refused(g, None)
    assert status == 401 and "error" not in challenge and 'scope="mcp:call mcp:read"' in challenge


WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata(guard, path, **how):
    status, fields, body = check(guard, None, path=path, method="GET", **how)
    assert dict(fields)["Content-Type"] == "application/json"
    if status == 404:
        return None
    assert status == 200
    return json.loads(body)


def test_metadata():
    g = guard(token="a", authorization_servers=["https://as.example", "https://b.example/t"])
    for path in (WELL_KNOWN, WELL_KNOWN + "/mcp"):
        row = metadata(g, path)
        assert row["resource"] == ORIGIN + "/mcp"
        assert row["authorization_servers"] == ["https://as.example", "https://b.example/t"]
        assert row["bearer_methods_supported"] == ["header"] and "scopes_supported" not in row
    for path in (WELL_KNOWN + "/", WELL_KNOWN + "/mcp2", WELL_KNOWN + "2"):
        assert metadata(g, path) is None
    assert refused(g, None, path=WELL_KNOWN)[0] == 401  # POST
    _, challenge, _ = refused(g, None)
    assert challenge == 'Bearer resource_metadata="%s%s/mcp"' % (ORIGIN, WELL_KNOWN)
    # Nobody to get a token from: nothing to tell.
    assert metadata(guard(token="a"), WELL_KNOWN) is None


def test_metadata_of_a_resource_with_a_name():
    """Known under another name from outside, behind a proxy."""
    g = guard(token="a", authorization_servers="https://as.example", resource=US)
    assert metadata(g, WELL_KNOWN + "/mcp")["resource"] == US
    assert 'https://board.example%s/mcp"' % WELL_KNOWN in refused(g, None)[1]
    server = "https://as.example"
    g = guard(jwt_secret=KEY, resource="https://b.example:1", issuer=server, scopes="r")
    assert refused(g, None)[1].endswith('="https://b.example:1%s"' % WELL_KNOWN)
    row = metadata(g, WELL_KNOWN)
    assert row["authorization_servers"] == [server] and row["scopes_supported"] == ["r"]
    g = guard(token="a", authorization_servers=server, resource="https://b.example/boards/7/mcp")
    known = WELL_KNOWN + "/boards/7/mcp"
    assert metadata(g, known) and 'https://b.example%s"' % known in refused(g, None)[1]


def test_hosts_that_are_not_repeated():
    g = guard(token="a", authorization_servers="https://as.example")
    for host in (None, b"", b'a", x="', b"a b", b"caf\xc3\xa9", b"a" * 256):
        assert metadata(g, WELL_KNOWN, host=host) is None
        assert refused(g, None, host=host)[1] == "Bearer"
    assert metadata(g, WELL_KNOWN, host=b"[::1]:80")["resource"] == "http://[::1]:80/mcp"


def verifier_of(results):
    def verify(token):
        found = results[token]
        if isinstance(found, Exception):
            raise found
        return found

    return verify


def test_verifier():
    found = {
        "plain": "carol",
        "full": {"sub": "dave", "scope": "read", "exp": NOW + 1},
        "old": {"sub": "dave", "scope": "read", "exp": NOW - 61},
        "poor": {"sub": "erin"},
        "none": None,
        "no": False,
        "odd": 7,
        "nameless": {"scope": "read"},
        "timeless": {"sub": "x", "exp": "never"},
        "broken": ValueError("token=broken"),
    }
    g = guard(verifier=verifier_of(found), scopes="read")
    assert who(g, b"Bearer plain").name == "carol"
    p = who(g, b"Bearer full")
    assert p.name == "dave" and p.scopes == ("read",)
    del logged[:]
    for token, status in (
        ("old", 401),
        ("poor", 403),
        ("none", 401),
        ("no", 401),
        ("odd", 500),
        ("nameless", 500),
        ("timeless", 500),
        ("broken", 500),
    ):
        assert refused(g, bearer(token))[0] == status, token
    assert len(logged) == 4 and "ValueError" in logged[-1]
    assert not any(token in text for text in logged for token in ("=broken", "odd"))
    assert "verifier" in config_error(verifier="x")


def test_verifier_after_the_others():
    g = guard(
        token="known",
        jwt_secret=KEY,
        audience=US,
        verifier=verifier_of({"other": "frank", "x": None}),
    )
    assert who(g, b"Bearer known").name == "token"
    assert who(g, bearer(jwt())).name == "alice"
    assert who(g, b"Bearer other").name == "frank"
    assert refused(g, b"Bearer x")[0] == 401


def test_asynchronous_verifier():
    """It would have to be waited for; nobody may be let in by an object that is no answer."""

    async def verify(token):
        return token

    del logged[:]
    assert refused(guard(verifier=verify), b"Bearer gina")[0] == 500
    assert "asynchronous" in logged[0]


def test_health_for_everybody():
    g = guard(token="a")
    for method in ("GET", "HEAD"):
        status, _, body = check(g, None, path="/health", method=method)
        assert (status, body) == (200, b'{"status":"ok"}')
    assert check(g, b"Bearer a", path="/health", method="GET") == "token"
    assert refused(g, b"Bearer b", path="/health", method="GET")[0] == 401
    assert refused(g, None, path="/health")[0] == 401
    assert refused(g, None, path="/health/", method="GET")[0] == 401


def test_any_claims():
    """Whatever a good signature stands below."""
    random.seed(5)
    g = guard(jwt_secret=KEY, audience=US)
    whole = json.dumps(
        {"sub": "al\u00e9", "aud": [US], "exp": NOW + 60, "nbf": 1, "n": {"a": [0.5]}}
    )
    pieces = (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b"null", b"1e999", b"\\ud800")
    pieces += (b"\xff", b"\xc3", b"\0", b"9" * 300, b"0." + b"1" * 40, b'"exp":1', b"true")
    seen = set()
    for _ in range(3000):
        raw = whole.encode()
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            at = random.randrange(len(raw) + 1)
            rest = raw[at + random.choice((0, 1, 1, 9)) :]
            raw = raw[:at] + random.choice(pieces) + rest
        said = check(g, bearer(jwt(raw=raw)))
        seen.add(said[0] if isinstance(said, tuple) else "in")
    assert seen == {"in", 401}, seen
