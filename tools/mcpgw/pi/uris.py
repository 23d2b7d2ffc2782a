"""URIs of a board's resources as clients of the paired gateway see them.

Boards are much alike, and so are their URIs: each has a `board://status`. The board's name, put
where a URI has its authority, tells them apart:

    board://status        of the board greenhouse is    board://greenhouse/status
    queue://{id}                                        queue://greenhouse/{id}
    urn:sensor:7                                        urn:greenhouse/sensor:7

What is said by http and https is the same wherever it is read, and stays.
"""

import json

from mcp_gw.protocol.jsontext import items, members

_EVERYWHERE = ("http", "https")
# Where results hold URIs of the server's: keys from the outside in, None: each item of an array.
_LINKS = ((b"uri",), (b"resource", b"uri"))
_IN_RESULTS = {
    "tools/call": tuple((b"content", None, *link) for link in _LINKS)
    + ((b"_meta", b"mcp-gw/queued", b"uri"),),
    "prompts/get": tuple((b"messages", None, b"content", *link) for link in _LINKS),
    "resources/read": ((b"contents", None, b"uri"),),
}
_IN_PARAMS = {"resources/read": (b"uri",), "completion/complete": (b"ref", b"uri")}


def outward(name, uri):
    """The URI (or template) that clients see of a board's own."""
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme in _EVERYWHERE or "{" in scheme:
        return uri
    if rest.startswith("//"):
        return f"{scheme}://{name}/{rest[2:]}"
    return f"{scheme}:{name}/{rest}"


def inward(name, uri):
    """The board's own URI behind one that clients see."""
    scheme, _, rest = uri.partition(":")
    slashes = "//" if rest.startswith("//") else ""
    head = f"{slashes}{name}/"
    if scheme in _EVERYWHERE or not rest.startswith(head):
        return uri
    return f"{scheme}:{slashes}{rest[len(head) :]}"


def board_of(uri):
    """The name that a URI seen by clients has in the place of a board's, or None."""
    scheme, _, rest = uri.partition(":")
    name, slash, _ = rest.removeprefix("//").partition("/")
    return name if slash and scheme not in _EVERYWHERE else None


def described(name, raw, field):
    """A descriptor (JSON text, bytes) under the URI that clients see. field: b"uri" or
    b"uriTemplate"."""
    return spliced(raw, (field,), lambda uri: outward(name, uri))


def asked(name, method, params):
    """The params (JSON text, bytes) of a client's request as the board is to get them."""
    path = _IN_PARAMS.get(method)
    return spliced(params, path, lambda uri: inward(name, uri)) if path else params


def answered(name, method, raw):
    """A board's result (JSON text, bytes) with the URIs that clients see."""
    if b'"uri"' in raw:
        for path in _IN_RESULTS.get(method, ()):
            raw = spliced(raw, path, lambda uri: outward(name, uri))
    return raw


def refused(name, raw):
    """A board's error (JSON text, bytes) with the URI that clients see, if it names one."""
    if b'"uri"' in raw:
        raw = spliced(raw, (b"data", b"uri"), lambda uri: outward(name, uri))
    return raw


def spliced(raw, path, change):
    """JSON text (bytes) with the string at each place of `path` changed: function(str) -> str."""
    cuts = list(_places(raw, 0, len(raw), path))
    if not cuts:
        return raw
    pieces = []
    at = 0
    for lo, hi in cuts:
        new = change(json.loads(raw[lo:hi]))
        pieces += [raw[at:lo], json.dumps(new).encode()]
        at = hi
    return b"".join([*pieces, raw[at:]])


def _places(raw, lo, hi, path):
    """Yield (start, end) of the strings at `path` in the JSON value raw[lo:hi]."""
    if not path:
        if raw[lo] == 0x22:
            yield lo, hi
    elif path[0] is None:
        if raw[lo] == 0x5B:
            for start, end in items(raw, lo):
                yield from _places(raw, start, end, path[1:])
    elif raw[lo : lo + 1].strip() in (b"{", b""):
        part = raw[lo:hi]
        if part.lstrip()[:1] == b"{":
            for key, _, start, end in members(part):
                if key == path[0]:
                    yield from _places(raw, lo + start, lo + end, path[1:])
