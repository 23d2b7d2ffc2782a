"""Signed JSON Web Tokens (RFC 7519, compact form of RFC 7515) with HMAC-SHA256, checked only.

Nothing of a token is believed, and no claim looked at, before its signature was found right; of
its header only what says how to check it. The algorithm is not the token's to choose: HS256.
"""

from binascii import a2b_base64

from .auth import BadToken
from .errors import ConfigError
from .hmac256 import hmac_sha256, same
from .protocol.framing import E_ENVELOPE, new_spans, scan
from .protocol.jsontext import loads

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# RFC 7518, 3.2: a key has at least as many bits as the hash.
_SHORTEST_KEY = 32
# Header and claims are flat objects with a few lists in them.
_DEPTH = 8
_LATEST = 1 << 53


class JWT:
    """What a token must be.

    keys: list of secrets (bytes or str, 32 bytes or more each), any of which may have signed it;
    audiences: list of str, one of which it must be meant for; issuer: who must have made it, None:
    anybody who knows a key; leeway: seconds by which clocks may differ. Raises ConfigError.
    """

    def __init__(self, keys, audiences, issuer=None, leeway=60):
        self._keys = [key.encode() if isinstance(key, str) else bytes(key) for key in keys]
        if not self._keys or min(len(key) for key in self._keys) < _SHORTEST_KEY:
            raise ConfigError("jwt_secret must have at least %d bytes" % _SHORTEST_KEY)
        if not audiences:
            raise ConfigError("jwt_secret needs audience= or resource=: whom tokens are meant for")
        self._audiences = audiences
        self._issuer = issuer
        self.leeway = leeway
        self._spans = new_spans()

    def claims(self, token, now):
        """The claims (dict) of `token` (bytes). now: unix seconds. Raises BadToken."""
        parts = token.split(b".")
        if len(parts) != 3:
            raise BadToken("not a signed JWT")
        header = self._object(_decoded(parts[0]))
        kind = header.get("typ", "JWT")
        if header.get("alg") != "HS256":
            raise BadToken("not signed with HS256")
        if not isinstance(kind, str) or kind.lower() not in ("jwt", "at+jwt"):
            raise BadToken("not an access token")
        if "crit" in header:
            raise BadToken("it has critical extensions")
        signature = _decoded(parts[2])
        signed = memoryview(token)[: len(parts[0]) + 1 + len(parts[1])]
        good = False
        for key in self._keys:  # all of them: which one it was is nobody's business
            good |= same(hmac_sha256(key, signed), signature)
        if not good:
            raise BadToken("the signature is wrong")
        claims = self._object(_decoded(parts[1]))
        self._check(claims, now)
        return claims

    def _check(self, claims, now):
        expires = _time(claims, "exp")
        if expires is None:
            raise BadToken("it never expires")
        if now >= expires + self.leeway:
            raise BadToken("it has expired")
        if now < (_time(claims, "nbf") or 0) - self.leeway:
            raise BadToken("it is not valid yet")
        if now < (_time(claims, "iat") or 0) - self.leeway:
            raise BadToken("it was issued in the future")
        if self._issuer is not None and claims.get("iss") != self._issuer:
            raise BadToken("it is another issuer's")
        audience = claims.get("aud")
        for one in audience if isinstance(audience, list) else (audience,):
            if isinstance(one, str) and one in self._audiences:
                return
        raise BadToken("it is meant for somebody else")

    def _object(self, data):
        # The scanner is strict where the boards' json is not. That it looks for a JSON-RPC
        # envelope and finds none is as it should be.
        kind = scan(data, 0, len(data), self._spans, _DEPTH)
        if kind < 0 and kind != E_ENVELOPE:
            raise BadToken("a part of it is no JSON object")
        try:
            return loads(data, b"\\" in data)
        except (ValueError, OverflowError):
            raise BadToken("a part of it cannot be read")


def _decoded(text):
    """The bytes that `text` (base64url without padding) stands for."""
    odd = len(text) % 4
    if not text or odd == 1 or text.strip(_ALPHABET):
        raise BadToken("a part of it is not base64url")
    # The bits that the last character has too many are zero: one text for one value.
    if odd and _ALPHABET.find(text[-1:]) & (15 if odd == 2 else 3):
        raise BadToken("a part of it is not base64url")
    return a2b_base64(text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4))


def _time(claims, name):
    value = claims.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value < _LATEST:
        raise BadToken("its %s is no time" % name)
    return value
