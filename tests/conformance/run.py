"""`make conformance`: the official suites against the fixture server.

python run.py [unix] [pico] [asgi]

on the unix build over HTTP, on the emulated Pico, under CPython as `mcpgw pi` serves; default: all
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[1] / "tools")]

import servers  # noqa: E402
import suites  # noqa: E402


def main(places):
    failed = 0
    for place in places or servers.PLACES:
        with servers.PLACES[place]() as url:
            for suite in suites.SUITES:
                began = time.monotonic()
                outcome = suites.run(suite, url)
                took = time.monotonic() - began
                print(f"{place}, {took:.0f} s, {outcome.report()}", flush=True)
                failed += len(outcome.failures)
        for check, why in servers.BEYOND[place].items():
            print(f"{place}: not tried: {check}: {why}")
    print(f"conformance: {failed or 'nothing'} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
