"""Calls that boards kept while the gateway was away: delivered once, through connections that they
open, while others are served."""

import contextlib
import re

import httpx
from board_rig import UnixBoard, app, codes, text_of
from pi_rig import META, VERSION, Pi, SDKServer, server_table
from waiting import ReservedPort, until

BOARDS = 6
CALLS = 5

QUEUE = """
from mcp_gw.queue.nor_kept import RamNor
gw.queue(RamNor(16))
pi = gw.upstream("pi", queueable=("office_add",))
"""


class Node(UnixBoard):
    """A board that dials in, and serves a client of its own over HTTP meanwhile."""

    def __init__(self, folder, name, entry, code):
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        run = (
            "from mcp_gw.transports.dial import Dial\n"
            "Dial.FIRST_PAUSE_MS = Dial.LAST_PAUSE_MS = 100\n"
            f"dial = Dial(gw, '127.0.0.1', {entry}, code={code!r}, "
            f"file={str(folder / (name + '.json'))!r})\n"
            f"gw.run('http', dial, port={self.port})"
        )
        super().__init__(folder, name, app(name, run, QUEUE))

    def call(self, tool, **arguments):
        params = {"_meta": META, "name": tool, "arguments": arguments}
        row = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        fields = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        return httpx.post(f"http://127.0.0.1:{self.port}/mcp", json=row, headers=fields).json()

    def pending(self):
        """Calls in its queue."""
        with contextlib.suppress(httpx.HTTPError):
            text = httpx.get(f"http://127.0.0.1:{self.port}/v1/queue/status").text
            return int(re.search(r'"pending":\s*(\d+)', text)[1])

    def close(self):
        super().close()
        self._reserved.close()


def test_what_boards_kept_is_executed_once(tmp_path):
    entry = ReservedPort()
    office = SDKServer(tmp_path)
    config = f'[dial]\nhost = "127.0.0.1"\nport = {entry.number}\n'
    config += server_table("office", url=office.url)
    pi = Pi(tmp_path, config)
    nodes = []
    try:
        pi.up("office")
        until(lambda: "boards may dial in" in pi.output(), pi.output)
        names = [f"n{i}" for i in range(BOARDS)]
        nodes = [
            Node(tmp_path, name, entry.number, code)
            for name, code in zip(names, codes(pi, BOARDS), strict=True)
        ]
        pi.up(*names)
        pi.kill()
        wanted = set()
        for i, node in enumerate(nodes):
            until(lambda node=node: "ECONNREFUSED" in node.output(), node.output)
            for k in range(CALLS):
                answer = node.call("pi_office_add", a=100 * i, b=k)
                assert "mcp-gw/queued" in answer["result"]["_meta"], answer
                wanted.add(f"add {100 * i} {k}")
            assert node.pending() == CALLS
        assert office.ledger() == []
        pi.start()
        # While they deliver, clients are served.
        pi.up(names[-1], "office")
        assert text_of(pi.call(f"{names[-1]}_add", {"a": 20, "b": 22})) == "42"
        until(lambda: all(node.pending() == 0 for node in nodes), pi.output)
        assert sorted(office.ledger()) == sorted(wanted)  # each of them once
        assert "internal error" not in pi.output()
    finally:
        for one in (*nodes, pi, office):
            one.close()
        entry.close()
