"""Batches of a board's keyed calls over the serial link, and keys written together."""

import base64
import json
import os
import zlib

import pytest
from bridge_rig import Bridge, FakeBoard, Upstream
from mcpgw.bridge.disk import Disk
from mcpgw.bridge.keys import DONE, LOST, NEW, KeyMisused, KeyStore
from waiting import until

KEY = "00112233-4455-6677-8899-{:012x}"
needs_pty = pytest.mark.skipif(os.name == "nt", reason="the scripted board needs a pty")


def rows(numbers, seconds=0):
    return [
        {
            "key": KEY.format(i),
            "params": {"name": "mark", "arguments": {"number": i, "seconds": seconds}},
        }
        for i in numbers
    ]


def deliver(board, params):
    """key -> outcome of a batch."""
    answer = board.reply(board.ask("pi", "mcp-gw/deliver", params))
    assert "result" in answer, answer
    assert answer["result"]["resultType"] == "complete"
    return {row.pop("key"): row for row in answer["result"]["outcomes"]}


@needs_pty
def test_batches(tmp_path):
    board = FakeBoard(tmp_path / "board", rx=4096)
    try:
        with (
            Upstream(tmp_path) as server,
            Bridge(board.path, "--upstream", f"pi={server.url}") as bridge,
        ):
            board.wait_states({"pi": True})
            assert board.hellos.get()["deliver"] == {"calls": 32, "deflate": True}
            plain = rows(range(5))
            outcomes = deliver(board, {"calls": plain, "max_bytes": 4000})
            texts = [row["result"]["content"][0]["text"] for row in outcomes.values()]
            assert texts == [f"marked {i}" for i in range(5)]

            pack = zlib.compressobj(9, zlib.DEFLATED, -10)
            data = pack.compress(json.dumps(rows(range(3, 12))).encode()) + pack.flush()
            packed = {"deflate": base64.b64encode(data).decode(), "max_bytes": 4000}
            assert set(deliver(board, packed)) == {KEY.format(i) for i in range(3, 12)}
            done = sorted(line for line in server.executed() if line.startswith("mark"))
            assert done == sorted(f"mark {i}" for i in range(12))

            # More than a line of the board takes: the rest is left out, and asked for again.
            long = [
                {
                    "key": KEY.format(100 + i),
                    "params": {"name": "text", "arguments": {"size": 1000}},
                }
                for i in range(6)
            ]
            first = deliver(board, {"calls": long, "max_bytes": 1 << 20})
            assert 0 < len(first) < 6
            second = deliver(board, {"calls": long[len(first) :], "max_bytes": 1 << 20})
            assert not set(first) & set(second) and second

            # A name that no tool has is concluded, a params without a name too.
            odd = [
                {"key": KEY.format(200), "params": {"name": "nothing", "arguments": {}}},
                {"key": KEY.format(201), "params": {"arguments": {}}},
            ]
            outcomes = deliver(board, {"calls": odd})
            assert outcomes[KEY.format(201)]["error"]["code"] == -32602
            assert "retry_ms" not in outcomes[KEY.format(200)]

            answer = board.reply(board.ask("pi", "mcp-gw/deliver", {"calls": []}))
            assert answer["error"]["code"] == -32602
            assert bridge.close() == 0
            assert "internal error" not in bridge.text()
    finally:
        board.unplug()


@needs_pty
def test_a_batch_goes_on_when_its_board_restarts(tmp_path):
    board = FakeBoard(tmp_path / "board")
    try:
        with (
            Upstream(tmp_path) as server,
            Bridge(board.path, "--upstream", f"pi={server.url}") as bridge,
        ):
            board.wait_states({"pi": True})
            calls = [{"key": KEY.format(1), "params": {"name": "held", "arguments": {}}}]
            board.ask("pi", "mcp-gw/deliver", {"calls": calls})
            server.wait_executed("held")
            board.restart()
            board.wait_greeted()
            board.wait_states({"pi": True})
            server.release()
            server.wait_executed("held done")
            outcome = {}

            def told():
                outcome.update(deliver(board, {"calls": calls})[KEY.format(1)])
                return "result" in outcome

            until(told, bridge.text)
            assert outcome["result"]["content"][0]["text"] == "done"
            assert server.executed().count("held") == 1
            assert bridge.close() == 0
    finally:
        board.unplug()


@needs_pty
def test_a_batch_to_a_server_that_is_away_is_asked_for_later(tmp_path):
    board = FakeBoard(tmp_path / "board")
    try:
        with (
            Upstream(tmp_path, start=False) as server,
            Bridge(board.path, "--upstream", f"pi={server.url}"),
        ):
            board.wait_states({"pi": False})
            assert deliver(board, {"calls": rows([1])})[KEY.format(1)]["retry_ms"] > 0
            server.start()
            board.wait_states({"pi": True})
            assert "result" in deliver(board, {"calls": rows([1])})[KEY.format(1)]
            assert server.executed() == ["mark 1"]
    finally:
        board.unplug()


def test_one_that_is_wrong_does_not_spoil_what_is_written_with_it(tmp_path):
    store = KeyStore(tmp_path / "keys")
    store.begin("pi", "a", "add")
    found = store.together(
        [
            (store.begin, ("pi", "b", "add")),
            (store.begin, ("pi", "a", "sub")),
            (store.finish, ("pi", "a", True, b"{}")),
        ]
    )
    assert [row[0] for row in found] == [True, False, True]
    assert isinstance(found[1][1], KeyMisused)
    store.close()
    again = KeyStore(tmp_path / "keys")
    assert again.begin("pi", "a", "add") == (DONE, True, b"{}")
    assert again.outcome("pi", "b", "add") is None
    again.close()


def test_what_cannot_be_written_together_is_tried_one_by_one(tmp_path):
    """As when the disk has room for some of it."""
    import asyncio

    store = KeyStore(tmp_path / "keys")

    async def main():
        disk = Disk(store.together)
        store._lock.acquire()  # so that all of them pile up behind the first
        futures = [disk.run(store.begin, "pi", key, "add") for key in ("a", "b")]
        futures.append(disk.run(store.begin, "pi", None, "add"))  # breaks NOT NULL
        futures.append(disk.run(store.begin, "pi", "c", "add"))
        store._lock.release()
        found = await asyncio.gather(*futures, return_exceptions=True)
        await asyncio.to_thread(disk.close)
        return found

    found = asyncio.run(main())
    assert [found[i][0] for i in (0, 1, 3)] == [NEW] * 3
    assert isinstance(found[2], Exception)
    store.close()


def test_who_has_the_store_alone_need_not_wait_for_the_dead(tmp_path):
    store = KeyStore(tmp_path / "keys")
    assert store.begin("pi", "a", "add")[0] == NEW
    heir = KeyStore(tmp_path / "keys")
    heir.alone()
    assert heir.begin("pi", "a", "add")[0] == LOST
    assert heir.begin("pi", "b", "add")[0] == NEW
    heir.alone()
    store.close()
    heir.close()
