"""The bridge and the emulated RP2040: in whatever state a board was left, it is made to serve."""

import time

import pytest
from bridge_rig import Bridge
from mcpgw.bridge.rescue import POKE
from waiting import PATIENCE_S

PATIENCE = str(PATIENCE_S)
MAIN = """
from mcp_gw import Gateway
gw = Gateway("bench", version="1.0")

@gw.tool("Stops the gateway")
def crash():
    raise KeyboardInterrupt

gw.run()
"""


@pytest.fixture
def board(pico):
    pico.run(f"with open('/main.py', 'w') as f:\n    f.write({MAIN!r})", timeout=PATIENCE_S)
    yield pico.sim
    if not pico.sim.running:
        pico.sim.restart()
    pico.run("import os\nos.remove('/main.py')", timeout=PATIENCE_S)


@pytest.fixture
def bridge(board, tmp_path):
    made = []

    def start(*options):
        files = {"state": tmp_path / "state", "stderr": tmp_path / f"log{len(made)}"}
        made.append(Bridge(board.port, *options, genuine=True, **files))
        return made[-1]

    yield start
    for one in made:
        one.close()


def served(bridge):
    bridge.request("there?", "ping")
    assert bridge.get() == {"jsonrpc": "2.0", "id": "there?", "result": {}}


def type_in(board, keys, wanted):
    with board.open(timeout=0.2) as port:
        port.write(keys)
        seen, end = b"", time.monotonic() + PATIENCE_S
        while wanted not in seen:
            seen += port.read(256)
            assert time.monotonic() < end, seen


STATES = {
    "prompt": (b"\r", b">>> "),
    "half a line": (b"\rx = [1, ", b"x = [1, "),
    "half a block": (b"\rif 1:\r", b"... "),
    "raw": (b"\r\x01", b"raw REPL; CTRL-B to exit\r\n>"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_board_left_in_a_repl_is_brought_to_serve(board, bridge, state):
    type_in(board, *STATES[state])
    joined = bridge("--wait", PATIENCE)
    served(joined)
    assert joined.close() == 0
    assert "internal error" not in joined.text()
    # The second one finds a board that serves and has nothing to do.
    again = bridge("--wait", PATIENCE)
    served(again)
    assert "starting its program" not in again.text()


def test_half_a_program_in_the_raw_repl_is_not_run(board, bridge, pico):
    type_in(board, b"\r\x01", b"raw REPL; CTRL-B to exit\r\n>")
    with board.open(timeout=0.2) as port:
        port.write(b"open('/ran', 'w').close()\n")
    joined = bridge("--wait", PATIENCE)
    served(joined)
    joined.close()
    assert "ran" not in pico.run("import os\nprint(os.listdir('/'))", timeout=PATIENCE_S)


def test_a_gateway_that_ends_under_a_client_is_started_again(board, bridge):
    joined = bridge("--wait", PATIENCE)
    served(joined)
    handshake = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t"}}
    joined.request(0, "initialize", handshake | {"clientInfo": {"name": "t", "version": "1"}})
    assert joined.get()["id"] == 0
    joined.request(1, "tools/call", {"name": "crash"})
    answer = joined.get()
    assert (answer["id"], answer["error"]["code"]) == (1, -32013)
    joined.request(2, "tools/list")
    answer = joined.get()
    assert answer["result"]["tools"][0]["name"] == "crash"
    assert "KeyboardInterrupt" in joined.text()


def test_a_serving_board_takes_a_poke_for_noise(board, bridge):
    joined = bridge("--wait", PATIENCE)
    served(joined)
    joined.close()
    with board.open(timeout=0.2) as port:
        port.write(POKE + b"\x04\n")
        time.sleep(0.5)
    again = bridge()
    served(again)
    assert "starting its program" not in again.text()


def test_power_cycle_under_a_client(board, bridge):
    joined = bridge("--wait", PATIENCE)
    served(joined)
    for _ in range(2):
        board.restart()
        served(joined)
    assert joined.text().count("bench 1.0 restarted and serves") == 2
