"""The tests' programs from npm: Node 22, the conformance suites, MCP clients.

`python tests/nodejs.py` puts what tests/node/package-lock.json pins into the user's cache.
"""

import hashlib
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

from mcpgw import UserError, npm  # noqa: E402

MANIFESTS = Path(__file__).parent / "node"
ARCHITECTURES = {"x86_64": "x64", "aarch64": "arm64"}


def home():
    """The folder in the cache that belongs to the lock file as it is now."""
    lock = (MANIFESTS / "package-lock.json").read_bytes()
    return npm.cache_dir() / ("tests-" + hashlib.sha256(lock).hexdigest()[:12])


def modules():
    """The node_modules folder. Raises UserError if it is not installed."""
    folder = home() / "node_modules"
    if not folder.is_dir():
        raise UserError("the tests' npm packages are not installed: run  make setup")
    return folder


def node():
    """The Node 22 program, whatever node the machine has. Raises UserError."""
    machine = platform.machine()
    path = modules() / f"node-linux-{ARCHITECTURES.get(machine, machine)}" / "bin" / "node"
    if not path.exists():
        raise UserError(f"npm has no Node 22 for {machine} here: {path} is missing")
    return path


def main():
    """Install, unless it is there."""
    done = not home().exists()
    try:
        if done:
            print("setup: fetching Node 22, the conformance suites and MCP clients from npm")
            npm.install(MANIFESTS, home())
        node()
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(f"the tests' npm packages {'installed in' if done else 'are in'} {home()}")


if __name__ == "__main__":
    main()
