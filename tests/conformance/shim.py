"""A Streamable HTTP front end for a board on a serial port: the suites speak HTTP only.

    python shim.py DEVICE PORT

HTTP is that of mcp_gw itself, here under CPython. What it lets through goes to the board, with ids
and progress tokens that are unique on the wire; what comes back is given to the exchange it
belongs to. Limits of one serial line: one legacy session at a time, and the board cannot end the
stream of a call before its answer.
"""

import json
import sys
from pathlib import Path

import serial

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1])]

from mcp_gw import Gateway, reactor  # noqa: E402
from mcp_gw.protocol.framing import REQUEST  # noqa: E402
from mcp_gw.protocol.server import Server  # noqa: E402
from mcp_gw.protocol.session import Request  # noqa: E402

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
FORWARD = 100  # a kind of Request beside those of protocol/server.py
# Statuses of errors in answers to clients of a stateless revision.
STATUS = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}


class Everything:
    """As a table of methods: all are there."""

    def __init__(self, special, other):
        self._special = special
        self._other = other

    def get(self, method):
        return self._special.get(method, self._other)


class Front(Server):
    """Checks what HTTP and the envelope ask for, and leaves every method to the board."""

    def __init__(self):
        super().__init__(None, b"{}", lambda revision: {}, None, 32, 1000)
        self._methods = Everything({b'"initialize"': Front._begin}, Front._forward)

    def _begin(self, request, buf, spans):
        self._initialize(request, buf, spans)
        # A request older than that belongs to the client before.
        return Request(FORWARD, request.session, request.revision, request.id)

    def _forward(self, request, buf, spans):
        request.kind = FORWARD
        return request


class Pending:
    """A request that the board has: the exchange that waits, and what stood in it."""

    def __init__(self, port, request, message):
        self.port = port
        self.request = request
        self.modern = request.revision.modern
        self.id = message["id"]
        self.token = message.get("params", {}).get("_meta", {}).get("progressToken")


class Tool:
    """What the checks of headers want to know of a tool."""

    what = "tool"

    def __init__(self, row):
        self.name = row["name"]
        self.descriptor = json.dumps(row, separators=(",", ":")).encode()
        self.row = 0, self.descriptor


class Relay:
    """Stands where a gateway has its dispatcher. device: the open serial port."""

    def __init__(self, device):
        self._device = device
        self._server = Front()
        self._server.on_cancelled = Request.cancel
        self._rest = b""
        self._last = 0
        self._pending = {}  # id on the wire -> Pending, oldest first
        self._legacy = None  # the Session that initialised last

    def tools(self):
        """The board's list of tools; waits for it."""
        self._write({"jsonrpc": "2.0", "id": 0, "method": "tools/list", "params": {"_meta": META}})
        while True:
            line = self._device.read_until(b"\n")
            if line.startswith(b"{"):
                return json.loads(line)["result"]["tools"]
            if not line:
                raise SystemExit("the board does not answer")

    # From clients.

    def take(self, port, buf, lo, hi):
        server = self._server
        action = server.receive(port.session, buf, lo, hi)
        if isinstance(action, list):
            port.answer(action, server.status)
            return server.kind
        message = json.loads(bytes(buf[lo:hi]))
        if server.kind == REQUEST:
            self._request(port, action, message)
        elif message.get("method") != "notifications/cancelled":
            self._write(message)
        return server.kind

    def oversized(self, port, buf, lo, hi):
        parts = self._server.oversized(port.session, buf, lo, hi, 1 << 18)
        if parts:
            port.answer(parts, 413)

    def _request(self, port, request, message):
        if message["method"] == "initialize":
            self._legacy = port.session
        self._last += 1
        id = self._last
        pending = self._pending[id] = Pending(port, request, message)
        request.begin(1000, port)
        request.on_cancel = lambda: self._cancel(id)
        message["id"] = id
        if pending.token is not None:
            message["params"]["_meta"]["progressToken"] = id
        self._write(message)

    def _cancel(self, id):
        del self._pending[id]
        params = {"requestId": id}
        self._write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    def _write(self, message):
        self._device.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    # From the board.

    def readable(self):
        """The serial port has something."""
        data = self._device.read(self._device.in_waiting or 1)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line[:1] == b"{":
                self._heard(json.loads(line))
            else:
                sys.stderr.write("the board: %s\n" % line.decode(errors="replace").rstrip())

    def _heard(self, message):
        method = message.get("method")
        if method is None:
            self._answered(message)
            return
        params = message.get("params", {})
        subscription = params.get("_meta", {}).get(SUBSCRIPTION)
        pending = None
        if subscription is not None:
            pending = self._pending.get(subscription)
            if pending:
                params["_meta"][SUBSCRIPTION] = pending.id
        elif method == "notifications/progress":
            pending = self._pending.get(params["progressToken"])
            if pending:
                params["progressToken"] = pending.token
        elif "id" in message or method in ("notifications/message", "notifications/cancelled"):
            pending = self._newest("id" in message)
        elif self._legacy and self._legacy.out:
            self._legacy.out(parts(message))
        if pending:
            pending.port.send(parts(message))

    def _newest(self, legacy):
        """The call that a message without an address most likely belongs to."""
        for pending in reversed(list(self._pending.values())):
            if not (legacy and pending.modern):
                return pending
        return None

    def _answered(self, message):
        pending = self._pending.pop(message.get("id"), None)
        if pending is None or not pending.request.end():  # given up meanwhile
            return
        message["id"] = pending.id
        status = 200
        if pending.modern and "error" in message:
            status = STATUS.get(message["error"]["code"], 200)
        meta = message.get("result", {}).get("_meta", {})
        if SUBSCRIPTION in meta:
            meta[SUBSCRIPTION] = pending.id
        pending.port.answer(parts(message), status)


def parts(message):
    """A message as ports take it."""
    return [json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()]


def main(device, port):
    device = serial.Serial(device, timeout=10)
    relay = Relay(device)
    gateway = Gateway("shim")
    for row in relay.tools():
        gateway.registry.tools.add(Tool(row))
    gateway.dispatch = relay
    device.timeout = 0
    reactor.watch(device, relay.readable)
    gateway.run("http", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
