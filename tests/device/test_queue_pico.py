"""`mcpgw queue` and the queue of the emulated Pico: from its flash's file, and over its port."""

import json
import subprocess
import sys

import targets
from board_command import mcpgw
from mcpgw.sim import PicoSim

CALLS = """
from mcp_gw import Gateway
gw = Gateway("greenhouse")
gw.upstream("office", queueable=("log_reading",), expiry_s=3600)
for n in range(3):
    gw.process(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"office_log_reading",'
        b'"arguments":{"plot":%d,"note":"%s"}}}' % (n, b'x' * 900 * n))
"""


def test_calls_that_wait_are_listed(tmp_path):
    flash = tmp_path / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash, link=tmp_path / "pico", speed=0) as sim:
        targets.run(sim, CALLS)
        over_usb = json.loads(mcpgw(sim, "queue", "dump", "--port", sim.port, "--json")[0])
    # The whole flash, in which the board's profile says where the queue is.
    command = [sys.executable, "-m", "mcpgw.cli", "queue"]
    done = subprocess.run([*command, "dump", flash, "--json"], capture_output=True, check=True)
    rows = json.loads(done.stdout)
    assert rows == over_usb
    rows = [row for row in rows if row["kind"] == "request"]  # and not the record of the start
    assert [row["params"]["arguments"]["plot"] for row in rows] == [0, 1, 2]
    assert {(row["upstream"], row["tool"], row["expires_s"]) for row in rows} == {
        ("office", "log_reading", 3600)
    }
    done = subprocess.run([*command, "verify", flash], capture_output=True, text=True)
    assert done.returncode == 0 and "4 records; 0 losses" in done.stdout
