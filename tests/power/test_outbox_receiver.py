"""Power cuts under priorities, updates, batches, chains and an overflow that drops, seen from
behind a receiver that knows keys: what was accepted is carried out once, or its outcome says why
not."""

import json

import soak

from mcp_gw.errors import QueueFull
from mcp_gw.queue import nor_fault, updates
from mcp_gw.queue.nor_fault import FaultNor, PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

START = 1_700_000_000
TTL = 100_000
ZONES = ("north", "south")
# States that end a call without its having been carried out under its own key.
ENDED = ("cancelled", "dropped", "superseded", "merged")


class Receiver:
    """Carries out each key once. A message is a list of operations, numbers."""

    def __init__(self):
        self.known = {}  # key -> message
        self.times = {}  # operation -> how often it was carried out
        self.order = {zone: [] for zone in ZONES}

    def take(self, key, message):
        row = json.loads(message)
        if key in self.known:
            assert self.known[key] == row["ops"], "a key with another message: %r" % key
            return
        self.known[key] = row["ops"]
        for op in row["ops"]:
            self.times[op] = self.times.get(op, 0) + 1
            assert self.times[op] == 1, "carried out twice: %d, now as %r" % (op, key)
        if row["zone"] and row["policy"] == "latest":
            self.order[row["zone"]].extend(row["ops"])


class Watched(Outbox):
    """Notes the keys of outcomes for which there is no room."""

    def __init__(self, tight, *rest):
        self.tight = tight
        Outbox.__init__(self, *rest)

    def append(self, kind, key, *rest):
        try:
            return Outbox.append(self, kind, key, *rest)
        except QueueFull:
            if kind == 2:
                self.tight.add(key)
            raise


class Life:
    """A board's life over many starts. Operations that put() accepted are in `accepted`; a put()
    that was cut may have been accepted or not."""

    def __init__(self, dev, seed, overflow):
        self.dev = dev
        self.rng = Rng(seed)
        self.overflow = overflow
        self.now = START
        self.ms = 0
        self.count = 0
        self.receiver = Receiver()
        self.accepted = {}  # operation -> key
        self.keys = {}  # key -> operation, the unsure ones too
        self.ended = {}  # key -> state
        self.tight = set()  # keys whose outcome found no room
        self.into = {}  # key of what was merged -> the other's
        self.crowded = seed & 6 == 2  # more comes in than goes out

    def start(self, check=True):
        ring = Ring(self.dev)
        ring.mount()
        clock = lambda: self.now  # noqa: E731
        self.box = Watched(self.tight, ring, clock, lambda: self.ms, self.overflow)
        self.box.told = self._ended
        if check:
            self.check()

    def _ended(self, key):
        text = self.box.status(key)
        if text is None:
            # There was no room for its outcome: it is counted, and not one of those dropped.
            assert self.box.dropped and key in self.tight, key
            self.ended[key] = "without outcome"
        else:
            self._note(key, json.loads(text))

    def _note(self, key, row):
        self.ended[key] = row["state"]
        if row["state"] == "merged" and key not in self.tight:
            self.into[key] = row["result"]["content"][1]["name"].encode()

    def check(self):
        """Every accepted operation is there, or has ended."""
        states = {}
        for key in list(self.box.keys()):
            text = self.box.status(key)
            if text is not None:
                states[key] = json.loads(text)
        for key, row in states.items():
            assert key in self.keys, "nobody put %r" % key
            if row["state"] not in ("queued", "sending"):
                self._note(key, row)
        for op, key in self.accepted.items():
            known = key in states or key in self.ended
            if not known and key in self.tight:
                self.ended[key] = "without outcome"
                continue
            assert known, "an accepted call is lost: %d, %r" % (op, key)

    def work(self, steps):
        for _ in range(steps):
            what = self.rng.below(12)
            if what < 5 or self.crowded and what < 9:
                self.put()
            elif what < 7:
                self.deliver(1)
            elif what < 10:
                self.deliver(2 + self.rng.below(5))
            elif what == 10:
                self.cancel()
            else:
                self.box.ring.idle()
                self.box.expire()
            passed = self.rng.below(40)
            self.now += passed
            self.ms = self.ms + 1000 * passed & 0x3FFFFFFF

    def put(self):
        self.count += 1
        op = self.count
        key = b"%08d-key" % op
        policy = ("all", "latest", "merge", "")[self.rng.below(4)]
        zone = ZONES[self.rng.below(2)] if policy else ""
        size = self.rng.below(300) if self.rng.below(8) else 3000 + self.rng.below(1500)
        message = self.message([op], zone, policy, size)
        self.keys[key] = op
        priority = self.rng.below(3)
        try:
            if policy:
                thing = updates.thing_of("pi", policy, zone)
                rest = TTL, priority, 0, False, thing, policy, self.merged(op, zone)
                updates.put(self.box, key, "pi", "tool", message, *rest)
            else:
                self.box.put(key, "pi", "tool", [message], TTL, priority)
        except QueueFull:
            assert self.box.find(key) is None
            return
        self.accepted[op] = key

    def message(self, ops, zone, policy, size=0):
        row = {"ops": ops, "zone": zone, "policy": policy, "pad": "." * size}
        return json.dumps(row).encode()

    def merged(self, op, zone):
        return lambda old: self.message(json.loads(old)["ops"] + [op], zone, "merge")

    def deliver(self, most):
        """Send up to `most` calls together. The answer may be lost; part of a batch may have no
        outcome yet."""
        items = []
        while len(items) < most:
            item = self.box.next(self.ms, None, "pi" if items else None)
            if item is None:
                break
            assert item.key not in self.ended, "sent after its end: %r" % item.key
            items.append(item)
        self.box.tries.changed()
        for item in items:
            self.receiver.take(item.key, item.message)
        lost = self.rng.below(5) == 0
        for item in items:
            if lost or self.rng.below(6) == 0:
                self.box.retry(item, self.ms, None if self.rng.below(2) else 0)
            else:
                self.box.done(item, b'{"content":[]}', TTL)

    def cancel(self):
        keys = [key for _, _, key, _ in self.box.requests()]
        if keys:
            self.box.cancel(keys[self.rng.below(len(keys))], self.rng.below(2))

    def drain(self):
        """The power stays: all of it is delivered."""
        for _ in range(1000):
            if not self.box.pending:
                break
            self.ms = self.ms + 400_000 & 0x3FFFFFFF
            self.deliver(4)
        assert self.box.pending == 0
        self.check()
        times = self.receiver.times
        for op, key in self.accepted.items():
            while key in self.into:
                key = self.into[key]
            state = self.ended[key]
            if not times.get(op):
                fine = state in ENDED[:3] or key in self.tight
                assert fine, "%s, and not carried out: %d" % (state, op)
            if state == "superseded" and not times.get(op):
                newer = [k for k, o in self.keys.items() if o > op]
                assert newer, "superseded by nothing"
        for order in self.receiver.order.values():
            assert order == sorted(order), "an old value came after a newer one"


def life(seed, starts, sectors, most):
    dev = FaultNor(RamNor(sectors), seed)
    model = Life(dev, seed, "drop" if seed & 1 else "refuse")
    rng = Rng(seed ^ 0xA5A5)
    try:
        for _ in range(starts):
            dev.power_on()
            dev.cut(rng.below(most), nor_fault.MODES[rng.below(6)], rng.below(2))
            try:
                model.start(False)
                model.work(60)
            except PowerCut:
                pass
            # Without another cut: what is there must fit.
            dev.power_on()
            model.start()
        model.drain()
    except Exception as e:
        raise AssertionError("seed %d, operation %d" % (seed, model.count)) from e
    return model


def test_what_was_accepted_is_carried_out_once():
    base = soak.seed("outbox receiver")
    seen = set()
    for n in range(soak.count(40, 4000)):
        model = life(base + n, 10, 3 + n % 3, 12 + 37 * n % 400)
        seen.update(model.ended.values())
    assert {"done", *ENDED} <= seen


def test_a_cut_at_every_operation_of_a_merge():
    """The new request, the older one's outcome, the ack: each operation, each way to be torn."""
    base = soak.seed("merge cuts")
    for policy in ("merge", "latest"):
        for mode in nor_fault.MODES:
            for n in range(soak.count(3, 100)):
                at = 0
                while True:
                    seed = base + n * 8 + mode
                    dev = FaultNor(RamNor(4), seed)
                    model = Life(dev, seed, "refuse")
                    dev.power_on()
                    model.start()
                    thing = updates.thing_of("pi", policy, "north")

                    def put(op, model=model, thing=thing, policy=policy):
                        key = b"%08d-key" % op
                        model.keys[key] = op
                        message = model.message([op], "north", policy)
                        rest = TTL, 1, 0, False, thing, policy, model.merged(op, "north")
                        updates.put(model.box, key, "pi", "tool", message, *rest)
                        model.accepted[op] = key

                    put(1)
                    dev.cut(at, mode, n & 1)
                    try:
                        put(2)
                    except PowerCut:
                        pass
                    else:
                        assert at >= 3
                        break
                    try:
                        for _ in range(2):
                            dev.power_on()
                            model.start()
                        model.drain()
                        if policy == "merge":
                            assert model.receiver.times[1] == 1
                    except Exception as e:
                        where = (policy, at, mode, seed)
                        raise AssertionError("%s, operation %d, mode %d, seed %d" % where) from e
                    at += 1
