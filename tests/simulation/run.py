"""Simulate a fleet: `python tests/simulation/run.py --seed N --days D --boards B`."""

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests"), str(Path(__file__).parent)]

from fleet import Settings, live  # noqa: E402
from world import Broken  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    seed = int(os.environ.get("MCPGW_SEED") or 1)
    parser.add_argument("--seed", type=int, default=seed, help="decides everything (MCPGW_SEED)")
    parser.add_argument("--days", type=float, default=3.0, help="simulated days")
    parser.add_argument("--boards", type=int, default=4)
    parser.add_argument("--loss", type=float, default=0.01, help="part of messages lost")
    parser.add_argument("--cuts", type=float, default=1.0, help="per board and day")
    parser.add_argument("--trace", help="file for the whole trace")
    given = parser.parse_args()
    settings = Settings(boards=given.boards, days=given.days, loss=given.loss, cuts=given.cuts)
    began = time.perf_counter()
    show = sys.stderr

    def progress(day):
        # print() is the boards' while the simulation lasts.
        show.write(f"\rday {day:.1f}, {time.perf_counter() - began:.0f} s ")
        show.flush()

    keep = open(given.trace, "w") if given.trace else None  # noqa: SIM115
    try:
        fleet = live(settings, given.seed, keep, progress)
    except Broken as e:
        print(f"\n{e}", file=show)
        return 1
    finally:
        if keep:
            keep.close()
    took = time.perf_counter() - began
    print(f"\rseed {given.seed}: {given.days:g} days, {given.boards} boards in {took:.0f} s")
    for name, count in sorted(fleet.world.counts.items()):
        print(f"  {name:34} {count}")
    print(f"trace {fleet.world.trace_hash()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
