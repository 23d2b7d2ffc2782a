"""What all parts of a simulation share: time, randomness, the trace, and how a failure is told."""

import asyncio
import hashlib
import random
from collections import Counter, deque

from fake_time import START, Loop, Process

# Lines of the trace that a failure shows.
SHOWN = 80


class Broken(AssertionError):
    """A promise was not kept."""


class World:
    """seed: of everything random; keep: None, or a text file for the whole trace."""

    def __init__(self, seed, keep=None):
        self.seed = seed
        self._keep = keep
        self.loop = Loop(self.stream("disk"))
        self.counts = Counter()
        self._recent = deque(maxlen=SHOWN)
        self._hash = hashlib.sha256()
        self.calm = False  # nothing fails any more
        self.failed = None

    def stream(self, name):
        """Random numbers of one part: what another draws does not change them."""
        return random.Random(f"{self.seed}/{name}")

    @property
    def now(self):
        """Seconds since the beginning."""
        return self.loop.now

    def unix(self):
        return START + self.loop.now

    def process(self, name):
        return Process(name, self.loop)

    def note(self, who, text):
        """One line of the trace."""
        line = f"{stamp(self.now)} {who}: {text}"
        self._recent.append(line)
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self._keep.write(line + "\n")

    def trace_hash(self):
        return self._hash.hexdigest()

    def broken(self, who, text):
        """A promise was not kept: the simulation ends with the trace up to here."""
        self.note(who, f"BROKEN: {text}")
        if self.failed is None:
            told = "\n".join(self._recent)
            self.failed = Broken(
                f"seed {self.seed}, {stamp(self.now)}: {who}: {text}\n"
                f"The last {len(self._recent)} lines of the trace:\n{told}"
            )
            self.loop.stop()
        raise self.failed

    def run(self, until):
        """Let the time pass up to `until` (seconds); raises what went wrong."""
        loop = self.loop
        loop.call_at(until, loop.stop)
        loop.run_forever()
        if self.failed is None and loop.errors:
            context = loop.errors[0]
            error = context.get("exception")
            try:
                self.broken("loop", f"{context['message']}: {error!r}")
            except Broken as e:
                raise e from error
        if self.failed is not None:
            raise self.failed

    def end(self):
        """Let go of what is still under way; every process has ended."""
        loop = self.loop
        for task in asyncio.all_tasks(loop):
            task.cancel()
        for _ in range(3):  # they end, and are told so
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.close()


def stamp(seconds):
    """Days and time of day."""
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    return "%d %02d:%02d:%06.3f" % (days, hours, minutes, rest)
