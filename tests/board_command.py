"""The command mcpgw, told to use a simulated board."""

import os
import subprocess
import sys

import targets
from waiting import PATIENCE_S


def mcpgw(sim, *arguments, code=0):
    """(stdout, stderr) of the command, which is to end with this exit code (None: any)."""
    command = [sys.executable, "-m", "mcpgw.cli", *map(str, arguments)]
    if arguments[0] == "deploy" and "--wait" not in arguments:
        command += ["--wait", str(PATIENCE_S)]
    path = os.pathsep.join([str(targets.ROOT / "tools"), str(targets.ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "MCPGW_PORT": str(sim.port), "COLUMNS": "200"}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        env=env,
        stdin=subprocess.DEVNULL,
    )
    assert code in (None, done.returncode), done.stdout + done.stderr
    return done.stdout, done.stderr
