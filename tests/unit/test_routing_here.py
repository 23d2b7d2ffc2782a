"""Tools that are here and elsewhere, and what decides between the two."""

import json

from routing_board import AWAY, DONE, TOOLS, Board, tool

from mcp_gw.errors import ConfigError
from mcp_gw.gateway import Gateway


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
            # One that the upstream turns out not to have.
            board.up = ["pi", "cloud"]
            board.states()
            board.gw.routing(tools={"complete": {"elsewhere": "pi:nothing"}})
            text = board.answer(board.call("complete", text="d" * 90))["content"][0]["text"]
            assert text == "local: " + "d" * 90
            assert board.routes()["last"][-1]["why"] == "the only place"
    finally:
        TOOLS["pi"].pop()


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


def test_a_configuration_with_names_that_nobody_has_is_logged():
    board = Board()
    board.gw.routing({"tools": {"complete": {"elsewhere": "moon"}}, "upstreams": {"sun": {}}})
    said = []
    board.gw.log = said.append
    with board:
        text = board.answer(board.call("complete", text="a"))["content"][0]["text"]
        assert text == "local: a"
    assert said == ["routing: tools.complete: there is no upstream moon\n"]


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


def test_tokens_are_counted_by_the_vocabulary_that_there_is():
    text = "hello world " * 4
    options = {"strategy": "complexity", "local_tokens": 12, "retries": 0}
    options["tools"] = {"complete": {"elsewhere": "pi:look"}}
    with Board(routing=options) as board:
        raw = json.dumps({"text": text})
        board.gw.routing(local_tokens=len(raw) // 4 - 1)
        id = board.call("complete", text=text)
        assert board.answered()[0] == "pi" and board.answer(id) == DONE
        where = __file__.rpartition("/")[0] or "."
        vocabulary = board.gw.model("words", where + "/words.mgt")
        most = vocabulary.count(raw)
        assert most != len(raw) // 4
        board.gw.routing(local_tokens=most, local_bytes=9999)
        assert "local" in board.answer(board.call("complete", text=text))["content"][0]["text"]
        assert "local 1.00, pi 1.00" in board.routes()["last"][-1]["why"]
        board.gw.routing(local_tokens=most - 1)
        id = board.call("complete", text=text)
        assert board.answered()[0] == "pi" and board.answer(id) == DONE


def test_whether_its_model_is_in_ram_is_known():
    from small_models import dense

    options = {"strategy": "resources", "min_heap": 0, "retries": 0}
    options["tools"] = {"classify": {"elsewhere": "pi:look"}}
    options["profile"] = lambda: {"temperature_c": 56}
    with Board(routing=options) as board:
        model = board.gw.model("turn", dense([[64, 0], [0, 64]], [0, 0], ("a", "b")))
        id = board.call("classify", input=[1.0, 2.0])
        assert board.answered()[0] == "pi" and board.answer(id) == DONE
        assert "local 1.30" in board.routes()["last"][-1]["why"]
        model.load()
        found = board.answer(board.call("classify", input=[1.0, 2.0]))
        assert found["structuredContent"]["label"] == "b"
        assert "local 0.80" in board.routes()["last"][-1]["why"]
        # With two models a tool has to say which one it runs.
        board.gw.model("back", dense([[64, 0], [0, 64]], [0, 0], ("c", "d")))
        board.gw.routing(tools={"classify": {"model": "back"}})
        board.call("classify", input=[1.0, 2.0], model="turn")
        assert board.answered()[0] == "pi"
