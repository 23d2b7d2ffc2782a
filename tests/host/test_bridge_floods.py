"""A board that asks and asks: the bridge does a share of it, and goes on serving."""

import asyncio
import json

from mcpgw.bridge.board import Board, Listener
from mcpgw.bridge.log import Log
from mcpgw.bridge.relay import Relay
from waiting import PATIENCE_S

RESULT = b'{"resultType":"complete","content":[]}'


class Slow:
    """An upstream that answers when it is let."""

    name = "pi"
    timeout_s = PATIENCE_S

    def __init__(self):
        self.calls = 0
        self.free = asyncio.Event()

    async def call(self, tool, params, extra, *_):
        self.calls += 1
        await self.free.wait()
        return True, RESULT


def asked(id):
    params = {"name": "work", "arguments": {}}
    return json.dumps(
        {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}
    ).encode()


def test_requests_beyond_a_its_share_are_refused(tmp_path):
    async def main():
        upstream, answers = Slow(), {}

        def deliver(name, message):
            row = json.loads(message)
            answers[row["id"]] = row
            return True

        with open(tmp_path / "log", "w") as text:
            relay = Relay({"pi": upstream}, None, deliver, lambda: 8192, Log(text))
            async with asyncio.timeout(PATIENCE_S):
                for number in range(2000):
                    # Those that come under an id again are work all the same.
                    relay.message("pi", asked(number if number % 2 else "again"))
                while 1999 not in answers:
                    await asyncio.sleep(0)
                assert len(asyncio.all_tasks()) < 300 and upstream.calls < 300
                assert answers[1999]["error"]["code"] == -32010
                assert "too many" in answers[1999]["error"]["message"]
                upstream.free.set()
                while "result" not in answers.get("last", {}):
                    relay.message("pi", asked("last"))
                    await asyncio.sleep(0)
                assert "result" in answers[1]
            await relay.close()

    asyncio.run(main())


class Deaf:
    """The port of a board that does not read."""

    unsent = 0
    closed = False

    def write(self, data):
        self.unsent += len(data)

    def close(self):
        self.closed = True


def test_a_board_that_does_not_read_is_let_go(tmp_path):
    async def main():
        port = Deaf()
        with open(tmp_path / "log", "w+") as text:
            board = Board(None, Listener(), Log(text), ["pi"])
            work = asyncio.ensure_future(board.run_on(lambda on_data, on_gone: port))
            async with asyncio.timeout(PATIENCE_S):
                while not port.unsent:
                    await asyncio.sleep(0)
                for _ in range(100):
                    board.send_frame(b"u", b"pi " + b"x" * 100_000)
                await work
            assert port.closed and port.unsent < 5_000_000
            text.seek(0)
            assert "it does not read what it is sent" in text.read()

    asyncio.run(main())
