"""A gateway with a choice, over the serial link: what a bridge with two upstreams sees."""

import json

from mcp_gw.compat import run_until, sleep_ms
from mcp_gw.errors import ConfigError
from mcp_gw.gateway import Gateway
from mcp_gw.registry import Param
from mcp_gw.transports.link import decode, encode

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
DONE = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


def tool(name, **annotations):
    row = {"name": name, "inputSchema": {"type": "object"}}
    if annotations:
        row["annotations"] = annotations
    return row


TOOLS = {
    "pi": [tool("log"), tool("level", idempotentHint=True), tool("look", readOnlyHint=True)],
    "cloud": [tool("log"), tool("level", idempotentHint=True), tool("only_here")],
}


class Board:
    """A gateway on one end of a line in memory; this is the other end, client and bridge.

    up: upstreams that can be reached; got: (upstream, request) of calls and reads that came;
    answers: what came for the client."""

    def __init__(self, up=("pi", "cloud"), routing=None, queueable=(), **settings):
        self.stream = self
        self.to_board = bytearray()
        self.from_board = bytearray()
        self.got = []
        self.answers = []
        self.up = list(up)
        self.last = 0
        self.gw = gw = Gateway("board", version="1", **settings)
        offers = ("tools", "resources")
        gw.upstream("pi", queueable=queueable, offers=offers)
        gw.upstream("cloud", same_as="pi", offers=offers)
        if routing is not None:
            gw.routing(**routing)
        self.ran = []

        @gw.tool("Continues a text", text=Param(str, "to continue"))
        def complete(text):
            self.ran.append(text)
            return "local: " + text

    def __enter__(self):
        hello = {"v": 1, "id": "00112233445566aa", "time_ms": 1795175147000, "rx": 65536}
        hello.update({"upstreams": ["pi", "cloud"], "by": "test"})
        self.frame(b"h", json.dumps(hello).encode())
        self.turn()
        self.states()
        return self

    def __exit__(self, *exc):
        self.gw.close()

    def states(self):
        row = {name: name in self.up for name in ("pi", "cloud")}
        self.frame(b"s", json.dumps(row).encode())
        self.turn()

    def read(self, buf, start, end):
        n = min(end - start, len(self.to_board))
        buf[start : start + n] = self.to_board[:n]
        self.to_board = self.to_board[n:]
        return n

    def write(self, buf, start, end):
        self.from_board.extend(memoryview(buf)[start:end])
        return end - start

    def frame(self, channel, *parts):
        for part in encode(channel, list(parts)):
            self.to_board.extend(part)

    def turn(self, times=4):
        async def nap():
            await sleep_ms(3)

        for _ in range(times):
            self.gw.poll(self)
            run_until(nap())
            self._take()

    def _take(self):
        while b"\n" in bytes(self.from_board):
            line, _, rest = bytes(self.from_board).partition(b"\n")
            self.from_board = bytearray(rest)
            if line[:1] == b"{":
                self.answers.append(json.loads(line))
            elif line[:1] == b"\x1e":
                channel, lo, hi = decode(line, 0, len(line))
                if channel == 0x75:
                    name, _, text = line[lo:hi].decode().partition(" ")
                    self._asked(name, json.loads(text))

    def _asked(self, name, request):
        """The board asks an upstream; lists are answered at once."""
        method = request["method"]
        if method == "tools/list":
            self.reply(name, request, {"resultType": "complete", "tools": TOOLS[name]})
        elif method == "resources/list":
            row = {"uri": "note:a", "name": "a"}
            self.reply(name, request, {"resultType": "complete", "resources": [row]})
        elif method == "resources/templates/list":
            self.reply(name, request, {"resultType": "complete", "resourceTemplates": []})
        else:
            self.got.append((name, request))

    def reply(self, name, request, result=None, error=None):
        row = {"jsonrpc": "2.0", "id": request["id"]}
        row["error" if error else "result"] = error or result
        self.frame(b"u", name.encode() + b" ", json.dumps(row).encode())

    def send(self, method, _token=None, **params):
        self.last += 1
        params["_meta"] = dict(META, progressToken=_token) if _token else META
        row = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.to_board.extend(json.dumps(row).encode() + b"\n")
        self.turn()
        return self.last

    def call(self, name, _token=None, **arguments):
        return self.send("tools/call", _token, name=name, arguments=arguments)

    def taken(self):
        """The one call or read that has come: (upstream, request)."""
        for _ in range(300):
            if self.got:
                break
            self.turn(1)
        assert len(self.got) == 1, self.got
        return self.got.pop()

    def answered(self, result=DONE, error=None):
        """Answer the one call that has come; returns the upstream's name and the request."""
        name, request = self.taken()
        self.reply(name, request, result, error)
        self.turn()
        return name, request

    def answer(self, id):
        for _ in range(300):
            for row in self.answers:
                if row.get("id") == id:
                    return row.get("result") or row["error"]
            self.turn(1)
        raise AssertionError((id, self.answers, self.got))

    def routes(self):
        row = self.answer(self.send("resources/read", uri="gateway://routes"))
        return json.loads(row["contents"][0]["text"])


LOST = {"code": -32011, "message": "pi did not answer"}
AWAY = {"code": -32010, "message": "pi is not there"}


def test_two_that_are_the_same_are_one_for_clients():
    with Board() as board:
        found = board.answer(board.send("tools/list"))["tools"]
        names = sorted(row["name"] for row in found)
        assert names == ["complete", "pi_level", "pi_log", "pi_look", "pi_only_here"]
        id = board.call("pi_log", n=1)
        name, request = board.answered()
        assert name == "pi" and request["params"]["name"] == "log"
        assert request["params"]["arguments"] == {"n": 1}
        assert board.answer(id) == DONE
        # What only the second one has goes there.
        id = board.call("pi_only_here")
        assert board.answered()[0] == "cloud" and board.answer(id) == DONE
        uris = [row["uri"] for row in board.answer(board.send("resources/list"))["resources"]]
        assert sorted(uris) == ["gateway://routes", "note:a"]
        told = board.routes()
        assert told["decisions"]["pi_log"] == {"pi": 1}
        assert told["decisions"]["pi_only_here"] == {"cloud": 1}
        assert told["places"]["pi"]["calls"] == 1 and told["places"]["cloud"]["same_as"] == "pi"
        assert told["last"][0]["what"] == "pi_log" and told["last"][0]["why"] == "order"


def test_what_cannot_be_reached_is_passed_over_for_any_call():
    with Board(up=("cloud",)) as board:
        id = board.call("pi_log")
        assert board.answered()[0] == "cloud" and board.answer(id) == DONE
        assert board.routes()["last"][-1]["why"] == "pi: not reachable"
        # The tools that the first one had stay when it goes, as long as the second has them.
        board.up = ["pi", "cloud"]
        board.states()
        id = board.call("pi_log")
        assert board.answered()[0] == "pi" and board.answer(id) == DONE
        board.up = []
        board.states()
        error = board.answer(board.call("pi_log"))
        assert error["code"] == -32010
        assert error["message"] == "pi: not reachable; cloud: not reachable"


def test_a_call_that_was_not_executed_goes_on_to_the_next():
    with Board() as board:
        id = board.call("pi_log", n=2)
        assert board.answered(error=AWAY)[0] == "pi"
        name, request = board.answered()
        assert name == "cloud" and request["params"]["arguments"] == {"n": 2}
        assert board.answer(id) == DONE
        told = board.routes()
        assert told["failovers"] == 1
        assert told["last"][-1]["why"] == "pi: is not there"


def test_after_no_answer_only_what_may_be_executed_twice_goes_on():
    with Board(routing={"breaker_failures": 9}) as board:
        id = board.call("pi_log")
        board.answered(error=LOST)
        error = board.answer(id)
        assert error["code"] == -32011 and error["message"] == LOST["message"]
        for name in ("pi_level", "pi_look"):
            id = board.call(name)
            board.answered(error=LOST)
            if name == "pi_look":  # the second one has it not: the same one again
                assert board.answered()[0] == "pi"
            else:
                assert board.answered()[0] == "cloud"
            assert board.answer(id) == DONE
        # The link that breaks in the middle of a call is no answer either.
    with Board(
        routing={"tools": {"pi_log": {"repeat": True}, "pi_level": {"repeat": False}}}
    ) as b:
        id = b.call("pi_log")
        b.answered(error=LOST)
        assert b.answered()[0] == "cloud" and b.answer(id) == DONE
        id = b.call("pi_level")
        b.answered(error=LOST)
        assert b.answer(id)["code"] == -32011 and not b.got


def test_an_upstream_that_goes_in_the_middle_of_a_call():
    with Board() as board:
        id = board.call("pi_level", n=3)
        assert board.taken()[0] == "pi"
        board.gw.upstreams.router.upstreams["pi"].lost()
        name, request = board.answered()
        assert name == "cloud" and request["params"]["arguments"] == {"n": 3}
        assert board.answer(id) == DONE


def test_rounds_are_made_again_after_a_pause_and_end():
    options = {"retries": 2, "retry_ms": 20, "breaker_failures": 100}
    with Board(routing=options) as board:
        id = board.call("pi_log")
        asked = [board.answered(error=AWAY)[0] for _ in range(6)]
        assert asked == ["pi", "cloud"] * 3
        error = board.answer(id)
        assert error["code"] == -32010 and not board.got
        assert "pi: is not there" in error["message"]
        told = board.routes()
        assert told["retries"] == 2
        assert told["places"]["pi"]["failed"] == 3 and told["places"]["pi"]["requests"] == 0


def test_the_breaker_keeps_requests_away_and_one_tries():
    options = {"retries": 0, "breaker_failures": 2, "breaker_ms": 150}
    with Board(up=("pi",), routing=options) as board:
        for _ in range(2):
            board.call("pi_log")
            board.answered(error=AWAY)
        error = board.answer(board.call("pi_log"))
        assert "left alone" in error["message"] and not board.got
        assert board.routes()["places"]["pi"]["breaker"] == "open"
        for _ in range(100):
            board.turn(1)
            if board.routes()["places"]["pi"]["breaker"] == "half-open":
                break
        id = board.call("pi_log")
        error = board.answer(board.call("pi_log"))  # one tries
        assert "left alone" in error["message"]
        board.answered()
        assert board.answer(id) == DONE
        assert board.routes()["places"]["pi"]["breaker"] == "closed"


def test_requests_and_bytes_in_flight_have_caps():
    options = {"max_requests": 2, "upstreams": {"cloud": {"max_requests": 1, "max_bytes": 400}}}
    with Board(routing=options) as board:
        ids = [board.call("pi_log", n=i) for i in range(4)]
        assert [name for name, _ in board.got] == ["pi", "pi", "cloud"]
        error = board.answer(ids[3])
        assert error["code"] == -32010
        assert error["message"] == "pi: 2 requests in flight; cloud: 1 requests in flight"
        told = board.routes()["places"]
        assert told["pi"]["requests"] == 2 and told["pi"]["bytes"] > 100
        for name, request in board.got[1:]:
            board.reply(name, request, DONE)
        board.turn()
        del board.got[1:]
        ids.append(board.call("pi_log", n=5))
        assert board.got.pop(1)[0] == "pi"
        ids.append(board.call("pi_log", text="x" * 400))
        assert "0 bytes in flight" in board.answer(ids[-1])["message"]
        # What is cancelled is not in flight any more.
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
        note["params"] = {"requestId": ids[0], "_meta": META}
        board.to_board.extend(json.dumps(note).encode() + b"\n")
        board.turn()
        assert [request["method"] for _, request in board.got[1:]] == ["notifications/cancelled"]
        assert board.routes()["places"]["pi"]["requests"] == 1


def test_a_tool_that_is_here_and_elsewhere():
    TOOLS["pi"].append(tool("ask", readOnlyHint=True))
    try:
        options = {"strategy": "complexity", "retries": 0}
        options["tools"] = {"complete": {"elsewhere": "pi:ask", "local_tokens": 8}}
        with Board(routing=options) as board:
            found = board.answer(board.send("tools/list"))["tools"]
            assert "pi_ask" not in [row["name"] for row in found]
            text = board.answer(board.call("complete", text="short"))["content"][0]["text"]
            assert text == "local: short" and board.ran == ["short"]
            id = board.call("complete", text="a long text " * 8)
            name, request = board.answered()
            assert name == "pi" and request["params"]["name"] == "ask"
            assert request["params"]["arguments"] == {"text": "a long text " * 8}
            assert board.answer(id) == DONE and board.ran == ["short"]
            told = board.routes()
            assert told["decisions"]["complete"] == {"local": 1, "pi": 1}
            assert told["places"]["local"]["calls"] == 1
            # It cannot be reached, or fails before it begins: here after all.
            id = board.call("complete", text="b" * 90)
            board.answered(error=AWAY)
            assert board.answer(id)["content"][0]["text"] == "local: " + "b" * 90
            board.up = []
            board.states()
            text = board.answer(board.call("complete", text="c" * 90))["content"][0]["text"]
            assert text == "local: " + "c" * 90
            bad = board.answer(board.call("complete", txt="d"))
            assert bad["isError"] and "text" in bad["content"][0]["text"]
            assert board.routes()["places"]["local"]["requests"] == 0
    finally:
        TOOLS["pi"].pop()


def test_progress_goes_through_and_never_back():
    with Board() as board:
        id = board.call("pi_level", "tok")
        name, request = board.taken()

        def progress(name, request, *steps):
            for step in steps:
                params = {"progressToken": request["params"]["_meta"]["progressToken"]}
                row = {"jsonrpc": "2.0", "method": "notifications/progress"}
                row["params"] = dict(params, progress=step)
                board.frame(b"u", name.encode() + b" ", json.dumps(row).encode())
            board.turn()

        progress(name, request, 1, 2)
        board.reply(name, request, error=LOST)
        name, request = board.taken()
        assert name == "cloud"
        progress(name, request, 1, 2, 3)
        board.reply(name, request, DONE)
        assert board.answer(id) == DONE
        told = [row["params"] for row in board.answers if "method" in row]
        assert told == [{"progressToken": "tok", "progress": n} for n in (1, 2, 3)]


def test_answers_that_may_be_kept_are_given_again():
    with Board(routing={"cache_bytes": 4096}) as board:
        page = {"resultType": "complete", "contents": [{"uri": "note:a", "text": "n"}]}
        kept = dict(page, ttlMs=60000, cacheScope="public")
        id = board.send("resources/read", uri="note:a")
        board.answered(dict(page, ttlMs=0, cacheScope="public"))
        assert board.answer(id)["ttlMs"] == 0
        for scope in ("public", "private"):
            id = board.send("resources/read", uri="note:a")
            board.answered(dict(kept, cacheScope=scope))
            board.answer(id)
            again = board.answer(board.send("resources/read", uri="note:a"))
            assert not board.got and again["contents"] == page["contents"]
            assert 0 < again["ttlMs"] <= 60000 and again["cacheScope"] == scope
            board.frame(b"c", b'"pi"')  # its lists have changed
            board.turn(8)
        told = board.routes()
        assert told["cache"]["hits"] == 2 and told["cache"]["misses"] == 3
        assert told["cache"]["bytes"] == 0
        assert told["decisions"]["resources/read"] == {"pi": 3}


def test_a_call_that_may_wait_is_queued_where_it_was_lost():
    from mcp_gw.queue.nor_kept import RamNor

    for error, up, lost in ((LOST, ["pi", "cloud"], "pi"), (None, [], "pi")):
        board = Board(up=up)
        board.gw.close()
        gw = Gateway("board", version="1")
        gw.queue(RamNor(4))
        board.gw = gw
        gw.upstream("pi", queueable=("log",))
        gw.upstream("cloud", same_as="pi")
        with board:
            id = board.call("pi_log", n=7)
            if error:
                board.answered(error=error)
            told = board.answer(id)["_meta"]["mcp-gw/queued"]
            board.up = ["pi", "cloud"]
            board.states()
            name, request = board.answered()
            assert name == lost and request["params"]["arguments"] == {"n": 7}
            assert request["params"]["_meta"]["mcp-gw/key"] == told["id"]
            counts = board.routes()["decisions"]["pi_log"]
            assert counts == ({"pi": 1} if error else {"queue": 1})


def test_what_is_declared_wrongly_is_told():
    def refused(told, declare):
        gw = Gateway("board", version="1")
        try:
            declare(gw)
            gw.upstreams.routing.open()
        except ConfigError as e:
            assert told in str(e), str(e)
        else:
            raise AssertionError(told)

    def group(gw, **options):
        gw.upstream("pi")
        gw.upstream("cloud", same_as="pi", **options)

    refused("declared before it", lambda gw: gw.upstream("cloud", same_as="pi"))
    refused("declared before it", lambda gw: gw.upstream("cloud", same_as="cloud"))
    refused("what is queueable is told of pi", lambda gw: group(gw, queueable=("log",)))
    refused("no upstream can be called local", lambda gw: (gw.routing(), gw.upstream("local")))
    wrong = {"complete": {"elsewhere": "moon"}}
    refused("there is no upstream moon", lambda gw: gw.routing(tools=wrong))
    refused("there is no upstream pi", lambda gw: gw.routing(tools={"a": {"only": "pi"}}))
    refused("no such upstream", lambda gw: gw.routing(upstreams={"pi": {}}))
    refused("unknown option stratgy", lambda gw: gw.routing({"stratgy": "order"}))
    wrong = {"complete": {"elsewhere": "cloud"}}
    refused("elsewhere is pi", lambda gw: (group(gw), gw.routing(tools=wrong)))


def test_what_the_app_says_wins_over_the_configuration():
    gw = Gateway("board", version="1")
    gw.upstream("pi")
    routing = gw.routing(strategy="history", tools={"a": {"cost": 2}})
    gw.routing({"strategy": "order", "retries": 5, "tools": {"a": {"cost": 1, "only": "pi"}}})
    assert routing.options["strategy"] == "history" and routing.options["retries"] == 5
    assert routing.rules_of("a")["cost"] == 2 and routing.rules_of("a")["only"] == "pi"
    assert routing.rules_of("b") is routing.options
    gw.routing(strategy="complexity")
    assert routing.options["strategy"] == "complexity" and routing.rules_of("a")["cost"] == 2


def test_the_device_and_its_model_are_asked():
    level = {"battery": 0.9, "temperature_c": 30}
    options = {"strategy": "resources", "profile": lambda: level, "min_heap": 0}
    options["tools"] = {"complete": {"elsewhere": "pi:look"}}
    with Board(routing=options) as board:
        assert "local" in board.answer(board.call("complete", text="a"))["content"][0]["text"]
        for key, value in (("battery", 0.05), ("temperature_c", 90)):
            before = level[key]
            level[key] = value
            id = board.call("complete", text="a")
            assert board.answered()[0] == "pi" and board.answer(id) == DONE
            level[key] = before
        # What it says wrongly counts for nothing, what it raises is logged once.
        level["battery"] = "low"
        assert "local" in board.answer(board.call("complete", text="a"))["content"][0]["text"]
        options["profile"] = lambda: 1 // 0
        board.gw.routing(profile=options["profile"])
        for _ in range(2):
            assert "local" in board.answer(board.call("complete", text="a"))["content"][0]["text"]
