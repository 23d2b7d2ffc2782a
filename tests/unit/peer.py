"""A client in memory for tests of the server role: takes a port's place, keeps all it gets."""

import json

from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.protocol.session import Session

MODERN = "2026-07-28"


class Peer:
    """revision: of the handshake, or MODERN for requests that carry _meta; capabilities: dict."""

    def __init__(self, gw, revision="2025-11-25", capabilities=None, log_level=None):
        self.gw = gw
        self.link = self
        self.settling = False
        self.session = Session()
        self.session.out = self.send
        self.sent = []  # messages beside answers
        self.answers = {}
        self.status = {}
        self.closed = 0
        self.last = 0
        self.revision = revision
        self.meta = None
        self.capabilities = capabilities or {}
        gw.join(self.session)
        if revision == MODERN:
            self.meta = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "peer", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            }
            if log_level:
                self.meta["io.modelcontextprotocol/logLevel"] = log_level
        else:
            self.hello = self.ask(
                "initialize",
                protocolVersion=revision,
                capabilities=self.capabilities,
                clientInfo={"name": "peer", "version": "1"},
            )
            self.notify("notifications/initialized")

    # As a port.

    def send(self, parts):
        self.sent.append(json.loads(b"".join(bytes(part) for part in parts)))

    def answer(self, parts, status=200):
        message = json.loads(b"".join(bytes(part) for part in parts))
        self.answers[message.get("id") if isinstance(message, dict) else None] = message
        self.status[message.get("id") if isinstance(message, dict) else None] = status

    def close_stream(self):
        self.closed += 1

    # As a client.

    def raw(self, data):
        """Give the gateway bytes; returns what take() does."""
        return self.gw.dispatch.take(self, data, 0, len(data))

    def begin(self, method, token=None, **params):
        """Send a request; returns its id."""
        self.last += 1
        meta = dict(self.meta) if self.meta else {}
        if token is not None:
            meta["progressToken"] = token
        if meta:
            params["_meta"] = meta
        row = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.raw(json.dumps(row).encode())
        return self.last

    def ask(self, method, token=None, **params):
        """Send a request and wait; returns the result, or the error object."""
        return self.wait(self.begin(method, token, **params))

    def wait(self, id):
        if id not in self.answers:
            self.until(lambda: id in self.answers)
        message = self.answers.pop(id)
        assert message["jsonrpc"] == "2.0" and message["id"] == id
        return message["result"] if "result" in message else message["error"]

    def call(self, name, arguments=None, **more):
        """The tool's result."""
        return self.ask("tools/call", name=name, arguments=arguments or {}, **more)

    def notify(self, method, **params):
        row = {"jsonrpc": "2.0", "method": method, "params": params}
        assert self.raw(json.dumps(row).encode()) == 2

    def reply(self, request, result=None, error=None):
        """Answer a request of the gateway's."""
        row = {"jsonrpc": "2.0", "id": request["id"]}
        if error:
            row["error"] = error
        else:
            row["result"] = result
        self.raw(json.dumps(row).encode())

    def until(self, done):
        """Let the gateway work until done()."""

        async def wait():
            for _ in range(2000):
                if done():
                    return
                await sleep_ms(1)
            raise AssertionError("it never came: %r %r" % (self.sent, self.answers))

        run_until(wait())

    def turn(self, ms=5):
        """Let the gateway work for a moment."""

        async def moment():
            await sleep_ms(ms)

        run_until(moment())

    def heard(self, method):
        """What came beside answers with this method."""
        return [message for message in self.sent if message.get("method") == method]


def text(result):
    """The text of a tool's result."""
    return result["content"][0]["text"]
