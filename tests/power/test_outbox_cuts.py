"""Power cuts under the outbox: accepted requests are not lost, finished ones not sent again."""

import json

import soak

from mcp_gw.errors import QueueFull
from mcp_gw.queue import nor_fault
from mcp_gw.queue.nor_fault import FaultNor, PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

START = 1_700_000_000
TTL = 5000


class Model:
    """A board's life over many starts. By key: what was put, what was finished.

    waiting: put returned; finishing: done was cut; finished: it returned, with when its outcome
    may be gone; unsure: put was cut.
    """

    def __init__(self, dev, seed):
        self.dev = dev
        self.rng = Rng(seed)
        self.now = START
        self.clock_known = True
        self.ms = 0
        self.count = 0
        self.waiting = {}
        self.finishing = {}
        self.finished = {}
        self.unsure = {}
        # Whether an outcome ever gave way to a request.
        self.dropped = False
        self.box = None

    def start(self):
        """Power on."""
        self.dev.power_on()
        ring = Ring(self.dev)
        ring.mount()
        clock = lambda: self.now if self.clock_known else None  # noqa: E731
        self.box = Outbox(ring, clock, lambda: self.ms)
        self.ring = ring
        self.check()

    def check(self):
        for key, message in self.waiting.items():
            status = self.status(key)
            assert status, "an accepted request is lost: %r" % key
            assert status["state"] in ("queued", "sending"), (key, status)
            assert status["tool"] == message[:4].decode()
        for key in self.finishing:
            assert self.status(key), "a request is lost while it is finished: %r" % key
        for key, until in self.finished.items():
            status = self.status(key)
            if status is None:
                assert self.dropped or self.now >= until, "an outcome is lost: %r" % key
            else:
                assert status["state"] in ("done", "cancelled"), (key, status)
                assert key[:8].decode() in json.dumps(status["result"])
        known = set(self.waiting) | set(self.finishing) | set(self.finished) | set(self.unsure)
        keys = list(self.box.keys())
        if not self.dev.weak and not self.dev.flicker:
            assert set(keys) <= known
            # With a bit that reads differently each time, counts hold only from the next start on.
            assert len(set(keys)) == len(keys), "a request and its outcome, or one of them twice"
            states = [self.status(key)["state"] for key in keys]
            assert self.box.pending == sum(s in ("queued", "sending") for s in states)

    def status(self, key):
        text = self.box.status(key)
        return None if text is None else json.loads(text)

    def put(self):
        self.count += 1
        key = b"%08d-key" % self.count
        message = b"tool" + bytes([65 + self.count % 26]) * self.rng.below(300)
        self.unsure[key] = message
        try:
            self.box.put(key, "pi", "tool", [message[:4], message[4:]], 100_000)
        except QueueFull:
            del self.unsure[key]
            return
        self.waiting[key] = self.unsure.pop(key)

    def deliver(self):
        item = self.box.next(self.ms)
        if item is None:
            return
        key = item.key
        assert key not in self.finished, "a finished request is sent again: %r" % key
        message = self.waiting.get(key) or self.unsure.get(key) or self.finishing.get(key)
        assert message == item.message, "not what was put: %r" % key
        if self.rng.below(4) == 0:
            self.box.retry(item, self.ms)
            return
        self._finish(key, lambda: self.box.done(item, self._outcome(key), TTL))

    def cancel(self):
        for key in list(self.waiting)[1:2]:
            if self.status(key)["state"] == "queued":
                self._finish(key, lambda key=key: self.box.done(key, self._outcome(key), TTL))

    def _outcome(self, key):
        text = key[:8].decode() + "." * self.rng.below(200)
        return json.dumps({"content": [{"type": "text", "text": text}]}).encode()

    def _finish(self, key, call):
        message = self.waiting.pop(key, None) or self.unsure.pop(key, None)
        self.finishing[key] = message or self.finishing[key]
        assert call()
        del self.finishing[key]
        self.finished[key] = self.now + TTL

    def work(self, steps):
        for _ in range(steps):
            what = self.rng.below(10)
            if what < 4 and len(self.waiting) < 14:
                self.put()
            elif what < 8:
                self.deliver()
            elif what == 8:
                self.cancel()
            else:
                self.box.expire()
            passed = self.rng.below(40)
            self.now += passed
            self.ms = self.ms + 1000 * passed & 0x3FFFFFFF


def life(seed, starts, sectors, most):
    """A board that is cut at a random operation of each of its starts."""
    dev = FaultNor(RamNor(sectors), seed)
    model = Model(dev, seed)
    rng = Rng(seed ^ 0x5A5A)
    for start in range(starts):
        model.dev.power_on()
        dev.cut(rng.below(most), nor_fault.MODES[rng.below(6)], rng.below(2))
        try:
            ring = Ring(dev)
            ring.mount()
            clock = lambda: model.now  # noqa: E731
            model.box = Outbox(ring, clock, lambda: model.ms)
            model.work(30)
        except PowerCut:
            pass
        except Exception as e:
            raise AssertionError("seed %d, start %d" % (seed, start)) from e
        model.dropped = model.dropped or model.box is not None and model.box.dropped > 0
        try:
            # Without another cut: what is there must fit the model.
            model.start()
        except Exception as e:
            raise AssertionError("seed %d, after start %d" % (seed, start)) from e


def test_cuts_at_random_operations():
    base = soak.seed("outbox cuts")
    for n in range(soak.count(36, 8000)):
        life(base + n, 12, 3 + n % 3, 8 + n % 50)


def test_a_cut_at_every_operation_of_a_done():
    """Request, then outcome, then ack: each operation of done(), each way it can be torn."""
    base = soak.seed("done cuts")
    for full in (0, 12):
        for mode in nor_fault.MODES:
            for n in range(soak.count(8, 200)):
                at = 0
                while True:
                    seed = base + n * 8 + mode
                    model = Model(FaultNor(RamNor(3), seed), seed)
                    model.start()
                    for _ in range(1 + full):
                        model.put()
                    item = model.box.next(0)
                    operations = model.dev.operations
                    model.dev.cut(at, mode, n & 1)
                    try:
                        key = item.key
                        outcome = model._outcome(key)
                        model._finish(
                            key, lambda b=model.box, i=item, o=outcome: b.done(i, o, TTL)
                        )
                    except PowerCut:
                        pass
                    else:
                        assert model.dev.operations == operations + at >= 2
                        break
                    try:
                        model.start()
                        model.work(10)
                        model.start()
                    except Exception as e:
                        where = (at, mode, seed)
                        raise AssertionError("operation %d, mode %d, seed %d" % where) from e
                    at += 1
