"""Upstreams that fail in every way while clients call, cancel and read: whatever happens, each
request is answered once, and nothing that must not be is executed twice."""

import json
import random

import soak
from routing_board import AWAY, DONE, LOST, META, Board

SAFE = ("pi_level", "pi_look", "read")
TOOLS = ("pi_log", "pi_level", "pi_look", "pi_only_here", "complete")


class Run:
    """One life of a board. wanted: id of a request -> what it is; gone: ids that were
    cancelled."""

    def __init__(self, board, rng):
        self.board = board
        self.rng = rng
        self.wanted = {}
        self.gone = set()
        self.under_way = []  # (upstream, request) that it may have to answer
        self.executed = {}  # number of a request -> how often it may have been executed
        self.number = 0

    def begin(self):
        board, rng = self.board, self.rng
        if len(self.wanted) - len(self.answered()) - len(self.gone) > 5:
            return
        self.number += 1
        name = rng.choice(TOOLS + ("read",))
        if name == "read":
            id = board.send("resources/read", uri="note:a", number=self.number)
        elif name == "complete":
            id = board.call(name, text="x" * rng.choice((1, 500)) + str(self.number))
        else:
            id = board.call(name, number=self.number)
        self.wanted[id] = name, self.number

    def take(self):
        """What has come at the upstreams since."""
        for name, request in self.board.got:
            if request["method"] == "notifications/cancelled":
                continue
            self.under_way.append((name, request))
        self.board.got.clear()

    def answer(self):
        """An upstream says something, or does it and says nothing."""
        if not self.under_way:
            return
        name, request = self.under_way.pop(self.rng.randrange(len(self.under_way)))
        if not self.board.gw.upstreams.router.upstreams[name].up:
            return
        how = self.rng.choice(("done", "done", "done", "away", "lost", "error"))
        if how != "away":
            self.note(request)
        if how == "done" and request["method"] == "resources/read":
            ttl = self.rng.choice((0, 60000))
            found = {"resultType": "complete", "contents": [], "ttlMs": ttl}
            self.board.reply(name, request, dict(found, cacheScope="public"))
        elif how == "done":
            self.board.reply(name, request, DONE)
        else:
            error = {"away": AWAY, "lost": LOST, "error": {"code": -32000, "message": "no"}}[how]
            self.board.reply(name, request, error=error)

    def note(self, request):
        params = request["params"]
        number = params.get("number") or params.get("arguments", {}).get("number")
        if number:
            self.executed[number] = self.executed.get(number, 0) + 1

    def flip(self):
        """An upstream goes or comes."""
        board = self.board
        name = self.rng.choice(("pi", "cloud"))
        if name in board.up:
            board.up.remove(name)
            # What was under way there has no answer.
            for row in self.under_way[:]:
                if row[0] == name:
                    self.note(row[1])
                    self.under_way.remove(row)
            board.gw.upstreams.router.upstreams[name].lost()
        else:
            board.up.append(name)
        board.states()

    def cancel(self):
        open_ids = [id for id in self.wanted if id not in self.gone | self.answered()]
        if open_ids:
            id = self.rng.choice(open_ids)
            self.gone.add(id)
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
            note["params"] = {"requestId": id, "_meta": META}
            self.board.to_board.extend(json.dumps(note).encode() + b"\n")

    def answered(self):
        return {row["id"] for row in self.board.answers if "id" in row}

    def settle(self):
        """Both come back and answer all there is."""
        board = self.board
        board.up = ["pi", "cloud"]
        board.states()
        for _ in range(3000):
            self.take()
            while self.under_way:
                name, request = self.under_way.pop()
                self.note(request)
                if request["method"] == "resources/read":
                    found = {"resultType": "complete", "contents": [], "ttlMs": 0}
                    board.reply(name, request, dict(found, cacheScope="public"))
                else:
                    board.reply(name, request, DONE)
            board.turn(1)
            if not set(self.wanted) - self.gone - self.answered():
                return
        raise AssertionError((set(self.wanted) - self.gone - self.answered(), board.got))

    def check(self):
        ids = [row["id"] for row in self.board.answers if "id" in row]
        assert len(ids) == len(set(ids))
        for name, number in self.wanted.values():
            if name not in SAFE:
                assert self.executed.get(number, 0) <= 1, (name, number)
        places = self.board.routes()["places"]
        for name, place in places.items():
            assert place["requests"] == 0 and place.get("bytes", 0) == 0, (name, place)


def test_lives():
    rng = random.Random(soak.seed("test_lives")) if hasattr(random, "Random") else random
    if rng is random:
        random.seed(soak.seed("test_lives"))
    for _ in range(soak.count(3, 60)):
        options = {"retries": 1, "retry_ms": 1, "breaker_failures": rng.choice((1, 3, 99))}
        options.update({"breaker_ms": rng.choice((1, 30)), "max_requests": rng.choice((1, 3, 8))})
        options["cache_bytes"] = rng.choice((0, 300, 4096))
        options["strategy"] = rng.choice(("order", "complexity", "resources", "history", "hybrid"))
        options["tools"] = {"complete": {"elsewhere": "pi:look", "local_bytes": 400}}
        with Board(routing=options) as board:
            run = Run(board, rng)
            for _step in range(soak.count(60, 200)):
                rng.choice((run.begin, run.begin, run.answer, run.answer, run.flip, run.cancel))()
                board.turn(1)
                run.take()
            run.settle()
            run.check()
