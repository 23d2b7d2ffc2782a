"""Runs the test functions of one file on MicroPython.

    MICROPYPATH=ROOT:.frozen build/unix/micropython tests/unit/mpy_runner.py FILE [NAME ...]

Prints `PASS name` or `FAIL name` with the traceback for each function test_*, or for the names
given, then a summary. Exits with 1 if any failed or there was none. The package comes from the
tree (ROOT first in MICROPYPATH), the C modules from the build.
"""

import gc
import sys


def main(path, names):
    folder, _, file = path.rpartition("/")
    sys.path.insert(0, folder or ".")
    # Beside unit/ lies soak.py, which the tests may import.
    sys.path.insert(1, (folder or ".") + "/..")
    module = __import__(file[:-3])
    found = sorted(name for name in dir(module) if name.startswith("test_"))
    failed = 0
    for name in names or found:
        gc.collect()
        try:
            getattr(module, name)()
        except Exception as error:
            failed += 1
            print("FAIL", name)
            sys.print_exception(error)
        else:
            print("PASS", name)
    print(len(names or found), "tests,", failed, "failed")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
