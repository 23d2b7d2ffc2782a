"""The emulated Pico's flash is NOR flash, and power cuts tear it as asked."""

import contextlib

import pytest
import targets
from mcpgw.sim import PicoSim, SimError
from targets import run

# The last sectors of the storage region: a raw place to try flash operations on.
SCRATCH = """
import rp2
whole = rp2.Flash()
sectors = whole.ioctl(4, 0)
dev = rp2.Flash(start=(sectors - 4) * 4096, len=4 * 4096)
"""
SCRATCH_SECTORS = 4


def scratch_bytes(sim):
    """What the last sectors of the flash file hold."""
    return sim.flash_path.read_bytes()[-SCRATCH_SECTORS * 4096 :]


def test_flash_is_nor(sim):
    """Programming only clears bits; what was written before stays where it is not cleared."""
    out = run(
        sim,
        SCRATCH
        + """
dev.ioctl(6, 0)
dev.writeblocks(0, b'\\xf0' * 256, 0)
dev.writeblocks(0, b'\\x3c' * 256, 0)
buf = bytearray(257)
dev.readblocks(0, buf)
print(hex(buf[0]), hex(buf[255]), hex(buf[256]))
dev.ioctl(6, 0)
dev.readblocks(0, buf)
print(hex(buf[0]))
""",
    )
    assert out == "0x30 0x30 0xff\n0xff\n"


def test_flash_takes_its_time(sim):
    out = run(
        sim,
        SCRATCH
        + """
import time
start = time.ticks_us()
dev.ioctl(6, 0)
erased = time.ticks_us()
dev.writeblocks(0, bytes(256), 0)
print(time.ticks_diff(erased, start), time.ticks_diff(time.ticks_us(), erased))
""",
    )
    erase, program = map(int, out.split())
    assert 45_000 <= erase < 46_000
    assert 400 <= program < 1000


OPERATIONS = SCRATCH + "dev.ioctl(6, 0)\ndev.writeblocks(0, bytes(range(256)), 0)\n"


def cut(sim, n, **how):
    """Two operations on the scratch sectors, which hold zeros; the n-th is cut."""
    run(sim, SCRATCH + "dev.writeblocks(0, bytes(4096))")
    sim.power_cut_at(n, **how)
    with contextlib.suppress(Exception):
        run(sim, OPERATIONS)
    assert sim.wait_exit() == 137
    return scratch_bytes(sim)


@pytest.mark.parametrize("done", [0, 1, 1000, 4096])
def test_cut_prefix_of_an_erase(sim, done):
    sector = cut(sim, 1, bytes=done)[:4096]
    assert sector == b"\xff" * done + bytes(4096 - done)


@pytest.mark.parametrize("done", [0, 1, 255])
def test_cut_prefix_of_a_program(sim, done):
    sector = cut(sim, 2, bytes=done)[:4096]
    assert sector == bytes(range(done)) + b"\xff" * (4096 - done)


def test_cut_prefix_is_half_by_default(sim):
    assert cut(sim, 2)[:256] == bytes(range(128)) + b"\xff" * 128


def test_cut_bits(sim):
    erased = cut(sim, 1, mode="bits", seed=5)[:4096]
    assert {0, 0xFF} != set(erased) and len(set(erased)) > 100
    sim.restart()
    again = cut(sim, 1, mode="bits", seed=5)[:4096]
    assert again == erased
    sim.restart()
    assert cut(sim, 1, mode="bits", seed=6)[:4096] != erased
    sim.restart()
    page = cut(sim, 2, mode="bits", seed=5)[:256]
    assert all(byte | i == byte for i, byte in enumerate(page))  # only bits to be cleared are
    assert page != bytes(range(256)) and page != b"\xff" * 256


def test_cut_marginal(sim):
    """The sector reads as erased, but does not keep what is programmed before the next erase."""
    assert cut(sim, 1, mode="marginal")[:4096] == b"\xff" * 4096
    sim.restart()
    data = "bytes([0xf0] * 256)"
    read = "buf = bytearray(256)\ndev.readblocks(0, buf)\n"
    write = f"dev.writeblocks(0, {data}, 0)\n{read}print(buf == {data})"
    assert run(sim, f"{SCRATCH}{read}print(set(buf))") == "{255}\n"
    assert run(sim, SCRATCH + write) == "False\n"
    assert run(sim, f"{SCRATCH}dev.ioctl(6, 0)\n{write}") == "True\n"


def test_cut_counts_from_power_on(tmp_path):
    flash = tmp_path / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        operations = sim.status()["operations"]
    assert operations > 0  # the first boot makes the file system
    flash.unlink()
    sim = PicoSim(targets.firmware("pico"), flash=flash)
    sim.power_cut_at(1)
    with contextlib.suppress(SimError):
        sim.start()
    assert sim.wait_exit() == 137
    with sim:
        assert run(sim, "print('boots again')") == "boots again\n"


def test_cut_can_be_taken_back(sim):
    sim.power_cut_at(1)
    sim.command("cut", n=0)
    run(sim, OPERATIONS)
    assert scratch_bytes(sim)[:256] == bytes(range(256))
