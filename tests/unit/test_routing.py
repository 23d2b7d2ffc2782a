"""Two upstreams that offer the same, over the serial link."""

import json

from routing_board import AWAY, DONE, LOST, META, Board

from mcp_gw.gateway import Gateway


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
            found = board.answer(board.send("tools/list"))["tools"]
            assert {"queue_status", "pi_log"} <= {row["name"] for row in found}


def test_of_servers_that_are_the_same_one_has_what_may_wait():
    with Board(queueable=("only_here", "nowhere")) as board:
        router = board.gw.upstreams.router
        assert router.absent(router.upstreams["pi"]) == {"nowhere"}
    with Board(up=("pi",), queueable=("only_here", "nowhere")) as board:
        router = board.gw.upstreams.router
        assert router.absent(router.upstreams["pi"]) == set()  # the other may have both


def test_updates_of_one_thing_wait_behind_each_other_wherever_they_would_go():
    from mcp_gw import Queueable
    from mcp_gw.queue.nor_kept import RamNor

    board = Board(up=())
    board.gw.close()
    gw = board.gw = Gateway("board", version="1")
    gw.queue(RamNor(4))
    gw.upstream("pi", queueable=(Queueable("log", key="zone", policy="latest"),))
    gw.upstream("cloud", same_as="pi")
    with board:
        assert "_meta" in board.answer(board.call("pi_log", zone=1, n=1))
        board.up = ["cloud"]
        board.states()
        # The one that could be asked would be told the newer value, and the older one later.
        assert "mcp-gw/queued" in board.answer(board.call("pi_log", zone=1, n=2))["_meta"]
        id = board.call("pi_log", zone=2, n=3)
        assert board.answered()[0] == "cloud" and board.answer(id) == DONE
        assert board.routes()["places"]["cloud"]["requests"] == 0
        board.up = ["pi", "cloud"]
        board.states()
        name, request = board.answered()
        assert name == "pi" and request["params"]["arguments"] == {"zone": 1, "n": 2}
        assert not board.got


def test_prompts_resources_and_completion_go_on_to_the_next_too():
    with Board() as board:
        names = [row["name"] for row in board.answer(board.send("prompts/list"))["prompts"]]
        assert names == ["pi_greet"]
        ref = {"type": "ref/prompt", "name": "pi_greet"}
        argument = {"name": "a", "value": "b"}
        kept = {"ttlMs": 0, "cacheScope": "public"}
        for method, params, result in (
            ("prompts/get", {"name": "pi_greet"}, {"messages": []}),
            ("resources/read", {"uri": "note:a"}, dict(kept, contents=[])),
            (
                "completion/complete",
                {"ref": ref, "argument": argument},
                {"completion": {"values": ["c"]}},
            ),
        ):
            result["resultType"] = "complete"
            id = board.send(method, **params)
            assert board.answered(error=LOST)[0] == "pi"
            name, request = board.answered(result)
            assert name == "cloud" and request["method"] == method
            asked = request["params"]
            assert asked.get("name", "greet") == "greet"
            assert asked.get("ref", {}).get("name", "greet") == "greet"
            assert board.answer(id) == result
        assert board.routes()["places"]["pi"]["breaker"] == "open"


def test_an_answer_to_a_question_goes_to_the_one_that_asked():
    with Board(up=("cloud",)) as board:
        params = {"name": "pi_log", "arguments": {"n": 1}}
        id = board.send("tools/call", **params)
        question = b'{"method":"elicitation/create","params":{"message":"Sure?","mode":"url",'
        question += b'"url":"https://a.b","elicitationId":"e"}}'
        asks = b'{"resultType":"input_required","requestState":"s1","inputRequests":{"q":'
        asks += question + b"}}"
        assert board.answered(asks)[0] == "cloud"
        state = board.answer(id)["requestState"]
        # The first is back, and would be preferred; it does not know the question.
        board.up = ["pi", "cloud"]
        board.states()
        id = board.send("tools/call", requestState=state, inputResponses={}, **params)
        name, request = board.answered()
        assert name == "cloud" and request["params"]["requestState"] == "s1"
        assert board.answer(id) == DONE
        # Nor is it sent there when the one that asked has gone.
        id = board.send("tools/call", **params)
        assert board.answered(asks)[0] == "pi"
        state = board.answer(id)["requestState"]
        board.up = ["cloud"]
        board.states()
        id = board.send("tools/call", requestState=state, inputResponses={}, **params)
        assert board.answer(id)["message"] == "pi: not reachable" and not board.got
