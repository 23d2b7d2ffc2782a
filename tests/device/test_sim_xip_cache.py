"""The model of the flash's cache: which reads miss, and what the misses cost.

The reads come from a loop in RAM with interrupts off, so that every access to flash is the test's.
What is expected is counted by hand, or by a model that keeps lines in an OrderedDict per set.
"""

import json
import random
import struct
from binascii import b2a_base64
from collections import OrderedDict

import pytest
import soak
import targets
from mcpgw.sim import PicoSim

XIP, NOALLOC, NOCACHE, NEITHER = 0x10000000, 0x11000000, 0x12000000, 0x13000000
SETS, LINE, WAY = 1024, 8, 8192
# 24 bits of address and 8 mode bits in nibbles, 4 clocks of waiting, 64 bits in nibbles; 2 cycles
# of the 125 MHz processor to a clock of the flash.
MISS = 2 * ((24 + 8) // 4 + 4 + 64 // 4)
TURN = 2 + 1 + 2 + 1 + 2  # ldr, add, ldr, sub, bne: cycles by Arm's reference manual

LOOP = """
import array, json, machine, time
from binascii import a2b_base64
@micropython.asm_thumb
def loop(r0, r1, r2):  # addresses, their number, XIP_CTRL; hits and accesses into the array
    mov(r5, r0)
    str(r1, [r2, 0x0c])
    str(r1, [r2, 0x10])
    label(AGAIN)
    ldr(r3, [r0, 0])
    add(r0, r0, 4)
    ldr(r3, [r3, 0])
    sub(r1, r1, 1)
    bne(AGAIN)
    ldr(r3, [r2, 0x0c])
    ldr(r4, [r2, 0x10])
    str(r3, [r5, 0])
    str(r4, [r5, 4])

@micropython.asm_thumb
def flush(r0):
    mov(r1, 1)
    str(r1, [r0, 4])

def measure(addresses):
    data = array.array('I', a2b_base64(addresses))
    flush(0x14000000)
    state = machine.disable_irq()
    begin = time.ticks_us()
    loop(data, len(data), 0x14000000)
    us = time.ticks_diff(time.ticks_us(), begin)
    machine.enable_irq(state)
    return data[0], data[1], us
"""


def measure(sim, *patterns):
    """[(hits, accesses, microseconds)] of lists of addresses, each after a flush."""
    coded = [b2a_base64(struct.pack(f"<{len(p)}I", *p)).strip() for p in map(list, patterns)]
    script = LOOP + "".join(f"print(json.dumps(measure({data})))\n" for data in coded)
    return [json.loads(line) for line in targets.run(sim, script).splitlines()]


@pytest.fixture(scope="module")
def cached():
    with PicoSim(targets.firmware("pico"), xip_cache=True) as sim:
        yield sim


def base(n=0):
    """An address in the ROM region, at the start of a way."""
    return XIP + 655360 + n


def test_the_firmware_sets_the_flash_to_what_the_cost_is_derived_from(cached):
    assert cached.status()["xip"]["cost"] == MISS == 56


def test_patterns_miss_as_often_as_counted_by_hand(cached):
    once = [base(4 * n) for n in range(512)]  # 2 KB word by word: a miss for each line
    again = once + once
    two = [base(WAY * (n % 2)) for n in range(100)]  # two lines of one set stay
    three = [base(WAY * (n % 3)) for n in range(99)]  # three of them never do
    mixed = [base(WAY * n) for n in (0, 1, 0, 2, 0, 1)]  # 0 was used last when 2 came, 1 goes
    assert [found[:2] for found in measure(cached, once, again, two, three, mixed)] == [
        [256, 512],
        [768, 1024],
        [98, 100],
        [0, 99],
        [2, 6],
    ]


def test_aliases_look_and_fill_as_the_datasheet_says(cached):
    offset = 655360
    alias = {
        "x": XIP + offset,
        "a": NOALLOC + offset,
        "c": NOCACHE + offset,
        "n": NEITHER + offset,
    }
    hits = {
        "xx": 1,
        "aa": 0,  # looks, does not fill
        "xa": 1,
        "cc": 0,  # fills, does not look
        "cx": 1,
        "ca": 1,
        "nx": 0,  # neither
        "xn": 0,
        "xcx": 1,
        "xnx": 1,
    }
    found = measure(cached, *([alias[kind] for kind in kinds] for kinds in hits))
    assert [(hit, accesses) for hit, accesses, _ in found] == [
        (count, len(kinds)) for kinds, count in hits.items()
    ]


def expected_hits(addresses):
    """By the text of the datasheet, with least recent use."""
    sets = [OrderedDict() for _ in range(SETS)]
    hits = 0
    for address in addresses:
        line = address % (1 << 24) // LINE
        lines = sets[line % SETS]
        if line in lines:
            hits += 1
        lines[line] = None
        lines.move_to_end(line)
        if len(lines) > 2:
            lines.popitem(last=False)
    return hits


def test_random_patterns_hit_as_an_independent_model_says(cached, seed):
    rng = random.Random(seed)
    patterns = []
    for _ in range(soak.count(8, 100)):
        near = [base(4 * rng.randrange(16)) for _ in range(rng.randrange(1, 40))]
        pool = [a + WAY * rng.randrange(5) for a in near]
        patterns.append(rng.choices(pool, k=600))
    found = measure(cached, *patterns)
    assert [hits for hits, _, _ in found] == [expected_hits(p) for p in patterns]


@pytest.mark.parametrize("xip_cache", [False, True])
def test_time_has_the_misses_in_it_and_without_the_option_does_not_change(xip_cache):
    """The loop's own time is known from the processor's manual."""
    few, many = 10, 1010
    hitting = [base()] * many
    missing = [base(LINE * n) for n in range(many)]
    # The first is for the interpreter, which finds names faster the second time.
    patterns = hitting[:few], hitting[:few], hitting, missing[:few], missing
    with PicoSim(targets.firmware("pico"), xip_cache=xip_cache) as sim:
        before = sim.status()["xip"]
        times = [us for _, _, us in measure(sim, *patterns)][1:]
        after = sim.status()["xip"]
    turns = many - few
    cost = MISS if xip_cache else 0
    # The clock reads whole microseconds; what calls the loop costs the same with few and many.
    assert abs(times[1] - times[0] - turns * TURN / 125) <= 3, times
    # ... but for what the loop's reads have pushed out of the cache and it finds gone afterwards.
    extra = times[3] - times[2] - turns * (TURN + cost) / 125
    assert -3 <= extra <= (40 if xip_cache else 3), times
    if xip_cache:
        misses = after["misses"] - before["misses"]
        stalled = after["stalled"] - before["stalled"]
        assert misses > turns
        assert 0 <= stalled - MISS * misses <= SETS * len(patterns)  # reads wait for a flush
    else:
        assert before is after is None


def test_every_run_is_alike():
    """A start of the firmware up to its console, instruction fetches and all."""
    runs = []
    for _ in range(2):
        with PicoSim(targets.firmware("pico"), seed=1, xip_cache=True) as sim:
            sim.hold()
            sim.restart()
            status = sim.status()
            runs.append((status["cycles"], status["xip"]))
    assert runs[0] == runs[1]
    hits, misses = (runs[0][1][key] for key in ("hits", "misses"))
    assert misses > 1000 and 0.5 < hits / (hits + misses) < 1


def test_after_a_reset_the_cache_is_there_again(cached):
    cached.reset()
    assert measure(cached, [base(), base(4)])[0][:2] == [1, 2]
    assert cached.status()["xip"]["cost"] == MISS
