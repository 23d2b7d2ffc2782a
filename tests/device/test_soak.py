"""A million requests of all kinds, in both eras, over standard input and HTTP at once, many of
them wrong: each gets the answer it is due, and the server takes no more memory at the end than at
the beginning. A tenth of it in a quick run."""

import http.client
import json
import random
import socket
from pathlib import Path

import rig
import soak
import targets
from test_memory import grows
from waiting import PATIENCE_S, ReservedPort, until

APP = rig.APPS / "everything.py"
CONNECTIONS = 4
BATCH = 40  # requests under way on one connection
SAMPLES = 12
RSS_KB = 256  # what memory pages may come and go


class Requests:
    """Requests without end, as next() gives them: (message as JSON text, bytes; whether an error
    or a tool error is due; method; name for the header of 2026-07-28)."""

    def __init__(self, rng):
        self.rng = rng
        self.id = 100_000

    def next(self, modern):
        rng = self.rng
        odd = "".join(rng.choices("abcdefgh", k=8))
        method, params, bad = rng.choices(
            [
                ("tools/call", {"name": "add", "arguments": {"a": rng.randrange(1000)}}, False),
                ("tools/call", {"name": "echo", "arguments": {"words": odd * 9}}, False),
                ("tools/call", {"name": "wait", "arguments": {"n": rng.randrange(5)}}, False),
                ("tools/call", {"name": "steps", "arguments": {"n": 3}}, False),
                ("tools/call", {"name": "fails", "arguments": {}}, True),
                ("tools/call", {"name": "add", "arguments": {"a": odd}}, True),
                ("tools/call", {"name": "add", "arguments": {"a": 1, odd: 1}}, True),
                ("tools/call", {"name": "no_" + odd}, True),
                ("tools/list", {}, False),
                ("tools/list", {"cursor": odd}, True),
                ("resources/list", {}, False),
                ("resources/templates/list", {}, False),
                ("resources/read", {"uri": "board://status"}, False),
                ("resources/read", {"uri": "board://blob"}, False),
                ("resources/read", {"uri": "board://row/" + odd}, False),
                ("resources/read", {"uri": "other://" + odd}, True),
                ("prompts/list", {}, False),
                ("prompts/get", {"name": "advice", "arguments": {"plot": odd}}, False),
                ("prompts/get", {"name": "advice", "arguments": {}}, True),
                ("completion/complete", COMPLETE, False),
                ("no/" + odd, {}, True),
            ],
            [40, 15, 5, 5, 2, 2, 2, 2, 3, 1, 3, 3, 4, 2, 4, 2, 3, 3, 1, 3, 2],
        )[0]
        self.id += 1
        name = params.get("name") or params.get("uri") or ""
        if modern:
            params = params | {"_meta": rig.META}
        row = {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params}
        return json.dumps(row).encode(), bad, method, name


COMPLETE = {
    "ref": {"type": "ref/prompt", "name": "advice"},
    "argument": {"name": "plot", "value": "n"},
}


def check(answer, bad, asked):
    result = answer.get("result")
    failed = result is None or bool(result.get("isError"))
    assert failed == bad, (asked, answer)


class Stdio:
    """Batches over standard input: answers come in any order, since some tools take time."""

    def __init__(self, wire, requests):
        self.wire = wire
        self.requests = requests

    def batch(self, modern):
        rows = {}
        lines = []
        while len(lines) < BATCH:
            line, bad, _, _ = self.requests.next(modern)
            if self.requests.rng.randrange(50) == 0:
                line = line[: self.requests.rng.randrange(1, len(line))]
                bad = True
            rows[self.requests.id] = bad, line
            lines.append(line + b"\n")
        self.wire.write(b"".join(lines))
        nameless = 0
        for _ in lines:
            answer = self.wire.message()
            while "method" in answer:
                answer = self.wire.message()
            if answer.get("id") in rows:
                check(answer, *rows.pop(answer["id"]))
            else:  # cut off within or before its id
                nameless += 1
                assert "error" in answer
        assert nameless == len(rows) and all(bad for bad, _ in rows.values()), rows
        del self.wire.lines[: self.wire._at]
        self.wire._at = 0
        return BATCH


class Http:
    """Batches on one kept connection, pipelined: answers come in order."""

    def __init__(self, port, requests):
        self.port = port
        self.requests = requests
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.file = self.socket.makefile("rb", 65536)
        self.session = None

    def close(self):
        self.file.close()
        self.socket.close()

    def post(self, line, modern, method="", name=""):
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += b"Accept: application/json, text/event-stream\r\n"
        if modern:
            head += b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: %s\r\n" % method.encode()
            if name:
                head += b"Mcp-Name: %s\r\n" % name.encode()
        elif self.session:
            head += b"MCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: %s\r\n" % self.session
        return head + b"Content-Length: %d\r\n\r\n" % len(line) + line

    def answer(self):
        """(status, header fields, body) of the next answer."""
        status = int(self.file.readline().split()[1])
        fields = {}
        while (line := self.file.readline().strip()) != b"":
            key, _, value = line.partition(b":")
            fields[key.lower()] = value.strip()
        return status, fields, self.file.read(int(fields.get(b"content-length", 0)))

    def initialize(self):
        """A session anew; the one before is ended, half of the times."""
        if self.session and self.requests.rng.randrange(2):
            head = b"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: %s\r\n\r\n"
            self.socket.sendall(head % self.session)
            assert self.answer()[0] in (200, 202, 204)
        self.session = None
        row = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": rig.INITIALIZE}
        self.socket.sendall(self.post(json.dumps(row).encode(), False))
        status, fields, _ = self.answer()
        assert status == 200
        self.session = fields[b"mcp-session-id"]
        note = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        self.socket.sendall(self.post(note, False))
        assert self.answer()[0] == 202

    def batch(self, modern):
        if not modern and (self.session is None or self.requests.rng.randrange(20) == 0):
            self.initialize()
        rows = []
        data = []
        for _ in range(BATCH):
            line, bad, method, name = self.requests.next(modern)
            rows.append((bad, line))
            data.append(self.post(line, modern, method, name))
        self.socket.sendall(b"".join(data))
        for bad, line in rows:
            _, _, body = self.answer()
            check(json.loads(body), bad, line)
        return BATCH

    def stream(self):
        """On a connection of its own: a call whose progress comes as a stream of events."""
        line, _, _, _ = self.requests.next(True)
        row = json.loads(line)
        row["method"] = "tools/call"
        meta = rig.META | {"progressToken": "p"}
        row["params"] = {"name": "steps", "arguments": {"n": 4}, "_meta": meta}
        head = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": rig.MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": "steps",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request("POST", "/mcp", json.dumps(row), head)
        text = connection.getresponse().read()
        connection.close()
        assert text.count(b"notifications/progress") == 4 and b"stepped" in text, text


def resident_kb(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def connected(port, requests):
    """An Http, once the server listens; else None."""
    try:
        return Http(port, requests)
    except ConnectionRefusedError:
        return None


def test_a_million_mixed_requests(tmp_path, seed):
    total = soak.count(100_000, 1_000_000)
    rng = random.Random(seed)
    requests = Requests(rng)
    port = ReservedPort()
    wire = rig.ProcessWire([targets.firmware("unix"), APP, port.number], tmp_path)
    https = []
    try:
        wire.wait_serving()
        wire.strict = False
        https = [until(lambda: connected(port.number, requests)) for _ in range(CONNECTIONS)]
        ways = [Stdio(wire, requests), *https]
        used, resident = [], []
        done = 0
        for sample in range(SAMPLES):
            while done < total * (sample + 1) // SAMPLES:
                for way in ways:
                    done += way.batch(modern=rng.randrange(2) == 1)
                if rng.randrange(20) == 0:
                    https[0].stream()
                if rng.randrange(100) == 0:  # a client that comes back
                    https.pop(1).close()
                    ways.pop(2)
                    https.append(Http(port.number, requests))
                    ways.append(https[-1])
            used.append(wire.call("heap")["structuredContent"]["used"])
            resident.append(resident_kb(wire.process.pid))
        print(f"{done} requests: heap in use {used}, resident KB {resident}")
        assert not grows(used), str(used)
        # The heap itself is touched for the first time while the first of them run.
        assert resident[-1] <= max(resident[: SAMPLES // 3]) + RSS_KB, resident
    finally:
        for one in https:
            one.close()
        wire.process.kill()  # the end of its input is not the end of HTTP
        wire.close()
        port.close()
