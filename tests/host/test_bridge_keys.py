"""Calls with an idempotency key are executed once, whatever dies in between."""

import os
import sqlite3
import threading

import pytest
from bridge_rig import Bridge, FakeBoard, Upstream
from mcpgw.bridge import keys
from mcpgw.bridge.keys import (
    BUSY,
    DONE,
    KEEP_S,
    LEASE_S,
    LOST,
    NEW,
    KeyMisused,
    KeyStore,
    ShareFull,
)

KEY = "00112233-4455-6677-8899-aabbccddeeff"
needs_pty = pytest.mark.skipif(os.name == "nt", reason="the scripted board needs a pty")


class Clock:
    now = 1e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = KeyStore(tmp_path / "keys", clock)
    yield store
    store.close()


def other(tmp_path, clock):
    """The store as another process sees it."""
    return KeyStore(tmp_path / "keys", clock)


def test_a_key_is_claimed_once_and_its_outcome_kept(store, tmp_path, clock):
    assert store.begin("pi", KEY, "add")[0] == NEW
    assert store.begin("pi", KEY, "add")[0] == BUSY
    assert store.begin("pi", KEY[::-1], "add")[0] == NEW
    assert store.begin("cloud", KEY, "add")[0] == NEW
    store.finish("pi", KEY, True, b'{"x":"\xc3\xa9"}')
    again = other(tmp_path, clock)
    assert again.begin("pi", KEY, "add") == (DONE, True, b'{"x":"\xc3\xa9"}')
    with pytest.raises(KeyMisused):
        again.begin("pi", KEY, "sub")
    again.close()


def test_a_dead_process_leaves_its_keys_lost(store, tmp_path, clock):
    store.begin("pi", KEY, "add")
    again = other(tmp_path, clock)
    clock.now += LEASE_S - 0.1
    store.renew("pi", KEY)
    clock.now += 1
    assert again.begin("pi", KEY, "add")[0] == BUSY
    assert not again.take_over("pi", KEY)
    clock.now += LEASE_S
    assert again.begin("pi", KEY, "add")[0] == LOST
    assert again.take_over("pi", KEY)
    assert not again.take_over("pi", KEY)
    # The first owner, should it live after all, can no longer touch the row.
    store.finish("pi", KEY, True, b"{}")
    store.forget("pi", KEY)
    assert again.begin("pi", KEY, "add")[0] == BUSY
    again.finish("pi", KEY, False, b'{"code":1}')
    assert store.begin("pi", KEY, "add") == (DONE, False, b'{"code":1}')
    again.close()


def test_a_clock_that_was_set_back_never_makes_a_call_run_twice(store, tmp_path, clock):
    store.begin("pi", KEY, "add")
    clock.now -= 3600
    again = other(tmp_path, clock)
    assert again.begin("pi", KEY, "add")[0] == LOST
    again.close()


def test_not_sent_and_never_answered(store):
    store.begin("pi", KEY, "add")
    store.forget("pi", KEY)
    assert store.begin("pi", KEY, "add")[0] == NEW
    store.lose("pi", KEY)
    assert store.begin("pi", KEY, "add")[0] == LOST


def test_old_rows_go_and_recent_ones_stay(store, clock, monkeypatch):
    monkeypatch.setattr(keys, "KEEP_ROWS", 1)
    store.begin("pi", KEY, "add")
    store.finish("pi", KEY, True, b"{}")
    clock.now += KEEP_S - 1
    store.prune()
    assert store.begin("pi", KEY, "add")[0] == DONE
    clock.now += 2
    store.begin("pi", KEY[::-1], "add")
    store.prune()
    assert store.begin("pi", KEY, "add")[0] == NEW
    assert store.begin("pi", KEY[::-1], "add")[0] == BUSY


def test_a_clock_that_jumps_ahead_forgets_nothing(store, clock):
    store.begin("pi", KEY, "add")
    store.finish("pi", KEY, True, b"{}")
    clock.now += 12 * 365 * 86400
    store.prune()
    store.begin("pi", KEY[::-1], "add")
    store.prune()
    assert store.begin("pi", KEY, "add")[0] == DONE


def fill(store, board, count, size, start=0):
    for i in range(start, start + count):
        assert store.begin("pi", f"{board}{i}", "add", board)[0] == NEW
        store.finish("pi", f"{board}{i}", True, b"1" * size)


def test_a_board_has_a_share(tmp_path, clock):
    """One board that fills its own takes nothing of the others', and gets room again when what it
    left is old."""
    store = KeyStore(tmp_path / "keys", clock, share=3 << 20)
    for i in range(3):
        fill(store, "kiln", 1, 1 << 20, start=i)
        clock.now += 1
    for i in range(2):
        with pytest.raises(ShareFull, match="3 MB of outcomes are kept for kiln, the most for"):
            store.begin("pi", "kiln3", "add", "kiln")
        assert store.begin("pi", "kiln0", "add", "kiln")[:2] == (DONE, True)  # known ones are told
        fill(store, "shed", 1, 10, start=i)
        store.close()
        store = KeyStore(tmp_path / "keys", clock, share=3 << 20)
    clock.now += KEEP_S + 1
    store.prune()
    # The newest of all stay; but of a share that is used up half.
    assert store.begin("pi", "shed0", "add", "shed")[0] == DONE
    assert store.begin("pi", "kiln2", "add", "kiln")[0] == DONE
    assert store.begin("pi", "kiln1", "add", "kiln")[0] == NEW
    assert store.begin("pi", "kiln0", "add", "kiln")[0] == NEW
    store.close()


def test_what_was_not_sent_or_not_written_takes_no_room(tmp_path, clock):
    store = KeyStore(tmp_path / "keys", clock, share=1000)
    for i in range(10):
        assert store.begin("pi", str(i), "add", "kiln")[0] == NEW
        store.forget("pi", str(i))

    def fails():
        raise sqlite3.OperationalError("disk I/O error")

    for i in range(10):
        with pytest.raises(sqlite3.OperationalError):
            store.together([(store.begin, ("pi", str(i), "add", "kiln")), (fails, ())])
    calls = [(store.begin, ("pi", str(i), "add", "kiln")) for i in range(6)]
    assert [good for good, _ in store.together(calls)] == [True] * 5 + [False]
    store.close()


def test_a_file_without_boards_gets_them(tmp_path, clock):
    with sqlite3.connect(tmp_path / "keys") as db:
        db.executescript(
            "CREATE TABLE calls (upstream TEXT NOT NULL, key TEXT NOT NULL, tool TEXT NOT NULL,"
            " state TEXT NOT NULL, owner TEXT NOT NULL, lease REAL NOT NULL, ok INTEGER,"
            " answer BLOB, changed REAL NOT NULL, PRIMARY KEY (upstream, key)) WITHOUT ROWID;"
            f"INSERT INTO calls VALUES ('pi', '{KEY}', 'add', 'done', 'x', 0, 1, x'7b7d', 1e9);"
        )
    for _ in range(2):
        store = other(tmp_path, clock)
        assert store.begin("pi", KEY, "add", "kiln") == (DONE, True, b"{}")
        store.close()


def test_one_of_many_threads_gets_the_key(store, tmp_path, clock):
    stores = [other(tmp_path, clock) for _ in range(8)]
    states = []
    threads = [
        threading.Thread(target=lambda s=s: states.append(s.begin("pi", KEY, "add")[0]))
        for s in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == [BUSY] * 7 + [NEW]
    for s in stores:
        s.close()


def test_what_is_on_disk_is_synced(tmp_path):
    store = KeyStore(tmp_path / "keys")
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert store._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(sqlite3.Error):
        KeyStore(tmp_path / "text")


# -- the whole bridge


@pytest.fixture
def board(tmp_path):
    board = FakeBoard(tmp_path / "board")
    yield board
    board.unplug()


@pytest.fixture
def upstream(tmp_path):
    with Upstream(tmp_path) as upstream:
        yield upstream


def joined(board, upstream, *options):
    bridge = Bridge(board.path, "--upstream", f"pi={upstream.url}", *options)
    board.wait_states({"pi": True})
    return bridge


def text_of(answer):
    (content,) = answer["result"]["content"]
    return content["text"]


@needs_pty
def test_delivered_twice_executed_once(board, upstream):
    with joined(board, upstream) as bridge:
        first = board.call("pi", "add", {"a": 2, "b": 3}, key=KEY)
        again = board.call("pi", "add", {"a": 2, "b": 3}, key=KEY)
        assert again.get("result") == first["result"], again
        misused = board.call("pi", "slow", {"seconds": 0}, key=KEY)
        assert misused["error"]["code"] == -32602
        bridge.kill()
    board.states.clear()
    with joined(board, upstream) as bridge:
        later = board.call("pi", "add", {"a": 2, "b": 3}, key=KEY)
        assert later["result"] == first["result"]
        assert bridge.close() == 0
    assert upstream.executed() == ["add 2 3"]


@needs_pty
def test_a_running_call_is_joined(board, upstream):
    with joined(board, upstream):
        params = {"name": "held", "arguments": {}}
        first = board.ask("pi", "tools/call", params, {"mcp-gw/key": KEY})
        upstream.wait_executed("held")
        second = board.ask("pi", "tools/call", params, {"mcp-gw/key": KEY})
        board.frame(
            b"u",
            b'pi {"jsonrpc":"2.0","method":"notifications/cancelled",'
            b'"params":{"requestId":%d}}' % first,
        )
        # Both have reached the bridge when it answers what came after them.
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1})) == "2"
        upstream.release()
        assert text_of(board.reply(second)) == "done"
    assert upstream.executed() == ["held", "add 1 1", "held done"]


@needs_pty
def test_bridge_killed_during_a_call(board, upstream):
    bridge = joined(board, upstream)
    board.ask("pi", "tools/call", {"name": "held", "arguments": {}}, {"mcp-gw/key": KEY})
    upstream.wait_executed("held")
    bridge.kill()
    board.states.clear()
    with joined(board, upstream) as bridge:
        answer = board.call("pi", "held", key=KEY)
        assert answer["result"]["isError"] is True
        assert "may or may not have been executed" in text_of(answer)
        again = board.call("pi", "held", key=KEY)
        assert again["result"]["isError"] is True
    assert upstream.executed().count("held") == 1


@needs_pty
def test_bridge_killed_during_a_call_that_may_be_repeated(board, upstream):
    bridge = joined(board, upstream)
    params = {"name": "held_level", "arguments": {"level": 4}}
    board.ask("pi", "tools/call", params, {"mcp-gw/key": KEY})
    upstream.wait_executed("held_level 4")
    bridge.kill()
    upstream.release()
    board.states.clear()
    with joined(board, upstream) as bridge:
        answer = board.call("pi", "held_level", {"level": 4}, key=KEY)
        assert text_of(answer) == "level 4"
        board.call("pi", "held_level", {"level": 4}, key=KEY)
    assert upstream.executed() == ["held_level 4", "held_level 4"]


@needs_pty
def test_board_restart_during_a_call(board, upstream):
    with joined(board, upstream):
        board.ask("pi", "tools/call", {"name": "held", "arguments": {}}, {"mcp-gw/key": KEY})
        upstream.wait_executed("held")
        board.restart()
        board.wait_greeted()
        again = board.ask(
            "pi", "tools/call", {"name": "held", "arguments": {}}, {"mcp-gw/key": KEY}
        )
        upstream.release()
        assert text_of(board.reply(again)) == "done"
        assert board.progress == []
    assert upstream.executed() == ["held", "held done"]


@needs_pty
def test_the_outcome_of_a_call_that_came_too_late_is_kept(board, upstream):
    with joined(board, upstream, "--timeout", "2"):
        late = board.call("pi", "held", key=KEY)
        assert late["error"]["code"] == -32011
        upstream.release()
        upstream.wait_executed("held done")
        assert text_of(board.call("pi", "held", key=KEY)) == "done"
    assert upstream.executed().count("held") == 1


@needs_pty
def test_not_sent_is_not_remembered(board, upstream):
    with joined(board, upstream):
        upstream.stop()
        answer = board.call("pi", "add", {"a": 1, "b": 1}, key=KEY)
        assert answer["error"]["code"] == -32010
        board.wait_states({"pi": False})
        upstream.start()
        board.wait_states({"pi": True})
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1}, key=KEY)) == "2"
    assert upstream.executed() == ["add 1 1"]


@needs_pty
def test_a_living_bridge_is_waited_for(board, upstream, tmp_path):
    """The board moves to another bridge while the first still waits for the answer."""
    second_board = FakeBoard(tmp_path / "second")
    state = tmp_path / "shared.sqlite"
    options = ["--upstream", f"pi={upstream.url}"]
    with (
        Bridge(board.path, *options, state=state),
        Bridge(second_board.path, *options, state=state),
    ):
        board.wait_states({"pi": True})
        second_board.wait_states({"pi": True})
        params = {"name": "slow", "arguments": {"seconds": keys.LEASE_S + 2}}
        board.ask("pi", "tools/call", params, {"mcp-gw/key": KEY})
        upstream.wait_executed("slow 8.0")
        answer = second_board.call("pi", "slow", params["arguments"], key=KEY)
        assert text_of(answer) == "done"
    second_board.unplug()
    assert upstream.executed().count("slow 8.0") == 1


@needs_pty
def test_a_full_disk_sends_nothing(board, upstream, tmp_path):
    with joined(board, upstream) as bridge:
        database = sqlite3.connect(board.path.with_suffix(".sqlite"))
        database.execute("BEGIN EXCLUSIVE")  # as good as full: no write gets through
        answer = board.call("pi", "add", {"a": 1, "b": 1}, key=KEY)
        assert answer["error"]["code"] == -32010
        assert upstream.executed() == []
        database.rollback()
        assert text_of(board.call("pi", "add", {"a": 1, "b": 1}, key=KEY)) == "2"
        assert "key store fails" in bridge.text()
    assert upstream.executed() == ["add 1 1"]
