"""What firmware/qemu adds to MicroPython's qemu port: clock, interrupts, disk, start-up."""

import time

import pytest
from mcpgw.sim import CortexM3Sim
from targets import RawREPL, firmware, run
from waiting import PATIENCE_S


@pytest.fixture
def sim():
    with CortexM3Sim(firmware("cortex-m3")) as sim:
        yield sim


def test_the_clock_keeps_time(sim):
    began = time.monotonic()
    out = run(
        sim,
        """
import asyncio, time
async def nap():
    await asyncio.sleep_ms(300)
def now():
    return time.ticks_us(), time.ticks_ms(), time.ticks_us()
begin = now()
time.sleep_ms(400)
asyncio.run(nap())
time.sleep_us(1500)
end = now()
for a, b in ((begin[2], end[0]), (begin[1], end[1]), (begin[0], end[2])):
    print(time.ticks_diff(b, a))
""",
    )
    least, ms, most = map(int, out.split())
    # Both sleeps in milliseconds may end within the last one. QEMU may take its time over them.
    assert least >= 699_500
    # The clock in milliseconds agrees with the one in microseconds, and with the host's.
    assert least - 1000 <= 1000 * ms <= most + 1000
    assert time.monotonic() - began >= 0.699


def test_ctrl_c_ends_a_busy_loop_and_drops_what_was_typed_ahead(sim):
    run(sim, "pass")
    with sim.open(timeout=PATIENCE_S) as port:
        port.write(b"\r")
        port.read_until(b">>> ")
        port.write(b"exec('print(1234)\\nwhile True: pass')\r")
        port.read_until(b"\r\n1234\r\n")
        port.write(b"print('typed ahead')\r\x03")
        out = port.read_until(b">>> ")
        out += port.read_until(b">>> ") if b"KeyboardInterrupt" not in out else b""
        assert b"KeyboardInterrupt" in out
        port.write(b"1+1\r")
        assert b"typed ahead" not in port.read_until(b"2\r\n>>> ")


def test_input_longer_than_the_buffer_waits_at_the_sender(sim):
    # 20,000 bytes go to a board that sleeps with a 4096-byte buffer
    with sim.open(timeout=0.2) as port:
        RawREPL(port, PATIENCE_S).enter()
        port.timeout = PATIENCE_S
        port.write(
            b"import micropython, sys, time\n"
            b"micropython.kbd_intr(-1)\n"
            b"print('ready')\n"
            b"time.sleep_ms(500)\n"
            b"data = sys.stdin.buffer.read(20000)\n"
            b"print(len(data), sum(data) & 0xffff)\n\x04"
        )
        port.read_until(b"ready\r\n")
        data = bytes(i % 251 for i in range(20000))
        port.write(data)
        assert port.read_until(b"\r\n") == b"%d %d\r\n" % (len(data), sum(data) & 0xFFFF)


def test_files_and_main_outlive_a_soft_reset(sim):
    run(sim, "with open('/main.py', 'w') as f: f.write('print(\"main ran\", __name__)')")
    assert run(sim, "import os; print(os.listdir('/'))") == "['main.py']\n"
    with sim.open(timeout=PATIENCE_S) as port:
        port.write(b"\r\x03\x02\x04")
        out = port.read_until(b"main ran __main__\r\n")
        assert out.endswith(b"main ran __main__\r\n")


def test_random_numbers_differ_from_start_to_start(sim):
    script = "import random; print(random.getrandbits(30), random.getrandbits(30))"
    first = run(sim, script)
    sim.restart()
    assert run(sim, script) != first
