"""A serial line between a board and the computer it hangs on: comes and goes, loses, repeats and
damages lines, and takes its time.
"""

_BYTES_PER_S = 100_000


class Cable:
    """board, host: whatever has the ends now, or None: io of a board (`take`, `process`) and a
    line of a host (`line`, `process`, `plugged`, `unplugged`).

    loss, repeat, damage: probabilities of each, for each line.
    """

    def __init__(self, world, name, loss, repeat=0.002, damage=0.002):
        self._world = world
        self._rng = world.stream(f"cable {name}")
        self._name = name
        self.loss = loss
        self.repeat = repeat
        self.damage = damage
        self.plugged = False
        self.board = None
        self.host = None
        self._free = [0.0, 0.0]  # when the last line in each direction has arrived

    def plug(self, plugged):
        if plugged == self.plugged:
            return
        self.plugged = plugged
        self._world.note(self._name, "plugged in" if plugged else "unplugged")
        if self.host is not None:
            (self.host.plugged if plugged else self.host.unplugged)()

    def to_host(self, line):
        self._carry(0, line)

    def to_board(self, line):
        self._carry(1, line)

    def _carry(self, way, line):
        rng = self._rng
        if not self.plugged:
            return
        copies = 1
        if not self._world.calm:
            dice = rng.random()
            if dice < self.loss:
                copies = 0
                self._world.counts["lines lost"] += 1
            elif dice < self.loss + self.repeat:
                # What carries no key is not safe from that, and promises nothing.
                if way or b'"tools/call"' not in line or b'"mcp-gw/key"' in line:
                    copies = 2
                    self._world.counts["lines repeated"] += 1
            elif dice < self.loss + self.repeat + self.damage:
                at = rng.randrange(len(line))
                line = line[:at] + bytes([line[at] ^ 1 << rng.randrange(8)]) + line[at + 1 :]
                self._world.counts["lines damaged"] += 1
        loop = self._world.loop
        for _ in range(copies):
            late = rng.uniform(0.001, 0.02) + len(line) / _BYTES_PER_S
            at = self._free[way] = max(self._free[way], loop.now + late)
            end = self.board if way else self.host
            if end is not None:
                end.process.call_at(at, self._arrive, way, end, line)

    def _arrive(self, way, end, line):
        if self.plugged and end is (self.board if way else self.host):
            (end.take if way else end.line)(line)


class BoardIO:
    """The board's end, as a Port wants it. wake: function(), called when something has come; sent:
    function(line), told of each line that leaves.
    """

    def __init__(self, cable, process, wake, sent):
        self.stream = self
        self.process = process
        self._cable = cable
        self._wake = wake
        self._sent = sent
        self._in = bytearray()
        self._out = bytearray()
        cable.board = self

    def take(self, line):
        self._in += line
        self._wake()

    def read(self, buf, start, end):
        n = min(end - start, len(self._in))
        buf[start : start + n] = self._in[:n]
        del self._in[:n]
        return n

    def write(self, buf, start, end):
        if not self.process.alive:
            return 0
        self._out += memoryview(buf)[start:end]
        while (at := self._out.find(b"\n")) >= 0:
            line = bytes(self._out[: at + 1])
            del self._out[: at + 1]
            self._sent(line)
            self._cable.to_host(line)
        return end - start
