"""A gateway that serves HTTP in a process of its own, and plain sockets to talk to it."""

import contextlib
import json
import os
import socket
import subprocess

import rig
from waiting import PATIENCE_S, ReservedPort, until

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class HttpProcess:
    """An app as a process. command: program and its arguments; the port comes behind them."""

    def __init__(self, folder, *command):
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self.errors = folder / f"http-{self.port}.txt"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [*map(str, command), str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=rig.environment(),
            )
        try:
            until(self._listens, lambda: self.errors.read_text())
        except BaseException:
            self.close()
            raise

    def _listens(self):
        assert self.process.poll() is None, self.errors.read_text()
        with contextlib.suppress(OSError):
            self.connect().close()
            return True
        return False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    def connect(self, **options):
        """A Client on a new connection."""
        return Client(self.port, **options)

    def resident_kb(self):
        """Memory in use by the process, kB."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    def cpu_s(self):
        """Seconds of processor time it has used."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            row = stat.read().rpartition(")")[2].split()
        return (int(row[11]) + int(row[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections(self):
        """Those that it has accepted and not closed."""
        sockets = -1  # the one that listens
        for entry in os.scandir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                sockets += os.readlink(entry.path).startswith("socket:")
        return sockets

    def close(self):
        self.process.kill()
        self.process.wait()
        self._reserved.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Closed(Exception):
    """The server closed the connection before the end of an answer."""


class Client:
    """One connection. Answers are (status, headers: dict of lower-case str, body: bytes)."""

    def __init__(self, port, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(("127.0.0.1", port))
        self._data = b""

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed(self._data)
        self._data += data

    def line(self):
        while b"\r\n" not in self._data:
            self._more()
        line, _, self._data = self._data.partition(b"\r\n")
        return line

    def take(self, size):
        while len(self._data) < size:
            self._more()
        out, self._data = self._data[:size], self._data[size:]
        return out

    def head(self):
        """(status, headers) of the next answer."""
        status = int(self.line().split()[1])
        headers = {}
        while line := self.line():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def chunk(self):
        """The next chunk of a body, b"" the last."""
        out = self.take(int(self.line(), 16))
        self.line()
        return out

    def answer(self):
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        else:
            body = self.take(int(headers.get("content-length", 0)))
        return status, headers, body

    def ended(self):
        """Whether the server closes, or has closed, without another byte."""
        try:
            return not self._data and not self.sock.recv(1)
        except ConnectionError:
            return True

    def post(self, body, **fields):
        self.send(posted(body, **fields))

    def call(self, tool, token=None, **arguments):
        """Send a tools/call; returns the answer."""
        self.send(called(tool, token, **arguments))
        return self.answer()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def posted(body, **fields):
    """The bytes of a POST."""
    rows = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": len(body),
    }
    rows |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in rows.items() if value is not None)
    return f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body


def modern(method, params, name=None, id=1):
    """The bytes of a POST of a request of 2026-07-28."""
    row = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    fields = {"MCP_Protocol_Version": VERSION, "Mcp_Method": method, "Mcp_Name": name}
    return posted(json.dumps(row).encode(), **fields)


def called(tool, token=None, **arguments):
    """The bytes of a tools/call of 2026-07-28."""
    meta = META if token is None else META | {"progressToken": token}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return modern("tools/call", params, tool)


def text(answer):
    """The text of a tool result."""
    status, _, body = answer
    assert status == 200, answer
    return json.loads(body)["result"]["content"][0]["text"]
