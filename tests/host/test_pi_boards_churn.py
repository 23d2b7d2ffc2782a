"""Twenty boards that come and go while calls run: each call has one answer, those who are there
answer, and in the end all are there."""

import random
import threading

import pytest
import soak
from board_rig import QUICK, DialBoard, HttpBoard, codes, text_of
from pi_rig import Pi, server_table
from waiting import PATIENCE_S, ReservedPort, until

BOARDS = 20
CALLERS = 6
AWAY = (-32010, -32011)  # not sent, or no answer any more


@pytest.fixture
def setting(tmp_path):
    entry = ReservedPort()
    steady = HttpBoard(tmp_path, "steady")
    config = QUICK + f'[dial]\nhost = "127.0.0.1"\nport = {entry.number}\n'
    config += server_table("steady", url=steady.url).replace("[servers.", "[boards.")
    pi = Pi(tmp_path, config)
    until(lambda: "boards may dial in" in pi.output(), pi.output)
    boards = []
    # Short pauses: what is tested is coming and going, and much of it.
    quick = "from mcp_gw.transports.dial import Dial\n"
    quick += "Dial.FIRST_PAUSE_MS = Dial.LAST_PAUSE_MS = 50\n"
    while len(boards) < BOARDS:
        for code in codes(pi, BOARDS // 2):  # more are not open at once
            name = f"b{len(boards):02}"
            boards.append(DialBoard(tmp_path, name, entry.number, code, more=quick))
        until(lambda: len(pi.health()["boards"]) > len(boards), pi.output)
    yield pi, boards
    for one in (*boards, pi, steady):
        one.close()
    entry.close()


def test_boards_come_and_go_under_calls(setting, seed):
    pi, boards = setting
    pi.up(*(f"b{i:02}" for i in range(BOARDS)), "steady")
    ending = threading.Event()
    wrong, counts = [], {"answered": 0, "away": 0}

    def caller(number):
        rng = random.Random(seed + number)
        while not ending.is_set():
            i, a = rng.randrange(BOARDS), rng.randrange(1000)
            try:
                answer = pi.call(f"b{i:02}_add", {"a": a, "b": i})
                if "result" in answer and text_of(answer) == str(a + i):
                    counts["answered"] += 1
                elif "error" in answer and answer["error"]["code"] in AWAY:
                    assert f"b{i:02}" in answer["error"]["message"], answer
                    counts["away"] += 1
                else:
                    wrong.append(answer)
                steady = pi.call("steady_add", {"a": a, "b": 1})
                if "result" not in steady or text_of(steady) != str(a + 1):
                    wrong.append(steady)
            except Exception as e:
                wrong.append(repr(e))

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(CALLERS)]
    for one in callers:
        one.start()
    rng = random.Random(seed)
    try:
        for _ in range(soak.count(8, 200)):
            some = rng.sample(boards, rng.choice((1, 2, 5)))
            for board in some:
                board.process.kill()
                board.process.wait()
            before = dict(counts)
            answer = pi.call(f"b{boards.index(some[0]):02}_who")
            assert answer["error"]["code"] in AWAY, answer
            until(lambda before=before: counts["answered"] > before["answered"] + 5 or wrong)
            for board in some:
                board.start()
            assert not wrong, wrong[:3]
    finally:
        ending.set()
        for one in callers:
            one.join(PATIENCE_S)
    assert not wrong, wrong[:3]
    pi.up(*(f"b{i:02}" for i in range(BOARDS)))
    until(lambda: list(pi.health()["boards"].values()).count("up") == BOARDS + 1, pi.output)
    for i in range(BOARDS):
        assert text_of(pi.call(f"b{i:02}_who")) == f"b{i:02}"
    assert "internal error" not in pi.output() and "Traceback" not in pi.output()
