"""The board's side for simulated days on MicroPython: `micropython board_heap.py DAYS SEED`.

The gateway, its queue and its link are real; ticks are simulated, and the host is a few lines here
that answer, lose and repeat. Each day ends with an empty queue, and then the heap is measured.
Power is never cut: what a board that stays on for weeks collects would show. Prints a line for
each day: day, bytes allocated, calls made, calls executed, calls that still wait.
"""

import gc
import json
import sys

sys.path.append(__file__.rpartition("/")[0] + "/..")

import mcp_gw.compat  # noqa: E402

NOW = [5]
say = print  # a gateway that serves takes print() for itself
mcp_gw.compat.ticks_ms = lambda: NOW[0]

from serial_line import SerialLine  # noqa: E402

from mcp_gw import Gateway, Queueable  # noqa: E402
from mcp_gw.protocol.revisions import BY_NAME, LATEST_LEGACY  # noqa: E402
from mcp_gw.protocol.session import Session  # noqa: E402
from mcp_gw.queue.nor_fault import Rng  # noqa: E402
from mcp_gw.queue.nor_kept import RamNor  # noqa: E402
from mcp_gw.transports.link import decode  # noqa: E402

TOOLS = (
    Queueable("record"),
    Queueable("notice", priority=2),
    Queueable("set_target", key="zone", policy="latest"),
)


class Wire(SerialLine):
    """The other end of the serial line: a bridge with one upstream."""

    def __init__(self):
        super().__init__()
        self.executed = 0


class World:
    def __init__(self, seed):
        self.rng = Rng(seed)
        self.wire = Wire()
        self.unix = 1_772_323_200
        self.calls = 0
        self.plugged = False
        gw = self.gw = Gateway("board", max_message=8192, max_calls=8)
        gw.clock.system = False
        gw.queue(RamNor(8))
        gw.upstream("office", queueable=TOOLS, expiry_s=36 * 3600)

    # What the gateway answers is of no interest here; it is a port, too.

    settling = False

    def answer(self, parts, status=200):
        pass

    def send(self, parts):
        pass

    def wait(self, seconds, step=1):
        """Let the time pass."""
        while seconds > 0:
            NOW[0] = NOW[0] + 1000 * step & 0x3FFFFFFF
            self.unix += step
            seconds -= step
            if self.plugged and self.unix % 3 == 0:
                self.hello()
            self.turn()

    def turn(self):
        for _ in range(3):
            self.gw.poll(self.wire)
            self.host()

    def hello(self):
        hello = {"v": 1, "id": "host", "time_ms": self.unix * 1000, "rx": 16384}
        hello["upstreams"] = ["office"]
        hello["deliver"] = {"calls": 8, "deflate": True}
        self.wire.frame(b"h", json.dumps(hello).encode())
        self.wire.frame(b"s", b'{"office":true}')

    def host(self):
        wire = self.wire
        while b"\n" in bytes(wire.from_board):
            line, _, rest = bytes(wire.from_board).partition(b"\n")
            wire.from_board = bytearray(rest)
            if line[:1] != b"\x1e" or not self.plugged:
                continue
            channel, lo, hi = decode(line, 0, len(line))
            if channel == 0x75:
                self.request(line[lo:hi].partition(b" ")[2])

    def request(self, text):
        row = json.loads(text)
        if "id" not in row or self.rng.below(50) == 0:
            return  # a cancellation, or it was lost
        params = row["params"]
        if row["method"] == "tools/list":
            result = {"tools": []}
        elif row["method"] == "tools/call":
            result = {"content": [{"type": "text", "text": "y" * self.rng.below(300)}]}
            self.wire.executed += 1
        else:
            result = {"outcomes": self.outcomes(params)}
        if self.rng.below(50) == 0:
            return  # the answer is lost
        result["resultType"] = "complete"
        answer = {"jsonrpc": "2.0", "id": row["id"], "result": result}
        for _ in range(1 + (self.rng.below(50) == 0)):
            self.wire.frame(b"u", b"office ", json.dumps(answer).encode())

    def outcomes(self, params):
        calls = params.get("calls")
        if calls is None:
            from binascii import a2b_base64
            from io import BytesIO

            import deflate

            packed = BytesIO(a2b_base64(params["deflate"]))
            calls = json.loads(deflate.DeflateIO(packed, deflate.RAW, 15).read())
        self.wire.executed += len(calls)
        result = {"content": [{"type": "text", "text": "done"}]}
        return [{"key": call["key"], "result": result} for call in calls]

    def call(self):
        self.calls += 1
        name = "office_" + ("record", "notice", "set_target")[self.rng.below(3)]
        arguments = {"zone": self.rng.below(3), "text": "x" * self.rng.below(600)}
        row = {"jsonrpc": "2.0", "id": self.calls, "method": "tools/call"}
        row["params"] = {"name": name, "arguments": arguments}
        message = json.dumps(row).encode()
        self.session = Session(BY_NAME[LATEST_LEGACY])
        self.link = self
        self.gw.dispatch.take(self, message, 0, len(message))

    def plug(self, plugged):
        self.plugged = plugged
        if plugged:
            self.hello()
        self.turn()

    def day(self):
        """Eight times: some hours alone, with calls; some minutes with a host."""
        for _ in range(8):
            for _ in range(4):
                self.call()
                self.wait(2700, 300)
            self.plug(True)
            self.wait(60)
            self.call()
            self.wait(30)
            self.plug(False)
            self.wait(30, 10)
        box = self.gw.upstreams.forwarder.outbox
        self.plug(True)
        for _ in range(100):
            if not box.pending:
                break
            self.wait(20)
        self.plug(False)
        self.wait(40, 10)
        return box.pending


def main(days, seed):
    world = World(seed)
    for day in range(days):
        pending = world.day()
        gc.collect()
        gc.collect()
        used = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
        say(day, used, world.calls, world.wire.executed, pending)


main(int(sys.argv[1]), int(sys.argv[2]))
