"""What upstream servers of both eras ask in the middle of a call, through the bridge, and what the
bridge passes on beside tools.
"""

import json
import os

import pytest
from bridge_rig import Bridge, FakeBoard, Upstream
from waiting import until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripted board needs a pty")

SERVERS = {"modern": [], "legacy": ["--legacy"]}
CAN = {"elicitation": {}, "sampling": {}, "roots": {}}
KEY = "00112233445566778899-00000001"
MUSING = {"role": "assistant", "content": {"type": "text", "text": "fine"}, "model": "m"}
ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"size": 3}},
    "sampling/createMessage": MUSING,
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}


@pytest.fixture
def board(tmp_path):
    board = FakeBoard(tmp_path / "board")
    yield board
    board.unplug()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with Upstream(folder, *SERVERS[request.param]) as upstream:
        upstream.kind = request.param
        yield upstream


@pytest.fixture
def joined(board, server):
    with Bridge(board.path, "--upstream", f"pi={server.url}") as bridge:
        board.wait_states({"pi": True})
        yield board
        assert bridge.close() == 0
        assert "Traceback" not in bridge.text()
        assert "internal error" not in bridge.text()


def ask(board, tool, arguments, can=None, key=None, **more):
    """One round of a call; returns (request's id, answer)."""
    meta = {"io.modelcontextprotocol/clientCapabilities": CAN if can is None else can}
    if key:
        meta["mcp-gw/key"] = key
    params = {"name": tool, "arguments": arguments} | more
    id = board.ask("pi", "tools/call", params, meta)
    return id, board.reply(id)


def go_on(board, answer, tool, arguments, key=None):
    """The next round of a call that `answer` asks something for."""
    row = answer["result"]
    assert row["resultType"] == "input_required", row
    given = {key: ANSWERS[asked["method"]] for key, asked in row["inputRequests"].items()}
    more = {"inputResponses": given, "requestState": row["requestState"]}
    return ask(board, tool, arguments, key=key, **more)[1]


def text_of(answer):
    assert not answer["result"].get("isError"), answer
    return answer["result"]["content"][0]["text"]


def test_questions_reach_the_board_as_results(joined, server):
    mug = {"cup": "mug"}
    _, row = ask(joined, "order", mug)
    # The board looks at the beginning only.
    assert b'"result":{"resultType":"input_required",' in bytes(joined.raw)
    assert text_of(go_on(joined, row, "order", mug)) == "mug of 3"
    _, row = ask(joined, "praise", mug)
    assert text_of(go_on(joined, row, "praise", mug)) == "fine"
    _, row = ask(joined, "where", {})
    assert text_of(go_on(joined, row, "where", {})) == "file:///home"
    # Whoever cannot answer is not asked.
    _, refused = ask(joined, "order", mug, can={})
    assert "error" in refused or refused["result"]["isError"]
    _, gone = ask(joined, "order", mug, requestState="made up", inputResponses={})
    assert "error" in gone or gone["result"].get("isError") or "inputRequests" in gone["result"]


def test_every_round_of_a_keyed_call_is_executed_once(joined, server):
    mug = {"cup": "mug"}
    key = KEY if server.kind == "modern" else KEY[:-1] + "2"
    before = server.executed().count("order")
    _, row = ask(joined, "order", mug, key=key)
    _, again = ask(joined, "order", mug, key=key)
    assert again["result"] == row["result"]
    assert text_of(go_on(joined, row, "order", mug, key)) == "mug of 3"
    assert text_of(go_on(joined, row, "order", mug, key)) == "mug of 3"
    assert server.executed().count("order") == before + 1


def test_a_question_that_nobody_will_answer(joined, server):
    """The board gives the call up after it was asked: a legacy server hears of it."""
    id, row = ask(joined, "order", {"cup": "mug"})
    params = json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled"})
    joined.frame(b"u", f'pi {params[:-1]}, "params": {{"requestId": {id}}}}}'.encode())
    late = go_on(joined, row, "order", {"cup": "mug"})
    if server.kind == "legacy":
        assert late["error"]["code"] == -32602, late
    else:
        assert text_of(late) == "mug of 3"


def test_prompts_and_resources_are_passed_on(joined):
    def listed(method, field):
        return joined.reply(joined.ask("pi", method))["result"][field]

    assert [row["name"] for row in listed("prompts/list", "prompts")] == ["toast"]
    assert [row["uri"] for row in listed("resources/list", "resources")] == ["cup://list"]
    (template,) = listed("resources/templates/list", "resourceTemplates")
    assert template["uriTemplate"] == "cup://{name}/data"
    params = {"name": "toast", "arguments": {"to": "you"}}
    answer = joined.reply(joined.ask("pi", "prompts/get", params))
    assert answer["result"]["messages"][0]["content"]["text"] == "To you!"
    answer = joined.reply(joined.ask("pi", "resources/read", {"uri": "cup://mug/data"}))
    assert answer["result"]["contents"][0]["text"] == "cup mug"
    assert joined.reply(joined.ask("pi", "resources/read", {"uri": "cup://"}))["error"]
    assert joined.reply(joined.ask("pi", "prompts/get", {}))["error"]["code"] == -32602


def test_a_stream_that_ends_early_is_resumed(board, tmp_path):
    with (
        Upstream(tmp_path, "--legacy", "--resumable") as server,
        Bridge(board.path, "--upstream", f"pi={server.url}"),
    ):
        board.wait_states({"pi": True})
        answer = board.call("pi", "hangs_up", {"times": 3}, 60, progressToken=7)
        assert text_of(answer) == "answered"
        told = [row["params"]["message"] for row in board.progress]
        assert [row for row in told if "again" not in row] == ["round 0", "round 1", "round 2"]
        assert server.executed().count("hangs_up") == 1


def test_a_board_that_restarts_leaves_no_call_waiting(board, tmp_path):
    with (
        Upstream(tmp_path, "--legacy") as server,
        Bridge(board.path, "--upstream", f"pi={server.url}"),
    ):
        board.wait_states({"pi": True})
        _, row = ask(board, "order", {"cup": "mug"})
        board.restart()
        board.hellos.queue.clear()
        until(lambda: not board.hellos.empty())
        late = go_on(board, row, "order", {"cup": "mug"})
        assert late["error"]["code"] == -32602
