"""The emulated Pico's chip: analogue inputs, pins, time, randomness."""

import time

import pytest
import targets
from mcpgw.sim import PicoSim, SimError
from targets import run
from waiting import PATIENCE_S


def test_adc(tmp_path):
    read = "import machine\nprint(machine.ADC(27).read_u16(), machine.ADC(4).read_u16() >> 4)"
    flash = tmp_path / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash, adc={1: "1.65V"}) as sim:
        assert run(sim, read) == "32776 876\n"
        sim.adc(1, 4095)
        sim.adc(4, 900)
        assert run(sim, read) == "65535 900\n"
        sim.reset()
        assert run(sim, read) == "65535 900\n"
        with pytest.raises(SimError):
            sim.adc(1, 4096)
        with pytest.raises(SimError):
            sim.adc(5, 0)


def test_pins(sim):
    level = "from machine import Pin\nprint(Pin(3, Pin.IN, Pin.PULL_%s)())"
    assert run(sim, level % "UP") == "1\n"
    assert run(sim, level % "DOWN") == "0\n"
    sim.pin(3, 1)
    assert run(sim, level % "DOWN") == "1\n"
    sim.pin(3, None)
    assert run(sim, level % "DOWN") == "0\n"
    out = run(
        sim, "from machine import Pin\np = Pin(2, Pin.OUT)\np(1)\nprint(p())\np(0)\nprint(p())"
    )
    assert out == "1\n0\n"
    run(sim, "from machine import Pin\nPin(2, Pin.OUT)(1)")
    assert sim.read_pin(2) == 1


def test_pin_interrupt(sim):
    script = """
from machine import Pin
import time
hits = []
Pin(5, Pin.IN, Pin.PULL_DOWN).irq(lambda pin: hits.append(pin()), Pin.IRQ_RISING)
print('armed')
while not hits:
    time.sleep_ms(5)
print('hit')
"""
    with sim.open(timeout=1) as port:
        repl = targets.RawREPL(port, PATIENCE_S)
        repl.enter()
        repl.paste(script.encode())
        repl.until(b"armed\r\n")
        sim.pin(5, 1)
        repl.until(b"hit\r\n")


def test_edges_are_timed(sim):
    """Edges carry simulated time, whatever this machine is busy with."""
    script = """
from machine import Pin
import time
p = Pin(6, Pin.OUT, value=0)
for i in range(3):
    p(1)
    time.sleep_us(250)
    p(0)
    time.sleep_us(250)
"""
    sim.watch(6)
    widths = []
    for _ in range(2):
        sim.events("pin")
        run(sim, script)
        edges = sim.events("pin")
        assert [edge["value"] for edge in edges] == [0, 1, 0, 1, 0, 1, 0][-len(edges) :]
        rise, fall = edges[-2], edges[-1]
        widths.append(fall["ns"] - rise["ns"])
        assert 250_000 < widths[-1] < 400_000
        assert fall["cycles"] - rise["cycles"] > 20_000
    # An interrupt may fall into one of them.
    assert abs(widths[0] - widths[1]) < 20_000


def test_packets_are_timed(sim):
    sim.trace()
    run(sim, "print('traced')")
    packets = sim.events("packet")
    assert {packet["direction"] for packet in packets} == {"in", "out"}
    times = [packet["ns"] for packet in packets]
    assert times == sorted(times)
    assert all(0 < packet["length"] <= 64 for packet in packets)


def test_random_and_identity(used_flash):
    script = "import os, machine\nprint(os.urandom(16).hex(), machine.unique_id().hex())"
    outs = []
    for seed in (None, None, 7, 7):
        id = "0123456789abcdef"
        with PicoSim(targets.firmware("pico"), flash=used_flash, seed=seed, id=id) as sim:
            outs.append(run(sim, script).split())
    assert all(out[1] == "0123456789abcdef" for out in outs)
    assert outs[0][0] != outs[1][0]


def test_boots_are_deterministic(sim):
    """With the same flash and seed every boot executes the same instructions."""
    sim.kill()
    boots = []
    for _ in range(2):
        with PicoSim(targets.firmware("pico"), flash=sim.flash_path, seed=1) as again:
            boots.append(again.wait_event("ready"))
    assert boots[0] == boots[1]


def test_time_passes_while_idle(sim):
    """A board that sleeps keeps real time and leaves the host's processor alone."""
    run(sim, "import time\nstart = time.ticks_ms()")
    started, before = time.monotonic(), sim.status()
    time.sleep(2)
    after, elapsed = sim.status(), time.monotonic() - started
    assert 1.5 < (after["ns"] - before["ns"]) / 1e9 < elapsed + 0.1
    assert after["cpu"] - before["cpu"] < 0.2


def test_speed(sim):
    """How fast the emulator is on this machine, per second of processor time."""
    before = sim.status()
    run(sim, "for i in range(200000):\n    pass")
    after = sim.status()
    cycles = after["cycles"] - before["cycles"]
    megahertz = cycles / (after["cpu"] - before["cpu"]) / 1e6
    print(f"{megahertz:.0f} MHz emulated")
    assert megahertz > 5


TICK_US = 1000


def test_sleep_takes_its_time(sim):
    """In simulated time, to a tick: MicroPython sleeps until its millisecond counter has moved on
    by so many, which may be a part of a millisecond less."""
    script = """
import time
t = time.ticks_us()
time.sleep_ms(400)
print(time.ticks_diff(time.ticks_us(), t))
"""
    started = time.monotonic()
    assert -TICK_US <= int(run(sim, script)) - 400_000 <= 5 * TICK_US
    # Simulated time never runs ahead of real time by more than the emulator's own millisecond...
    assert time.monotonic() - started >= 0.398
    # ... unless it may: then minutes pass in no time.
    sim.command("speed", value=0)
    assert int(run(sim, script.replace("400", "500_000"))) >= 500_000_000 - TICK_US
    assert time.monotonic() - started < 500
