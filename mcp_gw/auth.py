"""Who may use this gateway over HTTP: bearer tokens, as an OAuth 2.1 resource server has them.

A Guard is asked about the head of each request. What a token is worth is known from a list of
tokens, from the signature it carries (jwt.py), or from a function of the user's. No token is ever
logged, and none is taken from a URL.
"""

from hashlib import sha256

from .compat import const
from .errors import ConfigError, GatewayError
from .replies import json_answer, refusal
from .transports.link import random_hex

# Longest token looked at, in bytes.
_MAX_TOKEN = const(4096)
# Signed tokens whose check is remembered, so that not each request pays for it again.
_REMEMBERED = const(8)
# What a token consists of (RFC 6750, 2.1), less the "=" at its end.
_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"

# What may stand in a Host header that is repeated in an answer.
_HOST_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:[]"

WELL_KNOWN = "/.well-known/oauth-protected-resource"
HEALTH = "/health"


class Refused(GatewayError):
    """The request may not be served. challenge: None, or what its WWW-Authenticate field says."""

    def __init__(self, status, text, challenge=None):
        super().__init__(text)
        self.status = status
        self.challenge = challenge

    def answer(self):
        """(status, fields, body) as the HTTP server sends it."""
        fields = (("WWW-Authenticate", self.challenge),) if self.challenge else ()
        return refusal(self.status, str(self), *fields)


class BadToken(GatewayError):
    """The token is not acceptable; the text says why and holds nothing of it."""


class Principal:
    """Who asks. name: str; scopes: what was granted (tuple of str), None: everything; expires:
    unix seconds or None; missing: scopes that the guard wants beside."""

    def __init__(self, name, scopes=None, expires=None):
        self.name = name
        self.scopes = scopes
        self.expires = expires
        self.missing = ()


class Guard:
    """Checks requests. Made by guard_from(), which explains the options.

    clock() -> unix seconds, or None while unknown; log: function(text); path: of the MCP endpoint;
    scheme: "http" or "https", under which it is reached.
    """

    def __init__(self, options, clock, log, path, scheme):
        self._clock = clock
        self._log = log
        self._salt = random_hex(32).encode()
        self._scopes = tuple(_strings("scopes", options["scopes"]))
        self._implies = _implications(options["scope_implies"])
        self._verifier = options["verifier"]
        if self._verifier is not None and not callable(self._verifier):
            raise ConfigError("verifier must be a function")
        self._leeway = options["leeway"]
        if type(self._leeway) is not int or not 0 <= self._leeway <= 3600:
            raise ConfigError("leeway must be from 0 to 3600 seconds")
        self._tokens = {}  # digest of a token -> Principal
        self._list_tokens(options["token"])
        self._signed = {}  # the same of signed tokens seen lately
        self._resource = options["resource"]
        if self._resource is not None:
            _check_url("resource", self._resource)
        self._servers = _strings("authorization_servers", options["authorization_servers"])
        issuer = options["issuer"]
        if not self._servers and isinstance(issuer, str) and issuer.startswith("http"):
            self._servers = [issuer]
        for url in self._servers:
            _check_url("authorization_servers", url)
        self._jwt = None
        secrets = options["jwt_secret"]
        if secrets is not None:
            from .jwt import JWT

            audiences = _strings("audience", options["audience"])
            if not audiences and self._resource:
                audiences = [self._resource]
            if isinstance(secrets, (str, bytes, bytearray)):
                secrets = (secrets,)
            self._jwt = JWT(secrets, audiences, issuer, self._leeway)
        elif options["audience"] is not None or issuer is not None and self._verifier is None:
            raise ConfigError(
                "issuer and audience are what jwt_secret= checks, which is not given"
            )
        self._path = path
        self._scheme = scheme

    def check(self, method, path, headers, peer=""):
        """Who sent the request with this head: the name (str) of a principal, or an answer
        (status, fields, body) for one that goes no further.

        method, path: str, without the query; headers: dict of lower-case name -> value, bytes.
        """
        origin = self._origin(headers)
        if method in ("GET", "HEAD"):
            if path.startswith(WELL_KNOWN):
                # For everybody: who has no token learns from it where to get one.
                row = self._metadata(path, origin)
                return json_answer(200, row) if row else refusal(404, "there is nothing here")
            if path == HEALTH and b"authorization" not in headers:
                # Whoever only wants to know whether we live needs no token, and learns no more.
                return json_answer(200, {"status": "ok"})
        try:
            return self.principal(headers.get(b"authorization"), origin).name
        except Refused as e:
            return e.answer()

    def principal(self, authorization, origin):
        """The Principal that an Authorization header (bytes, or None) stands for. Raises Refused.

        origin: scheme and authority under which we were reached ("https://board:8443").
        """
        if authorization is None:
            raise self._refused(401, origin, None, "a bearer token is needed")
        if authorization[:7].lower() != b"bearer ":
            raise self._refused(401, origin, None, "the Bearer scheme is needed")
        token = authorization[7:].strip(b" ")
        if len(token) > _MAX_TOKEN:
            raise self._refused(401, origin, "invalid_token", "the token is too long")
        # A salt nobody knows: what a lookup's time tells of the digest tells nothing of a token.
        digest = sha256(self._salt + token).digest()
        principal = self._tokens.get(digest) or self._signed.get(digest)
        if principal is not None:
            return self._admit(principal, origin)
        if _malformed(token):
            # Two Authorization headers, joined, end here too.
            raise self._refused(400, origin, "invalid_request", "malformed Authorization header")
        why = "the token is not known"
        if self._jwt is not None:
            now = self._clock()
            if now is None:
                raise Refused(503, "the clock was not set yet")
            try:
                principal = self._principal(self._jwt.claims(token, now))
            except BadToken as e:
                why = str(e)
            else:
                if len(self._signed) >= _REMEMBERED:
                    self._signed.clear()
                self._signed[digest] = principal
                return self._admit(principal, origin)
        if self._verifier is None:
            raise self._refused(401, origin, "invalid_token", why)
        try:
            found = self._verifier(token.decode())
        except Exception as e:
            raise self._broken(type(e).__name__)
        if hasattr(found, "send"):
            found.close()
            raise self._broken("it is asynchronous")
        return self._verified(found, origin)

    def _origin(self, headers):
        host = headers.get(b"host", b"")
        if not host or len(host) > 255 or host.strip(_HOST_CHARS):
            return ""
        return self._scheme + "://" + host.decode()

    def _metadata(self, path, origin):
        """The document of RFC 9728 (dict), or None where there is none."""
        resource = self._resource or origin and origin + self._path
        if not self._servers or not resource:
            return None
        own = "/" + resource.partition("://")[2].partition("/")[2]
        if path not in (WELL_KNOWN, WELL_KNOWN + self._path, WELL_KNOWN + own):
            return None
        row = {
            "resource": resource,
            "authorization_servers": self._servers,
            "bearer_methods_supported": ["header"],
        }
        if self._scopes:
            row["scopes_supported"] = self._scopes
        return row

    def _verified(self, found, origin):
        if found is None or found is False:
            raise self._refused(401, origin, "invalid_token", "the token is not known")
        if isinstance(found, str):
            return Principal(found)
        if not isinstance(found, dict):
            raise self._broken("neither str, dict nor None came of it")
        try:
            principal = self._principal(found)
        except BadToken as e:
            raise self._broken(str(e))
        return self._admit(principal, origin)

    def _admit(self, principal, origin):
        if principal.expires is not None:
            now = self._clock()
            if now is None or now >= principal.expires + self._leeway:
                raise self._refused(401, origin, "invalid_token", "it has expired")
        if principal.missing:
            told = "the token lacks the scope " + " ".join(principal.missing)
            raise self._refused(403, origin, "insufficient_scope", told)
        return principal

    def _principal(self, claims):
        """The Principal that claims (dict) tell of. Raises BadToken."""
        name = claims.get("sub") or claims.get("client_id")
        scopes = claims.get("scope", "")
        if isinstance(scopes, str):
            scopes = scopes.split()
        expires = claims.get("exp")
        if not isinstance(name, str) or not isinstance(scopes, (list, tuple)):
            raise BadToken("its sub or scope is missing or malformed")
        if expires is not None and type(expires) not in (int, float):
            raise BadToken("its exp is no time")
        principal = Principal(name, tuple(scopes), expires)
        granted = list(principal.scopes)
        for scope in granted:  # grows while we look
            if isinstance(scope, str):
                granted.extend(s for s in self._implies.get(scope, ()) if s not in granted)
        principal.missing = tuple(s for s in self._scopes if s not in granted)
        return principal

    def _refused(self, status, origin, error, text):
        rows = []
        if error:
            rows.append(("error", error))
            rows.append(("error_description", text))
        if self._scopes and status != 400:
            rows.append(("scope", " ".join(self._scopes)))
        resource = self._resource or origin and origin + self._path
        if self._servers and resource:
            scheme, _, rest = resource.partition("://")
            authority, _, own = rest.partition("/")
            known = scheme + "://" + authority + WELL_KNOWN
            rows.append(("resource_metadata", known + ("/" + own if own else "")))
        told = ", ".join('%s="%s"' % row for row in rows)
        return Refused(status, text, ("Bearer " + told).strip())

    def _broken(self, what):
        # What a user's function raises may hold the token in its text: only the kind is told.
        self._log("the token verifier failed: %s\n" % what)
        return Refused(500, "the token could not be checked")

    def _list_tokens(self, given):
        if given is None:
            return
        if isinstance(given, (str, bytes)):
            given = (given,)
        if not given:
            raise ConfigError("token must not be empty")
        for token in given:
            whose = given[token] if isinstance(given, dict) else "token"
            if isinstance(token, str):
                token = token.encode()
            if not isinstance(token, bytes) or not 0 < len(token) <= _MAX_TOKEN:
                raise ConfigError("token must be text of 1 to %d characters" % _MAX_TOKEN)
            if _malformed(token):
                raise ConfigError("token must consist of letters, digits and -._~+/")
            if isinstance(whose, dict):
                try:
                    principal = self._principal(whose)
                except BadToken as e:
                    raise ConfigError("token: %s" % e)
            elif isinstance(whose, str):
                principal = Principal(whose)
            else:
                raise ConfigError("token: a dict gives a name, or a dict with sub and scope, each")
            self._tokens[sha256(self._salt + token).digest()] = principal


_OPTIONS = (
    "token",
    "verifier",
    "jwt_secret",
    "issuer",
    "audience",
    "scopes",
    "scope_implies",
    "authorization_servers",
    "resource",
    "leeway",
)


def guard_from(options, clock, log, path="/mcp", scheme="http"):
    """Take the options that are a guard's out of `options` (dict): a Guard, or None if no kind of
    token is among them.

    token: the token, or a list of them, or a dict token -> name of who has it, or -> dict with sub
    and scope. jwt_secret: key (or list of keys) of signed tokens; issuer, audience (one or a list;
    default: resource): what they must say. verifier: function(token) -> name, dict with sub, scope
    and exp, or None; it may not wait. scopes: what each request needs; scope_implies: dict scope
    -> list of scopes it includes. authorization_servers: URLs where clients get tokens (default:
    the issuer). resource: our URL as clients know it. leeway: seconds by which clocks may differ
    (60). clock, log, path, scheme: as Guard has them. Raises ConfigError.
    """
    given = {name: options.pop(name, None) for name in _OPTIONS}
    if given["token"] is None and given["verifier"] is None and given["jwt_secret"] is None:
        for name in _OPTIONS:
            if given[name] is not None:
                raise ConfigError("%s= needs token=, verifier= or jwt_secret= beside it" % name)
        return None
    if given["leeway"] is None:
        given["leeway"] = 60
    return Guard(given, clock, log, path, scheme)


def _malformed(token):
    bare = token.rstrip(b"=")
    return not bare or bare.strip(_CHARS)


def _strings(name, value):
    """A str or a list of str, as a list."""
    if value is None:
        return []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(s, str) and s for s in value):
        raise ConfigError("%s must be text, or a list of it" % name)
    for text in value:
        if not all("!" <= c <= "~" and c not in '"\\' for c in text):
            raise ConfigError("%s: printable ASCII without quotes or spaces only" % name)
    return list(value)


def _implications(value):
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError("scope_implies must be a dict of lists")
    return {scope: _strings("scope_implies", others) for scope, others in value.items()}


def _check_url(name, url):
    from .protocol.http import parse_url

    try:
        parse_url(url)
    except (ValueError, AttributeError, TypeError) as e:
        raise ConfigError("%s: %s" % (name, e))
    if "#" in url or '"' in url:
        raise ConfigError("%s: neither fragment nor quote" % name)
