"""What the tests of HttpUpstream share: a driven upstream under either interpreter, the SDK's
server as a process, and a server that answers with exactly the bytes a test names.
"""

import json
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import targets
from waiting import PATIENCE_S

HERE = Path(__file__).parent
INTERPRETERS = ["cpython", "micropython"]


class Driver:
    """An HttpUpstream in a process of its own, under CPython or the unix build (heap: of the
    latter).
    """

    def __init__(self, interpreter, heap=None, **options):
        program = [sys.executable] if interpreter == "cpython" else [str(targets.firmware("unix"))]
        if heap and interpreter == "micropython":
            program += ["-X", f"heapsize={heap}"]
        self.process = subprocess.Popen(
            [*program, str(HERE / "http_upstream_client.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": str(targets.ROOT),
                "MICROPYPATH": f"{targets.ROOT}:.frozen",
            },
        )
        self.made = self.do("make", {"listen": False, **options})

    def do(self, op, *arguments):
        self.send(op, *arguments)
        return self.take()

    def send(self, op, *arguments):
        self.process.stdin.write(json.dumps([op, arguments]).encode() + b"\n")
        self.process.stdin.flush()

    def take(self):
        line = self.process.stdout.readline()
        assert line, "the driver died"
        return json.loads(line)

    def call(self, tool, arguments=None, timeout_ms=None, token=None):
        return self.do("request", *call(tool, arguments, timeout_ms, token))

    def text(self, tool, arguments=None):
        """The text of a tool's result; an AssertionError when there is none."""
        out = self.call(tool, arguments)
        assert out.get("ok"), out
        return json.loads(out["raw"])["content"][0]["text"]

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def call(tool, arguments=None, timeout_ms=None, token=None):
    """Arguments of the driver's request() for one tools/call."""
    params = json.dumps({"name": tool, "arguments": arguments or {}})
    return ["tools/call", params, timeout_ms, token]


class SDKServer:
    """The official SDK's server in a process."""

    def __init__(self, ledger, mode, *options, port=0):
        self.ledger = Path(ledger)
        self.log = self.ledger.with_suffix(".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "http_upstream_server.py"), mode, str(ledger)]
                + ["--port", str(port), *options],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.port = int(line)
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    def executed(self, tool):
        return self.ledger.read_text().split().count(tool) if self.ledger.exists() else 0

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class RawServer:
    """Answers requests with bytes. `script` is called with (n, head, body) for the n-th request
    (from 0) and returns what to do: a list of bytes to send, numbers of seconds to wait, CLOSE or
    RESET. Default: keep open. `served` gets a request's number when all that is done.
    """

    CLOSE = "close"
    RESET = "reset"

    def __init__(self, script, context=None, greeting=None):
        self.script = script
        self.context = context
        self.greeting = greeting  # bytes sent at once when a connection comes in
        self.requests = []  # (number of the connection, head, body)
        self.connections = 0
        self.served = queue.Queue()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._stop.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection, number):
        connection.settimeout(PATIENCE_S)
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            if self.greeting:
                connection.sendall(self.greeting)
            with connection:
                last = self._talk(connection, number)
            if last is not None:
                self.served.put(last)
        except OSError:
            connection.close()

    def _talk(self, connection, number):
        """Serve a connection; returns the number of the request after which it is to be closed."""
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return None
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(fields(head).get("content-length", 0))
            while len(data) < length:
                more = connection.recv(65536)
                if not more:
                    return None
                data += more
            body, data = data[:length], data[length:]
            with self._lock:
                n = len(self.requests)
                self.requests.append((number, head, body))
            for step in self.script(n, head, body):
                if step == self.CLOSE:
                    return n
                if step == self.RESET:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return n
                if isinstance(step, bytes):
                    connection.sendall(step)
                elif self._stop.wait(step):
                    return None
            self.served.put(n)


def fields(head):
    """Header fields of a request's head, names in lower case."""
    rows = (line.partition(": ") for line in head.decode().split("\r\n")[1:])
    return {name.lower(): value for name, _, value in rows}


def http(body, status="200 OK", kind="application/json", extra=""):
    """A whole answer."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def events(*messages, tail=True, extra=""):
    """A chunked event stream of messages (dict or bytes); without tail it is not ended."""
    fields = f"Content-Type: text/event-stream\r\n{extra}Transfer-Encoding: chunked\r\n"
    out = f"HTTP/1.1 200 OK\r\n{fields}\r\n".encode()
    for message in messages:
        if not isinstance(message, bytes):
            message = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
        out += b"%x\r\n%s\r\n" % (len(message), message)
    return out + (b"0\r\n\r\n" if tail else b"")


def result(body, value=None):
    """The JSON-RPC answer to a request's body."""
    row = {"jsonrpc": "2.0", "id": json.loads(body)["id"]}
    return row | {"result": value if value is not None else {"content": [], "isError": False}}


def failure(code, id=None, message="no", data=None):
    error = {"code": code, "message": message}
    return {"jsonrpc": "2.0", "id": id, "error": error if data is None else error | {"data": data}}


def modern(handler):
    """A script: answers server/discover, hands the rest (counted from 0) to handler(n, head,
    body).
    """
    seen = []

    def script(n, head, body):
        if json.loads(body or b"{}").get("method") == "server/discover":
            return [http(result(body, {"supportedVersions": ["2026-07-28"], "capabilities": {}}))]
        seen.append(n)
        return handler(len(seen) - 1, head, body)

    return script


def legacy(handler, session=None):
    """The same for a server that only knows initialize; notifications and DELETE are accepted."""
    seen = []
    opened = []

    def script(n, head, body):
        method = json.loads(body or b"{}").get("method")
        if method == "server/discover":
            return [http(failure(-32601, json.loads(body)["id"]))]
        if method == "initialize":
            opened.append(n)
            extra = f"Mcp-Session-Id: {session}-{len(opened)}\r\n" if session else ""
            value = {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "serverInfo": {"name": "l"},
            }
            return [http(result(body, value), extra=extra)]
        if method is None or "id" not in json.loads(body):
            return [http(b"", "202 Accepted")]
        seen.append(n)
        return handler(len(seen) - 1, head, body)

    return script


def rigs(interpreter):
    """For a fixture: rig(script, **options) makes (server, driven upstream); all are closed."""
    made = []

    def make(script, greeting=None, **options):
        server = RawServer(script, greeting=greeting)
        options.setdefault("url", server.url)
        driver = Driver(interpreter, **options)
        made.extend((driver, server))
        return server, driver

    yield make
    for each in made:
        each.close()


def good(n, head, body):
    """A script's handler: every request succeeds."""
    return [http(result(body))]


def said(out):
    """What the gateway says of its own in place of the server's answer."""
    assert out["ok"] is False, out
    error = json.loads(out["raw"])
    assert error["code"] == -32603
    return error["message"]


def bodies(server):
    """The messages a RawServer got."""
    return [json.loads(body) for _, _, body in server.requests if body]
