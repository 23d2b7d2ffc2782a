"""Load for a server over Streamable HTTP: many connections, each with one tool call under way.

pi_load.py PORT SECONDS TOOL ...: one connection for each tool. Revision 2026-07-28, no session.
Prints JSON: latencies in ms of each tool's calls, what was wrong with answers, how long it took.
A tool whose answer does not come in the given time has none.
"""

import asyncio
import json
import sys
import time

WARM_UP_S = 1.0
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Connection(asyncio.Protocol):
    """Calls one tool again and again until `end`."""

    def __init__(self, tool, begin, end):
        self.times = []
        self.wrong = []
        self.done = asyncio.get_running_loop().create_future()
        self._begin, self._end = begin, end
        self._data = b""
        params = {"name": tool, "arguments": {"a": 20, "b": 22}, "_meta": META}
        row = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        body = json.dumps(row).encode()
        head = (
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\n"
            f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    def connection_made(self, transport):
        self._transport = transport
        self._send()

    def _send(self):
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data):
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        if b"content-type: text/event-stream" in lines:
            self._over()  # a sign of life in place of an answer, which is long overdue
            return
        length = next((line for line in lines if line.startswith(b"content-length:")), None)
        if length is None or b" 200 " not in lines[0]:
            self._over(f"not understood: {self._data[:300]}")
            return
        if len(body) < int(length.split(b":")[1]):
            return
        now = time.perf_counter()
        if b'"42"' not in body:
            self._over(f"a wrong answer: {body[:300]}")
            return
        if self._sent >= self._begin:
            self.times.append((now - self._sent) * 1000)
        self._data = b""
        if now >= self._end:
            self._over()
        else:
            self._send()

    def connection_lost(self, error):
        self._over(f"the connection broke: {error}")

    def _over(self, wrong=None):
        if not self.done.done():
            if wrong:
                self.wrong.append(wrong)
            self.done.set_result(None)
            self._transport.abort()


async def main(port, seconds, tools):
    loop = asyncio.get_running_loop()
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds
    made = [loop.create_connection(lambda t=t: Connection(t, begin, end), "127.0.0.1", port)
            for t in tools]  # fmt: skip
    connections = [protocol for _, protocol in await asyncio.gather(*made)]
    await asyncio.wait([one.done for one in connections], timeout=WARM_UP_S + seconds + 15)
    wrong = [text for one in connections for text in one.wrong]
    times = {tool: one.times for tool, one in zip(tools, connections, strict=True)}
    print(json.dumps({"times": times, "wrong": wrong, "seconds": time.perf_counter() - begin}))


asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
