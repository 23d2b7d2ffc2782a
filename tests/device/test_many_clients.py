"""Several clients of one gateway at once, on its console and over HTTP: a long tool of one of them
does not keep the others waiting, and each gets what is its own."""

import http.client
import json
import threading

import pytest
import rig
import targets
from waiting import PATIENCE_S, ReservedPort, until

META = {
    "io.modelcontextprotocol/protocolVersion": rig.MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class HTTPClient:
    """A modern client on one kept connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        self.id = 0

    def send(self, method, name=None, token=None, **params):
        """Send a request; returns the response, whose body may be a stream."""
        self.id += 1
        meta = dict(META, progressToken=token) if token else META
        if name:
            params["name"] = name
        row = {
            "jsonrpc": "2.0",
            "id": self.id,
            "method": method,
            "params": params | {"_meta": meta},
        }
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": rig.MODERN,
            "Mcp-Method": method,
        }
        if name:
            headers["Mcp-Name"] = name
        self.connection.request("POST", "/mcp", json.dumps(row), headers)
        return self.connection.getresponse()

    def ask(self, method, name=None, **params):
        response = self.send(method, name, **params)
        assert response.status == 200
        return json.loads(response.read())["result"]


def events(response, count=None):
    """Messages of an event stream: the first `count`, or all until its end."""
    found = []
    while count is None or len(found) < count:
        line = response.readline()
        if not line:
            break
        if line.startswith(b"data: {"):
            found.append(json.loads(line[6:]))
    return found


@pytest.fixture
def shared(tmp_path):
    """(wire on the console, port of HTTP)"""
    reserved = ReservedPort()
    app = rig.APPS / "shared.py"
    wire = rig.ProcessWire([targets.firmware("unix"), app, str(reserved.number)], tmp_path)
    try:
        wire.wait_serving()
        yield wire, reserved.number
    finally:
        wire.close()
        reserved.close()


def test_long_tools_keep_nobody_waiting(shared):
    wire, port = shared
    console = wire.send("tools/call", {"name": "waits", "arguments": {}})
    over_http = HTTPClient(port)
    stream = over_http.send("tools/call", "steps", token="t")
    assert stream.getheader("Content-Type") == "text/event-stream"
    first = events(stream, 5)
    assert [row["params"]["progress"] for row in first] == [1, 2, 3, 4, 5]
    rest = []
    reader = threading.Thread(target=lambda: rest.extend(events(stream)))
    reader.start()
    others = [HTTPClient(port) for _ in range(5)]
    for _ in range(20):
        assert wire.ask("ping")["result"] == {}
        for client in others:
            assert len(client.ask("tools/list")["tools"]) == 4
    assert reader.is_alive()
    others[0].ask("tools/call", "release")
    assert wire.answer(console)["result"]["content"][0]["text"] == "waited"
    reader.join(PATIENCE_S)
    assert rest[-1]["id"] == over_http.id
    assert rest[-1]["result"]["structuredContent"] == {"more_than_one": True}
    numbers = [row["params"]["progress"] for row in rest[:-1]]
    assert numbers == list(range(6, 6 + len(numbers)))


def test_everybody_hears_of_changes_once(shared):
    wire, port = shared
    wire.ask("resources/subscribe", {"uri": "board://status"})
    listening = [HTTPClient(port) for _ in range(3)]
    streams = []
    for client in listening:
        kinds = {"toolsListChanged": True, "resourceSubscriptions": ["board://status"]}
        streams.append(client.send("subscriptions/listen", notifications=kinds))
        (told,) = events(streams[-1], 1)
        assert told["method"] == "notifications/subscriptions/acknowledged"
    HTTPClient(port).ask("tools/call", "change")
    for client, stream in zip(listening, streams, strict=True):
        told = events(stream, 2)
        assert [row["method"] for row in told] == [
            "notifications/resources/updated",
            "notifications/tools/list_changed",
        ]
        for row in told:
            id = row["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"]
            assert id == client.id
    heard = [json.loads(wire.line())["method"] for _ in range(2)]
    assert heard == ["notifications/resources/updated", "notifications/tools/list_changed"]


def test_a_client_that_leaves_takes_only_its_own_along(shared):
    wire, port = shared
    leaver, stayer = HTTPClient(port), HTTPClient(port)
    going = leaver.send("tools/call", "steps", token=1)
    staying = stayer.send("tools/call", "steps", token=2)
    assert events(going, 2) and events(staying, 2)
    going.close()
    leaver.connection.close()
    under_way = wire.send("tools/call", {"name": "waits", "arguments": {}})
    assert events(staying, 50)
    wire.call("release")
    assert wire.answer(under_way)["result"]["content"][0]["text"] == "waited"
    assert events(staying)[-1]["id"] == stayer.id
    until(lambda: wire.ask("ping")["result"] == {})
