"""`mcpgw sim` as users type it."""

import json
import os
import queue
import subprocess
import sys
import threading

import pytest
import serial
import targets
from mcpgw.sim import install
from targets import RawREPL
from waiting import PATIENCE_S, until

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{targets.ROOT / 'tools'}:{targets.ROOT}",
    "COLUMNS": "100",
}


class Command:
    """A running `mcpgw sim ...`, with its standard input and output."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mcpgw.cli", "sim", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)

    def line(self, holding):
        """The next line that holds a text."""
        while holding not in (line := self.lines.get(timeout=PATIENCE_S)):
            pass
        return line

    def port(self):
        return self.line("port ").split()[1]

    def say(self, text):
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def answer(self, text):
        """Give a command; returns its answer."""
        self.say(text)
        return json.loads(self.line('"ok"'))


def repl(port, script):
    with serial.serial_for_url(port, timeout=0.2) as console:
        out, error = RawREPL(console, PATIENCE_S).run(script)
    assert not error, error
    return out


def finished(*arguments, environment=None):
    return subprocess.run(
        [sys.executable, "-m", "mcpgw.cli", "sim", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment or ENVIRONMENT,
        timeout=PATIENCE_S,
    )


def test_pico(tmp_path):
    flash, link = tmp_path / "flash.img", tmp_path / "port"
    arguments = ["--flash", flash, "--link", link, "--adc", "0=1.65V", "--pin", "7=1"]
    with Command("pico", targets.firmware("pico"), *arguments) as sim:
        assert sim.port() == str(link)
        script = "from machine import ADC, Pin\nprint(ADC(0).read_u16(), Pin(7, Pin.IN)())"
        assert repl(str(link), script) == "32776 1\n"
        sim.answer("adc 0 0")
        sim.answer('{"cmd": "pin", "pin": 7, "value": 0}')
        assert repl(str(link), script) == "0 0\n"
        assert sim.answer("read 7")["value"] == 0
        sim.answer("watch 8")
        repl(str(link), "import machine\nmachine.Pin(8, machine.Pin.OUT)(1)")
        assert json.loads(sim.line('"pin"'))["cycles"] > 0
        assert sim.answer("status")["ready"] is True
        sim.say("nonsense")
        assert "no command" in sim.line("error")
        sim.answer("off")
        assert not link.is_symlink()
        sim.answer("on")
        sim.line('"ready"')
        until(link.is_symlink)
        assert repl(str(link), "print('back')") == "back\n"
        sim.say("quit")
        sim.process.wait(PATIENCE_S)
    assert flash.stat().st_size == 2 << 20


def test_power_cut_ends_with_137(tmp_path):
    arguments = ["--flash", tmp_path / "flash.img", "--cut", "1:100"]
    done = finished("pico", targets.firmware("pico"), *arguments)
    assert done.returncode == 137, done.stdout + done.stderr
    assert '"bytes": 100' in done.stdout


def test_it_runs_without_commands(tmp_path):
    """With nothing on standard input it goes on until it is interrupted."""
    with Command("pico", targets.firmware("pico"), "--tcp", "0") as sim:
        sim.process.stdin.close()
        port = sim.port()
        assert port.startswith("socket://127.0.0.1:")
        assert repl(port, "print('tcp')") == "tcp\n"
        assert repl(port, "print('again')") == "again\n"


@pytest.mark.parametrize("board", ["cortex-m3", "cortex-m4f"])
def test_cortex_m(board):
    with Command(board, targets.firmware(board)) as sim:
        assert repl(sim.port(), "print('here')") == "here\n"


@pytest.mark.parametrize(
    "board, target",
    [("pico", "make pico"), ("cortex-m3", "make qemu"), ("cortex-m4f", "make qemu")],
)
def test_no_firmware(board, target, tmp_path):
    done = finished(board, tmp_path / "none")
    assert done.returncode == 1
    assert target in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "option, text", [("--adc=9=1", "channels"), ("--adc=x", "NUMBER"), ("--cut=x", "N[:BYTES]")]
)
def test_wrong_options(option, text):
    done = finished("pico", targets.firmware("pico"), option)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_without_node_or_emulator(tmp_path):
    bare = {**ENVIRONMENT, "PATH": str(tmp_path)}
    done = finished("pico", targets.firmware("pico"), environment=bare)
    assert done.returncode == 1 and "Node.js" in done.stderr
    empty = {**ENVIRONMENT, "MCPGW_CACHE": str(tmp_path)}
    done = finished("pico", targets.firmware("pico"), environment=empty)
    assert done.returncode == 1 and "mcpgw sim setup" in done.stderr


def installed():
    """Every file in the simulator's folder, and when it was put there."""
    _, _, bootrom = install.locate()
    return {path: path.stat().st_ctime_ns for path in bootrom.parent.rglob("*")}


def test_setup_is_idempotent():
    install.setup()
    before = installed()
    done = finished("setup")
    assert done.returncode == 0, done.stderr
    assert install.VERSION in done.stdout
    assert installed() == before


def test_lock_file_pins_without_naming_a_registry():
    lock = json.loads((install.HERE / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/rp2040js"]["version"] == install.VERSION
    assert all("resolved" not in entry and entry["integrity"] for entry in packages.values())


def test_what_cannot_work_is_said_in_one_line(tmp_path):
    text = tmp_path / "text"
    text.write_text("no firmware")
    pico = targets.firmware("pico")
    for arguments, word in (
        (["pico", pico, "--id", "zz"], "hexadecimal"),
        (["pico", pico, "--link", tmp_path], "is a folder"),
        (["pico", pico, "--speed", "-1"], "greater"),
        (["pico", text], "UF2"),
        (["cortex-m3", text], "ELF"),
        (["cortex-m4f", targets.firmware("cortex-m4f"), "--rom", tmp_path / "none"], "exist"),
    ):
        done = finished(*arguments)
        assert done.returncode in (1, 2)
        assert word in done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_every_line_of_events_is_whole_and_the_image_is_found_from_anywhere(tmp_path, monkeypatch):
    targets.firmware("pico")
    monkeypatch.chdir(tmp_path)
    with Command("pico") as sim:
        lines = [sim.lines.get(timeout=PATIENCE_S) for _ in range(4)]  # in any order
    assert sorted(line[:2] for line in lines) == ["  ", "  ", "Pi", '{"'], lines
    assert json.loads(next(line for line in lines if line[0] == "{"))["event"] == "ready"
