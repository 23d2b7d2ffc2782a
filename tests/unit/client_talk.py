"""What servers say to the client's state machine in its tests, and how it is told."""

import json

from mcp_gw.protocol.client import READY, SEND, Client

MODERN = "2026-07-28"
INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": [MODERN],
    "capabilities": {"tools": {}},
    "ttlMs": 0,
    "cacheScope": "private",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
}


def joined(parts):
    return b"".join(bytes(p) for p in parts)


def sent(parts):
    return json.loads(joined(parts))


def initialized(version):
    info = {"name": "old", "version": "2"}
    return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}


def refusal(code, data=None):
    error = {"code": code, "message": "no"}
    if data is not None:
        error["data"] = data
    return error


def answer(id, result=None, error=None):
    row = {"jsonrpc": "2.0", "id": id}
    if error is not None:
        row["error"] = error
    else:
        row["result"] = result
    return json.dumps(row).encode()


def receive(client, wire, sole=None):
    # The message lies somewhere in a larger buffer, as it does in practice.
    buf = bytearray(b'{"' + wire + b"}}")
    event = client.receive(buf, 2, 2 + len(wire), sole)
    return event, bytes(buf[client.lo : client.hi])


def opened(modern=True):
    client = Client("gw", "1")
    id, _ = client.open()
    if modern:
        assert receive(client, answer(id, DISCOVERED))[0] == READY
    else:
        assert receive(client, answer(id, error=refusal(-32601)))[0] == SEND
        assert receive(client, answer(client.out_id, initialized("2025-06-18")))[0] == READY
    assert client.ready and client.modern is modern
    return client


def discover(result=None, error=None):
    return "server/discover", result, error


def initialize(result=None, error=None):
    return "initialize", result, error


def unsupported(*versions):
    return refusal(-32022, {"supported": versions, "requested": MODERN})
