"""A port that somebody else has."""

import os
import socket
import subprocess
import sys

import pytest
import targets
from http_program import INTERPRETERS
from waiting import PATIENCE_S

APP = """
import sys
from mcp_gw import Gateway
try:
    Gateway("late").run("http", port=int(sys.argv[1]))
except OSError as e:
    print(e.errno, e)
print("printed")
"""


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_port_in_use_is_named(tmp_path, interpreter):
    script = tmp_path / "late.py"
    script.write_text(APP)
    program = sys.executable if interpreter == "cpython" else targets.firmware("unix")
    paths = {"MICROPYPATH": f"{targets.ROOT}:.frozen", "PYTHONPATH": str(targets.ROOT)}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [program, script, str(port)],
            env={**os.environ, **paths},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    told, printed = done.stdout.splitlines()
    assert f"cannot listen on port {port} of 127.0.0.1" in told
    assert printed == "printed"  # the console is the program's again
