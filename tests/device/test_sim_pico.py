"""The emulated Pico behaves as a Pico does at its port: console, files, resets."""

import binascii
import contextlib
import random
import subprocess
import sys
import time

import pytest
import soak
import targets
from mcpgw.sim import PicoSim, SimError
from targets import run
from waiting import PATIENCE_S, until

FLASH_BASE = 0x10000000


def mpremote(sim, *arguments):
    command = [sys.executable, "-m", "mpremote", "connect", sim.port, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_boots_quickly(tmp_path):
    started = time.monotonic()
    with PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img") as sim:
        took = time.monotonic() - started
        emulated = sim.wait_event("ready")["ns"] / 1e9
        print(f"console after {took:.2f} s, {emulated:.3f} s emulated")
        assert emulated < 1


def test_mpremote(sim, tmp_path):
    assert mpremote(sim, "exec", "import os; print(os.uname().machine)").endswith("RP2040\n")
    data = random.Random(1).randbytes(9000)
    (tmp_path / "data.bin").write_bytes(data)
    mpremote(sim, "fs", "cp", str(tmp_path / "data.bin"), ":data.bin")
    mpremote(sim, "fs", "cp", ":data.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == data
    (tmp_path / "there.py").write_text("print('ran from the host')")
    assert "ran from the host" in mpremote(sim, "mount", str(tmp_path), "exec", "import there")
    assert mpremote(sim, "soft-reset", "exec", "print(6 * 7)") == "42\n"


def test_many_clients(sim):
    """Clients that come and go, also in the middle of something, leave the port usable."""
    for i in range(soak.count(20, 300)):
        with sim.open() as port:
            port.baudrate = (9600, 115200, 921600)[i % 3]
            port.write(b"\r\x03\x03print('x' * 3000)\r")
            if i % 2:
                port.read(10)
    assert run(sim, "print('alive')") == "alive\n"


def test_a_new_client_gets_nothing_old(sim):
    before = sim.status()["sent"]
    with sim.open() as port:
        targets.prompt(port)
        port.write(b"print('old ' * 300)\r")
        until(lambda: sim.status()["sent"] > before + 1200)
    until(lambda: not sim.status()["open"])
    with sim.open(timeout=PATIENCE_S) as port:
        port.write(b"\r\x03\rprint('n' + 'ew')\r")
        text = port.read_until(b"new\r\n")
    # What fits into the board's own transmit buffer may still come, as on a real one.
    assert text.count(b"old ") < 100
    assert text.endswith(b"new\r\n")


BULK = """
import sys, micropython, binascii
micropython.kbd_intr(-1)
buf = bytearray(512)
left = SIZE
crc = 0
print('go')
while left:
    n = sys.stdin.buffer.readinto(memoryview(buf)[:min(left, 512)])
    crc = binascii.crc32(memoryview(buf)[:n], crc)
    left -= n
print(crc)
for i in range(SIZE // 512):
    for j in range(512):
        buf[j] = (i * 7 + j) & 0xff
    sys.stdout.buffer.write(buf)
micropython.kbd_intr(3)
"""


def test_bulk_data_both_ways(sim):
    """Nothing is lost or changed either way, whatever the bytes; the client is slow to read."""
    size = soak.count(32, 512) * 1024
    data = random.Random(2).randbytes(size)
    with sim.open(timeout=1) as port:
        repl = targets.RawREPL(port, 2 * PATIENCE_S)
        repl.enter()
        repl.paste(BULK.replace("SIZE", str(size)).encode())
        repl.until(b"go\r\n")
        port.write(data)
        assert int(repl.until(b"\r\n")) == binascii.crc32(data)
        time.sleep(1)  # the board has more to send than any buffer on the way holds
        expected = b"".join(
            bytes((i * 7 + j) & 0xFF for j in range(512)) for i in range(size // 512)
        )
        assert repl.take(size) == expected
        repl.until(b"\x04")


def test_a_client_that_does_not_read_stops_the_board(sim):
    """The board waits; neither it nor the simulator piles up what nobody reads."""
    script = b"for i in range(100000): print('%07d' % i * 10)\r\r"  # a blank line ends it
    with sim.open(timeout=5) as port:
        targets.prompt(port)
        port.write(script)
        until(lambda: sim.status()["sent"] > 10_000)
        sent = -1
        while (now := sim.status()["sent"]) != sent:
            sent = now
            assert sent < 1_000_000, "the board goes on sending"
            time.sleep(1)


def test_flash_survives_power_and_resets(sim):
    run(sim, "with open('kept.txt', 'w') as file:\n    file.write('kept')")
    sim.restart()
    assert run(sim, "print(open('kept.txt').read())") == "kept\n"
    sim.reset()
    assert run(sim, "print(open('kept.txt').read())") == "kept\n"
    sim.kill()
    assert not sim.running
    sim.start()
    assert run(sim, "print(open('kept.txt').read())") == "kept\n"


def test_two_boards_do_not_share_a_flash_file(sim):
    other = PicoSim(targets.firmware("pico"), flash=sim.flash_path)
    with pytest.raises(SimError, match="in use"):
        other.start()


def test_a_store_to_flash_changes_nothing(sim):
    before = sim.flash_path.read_bytes()
    address = FLASH_BASE + 0x1000
    run(sim, f"import machine\nmachine.mem32[{address}] = 0")
    assert hex(address) in sim.wait_event("fault")["why"]
    assert sim.flash_path.read_bytes() == before
    assert run(sim, "print('alive')") == "alive\n"


def test_reset_causes(sim):
    cause = "import machine\nprint(machine.reset_cause() == machine.%s_RESET)"
    assert run(sim, cause % "PWRON") == "True\n"
    mpremote(sim, "reset")
    assert sim.wait_event("reset")["cause"] == "software"
    sim.wait_ready()
    assert run(sim, cause % "WDT") == "True\n"
    sim.reset()
    assert run(sim, cause % "PWRON") == "True\n"


def test_watchdog(sim):
    with contextlib.suppress(Exception):
        run(sim, "import machine\nmachine.WDT(timeout=300)\nwhile True:\n    pass")
    event = sim.wait_event("reset")
    assert event["cause"] == "watchdog timeout"
    sim.wait_ready()
    assert run(sim, "print('alive')") == "alive\n"


def test_reset_hangs_up_the_port(sim):
    device = sim.device
    with sim.open() as port:
        targets.prompt(port)
        port.write(b"import machine; machine.reset()\r")
        with pytest.raises(OSError):
            while True:
                port.read(100)
    sim.wait_ready()
    assert sim.port and sim.device
    assert run(sim, "print('again')") == "again\n"
    print("was", device, "is", sim.device)


def test_reset_without_hanging_up(tmp_path):
    flash = tmp_path / "flash.img"
    with (
        PicoSim(targets.firmware("pico"), flash=flash, hangup=False) as sim,
        sim.open() as port,
    ):
        targets.prompt(port)
        port.write(b"import machine; machine.reset()\r")
        sim.wait_event("reset")
        sim.wait_ready()
        targets.prompt(port)
        port.write(b"print(6 * 7)\r")
        port.timeout = PATIENCE_S
        assert port.read_until(b"\n42\r").endswith(b"\n42\r")


def test_tcp(tmp_path):
    """The console on a TCP port, which a reset hangs up too."""
    flash = tmp_path / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash, tcp=0) as sim:
        assert run(sim, "print('tcp')") == "tcp\n"
        with sim.open() as port:
            targets.prompt(port)
            port.write(b"import machine; machine.reset()\r")
            with pytest.raises(OSError):
                while True:
                    port.read(100)
        sim.wait_ready()
        assert run(sim, "print('again')") == "again\n"


def test_bootloader_is_noticed(sim):
    mpremote(sim, "bootloader")
    sim.wait_event("bootloader")
    assert sim.status()["stopped"] == "bootloader"
    sim.reset()
    assert run(sim, "print('back')") == "back\n"


def test_errors_are_clear(tmp_path, sim):
    with pytest.raises(SimError, match="make pico"):
        PicoSim(tmp_path / "none.uf2").start()
    (tmp_path / "bad.uf2").write_bytes(b"not a uf2" * 200)
    with pytest.raises(SimError, match="not a UF2"):
        PicoSim(tmp_path / "bad.uf2").start()
    with pytest.raises(SimError, match="no command"):
        sim.command("nonsense")
    with pytest.raises(SimError, match="no mode"):
        sim.power_cut_at(1, mode="nonsense")
    with pytest.raises(SimError, match="16 hexadecimal"):
        PicoSim(targets.firmware("pico"), id="12")
    sim.kill()
    with pytest.raises(SimError, match="no power"):
        sim.status()
