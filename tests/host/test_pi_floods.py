"""A board that floods `mcpgw pi` with what it sends and says."""

import asyncio
import time
from types import SimpleNamespace

from mcpgw.pi import dial_in, links
from mcpgw.pi.dial_in import Connection
from waiting import PATIENCE_S


class Line:
    """A transport."""

    reading = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


def test_a_board_that_takes_all_the_time_is_not_read_for_a_while(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(dial_in, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    async def main():
        line = Line()
        connection = Connection(None, asyncio.get_running_loop())
        connection._transport = line

        def takes(seconds):
            clock.now += seconds

        def sends(seconds):
            connection.serve(lambda data: takes(seconds), lambda why: None)
            connection.data_received(b"x")

        for _ in range(100):  # a tenth of the time is its to take
            sends(0.01)
            assert line.reading
            clock.now += 0.09
        for _ in range(9):
            sends(0.01)
        assert not line.reading
        connection.pause(True)
        connection.pause(False)  # that changes nothing here
        assert not line.reading
        async with asyncio.timeout(PATIENCE_S):
            while not line.reading:
                await asyncio.sleep(0.01)

    asyncio.run(main())


def test_the_log_takes_so_many_lines_of_a_board(monkeypatch):
    clock = SimpleNamespace(now=time.monotonic())
    monkeypatch.setattr(links, "time", SimpleNamespace(monotonic=lambda: clock.now))
    said = []
    log = SimpleNamespace(line=lambda who, text: said.append(text), info=said.append)
    board, other = links._Prefixed(log, "kiln"), links._Prefixed(log, "shed")
    for _ in range(5000):
        board.line("board", "spam")
        board.info("spam")
    assert len(said) == 1000
    other.info("news")
    assert said[-1] == "shed: news"
    clock.now += 61
    board.info("news")
    assert said[-2:] == ["kiln: 9,000 lines were left out of this log", "kiln: news"]
