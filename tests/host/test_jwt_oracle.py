"""The check of signed tokens against PyJWT: on tokens it made, and on mutations of them."""

import base64
import json
import random
import warnings

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_gw.auth import BadToken, Refused, guard_from
from mcp_gw.jwt import JWT

KEY = b"k" * 40
US = "https://board.example/mcp"
NOW = 1_800_000_000
CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ \x00\xff"
CLAIMS = {"sub": "alice", "aud": US, "iss": "me", "exp": NOW + 60, "scope": "a b", "n": {"x": [1]}}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """PyJWT asks the system for the time."""

    class Fixed(jwt.api_jwt.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(NOW, tz)

    monkeypatch.setattr(jwt.api_jwt, "datetime", Fixed)


def theirs(token):
    """What PyJWT makes of it: claims, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jwt.decode(
                token,
                KEY,
                algorithms=["HS256"],
                audience=US,
                issuer="me",
                leeway=60,
                options={"require": ["exp"]},
            )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


OURS = JWT([KEY], [US], "me", 60)


def ours(token):
    try:
        return OURS.claims(token, NOW)
    except BadToken:
        return None


def encode(claims, headers=None, key=KEY, algorithm="HS256"):
    return jwt.encode(claims, key, algorithm, headers=headers).encode()


def test_same_claims():
    token = encode(CLAIMS)
    assert ours(token) == theirs(token) == CLAIMS


times = st.integers(NOW - 200, NOW + 200) | st.none()
audiences = st.sampled_from([US, US + "/", "x", [US], ["x", US], ["x"], [], None])


@settings(max_examples=400, deadline=None)
@given(times, times, times, audiences, st.sampled_from(["me", "you", None]), st.booleans())
def test_same_verdict(exp, nbf, iat, aud, iss, right):
    claims = {"sub": "a", "exp": exp, "nbf": nbf, "iat": iat, "aud": aud, "iss": iss}
    claims = {name: value for name, value in claims.items() if value is not None}
    token = encode(claims, key=KEY if right else KEY + b"x")
    assert (ours(token) is None) == (theirs(token) is None), claims


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_other_algorithms_with_the_right_key(algorithm):
    assert ours(encode(CLAIMS, key=KEY * 2, algorithm=algorithm)) is None


text = st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


# PyJWT looks at these itself when it makes a token.
RESERVED = "alg", "b64", "crit", "kid"


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(text, values, max_size=5), st.dictionaries(text, values, max_size=3))
def test_any_claims_and_headers(claims, headers):
    """Whatever an issuer writes into a token comes out of it as it does there."""
    claims = {**claims, "exp": NOW + 60, "aud": US, "iss": "me"}
    headers = {
        name: value for name, value in headers.items() if name not in ("b64", "crit", "kid")
    }
    token = encode(claims, headers)
    mine = ours(token)
    if mine is not None:
        assert mine == theirs(token)
    else:
        assert {"typ", "iat", "nbf"} & {*claims, *headers} or deep(claims) or deep(headers)


def deep(value):
    def depth(value):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0) if isinstance(value, dict | list) else 0

    return depth(value) > 7 or "\\ud" in json.dumps(value).lower()


def mutated(token, random):
    out = bytearray(token)
    for _ in range(random.choice((1, 1, 1, 2, 5, 30))):
        at = random.randrange(len(out) + 1)
        match random.randrange(6):
            case 0:
                out[at : at + 1] = bytes([random.choice(CHARS)])
            case 1:
                out[at:at] = bytes([random.choice(CHARS)])
            case 2:
                del out[at : at + random.choice((1, 1, 2, 40))]
            case 3:
                lo = random.randrange(len(out) + 1)
                out[at:at] = out[lo : lo + random.randrange(40)]
            case 4:
                out[at : at + 1] = b"."
            case 5:
                out = bytearray(
                    b".".join(random.sample(bytes(out).split(b"."), out.count(b".") + 1))
                )
    return bytes(out)


def signed(parts, random):
    """A token with any bytes for header and claims, signed all the same: the parser is reached."""

    def noise(data):
        data = bytearray(data)
        for _ in range(random.choice((0, 1, 2, 5))):
            at = random.randrange(len(data) + 1)
            data[at : at + random.randrange(2)] = random.choice(
                (
                    b'"',
                    b"{",
                    b"}",
                    b"[",
                    b"\\",
                    b":",
                    b",",
                    b"\xff",
                    b"\\ud800",
                    b"1e999",
                    b"9" * 400,
                )
            )
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    body = b".".join(map(noise, parts))
    key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return body + b"." + base64.urlsafe_b64encode(key.sign(body, KEY)).rstrip(b"=")


def test_fuzz():
    """No mutation raises anything but Refused, and none is let in that PyJWT refuses."""
    chance = random.Random(7)
    guard = guard_from(
        {"jwt_secret": KEY, "audience": US, "issuer": "me"}, lambda: NOW, lambda text: None
    )
    tokens = [encode(CLAIMS), encode({**CLAIMS, "exp": NOW + 61}, {"typ": "at+jwt"})]
    parts = [b'{"alg":"HS256","typ":"JWT"}', json.dumps(CLAIMS).encode()]
    known = set(tokens)
    admitted = 0
    for i in range(60_000):
        token = mutated(chance.choice(tokens), chance) if i % 4 else signed(parts, chance)
        try:
            guard.principal(b"Bearer " + token, "")
        except Refused as e:
            assert e.status in (400, 401)
            assert len(token) < 20 or token not in e.answer()[2]
        else:
            admitted += 1
            if token.strip(b" ") not in known:
                assert theirs(token.strip(b" ")) is not None, token
    assert 500 < admitted < 20_000


def test_fuzz_of_the_header():
    chance = random.Random(8)
    guard = guard_from({"token": "abc"}, lambda: NOW, lambda text: None)
    for _ in range(60_000):
        value = mutated(b"Bearer abc", chance)
        try:
            guard.principal(value, "")
        except Refused as e:
            assert e.status in (400, 401)
        else:
            assert value[:7].lower() == b"bearer " and value[7:].strip(b" ") == b"abc"
