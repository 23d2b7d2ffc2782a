"""`make conformance`: the official suites against the fixture server.

python run.py [unix] [pico]     on the unix build over HTTP, on the emulated Pico; default: both
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[1] / "tools")]

import suites  # noqa: E402
from servers import PLACES  # noqa: E402


def main(places):
    failed = 0
    for place in places or PLACES:
        for suite in suites.SUITES:
            began = time.monotonic()
            with PLACES[place]() as url:
                outcome = suites.run(suite, url)
            print(f"{place}: {outcome.report()} ({time.monotonic() - began:.0f} s)", flush=True)
            failed += len(outcome.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
