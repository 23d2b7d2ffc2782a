"""`make bench`: what the gateway costs, and how it compares with the official SDKs.

Words on the command line choose sections: pico, models, classic, language, model_tools, tokenizer,
host, pi, sdks. Exit code 1 if a budget is exceeded or a target missed.
"""

import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools"), str(HERE.parent), str(HERE)]

import classic  # noqa: E402
import host  # noqa: E402
import language  # noqa: E402
import model_tools  # noqa: E402
import models  # noqa: E402
import pi  # noqa: E402
import pico  # noqa: E402
import queueing  # noqa: E402
import sdks  # noqa: E402
import tokenizer  # noqa: E402

SECTIONS = (
    ("emulated cycles/ms at 125 MHz, no XIP cache or flash wait modelled", pico),
    ("models: emulated boards, and the wall clock of this machine where it says so", models),
    ("trees and neighbours, on the emulated Pico", classic),
    ("a language model: emulated Pico at 125 MHz, and this machine", language),
    ("models as tools, on the emulated Pico", model_tools),
    ("tokenizer: the emulated Pico, then the wall clock of this machine", tokenizer),
    ("the queue's ring: counted on this machine; times and RAM on the emulated Pico", queueing),
    ("wall clock of this machine, the board emulated", host),
    ("the paired gateway beside a FastMCP proxy: wall clock of this machine", pi),
)


def main():
    began = time.monotonic()
    exceeded = 0
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="mcpgw-bench-") as folder:
        for title, module in SECTIONS:
            name = getattr(module, "SECTION", module.__name__)
            if wanted and name not in wanted:
                continue
            place = Path(folder, name)
            place.mkdir()
            print(f"\n{title}\n{'-' * len(title)}")
            for row in module.rows(place):
                verdict = {None: "", True: "ok", False: "TOO MUCH"}[row.ok]
                exceeded += row.ok is False
                budget = f"  [{row.limit}: {verdict}]" if row.limit else ""
                print(f"{row.what:58} {row.value}{budget}", flush=True)
    missed = sdks.compare() if not wanted or "sdks" in wanted else 0
    print(
        f"\n{time.monotonic() - began:.0f} s; {exceeded or 'no'} budget exceeded,"
        f" {missed or 'no'} target missed"
    )
    return 1 if exceeded or missed else 0


if __name__ == "__main__":
    sys.exit(main())
