"""What is known of every call, and the promises it is held against."""

import json

from office import TOOLS
from world import stamp

# Seconds by which a board that is told the right time may be off.
_SLACK = 3.0
_GONE = "outcome dropped"
_UNSURE = "may or may not have been executed"
_CUT_SHORT = ("was executed. Its answer has", "too large to be kept", "was dropped: the queue")


class Entry:
    """One call of a client. n: its number, which the server gets to see; accepted: number in the
    order in which its board has queued calls, or None.
    """

    def __init__(self, n, board, server, tool, expiry_s, zone, now):
        self.n, self.board, self.server, self.tool = n, board, server, tool
        self.expiry_s, self.zone, self.sent_at = expiry_s, zone, now
        self.priority = TOOLS[tool].priority
        self.accepted = self.accepted_at = self.answer = self.id = self.outcome = None
        self.overtaken = None
        self.at_once = False  # whether it was queued without being tried before
        self.executed = []
        self.wired = 0  # how often it was seen on its way since it was queued
        self.cancelled = False

    def __str__(self):
        return f"call {self.n} of {self.board} to {self.server} {self.tool} ({self.id})"


class Ledger:
    """exact: function(board's name) -> whether its clock was always right, once known; drops:
    likewise, whether its queue drops what has a lower priority.
    """

    def __init__(self, world, exact, drops):
        self._world = world
        self._exact = exact
        self._drops = drops
        self.entries = {}
        self._by_key = {}
        self._waiting = {}  # board -> {n: Entry} of accepted calls without a known outcome
        self._accepted = 0
        self._last = {}  # (board, server, tool, zone) -> the Entry executed last

    # What happens.

    def new(self, board, server, tool, expiry_s, zone):
        n = len(self.entries) + 1
        entry = Entry(n, board, server, tool, expiry_s, zone, self._world.now)
        self.entries[n] = entry
        self._world.counts["calls"] += 1
        return entry

    def answered(self, entry, message):
        """The client's answer, a JSON-RPC message."""
        world = self._world
        if entry.answer is not None:
            world.broken(entry.board, f"{entry} is answered twice")
        queued = message.get("result", {}).get("_meta", {}).get("mcp-gw/queued")
        if queued:
            self._accepted += 1
            entry.answer = "queued"
            entry.accepted, entry.accepted_at = self._accepted, world.now
            entry.at_once = world.now == entry.sent_at
            entry.id = queued["id"]
            if entry.id in self._by_key and self._by_key[entry.id] is not entry:
                world.broken(entry.board, f"{entry}: its key was used before")
            self._by_key[entry.id] = entry
            self._waiting.setdefault(entry.board, {})[entry.n] = entry
            if not TOOLS[entry.tool].queueable:
                world.broken(entry.board, f"{entry} was queued and must not be")
        elif "error" in message:
            entry.answer = f"error {message['error']['code']}"
        else:
            entry.answer = "answered"
            self._check_result(entry, message["result"])
        world.counts[f"calls: {entry.answer}"] += 1
        world.note(entry.board, f"{entry}: {entry.answer}")

    def executed(self, server, tool, arguments, key):
        """A server has carried out a call."""
        world = self._world
        for n in _numbers(arguments):
            entry = self.entries[n]
            entry.executed.append(world.now)
            world.note(server.name, f"executes {entry}, key {key}")
            world.counts["executed"] += 1
            if TOOLS[tool].idempotent:
                continue
            if len(entry.executed) > 1:
                world.broken(server.name, f"{entry} is executed twice")
            if key is not None:
                before = self._by_key.setdefault(key, entry)
                if before is not entry and entry.n not in _numbers(arguments):
                    world.broken(server.name, f"{entry} came under the key of {before}")
            ended = entry.outcome
            # One that goes on as a part of another is under way, its outcome kept or not.
            if ended and ended not in ("merged", _GONE) and not entry.wired:
                world.broken(server.name, f"{entry} is executed after it was {ended}")
            if TOOLS[tool].policy == "all":
                self._check_order(entry)

    def wired(self, board, key):
        """A board has sent a call with a key."""
        world = self._world
        entry = self._by_key.get(key)
        if entry is None or entry.accepted is None:
            return
        if entry.outcome is not None:
            world.broken(board, f"{entry} is sent after its outcome {entry.outcome}")
        age = world.now - entry.accepted_at
        if self._exact(board) and age > entry.expiry_s + _SLACK:
            world.broken(board, f"{entry} is sent {age - entry.expiry_s:.0f} s after it expired")
        if entry.overtaken:
            world.broken(board, f"{entry} is sent late: {entry.overtaken}")
        entry.wired += 1
        if entry.wired > 1:
            return
        for other in self._waiting[board].values():
            if (
                other is not entry
                and not (other.wired or other.cancelled or TOOLS[other.tool].policy)
                and other.server == entry.server
                and (-other.priority, other.accepted) < (-entry.priority, entry.accepted)
                and world.now < other.accepted_at + other.expiry_s - _SLACK
            ):
                # Unless it turns out that it could not be sent any more.
                other.overtaken = f"{entry} was sent before it at {stamp(world.now)}"

    def _check_order(self, entry):
        """Queued calls about one thing are executed in order."""
        if not entry.at_once:
            return
        thing = entry.board, entry.server, entry.tool, entry.zone
        last = self._last.get(thing)
        if last is not None and last.accepted > entry.accepted:
            self._world.broken(entry.server, f"{last} was executed before {entry}")
        self._last[thing] = entry

    def waiting(self, board):
        """Accepted calls whose outcome is not known yet."""
        return list(self._waiting.get(board, {}).values())

    def status(self, entry, status):
        """What a board says of an accepted call: a dict, or None for nothing."""
        world = self._world
        if status is None:
            world.broken(entry.board, f"{entry} is lost")
        if status["id"] != entry.id or status["tool"] != entry.tool:
            world.broken(entry.board, f"{entry} has become {status}")
        state = status["state"]
        if state in ("queued", "sending"):
            return
        entry.outcome = state
        del self._waiting[entry.board][entry.n]
        world.counts[f"outcomes: {state}"] += 1
        world.note(entry.board, f"{entry}: {state}")
        getattr(self, "_" + state)(entry, status)

    def gone(self, entry):
        """A board that is known to have dropped outcomes knows nothing of it any more."""
        entry.outcome = _GONE
        del self._waiting[entry.board][entry.n]
        self._world.counts["outcomes dropped"] += 1

    # What an outcome must be.

    def _check_result(self, entry, result):
        text = result["content"][0]["text"]
        times = len(entry.executed)
        if _UNSURE in text:
            self._world.counts["outcome unsure"] += 1
            return
        if times != 1 and not (TOOLS[entry.tool].idempotent and times):
            self._world.broken(
                entry.board, f"{entry} has a result and was executed {times} times: {text[:200]}"
            )
        if any(told in text for told in _CUT_SHORT):
            return
        if entry.n not in _numbers(json.loads(text)["did"]):
            self._world.broken(entry.board, f"{entry} has another call's result: {text[:200]}")

    def _done(self, entry, status):
        self._check_result(entry, status["result"])

    def _failed(self, entry, status):
        if "paper jam" not in json.dumps(status["result"]):
            self._world.broken(entry.board, f"{entry} failed: {status['result']}")

    def _expired(self, entry, status):
        world = self._world
        age = world.now - entry.accepted_at
        text = self._not_sent(entry, status)
        if "age unknown" in text:
            world.counts["expired, age unknown"] += 1
        elif self._exact(entry.board) and age < entry.expiry_s - _SLACK:
            world.broken(entry.board, f"{entry} expired after {age:.0f} of {entry.expiry_s} s")

    def _cancelled(self, entry, status):
        self._not_sent(entry, status)
        if not entry.cancelled:
            self._world.broken(entry.board, f"{entry} was cancelled by nobody")

    def _dropped(self, entry, status):
        self._not_sent(entry, status)
        if entry.priority == 2 or not self._drops(entry.board):
            self._world.broken(entry.board, f"{entry} was dropped")

    def _superseded(self, entry, status):
        self._follows(entry, self._not_sent(entry, status), "latest")

    def _merged(self, entry, status):
        text = status["result"]["content"][0]["text"]
        self._follows(entry, text, "merge")

    def _follows(self, entry, text, policy):
        """Another call, about the same thing, is in its place."""
        by = self._by_key.get(text.rpartition("queue://")[2])
        # A call that a power cut kept from being answered is not known by its key.
        same = by is None or (by.tool, by.zone, by.server) == (
            entry.tool, entry.zone, entry.server
        )  # fmt: skip
        if not same or TOOLS[entry.tool].policy != policy:
            self._world.broken(entry.board, f"{entry} has to do with {by}: {text}")

    def _not_sent(self, entry, status):
        """What ended without a result says whether it may have been executed; its text."""
        text = status["result"]["content"][0]["text"]
        if entry.executed and "may have been" not in text:
            self._world.broken(entry.board, f"{entry} was executed, and it is said: {text}")
        return text


def _numbers(arguments):
    """Numbers of the calls that one call stands for."""
    return arguments["n"]
