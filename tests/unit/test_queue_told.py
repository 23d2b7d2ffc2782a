"""What a queued call's outcome says of whether it was carried out."""

import json

from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

SENT = 2  # of records.py
START = 1_700_000_000


class Board:
    def __init__(self, overflow="refuse"):
        self.dev = RamNor(3)
        self.now = START
        self.overflow = overflow
        self.boot()

    def boot(self):
        self.ring = Ring(self.dev)
        self.ring.mount()
        self.box = Outbox(self.ring, lambda: self.now, lambda: 5, overflow=self.overflow)

    def told(self, key):
        status = json.loads(self.box.status(key))
        return status["state"], status["result"]["content"][0]["text"]


def test_what_expires_says_whether_it_was_sent():
    board = Board()
    board.box.put(b"key-never", "pi", "set", [b"{}"], 60)
    board.box.put(b"key-first", "pi", "set", [b"{}"], 60, flags=SENT)
    board.box.put(b"key-later", "pi", "set", [b"{}"], 60, priority=2)
    item = board.box.next(5)
    assert item.key == b"key-later"
    board.box.retry(item, 5)
    board.boot()  # what was tried is known after a reset too
    board.now += 61
    board.box.expire()
    assert board.told(b"key-never") == ("expired", "expired before it was delivered")
    for key in (b"key-first", b"key-later"):
        state, text = board.told(key)
        assert state == "expired" and "may have been carried out" in text, (key, text)


def test_what_is_cancelled_or_dropped_says_whether_it_was_sent():
    board = Board("drop")
    board.box.put(b"key-cancelled", "pi", "set", [b"{}"], 60, flags=SENT)
    assert board.box.cancel(b"key-cancelled")
    assert "may have been carried out" in board.told(b"key-cancelled")[1]
    board.box.put(b"key-low-1", "pi", "set", [b"x" * 900], 600, priority=0)
    board.box.put(b"key-low-2", "pi", "set", [b"x" * 900], 600, priority=0, flags=SENT)
    n = 0
    while board.box.dropped_calls < 2:
        board.box.put(b"key-high-%d" % n, "pi", "set", [b"x" * 100], 600, priority=2)
        n += 1
    state, text = board.told(b"key-low-1")
    assert state == "dropped" and "before it was delivered" in text, text
    state, text = board.told(b"key-low-2")
    assert state == "dropped" and "may have been carried out" in text, text
