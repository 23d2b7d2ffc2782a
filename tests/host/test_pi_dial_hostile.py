"""The first lines of a dial-in, from peers that are no boards and gateways that are none."""

import asyncio
import contextlib
import json
import random
import socket
import threading

import pytest
import soak
from board_rig import DialBoard, UnixBoard, app
from http_program import INTERPRETERS
from mcpgw.bridge.log import Log
from mcpgw.pi import dial_in, pairing
from mcpgw.pi.config import Dial
from mcpgw.pi.dial_in import DialIn
from mcpgw.pi.store import Store
from waiting import PATIENCE_S, until

MAX_LINE = dial_in.MAX_LINE
GOOD = {"mcp-gw": 1, "name": "kiln", "id": "b1"}


class Entry:
    """A DialIn in an event loop of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.store = Store(folder / "pi.sqlite")
        self.pairing = pairing.Pairing(self.store)
        self.joined = []
        self.text = open(folder / "log", "w+")  # noqa: SIM115 (closed with the rest)
        self.loop = asyncio.new_event_loop()
        self.dial = DialIn(
            Dial("127.0.0.1", 0),
            self.pairing,
            self.store,
            lambda wanted, identity, given: wanted,
            lambda *row: self.joined.append(row),
            Log(self.text),
        )
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.run(self.dial.listen())
        self.port = self.dial.port

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def say(self, data, finish=False):
        """Send bytes, and nothing more (finish); what comes back until the other side closes, or a
        whole line came."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock:
            back = b""
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
                if finish:
                    sock.shutdown(socket.SHUT_WR)
                while b"\n" not in back:
                    more = sock.recv(65536)
                    if not more:
                        break
                    back += more
            return back

    def pairs(self):
        """Whether a board that is one still comes in."""
        self.pairing._wrong.clear()
        row = dict(GOOD, code=self.pairing.new(), id=f"b{len(self.joined)}")
        answer = json.loads(self.say(json.dumps(row).encode() + b"\n"))
        assert answer["mcp-gw"] == 1 and answer["token"], answer
        return True

    def close(self):
        self.run(self.dial.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.store.close()
        self.text.close()


@pytest.fixture
def entry(tmp_path, monkeypatch):
    monkeypatch.setattr(pairing, "_SCRYPT", {"n": 2, "r": 1, "p": 1, "dklen": 32})
    entry = Entry(tmp_path)
    yield entry
    entry.close()


LINES = {
    "not JSON": b"GET / HTTP/1.1\r\n",
    "no object": b"[1,2]\n",
    "deep": b"[" * 1000 + b"\n",
    "another object": b'{"jsonrpc":"2.0","id":1,"method":"initialize"}\n',
    "another version": b'{"mcp-gw":2,"name":"a","id":"b","token":"t"}\n',
    "version of another type": b'{"mcp-gw":{"a":[]},"name":"a","id":"b","token":"t"}\n',
    "no id": b'{"mcp-gw":1,"name":"a","token":"t"}\n',
    "an id of other characters": b'{"mcp-gw":1,"name":"a","id":"../x","token":"t"}\n',
    "a name that is none": b'{"mcp-gw":1,"name":7,"id":"b","token":"t"}\n',
    "neither token nor code": b'{"mcp-gw":1,"name":"a","id":"b"}\n',
    "a token of another type": b'{"mcp-gw":1,"name":"a","id":"b","token":["t"]}\n',
    "a token of another type beside a code": json.dumps(dict(GOOD, token=7, code="22")).encode()
    + b"\n",
    "a code that is long": json.dumps(dict(GOOD, code="A" * 900)).encode() + b"\n",
    "control characters": b'{"mcp-gw":1,"name":"\\u001b[2J\\n","id":"b","token":"t"}\n',
    "not UTF-8": b'{"mcp-gw":1,"name":"\xff\xfe","id":"b","token":"t"}\n',
    "lone surrogates": b'{"mcp-gw":1,"name":"\\ud800","id":"b","token":"\\ud800"}\n',
}


@pytest.mark.parametrize("what", LINES)
def test_a_first_line_that_is_none(entry, what):
    answer = json.loads(entry.say(LINES[what]))
    assert answer["mcp-gw"] == 1 and isinstance(answer["error"], str) and answer["error"]
    assert "\x1b" not in answer["error"] + (entry.folder / "log").read_text()
    assert entry.joined == [] and entry.pairs()


def test_a_line_one_byte_too_long(entry):
    row = json.dumps(dict(GOOD, code="2222"))
    fits = row[:-1] + " " * (MAX_LINE - len(row)) + "}"
    assert b"wrong pairing code" in entry.say(fits.encode() + b"\n")
    assert entry.say(fits[:-1].encode() + b" }\n") == b""
    assert entry.say(b"x" * (MAX_LINE + 1)) == b""
    assert entry.pairs()


def test_a_peer_that_says_nothing_is_given_up(entry, monkeypatch):
    monkeypatch.setattr(dial_in, "GREET_S", 0.1)
    assert entry.say(b'{"mcp-gw":1') == b""
    assert entry.pairs()


def test_strangers_are_counted(entry):
    silent = [socket.create_connection(("127.0.0.1", entry.port)) for _ in range(40)]
    try:
        until(lambda: len(entry.dial.strangers) == dial_in.MAX_PER_ADDRESS)
        answer = json.loads(entry.say(b""))
        assert answer["error"] == "too many are waiting" and answer["retry_s"] > 0
    finally:
        for sock in silent:
            sock.close()
    until(lambda: not entry.dial.strangers)
    assert entry.pairs()


def test_a_wrong_code_holds_up_codes_and_no_tokens(entry, monkeypatch):
    """Who hangs up as soon as it has shown one holds them up all the same."""
    resting, go_on = threading.Event(), threading.Event()

    def rest(seconds):
        resting.set()
        assert go_on.wait(PATIENCE_S)

    shown = []
    take = entry.pairing.take
    monkeypatch.setattr(entry.pairing, "take", lambda *row: shown.append(row[0]) or take(*row))
    monkeypatch.setattr(entry.pairing, "_sleep", rest)
    token = entry.store.add_token("kiln", "board")
    good = entry.pairing.new()
    with socket.create_connection(("127.0.0.1", entry.port)) as sock:
        sock.sendall(json.dumps(dict(GOOD, code="2222")).encode() + b"\n")
        assert resting.wait(PATIENCE_S)
    until(lambda: not entry.dial.strangers)
    with socket.create_connection(("127.0.0.1", entry.port), PATIENCE_S) as sock:
        sock.sendall(json.dumps(dict(GOOD, id="b2", code=good)).encode() + b"\n")
        for _ in range(3):
            answer = json.loads(entry.say(json.dumps(dict(GOOD, token=token)).encode() + b"\n"))
            assert answer["name"] == "kiln"
        assert shown == ["2222"]
        go_on.set()
        assert b'"token"' in sock.makefile("rb").readline()
    assert shown == ["2222", good]


def test_fuzzed_first_lines(entry, seed):
    rng = random.Random(seed)
    token = entry.store.add_token("kiln", "board")
    whole = json.dumps(dict(GOOD, token=token)).encode() + b"\n"
    for _ in range(soak.count(150, 20000)):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 3))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        back = entry.say(bytes(data), finish=b"\n" not in data[:MAX_LINE])
        assert back == b"" or json.loads(back)["mcp-gw"] == 1, (data, back)
    assert entry.pairs()


# --- the board's side --------------------------------------------------------------------------

ANSWERS = {
    "not JSON": b"HTTP/1.1 400 Bad Request\r\n",
    "no object": b"[]\n",
    "another object": b'{"hello":1}\n',
    "too long": b'{"mcp-gw":1,"name":"' + b"x" * 2000 + b'"}\n',
    "never ends": b"x" * 300_000,
    "the end": b"",
    "a name of another type": b'{"mcp-gw":1,"error":{"a":1},"retry_s":0}\n',
    "a pause that is none": b'{"mcp-gw":1,"error":"later","retry_s":0}\n',
}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_board_that_dialed_somebody_else(tmp_path, interpreter):
    """Whatever answers, the board says why, tries again and serves its other ports meanwhile."""
    due = list(ANSWERS.values())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Made quick: the pauses are not what is tested here.
        quick = "from mcp_gw.transports.dial import Dial\n"
        quick += "Dial.FIRST_PAUSE_MS = Dial.LAST_PAUSE_MS = 20\n"
        text = app("kiln", _run(port, tmp_path)).replace("import sys\n", "import sys\n" + quick)
        board = UnixBoard(tmp_path, "kiln", text, interpreter)
        try:
            listener.settimeout(PATIENCE_S)
            for answer in due:
                sock = listener.accept()[0]
                with sock:
                    sock.settimeout(PATIENCE_S)
                    first = json.loads(sock.makefile("rb").readline())
                    assert first["mcp-gw"] == 1 and first["code"] == "2222-2222"
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(answer)
            sock = listener.accept()[0]
            with sock:
                sock.makefile("rb").readline()
                sock.sendall(b'{"mcp-gw":1,"error":"no \\u001b[2J"}\n')
            board.wait_said("refused: no ?[2J")
            assert "Traceback" not in board.output()
        finally:
            board.close()


def _run(port, folder):
    file = str(folder / "kiln.json")
    return (
        "from mcp_gw.transports.dial import Dial\n"
        f"gw.run(Dial(gw, '127.0.0.1', {port}, code='2222-2222', file={file!r}))"
    )


def test_a_file_of_a_token_that_is_damaged(tmp_path):
    """A board whose file was cut by a power loss asks for its token again."""
    entry = Entry(tmp_path)
    try:
        for text in ("", "{", "[]", '{"token":7,"id":8}', "\x00" * 64):
            (tmp_path / "kiln-dial.json").write_text(text)
            joined = len(entry.joined)
            code = entry.pairing.new()
            board = DialBoard(tmp_path, "kiln", entry.port, code)
            until(lambda before=joined: len(entry.joined) > before, board.output)
            until(lambda: "token" in (tmp_path / "kiln-dial.json").read_text(), board.output)
            board.close()
    finally:
        entry.close()
