"""Boards that stay on for weeks take no more memory in the end than after the first days."""

import gc
import subprocess
import tracemalloc
from pathlib import Path

import soak
import targets
from fleet import Settings, live

HERE = Path(__file__).parent
# Part by which memory may grow after the warm-up.
GROWTH = 0.01
WARM_UP = 2  # days


def flat(sizes):
    """Whether no day after the warm-up took more than the warm-up, and a hundredth."""
    print(sizes)
    return max(sizes[WARM_UP:]) <= max(sizes[:WARM_UP]) * (1 + GROWTH)


def test_memory_of_boards_is_flat_in_a_fleet(seed):
    """What the package has allocated, by tracemalloc, whenever nothing is under way."""
    sizes = []

    def measure(day):
        gc.collect()
        wanted = [
            tracemalloc.Filter(True, "*/mcp_gw/*"),
            tracemalloc.Filter(False, "*/nor_kept.py"),  # the flash itself
        ]
        rows = tracemalloc.take_snapshot().filter_traces(wanted).statistics("filename")
        sizes.append(sum(row.size for row in rows))

    tracemalloc.start()
    try:
        days = soak.count(3, 30)
        live(Settings(boards=soak.count(1, 4), days=days, cuts=0, rests=True), seed, None, measure)
    finally:
        tracemalloc.stop()
    assert flat(sizes)


def test_memory_of_a_board_is_flat_on_micropython(seed):
    """Bytes that are allocated at the end of each day, by the collector's own count."""
    days = soak.count(5, 30)
    command = [targets.firmware("unix"), HERE / "board_heap.py", days, seed & 0xFFFF]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    rows = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(rows) == days, done.stdout + done.stderr
    assert flat([used for _, used, _, _, _ in rows])
    assert rows[-1][3] > rows[-1][2] // 2 and rows[-1][4] == 0, rows[-1]
