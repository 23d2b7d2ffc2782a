"""A gateway with a queue and an upstream behind a link, for tests."""

import json

from test_forward import HELLO, Wire, sleep_a_little

from mcp_gw import Gateway
from mcp_gw.queue.nor_kept import RamNor

EXTENSION = "io.modelcontextprotocol/tasks"
SPEAKS_TASKS = {"extensions": {EXTENSION: {}}}
LIMIT = 1000


def board(device=None, queueable=("log",), overflow="refuse", **config):
    gw = Gateway("board", version="1", **config)
    gw.queue(device or RamNor(4), overflow)
    gw.upstream("office", queueable=queueable, expiry_s=60)
    return gw, Wire(gw)


def closing(test):
    """Decorator: the test gets a list for gateways, which are closed when it has ended."""

    def run():
        opened = []
        try:
            test(opened)
        finally:
            for gw in opened:
                gw.close()

    return run


def requests_to(wire, method, out, count=1):
    """Wait for `count` requests of the board to its upstream; their frames' payloads."""
    found = []
    for _ in range(LIMIT):
        found += [row[1] for row in out if row[0] == "u" and '"%s"' % method in row[1]]
        if len(found) >= count:
            return found
        sleep_a_little()
        out = wire.turn()
    raise AssertionError("it never asked")


def reachable(wire, tools=(), deliver=None):
    """The bridge says that the upstream is there; returns what the board sent then."""
    if deliver is not None:
        hello = dict(HELLO, deliver=deliver)
        wire.frame(b"h", json.dumps(hello).encode())
    else:
        wire.hello()
    out = wire.frame(b"s", b'{"office":true}')
    for row in list(out):
        if row[0] == "u" and "tools/list" in row[1]:
            out.remove(row)
            out += wire.answer_upstream(row[1], {"resultType": "complete", "tools": list(tools)})[
                1
            ]
    return out


def queued(peer, n=1, name="office_log"):
    """Call a tool whose upstream is away; the id."""
    result = peer.call(name, {"n": n})
    return result["_meta"]["mcp-gw/queued"]["id"]


DONE = {"content": [{"type": "text", "text": "noted"}], "resultType": "complete"}
