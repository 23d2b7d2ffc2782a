"""Power cuts everywhere, without exception: after every byte of every program and erase of a run
that wraps the ring twice; and at every operation of every recovery from a cut at every operation.

Quick runs have sectors of 1024 bytes and pages of 64, soak runs those of real chips."""

import soak
from ring_oracle import Small, power_up
from test_ring_cuts import cut_in, failing, recorded, survive

from mcp_gw.queue import nor_fault
from mcp_gw.queue.nor_fault import PowerCut, Rng
from mcp_gw.queue.nor_kept import RamNor, clear_bits

KIND = RamNor if soak.SOAK else Small


class Steady(KIND):
    """Flash without a fault by now."""

    weak = {}  # noqa: RUF012
    flicker = False


def after(step, length, from_end):
    """The flash when `length` bytes of a recorded program or erase were done; of an erase those at
    its end if from_end."""
    image, _, name, args = step
    image = bytearray(image)
    if name == "program":
        addr, data = args
        image[addr : addr + length] = clear_bits(image[addr : addr + length], data[:length])
    else:
        at = args[0] * KIND.sector_size + (KIND.sector_size - length if from_end else 0)
        image[at : at + length] = b"\xff" * length
    return image


def begin_again(image, oracle, seed):
    """Mount what a cut has left, decide, write a little and mount again."""
    dev = Steady(len(image) // KIND.sector_size, image)
    ring = oracle.mount(dev)
    assert dev.image == image, "mounting has written"
    oracle.settle(ring)
    oracle.work(ring, Rng(seed), 1, 6, 100)
    oracle.mount(dev)


def test_one_cut_after_every_byte():
    base = soak.seed("every byte")
    steps = recorded(3, 4, 8, KIND.sector_size // 4, kind=KIND)
    assert sum(name == "erase" for _, _, name, _ in steps) >= 6
    cases = 0
    for at, step in enumerate(steps):
        _, oracle, name, args = step
        size = KIND.sector_size if name == "erase" else len(args[1])
        last = None
        for from_end in (False, True) if name == "erase" else (False,):
            for length in range(size + 1):
                image = after(step, length, from_end)
                # Bytes that were like that before: the case is the same.
                if image != last:
                    last = image
                    with failing("operation %d, %d bytes of it, %d", at, length, from_end):
                        begin_again(image, oracle.copy(), base + at)
                    cases += 1
    print(cases, "cuts")


def test_two_cuts_at_every_two_operations():
    """The second one at each operation of the recovery and of what follows; in soak runs each pair
    of ways to be cut."""
    base = soak.seed("two cuts")
    steps = recorded(3, 5, 8, KIND.sector_size // 4, kind=KIND)
    ways = len(nor_fault.MODES)
    pairs = 0
    for at, step in enumerate(steps):
        for way in range(ways * ways) if soak.SOAK else (at % (ways * ways),):
            second = 0
            struck = True
            while struck:
                # In quick runs each pair of operations meets another pair of ways.
                first = (way + (0 if soak.SOAK else second)) % ways
                other = (way // ways + (0 if soak.SOAK else second // ways)) % ways
                seed = base + (at * 64 + way) * 64 + second
                text = "operations %d, %d, modes %d, %d, seed %d"
                with failing(text, at, second, first, other, seed):
                    dev, oracle = cut_in(step, first, seed, kind=KIND)
                    dev.cut(second, other, seed >> 4 & 1)
                    struck = recover(dev, oracle, seed)
                    if struck:
                        survive(power_up(dev), oracle, seed, 2)
                second += 1
                pairs += struck
    print(pairs, "pairs of cuts")


def recover(dev, oracle, seed):
    """Mount, decide, write a little. Whether the power was cut."""
    try:
        ring = oracle.begin(dev)
        oracle.work(ring, Rng(seed), 2, 6, 200)
    except PowerCut:
        return True
    return False
