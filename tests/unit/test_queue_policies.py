"""The outbox: priorities, what gives way, updates of one thing, damage."""

from outbox_board import DAY, Board, deliver_all

from mcp_gw.errors import QueueFull
from mcp_gw.queue import updates
from mcp_gw.queue.nor_fault import FaultNor
from mcp_gw.queue.owners import owner


def test_by_priority_then_by_age():
    board = Board()
    for n in range(9):
        board.put(n, priority=(1, 0, 2)[n % 3])
    board.boot()
    first = board.next()
    assert first.key == b"key-000002" and board.status(2)["priority"] == 2
    board.box.retry(first, board.ms)
    # What backs off holds up nobody.
    item = board.next()
    assert item.key == b"key-000005"
    board.put(9, priority=2)
    board.box.done(item, b"{}", DAY)
    board.ms += 1000
    assert deliver_all(board) == [2, 8, 9, 0, 3, 6, 1, 4, 7]


def fill(board, start=0, **more):
    """Put until the queue is full; the number of the first that was refused."""
    n = start
    try:
        while True:
            board.put(n, **more)
            n += 1
    except QueueFull:
        return n


def test_a_full_queue_drops_what_is_of_lower_priority():
    board = Board(overflow="drop")
    low = fill(board, priority=0)
    sending = board.next()
    assert sending.key == b"key-000000"
    board.put(500, priority=1)
    dropped = [n for n in range(low) if (board.status(n) or {})["state"] == "dropped"]
    # The oldest, and no more of them than it takes; not what is on its way.
    assert dropped == list(range(1, 1 + len(dropped))) and len(dropped) <= 6
    assert board.box.dropped_calls == len(dropped)
    result = board.status(1)["result"]
    assert result["isError"] and "full" in result["content"][0]["text"]
    board.boot()
    n = 501
    try:
        while True:
            board.put(n, priority=1)
            n += 1
    except QueueFull as e:
        assert "bytes" in str(e)
    # Of the same priority nothing was dropped, and of the lower one nothing is left.
    assert deliver_all(board) == list(range(500, n))
    assert n - 500 > low // 2


def test_what_would_not_do_is_not_dropped():
    board = Board(3)
    board.put(0, priority=0)
    fill(board, priority=1, start=1)
    board.box.overflow = "drop"
    before = list(board.box.keys())
    try:
        board.box.put(b"key-000999", "pi", "set", [b"x" * 3000], DAY, priority=1)
        raise AssertionError("took it")
    except QueueFull:
        pass
    assert before == list(board.box.keys()) and board.box.dropped_calls == 0
    board.box.put(b"key-000999", "pi", "set", [b"x" * 100], DAY, priority=1)
    assert board.status(0)["state"] == "dropped" and board.box.dropped_calls == 1


def test_outcomes_have_room_of_their_own():
    board = Board(16)
    board.put(0)
    board.box.done(board.next(), b'{"content":[]}', 3 * DAY)
    n = fill(board, start=1)
    assert board.box.reserve == 15 * 4064 // 16
    # Outcomes that fit into what is kept for them stay, however many requests come.
    assert board.status(0)["state"] == "done" and board.box.dropped == 0
    for _ in range(5):
        board.box.done(board.next(), b'{"content":[]}', 3 * DAY)
    for k in range(n, n + 5):
        board.put(k)
    assert board.box.dropped == 0
    assert [board.status(k)["state"] for k in range(6)] == ["done"] * 6
    board.wait(3 * DAY + 1)
    assert board.status(0) is None


def update(board, n, zone, policy="latest", message=None, merged=None, **more):
    thing = updates.thing_of("pi", "set", zone)
    message = message or b'{"n":%d}' % n
    more = dict({"expiry_s": DAY, "priority": 1, "owner": 0, "sent": False}, **more)
    updates.put(
        board.box,
        b"key-%06d" % n,
        "pi",
        "set",
        message,
        thing=thing,
        policy=policy,
        merged=merged,
        **more,
    )


def test_the_latest_of_updates_wins():
    board = Board()
    update(board, 1, "north")
    update(board, 2, "south")
    update(board, 3, "north")
    status = board.status(1)
    assert status["state"] == "superseded"
    assert status["result"]["content"][1]["uri"] == "queue://key-000003"
    assert board.box.pending == 2
    # One that was tried and failed gives way too, and its outcome says so.
    item = board.next()
    assert item.key == b"key-000002" and item.message == b'{"n":2}'
    board.box.retry(item, board.ms)
    update(board, 4, "south")
    assert "may have been carried out" in board.status(2)["result"]["content"][0]["text"]
    # One that is on its way does not, and the next one waits for it.
    item = board.next()
    assert item.key == b"key-000003"
    update(board, 5, "north", priority=2)
    assert board.next().key == b"key-000004"
    assert board.next() is None and board.status(3)["state"] == "sending"
    board.box.retry(item, board.ms)
    assert board.next() is None
    board.ms += 1000
    assert board.next().key == b"key-000003"
    board.box.done(item, b"{}", DAY)
    assert board.next().key == b"key-000005"


def test_updates_in_order_and_none_lost():
    board = Board()
    for n in range(4):
        update(board, n, "north", "all", priority=n % 3)
    board.boot()
    for n in range(4):
        item = board.next()
        assert item.key == b"key-%06d" % n and board.next() is None
        board.box.done(item, b"{}", DAY)
    assert board.next() is None


def test_updates_that_are_merged():
    board = Board()
    seen = []

    def merged(old):
        seen.append(old)
        return old + b"+new"

    update(board, 1, "north", "merge", b"one", merged)
    assert not seen
    update(board, 2, "north", "merge", b"two", merged, priority=0)
    assert seen == [b"one"]
    status = board.status(1)
    assert status["state"] == "merged" and not status["result"]["isError"]
    assert status["result"]["content"][1]["uri"] == "queue://key-000002"
    assert board.box.pending == 1 and board.status(2)["priority"] == 1
    item = board.next()
    assert item.message == b"one+new"
    # It may have been executed now: nothing is taken out of it any more, in no later start either.
    board.box.retry(item, board.ms)
    board.boot()
    update(board, 3, "north", "merge", b"three", merged)
    assert seen == [b"one"] and board.box.pending == 2
    # Nor out of one that was sent before it was put.
    update(board, 4, "south", "merge", b"four", merged, sent=True)
    update(board, 5, "south", "merge", b"five", merged)
    assert seen == [b"one"]
    # And what was sent under its own key takes in nothing.
    update(board, 6, "west", "merge", b"six", merged)
    update(board, 7, "west", "merge", b"seven", merged, sent=True)
    assert seen == [b"one"]
    # A function that does not want to merge leaves both.
    update(board, 8, "east", "merge", b"eight", merged)
    update(board, 9, "east", "merge", b"nine", lambda old: None)
    assert deliver_all(board) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_what_has_expired_is_not_merged():
    board = Board()
    update(board, 1, "north", "merge", b"one", lambda old: b"both", expiry_s=100)
    board.now += 101
    update(board, 2, "north", "merge", b"two", lambda old: b"both")
    assert board.box.pending == 2
    board.box.expire()
    assert board.status(1)["state"] == "expired"
    assert board.next().message == b"two"


def test_whose_a_call_is():
    board = Board()
    board.box.put(b"key-000001", "pi", "set", [b"{}"], DAY, owner=77)
    assert owner(board.box, b"key-000001") == 77
    board.box.done(board.next(), b"{}", DAY)
    assert owner(board.box, b"key-000001") == 77
    assert owner(board.box, b"key-000002") is None


def test_records_of_another_format_take_no_room_for_ever():
    board = Board()
    board.put(1)
    board.ring.append(1, b"key-000002", [bytes((9, 1, 2, 3)) + bytes(40)])
    board.ring.append(2, b"key-000003", [bytes((1, 1, 2, 3)) + bytes(40)])
    board.boot()
    assert board.box.pending == 2
    assert deliver_all(board) == [1]
    board.box.expire()
    assert (board.box.pending, board.box.dropped_calls, board.box.dropped) == (0, 1, 1)
    assert list(board.box.keys()) == [b"key-000001"]


def test_what_cannot_be_read_holds_up_nobody():
    board = Board()
    board.dev = FaultNor(board.dev, 1)
    board.boot()
    for n in range(4):
        board.put(n)
    image = bytes(board.dev.inner.image)
    at = image.find(b'{"n":1}')
    name = image.rfind(b"piset", 0, image.find(b'{"n":2}'))
    board.dev.unreadable = [(at, at + 1), (name, name + 1)]
    assert deliver_all(board) == [0, 3]
    board.wait(60)
    assert board.box.pending == 2
    # It was for a while only.
    board.dev.unreadable = []
    board.ms += 1000
    assert deliver_all(board) == [1, 2] and board.ring.corrupt == 0
    head = image.find(b"key-000002") + 10
    board.put(5)
    board.dev.unreadable = [(head, head + 20)]
    board.wait(60)
    assert deliver_all(board) == [5]


def test_many_that_expire_at_once_take_several_looks():
    board = Board(16)
    for n in range(100):
        board.put(n, expiry_s=100)
    board.now += 200
    assert board.next() is None
    left = []
    while board.box.pending:
        board.box.expire()
        left.append(board.box.pending)
    assert left == [100 - 8 * k for k in range(1, 13)] + [0]


def test_a_row_of_damaged_requests():
    board = Board(16)
    for n in range(100):
        board.put(n)
    image = board.dev.image
    for n in range(99):
        image[bytes(image).find(b'{"n":%d}' % n)] ^= 4
    board.boot()
    assert board.next().key == b"key-000099"
    assert board.ring.corrupt == 99 and board.box.pending == 1
