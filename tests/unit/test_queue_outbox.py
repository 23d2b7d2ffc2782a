"""The outbox: calls, outcomes, ages, restarts."""

import gc
import json

from outbox_board import DAY, START, Board, deliver_all

from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring, TooLarge


def test_put_next_done_status():
    board = Board()
    board.put(1)
    assert board.box.pending == 1
    assert board.status(1) == {
        "id": "key-000001",
        "state": "queued",
        "tool": "set",
        "upstream": "pi",
        "queued_at": START,
        "expires_at": START + DAY,
        "attempts": 0,
        "priority": 1,
    }
    item = board.next()
    assert (item.key, item.upstream, item.tool, item.attempts) == (b"key-000001", "pi", "set", 1)
    assert item.message == b'{"name":"set","arguments":{"n":1}}'
    assert board.status(1)["state"] == "sending"
    assert board.next() is None
    outcome = b'{"content":[{"type":"text","text":"ok"}],"isError":false}'
    assert board.box.done(item, outcome, 60)
    assert not board.box.done(item, outcome, 60)
    for _ in range(2):
        status = board.status(1)
        assert status["state"] == "done" and status["result"] == json.loads(outcome)
        assert status["queued_at"] == START and status["attempts"] == 1
        assert board.box.pending == 0 and board.next() is None
        assert list(board.box.keys()) == [b"key-000001"]
        board.boot()
    board.wait(61)
    assert board.status(1) is None and list(board.box.keys()) == []


def test_done_by_key_and_failed():
    board = Board()
    board.put(1)
    assert not board.box.done(b"key-000009", b"{}", 60)
    assert board.box.done(b"key-000001", b'{"isError":true}', 60, True)
    assert board.status(1)["state"] == "failed"


def test_in_order_across_restarts():
    board = Board()
    for n in range(30):
        board.put(n)
        if n % 7 == 0:
            board.boot()
    assert board.boot().pending == 30
    assert deliver_all(board) == list(range(30))


def test_back_off_grows_and_what_was_tried_is_known_after_a_restart():
    board = Board()
    board.put(1)
    waited = []
    for _ in range(12):
        item = board.next()
        start = board.ms
        board.box.retry(item, board.ms)
        assert board.status(1)["state"] == "queued"
        while board.next(lambda _: False) is None and not board.box.tries.may(1, board.ms):
            board.ms += 250
        waited.append(board.ms - start)
    assert 500 <= waited[0] <= 1000 and 1000 <= waited[1] <= 2000
    assert 150_000 <= waited[10] <= 300_000 and 150_000 <= waited[11] <= 300_000
    assert board.next().attempts == 13
    # Flash counts to 7; it may be tried at once, and the back-off goes on where it was.
    board.boot()
    assert board.status(1)["attempts"] == 7 and board.status(1)["state"] == "queued"
    item = board.next()
    assert item.attempts == 8
    board.box.retry(item, board.ms)
    board.ms += 60_000
    assert board.next() is None
    board.ms += 200_000
    assert board.next().attempts == 9


def test_backing_off_does_not_hold_up_the_others():
    board = Board()
    board.put(1)
    board.put(2)
    first = board.next()
    board.box.retry(first, board.ms)
    assert board.next().key == b"key-000002"
    assert board.next() is None
    board.ms += 1000
    assert board.next().key == b"key-000001"


def test_only_what_is_deliverable():
    board = Board()
    board.put(1, "cloud")
    board.put(2, "pi")
    up = {"pi"}
    asked = []

    def deliverable(name):
        asked.append(name)
        return name in up

    assert board.next(deliverable).key == b"key-000002"
    assert board.next(deliverable) is None
    del asked[:]
    assert board.next(deliverable) is None
    # A look that found nothing is not repeated record by record.
    assert asked == ["cloud"]
    up.add("cloud")
    assert board.next(deliverable).key == b"key-000001"


def test_expiry_with_a_clock():
    board = Board()
    board.put(1, expiry_s=100)
    board.put(2, expiry_s=1000)
    board.wait(99)
    assert board.status(1)["state"] == "queued"
    board.wait(1)
    status = board.status(1)
    assert status["state"] == "expired" and status["result"]["isError"]
    assert status["expires_at"] == START + 100
    assert board.next().key == b"key-000002"
    board.boot()
    # The board was off: time goes on.
    board.now += 2000
    assert board.next() is None
    board.box.expire()
    assert board.status(2)["state"] == "expired" and board.box.pending == 0


def test_what_is_on_its_way_does_not_expire():
    board = Board()
    board.put(1, expiry_s=100)
    item = board.next()
    board.wait(500)
    assert board.status(1)["state"] == "sending"
    board.box.done(item, b"{}", DAY)
    assert board.status(1)["state"] == "done"


def test_unknown_time_counts_uptime():
    board = Board(now=None)
    board.put(1, expiry_s=100)
    board.put(2, expiry_s=500)
    assert board.status(1)["queued_at"] is None
    board.wait(100)
    assert board.status(1)["state"] == "expired"
    assert board.next().key == b"key-000002"


def test_unknown_age_is_never_executed():
    board = Board(now=None)
    board.put(1)
    board.boot()
    board.box.expire()
    # The clock may become known, and say that it is young enough.
    assert board.next() is None and board.status(1)["state"] == "queued"
    board.now = START
    assert board.next() is None
    board.box.expire()
    status = board.status(1)
    assert status["state"] == "expired"
    assert "age unknown" in status["result"]["content"][0]["text"]


def test_a_date_from_before_bounds_an_unknown_age():
    board = Board()
    board.put(1, expiry_s=10 * DAY)
    board.wait(100)
    board.put(2, expiry_s=10)
    for start in range(2):
        # The dates that tell of it may be gone by then.
        board.boot()
        board.now = None
        board.put(3 + 2 * start, expiry_s=1000)
        board.put(4 + 2 * start, expiry_s=300)
    for n in (1, 2):
        board.box.cancel(b"key-%06d" % n)
    board.boot()
    board.now = START + 500
    # 400 s have passed since the last date known before them.
    assert deliver_all(board) == [3, 5]
    board.box.expire()
    for n in (4, 6):
        status = board.status(n)
        assert status["state"] == "expired"
        assert "age unknown" in status["result"]["content"][0]["text"]


def test_without_a_clock_uptime_counts_across_restarts():
    board = Board(now=None)
    board.put(1, expiry_s=20_000)
    board.put(2, expiry_s=60_000)
    board.wait(7300)
    for _ in range(2):
        board.boot()
        board.wait(7300)
        assert board.next() is None
    # At least 3 * 7200 s and a bit.
    board.box.expire()
    status = board.status(1)
    assert status["state"] == "expired"
    assert "unknown" not in status["result"]["content"][0]["text"]
    assert board.status(2)["state"] == "queued"
    board.boot()
    board.wait(40_000)
    assert board.status(2)["state"] == "expired" and board.box.pending == 0
    board.wait(DAY)
    board.boot()
    board.wait(2 * DAY)
    assert board.ring.count <= 1


def test_dated_once_the_clock_is_known():
    board = Board(now=None)
    board.wait(1000)
    board.put(1, expiry_s=3000)
    board.wait(1000)
    board.put(2, expiry_s=100_000)
    board.now = START
    board.box.expire()
    assert board.status(1)["queued_at"] == START - 1000
    board.put(3)
    # Off for a while, and no clock at the next start: nothing may be sent before it is known.
    board.boot()
    board.now = None
    assert board.next() is None
    board.now = START + 2500
    assert board.status(1)["queued_at"] == START - 1000
    assert deliver_all(board) == [2, 3]
    board.box.expire()
    assert board.status(1)["state"] == "expired" and board.status(2)["state"] == "done"
    # The record with the date goes with the last it dates.
    board.wait(4 * DAY)
    assert board.ring.count == 0


def test_a_clock_that_jumps_neither_loses_nor_delivers_late():
    """Records of this start are as old as it has lasted since, whatever the clock was told."""
    for jump in (-10 * 365 * DAY, -3 * DAY, -3600, 3600, 3 * DAY, 10 * 365 * DAY):
        board = Board(sectors=8)
        board.put(1, expiry_s=1000)
        board.wait(100)
        board.now += jump
        board.wait(100)
        board.put(2, expiry_s=1000)
        assert [board.status(n)["state"] for n in (1, 2)] == ["queued", "queued"], jump
        board.now -= jump
        board.wait(100)
        board.put(3, expiry_s=1000)
        board.wait(650)  # the first is 950 s old
        assert [board.status(n)["state"] for n in (1, 2, 3)] == ["queued"] * 3, jump
        board.wait(100)
        assert [board.status(n)["state"] for n in (1, 2, 3)] == ["expired", "queued", "queued"]
        assert deliver_all(board) == [2, 3], jump


def test_a_date_that_was_wrong_is_put_right():
    """What was stored before the clock was known is dated anew when the clock jumps."""
    board = Board(now=None, sectors=8)
    board.put(1, expiry_s=5000)
    board.wait(100)
    board.now = START + 20 * 365 * DAY
    board.wait(100)
    board.now = START + 200
    board.wait(100)
    board.boot()
    board.wait(1000)
    assert board.status(1)["queued_at"] == START
    assert board.status(1)["state"] == "queued"
    board.wait(4000)
    assert board.status(1)["state"] == "expired"


def test_clock_set_back_far_means_unknown_age():
    board = Board()
    board.put(1)
    board.now -= 200
    assert board.next().key == b"key-000001"
    board.boot()
    board.now -= 10 * DAY
    assert board.next() is None
    board.box.expire()
    assert "age unknown" in board.status(1)["result"]["content"][0]["text"]


def test_outcomes_give_way_to_requests():
    board = Board(3)
    n = 0
    while True:
        try:
            board.put(n)
        except QueueFull as e:
            assert "bytes" in str(e)
            break
        n += 1
    assert n == board.box.pending and board.ring.free >= board.box.RESERVE
    assert deliver_all(board) == list(range(n))
    assert board.box.dropped == 0 or board.status(n - 1)["state"] == "done"
    # All outcomes now: as many requests fit as before.
    for k in range(n):
        board.put(1000 + k)
    assert board.box.pending == n and board.box.dropped > 0
    assert deliver_all(board) == [1000 + k for k in range(n)]


def test_done_works_when_full_of_requests():
    board = Board(3)
    n = 0
    try:
        while True:
            board.put(n)
            n += 1
    except QueueFull:
        pass
    outcome = json.dumps({"content": [{"type": "text", "text": "x" * 3000}]}).encode()
    for k in range(n):
        item = board.next()
        assert int(item.key[4:]) == k
        assert board.box.done(item, outcome, DAY)
    assert board.next() is None and board.box.pending == 0
    assert board.boot().pending == 0


def test_cancel():
    board = Board()
    board.put(1)
    board.put(2)
    item = board.next()
    assert not board.box.cancel(item.key) and not board.box.cancel(b"no-such-key")
    assert board.box.cancel(b"key-000002")
    assert board.status(2)["state"] == "cancelled" and board.next() is None


def test_sizes():
    board = Board()
    try:
        board.box.put(b"key-000001", "pi", "set", [bytes(4096)], DAY)
        raise AssertionError("too large was taken")
    except TooLarge as e:
        assert "4044" in str(e)
    for bad in (b"short", b"x" * 33, b"space in key", b"caf\xc3\xa9-key"):
        try:
            board.box.put(bad, "pi", "set", [b"{}"], DAY)
            raise AssertionError("bad key was taken")
        except ValueError:
            pass
    assert board.box.pending == 0
    board.put(1)
    long = json.dumps({"content": [{"type": "text", "text": "n\xe4h\n" * 4000}]}).encode()
    assert board.box.done(board.next(), long, DAY)
    text = board.status(1)["result"]["content"][0]["text"]
    assert str(len(long)) in text and "n\\u00e4h" in text or "n\xe4h" in text
    assert len(text) > 2000


def test_a_damaged_request_is_dropped_alone():
    board = Board()
    for n in range(3):
        board.put(n)
    at = bytes(board.dev.image).find(b'{"n":1}')
    board.dev.image[at] ^= 4
    board.boot()
    assert deliver_all(board) == [0, 2]
    assert board.ring.corrupt == 1 and board.box.pending == 0


def test_many_days_leave_nothing_behind():
    board = Board(3)
    for day in range(60):
        for k in range(5):
            board.put(day * 5 + k)
        if day % 3:
            assert len(deliver_all(board)) >= 5
        if day % 5 == 0:
            board.boot()
        board.wait(DAY // 3)
    deliver_all(board)
    board.wait(2 * DAY)
    assert board.ring.count == 0 and board.box.outcome_bytes == 0 and board.box.pending == 0


def test_a_name_too_long_for_its_field_is_refused():
    ring = Ring(RamNor(4))
    ring.mount()
    outbox = Outbox(ring, lambda: 1795175147)
    try:
        outbox.put(b"k" * 16, "pi", "x" * 256, [b"{}"], 60)
    except TooLarge:
        pass
    else:
        raise AssertionError("took it")
    outbox.put(b"k" * 16, "pi", "x" * 255, [b"{}"], 60)
    assert b'"' + b"x" * 255 + b'"' in outbox.status(b"k" * 16)


def test_memory_stays_flat():
    if not hasattr(gc, "mem_alloc"):
        return
    board = Board(3)

    def round_trip(n):
        board.put(n)
        item = board.next()
        board.box.retry(item, board.ms)
        board.ms += 1000
        board.now += 1
        board.box.done(board.next(), b'{"content":[]}', 60)
        board.status(n)
        board.wait(7)

    used = []
    for n in range(400):
        round_trip(n)
        if n % 100 == 99:
            gc.collect()
            used.append(gc.mem_alloc())
    assert used[1] == used[2] == used[3], used
