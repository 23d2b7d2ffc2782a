"""POST /v1/mcp/completions with any body: one answer, JSON, and never a 500."""

import json
import random

from mcp_gw import Gateway, Param
from mcp_gw.compat import MICROPYTHON
from mcp_gw.endpoints import Endpoints

HEADERS = {b"content-type": b"application/json"}
BODIES = (
    b'{"tool":"add","arguments":{"a":1,"b":[{"c":"\\u00e9"}]}}',
    b' { "arguments" : { } , "tool" : "\\u0061dd" } ',
)
PIECES = (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b" ", b"\n", b"null", b"1e999")
PIECES += (b"\xff", b"\xc3", b"\0", b"\\ud800", b"tool", b"arguments", b'"tool":"add"', b"9" * 300)
ROUNDS = 5000 if MICROPYTHON else 50000


def test_any_body():
    gw = Gateway("x")

    @gw.tool("Add", a=Param(int, default=0), b=Param(list, default=[]))
    def add(a, b):
        return {"sum": a}

    random.seed(11)
    endpoints = Endpoints(gw)
    seen = set()
    answers = []

    def respond(status, fields, parts):
        answers.append((status, json.loads(b"".join([bytes(part) for part in parts]))))

    for _ in range(ROUNDS):
        body = random.choice(BODIES)
        for _ in range(random.choice((1, 1, 2, 4, 10))):
            at = random.randrange(len(body) + 1)
            rest = body[at + random.choice((0, 1, 1, 5)) :]
            body = body[:at] + random.choice(PIECES) + rest
        assert endpoints.handle("POST", "/v1/mcp/completions", "", HEADERS, body, respond)
        assert len(answers) == 1, body
        status, row = answers.pop()
        seen.add(status)
        assert ("content" in row) == (status == 200), body
        assert ("error" in row) == (status != 200), body
    assert seen == {200, 400, 404}, seen
