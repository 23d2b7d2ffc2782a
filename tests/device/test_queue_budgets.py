"""The queue's budgets, none of which depends on a machine's speed: RAM on the emulated Pico, and
erases and wear counted on the host."""

import sys

import full_ring
import targets
from mcpgw.sim import PicoSim

sys.path.insert(0, str(targets.ROOT / "tests" / "bench"))
import queueing  # noqa: E402


def test_erases_and_wear():
    """10% of the records stay for as long as the ring takes to be filled once, or three times."""
    for rounds in (1, 3):
        ratio, _ = queueing.run(64, 10, rounds, 16)
        print(rounds, "rounds:", ratio)
        assert 1.1 < ratio <= queueing.RATIO
    _, wear = queueing.run(16, 10, 3, 200)
    print("erases:", wear)
    assert (max(wear) - min(wear)) * 100 < queueing.SPREAD_PERCENT * min(wear)


def test_ram_and_time_of_a_full_ring_of_1_mib(tmp_path):
    flash = tmp_path / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        targets.BoardTarget("pico", sim).run("")
    count = full_ring.put_into(flash)
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0, xip_cache=True) as sim:
        target = targets.BoardTarget("pico", sim)
        peak, kept, found = map(int, target.run(full_ring.RAM).split())
        print(f"{kept} bytes, {peak} while it is mounted; {found} records")
        assert found == count and kept < peak < queueing.RAM
        # Simulated time: the same on every machine.
        mount, _, _, *counts = map(int, target.run(full_ring.MOUNT).split())
        print(f"mounted in {mount} us")
        assert counts[:2] == [count, count] and mount < queueing.MOUNT_MS * 1000
