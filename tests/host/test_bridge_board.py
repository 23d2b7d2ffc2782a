"""The bridge as a process between a client and a scripted board on a pty."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib

import pytest
from bridge_rig import ROOT, Bridge, FakeBoard, environment
from waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripted board needs a pty")

HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}}


@pytest.fixture
def board(tmp_path):
    board = FakeBoard(tmp_path / "board")
    yield board
    if board.path.is_symlink():
        board.unplug()


@pytest.fixture
def bridge(board):
    with Bridge(board.path) as bridge:
        yield bridge


def ready(bridge):
    bridge.request("ready", "ping")
    answer = bridge.get()
    assert (answer["id"], "result" in answer) == ("ready", True)


HELLO_MS = 3000  # how often the bridge says hello


def hello(board):
    return board.hellos.get(timeout=PATIENCE_S)


def message(board):
    return board.messages.get(timeout=PATIENCE_S)


def test_hello_opens_repeats_and_sets_the_clock(board):
    before = int(time.time() * 1000)
    with Bridge(board.path) as bridge:
        first, second = hello(board), hello(board)
        assert first["v"] == 1
        assert first["id"] == second["id"]
        assert len(bytes.fromhex(first["id"])) == 8
        assert before <= first["time_ms"] <= second["time_ms"] <= time.time() * 1000
        assert second["time_ms"] - first["time_ms"] > 0.8 * HELLO_MS
        assert first["rx"] >= 65536
        board.wait_states({})
        # What a killed bridge left in the board's buffer is ended before anything else.
        assert board.raw.startswith(b"\n\x1eh ")
        assert bridge.close() == 0


def test_noise_between_messages_reaches_only_the_log(board, bridge):
    ready(bridge)
    for noise in (
        b"\r\n\r\n",
        b"# a print\r\n",
        b"\xff\xfe\x00 junk\n",
        b"Traceback:\n",
        b" {}\n",
    ):
        board.write(noise)
    board.answer = lambda request: {"n": 1}
    bridge.request(2, "ping")
    assert bridge.get() == {"jsonrpc": "2.0", "id": 2, "result": {"n": 1}}
    bridge.nothing()
    assert "# a print" in bridge.text()


def test_text_of_the_board_is_shown_in_whole_lines(board, bridge):
    ready(bridge)
    board.frame(b"l", json.dumps("hel").encode())
    board.frame(b"l", json.dumps("lo é\nnext").encode())
    bridge.wait_text("board: hello é\n")
    assert "next" not in bridge.text()
    bridge.close()
    assert "board: next\n" in bridge.text()


def test_damaged_frames_are_reported_and_the_next_one_serves(board, bridge):
    ready(bridge)
    good = b'\x1el 4 %s "ok"\n'
    for bad in (
        good % b"00000000",
        b'\x1el 5 00000000 "ok"\n',
        b"\x1e\n",
        b"\x1el\n",
        b"\x1eL 0 00000000 \n",
        b"\x1ez zz 00000000 {}\n",
    ):
        board.write(bad)
        board.errors.get(timeout=PATIENCE_S)
    board.frame(b"l", b'"fine\\n"')
    bridge.wait_text("board: fine")
    board.frame(b"h", b"[]")
    board.frame(b"h", b'{"v":1}')
    board.frame(b"u", b'pi {"jsonrpc":"2.0"}')
    for _ in range(3):
        board.errors.get(timeout=PATIENCE_S)
    ready(bridge)


def test_a_line_without_end_does_not_stop_the_next(board, bridge):
    ready(bridge)
    board.write(b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * (2 << 20) + b"\n")
    assert "1048576" in board.errors.get(timeout=PATIENCE_S)
    ready(bridge)


def test_message_over_the_boards_cap(board, bridge):
    board.rx = 300
    ready(bridge)
    fixed = len(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "m", "params": {"t": ""}}))
    bridge.request(1, "m", {"t": "x" * (300 - fixed)})
    assert "result" in bridge.get()
    bridge.request(2, "m", {"t": "x" * (301 - fixed)})
    answer = bridge.get()
    assert (answer["id"], answer["error"]["code"]) == (2, -32600)
    bridge.write(b'{"jsonrpc":"2.0","id":3,"method":"m","params":"' + b"y" * (5 << 20) + b'"}\n')
    answer = bridge.get()
    assert (answer["id"], answer["error"]["code"]) == (3, -32600)
    ready(bridge)


def test_no_stale_answer_comes_through_from_before_hello(board):
    board.says_hello = False
    with Bridge(board.path) as bridge:
        said = hello(board)
        bridge.request(1, "ping")
        board.send({"jsonrpc": "2.0", "id": 1, "result": {"stale": True}})
        board.hello("0" * 16)  # the answer to another bridge
        bridge.nothing()
        board.says_hello = True
        board.hello(said["id"])
        assert bridge.get()["result"] == {"echo": "ping"}


def test_restart_under_a_legacy_client(board, bridge):
    bridge.request(0, "initialize", HANDSHAKE)
    bridge.get()
    bridge.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    answer = board.answer
    board.answer = lambda request: None if request["method"] == "tools/call" else answer(request)
    bridge.request(1, "tools/call", {"name": "x"})
    while message(board)["method"] != "tools/call":
        pass
    while not board.hellos.empty():
        board.hellos.get()
    regular = hello(board)
    board.restart()
    failed = bridge.get()
    # The noise gives it away, long before the next hello is due.
    assert hello(board)["time_ms"] - regular["time_ms"] < HELLO_MS
    assert (failed["id"], failed["error"]["code"]) == (1, -32013)
    bridge.request(2, "ping")
    assert bridge.get() == {"jsonrpc": "2.0", "id": 2, "result": {"echo": "ping"}}
    methods = [message(board) for _ in range(3)]
    assert [m["method"] for m in methods] == ["initialize", "notifications/initialized", "ping"]
    assert methods[0]["params"] == HANDSHAKE
    assert methods[0]["id"] != 0
    bridge.nothing()


def test_silent_restart_is_noticed_by_the_next_hello(board, bridge):
    ready(bridge)
    board.answer = lambda request: None
    bridge.request(1, "tools/call")
    message(board)
    message(board)
    board.restart(text=b"")
    assert bridge.get()["error"]["code"] == -32013


def test_unplugged_and_plugged_in_again(board, bridge):
    bridge.request(0, "initialize", HANDSHAKE)
    bridge.get()
    board.answer = lambda request: None
    bridge.request(1, "tools/call")
    while message(board)["method"] != "tools/call":
        pass
    board.unplug()
    lost = bridge.get()
    assert (lost["id"], lost["error"]["code"]) == (1, -32013)
    bridge.request(2, "ping")
    time.sleep(0.5)
    board.answer = lambda request: {"back": True}
    board.boots += 1
    board.plug()
    assert bridge.get() == {"jsonrpc": "2.0", "id": 2, "result": {"back": True}}
    assert message(board)["method"] == "initialize"
    for times in (2, 3, 4):
        board.unplug()
        bridge.wait_text("lost the board", times=times)
        board.plug()
        ready(bridge)


def test_without_a_board_requests_fail_in_time(tmp_path):
    with Bridge(tmp_path / "none", "--wait", "0.6") as bridge:
        started = time.monotonic()
        bridge.request(1, "initialize", HANDSHAKE)
        answer = bridge.get()
        assert time.monotonic() - started > 0.4
        assert answer["error"]["code"] == -32013
        assert "was not sent" in answer["error"]["message"]
        bridge.wait_text("none does not exist")
        assert bridge.close() == 0


def test_the_end_waits_for_answers_that_are_due(board, bridge):
    ready(bridge)
    board.answer = lambda request: time.sleep(0.5) or {"late": True}
    bridge.write(b'{"jsonrpc":"2.0","id":9,"method":"ping"}')  # not even a line end
    bridge.process.stdin.close()
    assert bridge.get()["result"] == {"late": True}
    assert bridge.close() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(board, bridge, number):
    ready(bridge)
    bridge.process.send_signal(number)
    assert bridge.process.wait(PATIENCE_S) == 0
    assert "Traceback" not in bridge.text()


def test_a_client_that_stops_reading_ends_it(board, tmp_path):
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "mcpgw.cli", "bridge", "--port", str(board.path)]
        + ["--state", str(tmp_path / "state")],
        stdin=subprocess.PIPE,
        stdout=writer,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    os.close(writer)
    try:
        board.wait_states({})
        os.close(reader)
        board.send({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def test_many_requests_at_once_come_back_in_order(board, bridge):
    ready(bridge)
    board.answer = lambda request: {"text": "é" * (request["id"] % 700)}
    for i in range(500):
        bridge.request(i, "ping", {"pad": "p" * (i % 900)})
    answers = [bridge.get() for _ in range(500)]
    assert [a["id"] for a in answers] == list(range(500))
    assert all(len(a["result"]["text"]) == a["id"] % 700 for a in answers)


def test_second_bridge_waits_for_the_port(board, bridge, tmp_path):
    ready(bridge)
    with Bridge(board.path, state=tmp_path / "2.sqlite", stderr=tmp_path / "2.log") as second:
        second.wait_text("no board yet")
        second.request(1, "ping")
        second.nothing()
        assert bridge.close() == 0
        assert second.get()["id"] == 1


def test_board_over_tcp(tmp_path):
    fake = FakeBoard(tmp_path / "board")
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        fake._alive = False
        fake._thread.join()
        os.dup2(connection.fileno(), fake.master)
        fake._alive = True
        fake._work()

    threading.Thread(target=serve, daemon=True).start()
    port = f"socket://127.0.0.1:{server.getsockname()[1]}"
    state, log = tmp_path / "state.sqlite", tmp_path / "log"
    with Bridge(port, state=state, stderr=log) as bridge:
        fake.answer = lambda request: {"text": "x" * 5000}
        bridge.request(1, "ping")
        assert len(bridge.get()["result"]["text"]) == 5000
        assert bridge.close() == 0
    fake._alive = False
    server.close()


def test_log_file(board, tmp_path):
    with Bridge(board.path, "--log", str(tmp_path / "own.log")) as bridge:
        ready(bridge)
        bridge.close()
        assert bridge.text() == ""
        assert " mcpgw: fake 1.0 serves" in (tmp_path / "own.log").read_text()


def run(*arguments, **env):
    command = [sys.executable, "-m", "mcpgw.cli", *arguments]
    return subprocess.run(
        command, env=environment() | env, capture_output=True, text=True, timeout=PATIENCE_S
    )


def test_command_line_errors_are_one_line():
    cases = (
        (["bridge", "--nonsense"], 2),
        (["nonsense"], 2),
        (["bridge", "--upstream", "nourl", "--port", "x"], 2),
        (["bridge", "--ca", "/nonexistent", "--upstream", "a=https://x", "--port", "/dev/x"], 1),
        (["bridge", "--port", "/dev/x", "--state", "/nonexistent/dir/file"], 1),
        (["bridge", "--port", "/dev/x", "--log", "/nonexistent/dir/file"], 1),
    )
    for arguments, code in cases:
        done = run(*arguments)
        assert done.returncode == code, (arguments, done)
        assert done.stdout == ""
        assert done.stderr.startswith("mcpgw: ")
        assert done.stderr.count("\n") == 1


def test_version_and_help():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version").stdout == f"mcpgw {version}\n"
    assert "bridge" in run("--help").stdout
    assert run().returncode == 2
    assert "--upstream" in run("bridge", "--help", COLUMNS="100").stdout


def test_start_up_is_quick_and_light():
    code = "import sys, mcpgw.bridge.command, mcpgw.bridge.run; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"esptool", "mpremote", "httpx", "mcp", "rp2040py", "rich.console"}
