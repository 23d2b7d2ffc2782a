"""The Cortex-M3 firmware in QEMU: console, files, deterministic costs."""

import json
import os
import random
import subprocess
import sys

import pytest
import targets
from mcpgw.sim import CortexM3Sim, SimError
from targets import run
from waiting import PATIENCE_S


@pytest.fixture
def sim():
    with CortexM3Sim(targets.firmware("cortex-m3")) as sim:
        yield sim


def mpremote(sim, *arguments):
    command = [sys.executable, "-m", "mpremote", "connect", sim.port, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_boots():
    with CortexM3Sim(targets.firmware("cortex-m3")) as sim:
        assert run(sim, "import sys\nprint(sys.platform)") == "qemu\n"


def test_mpremote(sim, tmp_path):
    assert mpremote(sim, "exec", "print(6 * 7)") == "42\n"
    (tmp_path / "there.py").write_text("print('ran from the host')")
    assert "ran from the host" in mpremote(sim, "mount", str(tmp_path), "exec", "import there")


def test_bytes_come_back_unchanged(sim):
    data = random.Random(3).randbytes(4096)
    script = """
import sys, micropython, binascii
micropython.kbd_intr(-1)
buf = bytearray(4096)
print('go')
sys.stdin.buffer.readinto(buf)
sys.stdout.buffer.write(buf)
micropython.kbd_intr(3)
"""
    with sim.open(timeout=1) as port:
        repl = targets.RawREPL(port, PATIENCE_S)
        repl.enter()
        repl.paste(script.encode())
        repl.until(b"go\r\n")
        port.write(data)
        assert repl.take(len(data)) == data
        repl.until(b"\x04")


def test_many_clients(sim):
    for _ in range(20):
        with sim.open() as port:
            port.write(b"\r\x03\x03print('x' * 1000)\r")
            port.read(10)
    assert run(sim, "print('alive')") == "alive\n"


def test_power_cycle(sim):
    sim.kill()
    assert not sim.running
    sim.start()
    assert run(sim, "print('again')") == "again\n"


def test_tcp():
    with CortexM3Sim(targets.firmware("cortex-m3"), tcp=0) as sim:
        assert sim.port.startswith("socket://127.0.0.1:")
        assert run(sim, "print('over TCP')") == "over TCP\n"


def test_costs_are_deterministic_with_icount():
    script = """
import time
start = time.ticks_cpu()
for i in range(2000):
    pass
print(time.ticks_diff(time.ticks_cpu(), start))
"""
    costs = []
    for _ in range(3):
        with CortexM3Sim(targets.firmware("cortex-m3"), icount=6) as sim:
            costs.append(int(run(sim, script)))
    assert max(costs) - min(costs) <= 1  # where in a tick of the timer it began
    assert min(costs) > 1000


def test_errors_are_clear(tmp_path):
    with pytest.raises(SimError, match="make qemu"):
        CortexM3Sim(tmp_path / "none.elf").start()


def test_doctor_takes_a_board_without_clock_and_queue_for_whole(sim):
    command = [sys.executable, "-m", "mcpgw.cli", "doctor", "--json", "--port", sim.port]
    environment = os.environ | {"PYTHONPATH": f"{targets.ROOT / 'tools'}:{targets.ROOT}"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment
    )
    found = {check["what"]: check for check in json.loads(done.stdout) if check["area"] == "board"}
    assert "missing" not in [check["state"] for check in found.values()], found
    assert found["clock"]["found"] == "this board has none"
