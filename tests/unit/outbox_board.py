"""A board's outbox, its flash and its clock, for tests."""

import json

from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

DAY = 86400
START = 1_700_000_000


class Board:
    """A flash device, a clock and the outbox of the present start."""

    def __init__(self, sectors=4, now=START, overflow="refuse"):
        self.overflow = overflow
        self.dev = RamNor(sectors)
        self.now = now
        self.ms = 5
        self.boot()

    def boot(self):
        self.ring = Ring(self.dev)
        self.ring.mount()
        self.box = Outbox(self.ring, lambda: self.now, lambda: self.ms, self.overflow)
        return self.box

    def wait(self, seconds):
        if self.now is not None:
            self.now += seconds
        while seconds:
            step = min(seconds, 100_000)
            self.ms = self.ms + step * 1000 & 0x3FFFFFFF
            seconds -= step
            self.box.expire()

    def put(self, n, upstream="pi", expiry_s=DAY, **more):
        message = b'{"name":"set","arguments":{"n":%d}}' % n
        parts = [message[:9], message[9:]]
        self.box.put(b"key-%06d" % n, upstream, "set", parts, expiry_s, **more)

    def status(self, n):
        text = self.box.status(b"key-%06d" % n)
        return None if text is None else json.loads(text)

    def next(self, deliverable=None):
        return self.box.next(self.ms, deliverable)


def deliver_all(board):
    order = []
    while True:
        item = board.next()
        if item is None:
            return order
        order.append(int(item.key[4:]))
        board.box.done(item, b'{"content":[]}', DAY)
