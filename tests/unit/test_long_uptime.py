"""Boards that stay on for weeks: ticks compare for six days only."""

from mcp_gw import gateway
from mcp_gw.compat import ticks_add
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

HOUR_MS = 3600000
DAY = 86400


class Time:
    """Ticks that only the test advances."""

    def __init__(self):
        self.ms = 7

    def ticks(self):
        return self.ms

    def hours(self, n):
        """Yields after each of n hours."""
        for _ in range(n):
            self.ms = ticks_add(self.ms, HOUR_MS)
            yield


def test_the_queue_is_looked_after_for_weeks():
    time = Time()
    before = gateway.ticks_ms
    gateway.ticks_ms = time.ticks
    try:
        gw = gateway.Gateway("board")
        gw.queue(RamNor(3))
        gw.upstream("office", queueable=("log",))
        looks = []
        gw.upstreams.tick = lambda now, second: looks.append(now)
        for _ in time.hours(24 * 26):
            gw._tick()
        assert len(looks) == 24 * 26
    finally:
        gateway.ticks_ms = before


def test_after_an_error_the_queue_is_left_alone_for_a_moment_only():
    time = Time()
    before = gateway.ticks_ms
    gateway.ticks_ms = time.ticks
    try:
        gw = gateway.Gateway("board")
        gw.queue(RamNor(3))
        looks = []
        told = []
        gw.log = told.append

        def broken(now, second):
            looks.append(now)
            raise OSError(5)

        gw.upstreams.tick = broken
        for _ in range(120):
            gw._tick()
            time.ms = ticks_add(time.ms, 100)
        assert len(looks) == len(told) == 3
    finally:
        gateway.ticks_ms = before


def test_what_was_tried_once_is_due_however_long_its_upstream_is_away():
    time = Time()
    ring = Ring(RamNor(3))
    ring.mount()
    box = Outbox(ring, lambda: None, time.ticks)
    box.put(b"key-0001", "pi", "set", [b"{}"], 60 * DAY)
    box.retry(box.next(time.ms), time.ms)
    assert box.next(time.ms) is None
    for _ in time.hours(24 * 9):
        box.expire()
        assert box.next(time.ms, lambda name: False) is None
    item = box.next(time.ms, lambda name: True)
    assert item is not None and item.key == b"key-0001"
