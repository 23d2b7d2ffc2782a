"""`mcpgw pair`: the emulated Pico and the store of a paired gateway."""

import contextlib
import subprocess

import pytest
import rig
import targets
from board_command import mcpgw
from mcpgw.pi import config as configuration
from mcpgw.pi.store import Store
from mcpgw.sim import PicoSim
from pi_rig import MCPGW, Process, environment, listens
from waiting import PATIENCE_S, ReservedPort, until

APP = """\
from mcp_gw import Gateway
gw = Gateway("greenhouse", version="1.0")
@gw.tool("What is in force")
def state():
    return {"upstreams": list(gw.upstreams.router.upstreams) if gw.upstreams else [],
            "depth": gw.config["max_depth"]}
gw.run()
"""


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    with PicoSim(targets.firmware("pico"), flash=folder / "flash.img", speed=4) as board:
        app = folder / "app.py"
        app.write_text(APP)
        mcpgw(board, "deploy", app)
        yield board


@pytest.fixture
def pi(tmp_path, sim):
    """Path of a Pi's configuration. The board is not paired afterwards."""
    path = tmp_path / "mcp-edge.toml"
    path.write_text(f'[pi]\nname = "hall"\nstate = "{tmp_path}/state"\n')
    yield path
    mcpgw(sim, "pair", "--remove", "--config", path, "--yes", code=None)


def known(pi):
    """[(name, identity, kind, where)] of the boards that a Pi's store knows."""
    store = Store(configuration.load(pi).store)
    with contextlib.closing(store):
        return [(row[0], row[1], row[2]["kind"], row[2]["where"]) for row in store.boards()]


def state(sim):
    wire = rig.SerialWire(sim)
    try:
        wire.wait_serving()
        return wire.call("state")["structuredContent"]
    finally:
        wire.close()


def test_a_board_and_a_pi_are_paired_and_unpaired(sim, pi, tmp_path):
    toml = tmp_path / "board.toml"
    toml.write_text("[settings]\nmax_depth = 9\n")
    mcpgw(sim, "deploy", "--config", toml)
    # Nobody answers the question here: nothing is written.
    out, err = mcpgw(sim, "pair", "--config", pi, code=1)
    assert "board greenhouse: port:" in out and 'name = "greenhouse"' in out, out
    assert "--yes answers it" in err
    assert known(pi) == [] and state(sim) == {"upstreams": [], "depth": 9}

    out, _ = mcpgw(sim, "pair", "--config", pi, "--yes")
    assert "paired as greenhouse; greenhouse 1.0 serves on" in out
    port = str(sim.port)
    assert known(pi) == [("greenhouse", f"port:{port}", "serial", port)]
    assert state(sim) == {"upstreams": ["pi"], "depth": 9}
    out, _ = mcpgw(sim, "config", "show")
    assert "[upstreams.pi]" in out and "max_depth = 9" in out and "id = " in out

    _, err = mcpgw(sim, "pair", "--config", pi, "--yes", code=1)
    assert "paired already, as greenhouse; mcpgw pair --remove undoes that" in err
    # Another deployment leaves the pairing as it is, and its removal too.
    toml.write_text("[settings]\nmax_depth = 10\n")
    mcpgw(sim, "deploy", "--config", toml)
    assert state(sim) == {"upstreams": ["pi"], "depth": 10}
    out, _ = mcpgw(sim, "config", "remove")
    assert "mcpgw pair --remove" in out
    assert state(sim) == {"upstreams": ["pi"], "depth": 32}

    out, _ = mcpgw(sim, "pair", "--remove", "--config", pi, "--yes")
    assert "greenhouse is not paired any more" in out
    assert known(pi) == [] and state(sim) == {"upstreams": [], "depth": 32}
    assert "edge" not in targets.run(sim, "import os\nprint(os.listdir('/'))")
    _, err = mcpgw(sim, "pair", "--remove", "--config", pi, "--yes", code=1)
    assert "is not paired" in err


def test_names_that_are_taken_and_what_cannot_be(sim, pi, tmp_path):
    def refused(*arguments):
        _, err = mcpgw(sim, "pair", "--config", pi, "--yes", *arguments, code=1)
        return err

    with contextlib.closing(Store(configuration.load(pi).store)) as store:
        store.put_board("greenhouse", "usb:1234", {"kind": "serial", "where": "elsewhere"})
    assert "knows something else as greenhouse already" in refused()
    assert "this board has no network: --ssid" in refused("--name", "bed", "--ssid", "home")
    _, err = mcpgw(sim, "pair", "--config", pi, "--yes", "--name", "b b", code=2)
    assert "'b b' is no name for a board" in err
    _, err = mcpgw(sim, "pair", "--pi", "10.0.0.1:8444", "--code", "ABCD-EFGH", "--yes", code=1)
    assert "this board has no network: plug it into that Pi" in err
    _, err = mcpgw(sim, "pair", "--config", tmp_path / "none.toml", code=1)
    assert "none.toml" in err
    _, err = mcpgw(sim, "pair", "--config", pi, "--port", tmp_path / "no-port", code=1)
    assert "no-port" in err
    assert state(sim)["upstreams"] == []
    assert known(pi) == [("greenhouse", "usb:1234", "serial", "elsewhere")]


def test_a_paired_board_is_served_by_the_pi(sim, pi, monkeypatch):
    """Paired while the service runs, with a port that no scan finds: its tools are there."""
    reserved = ReservedPort()
    pi.write_text(f"{pi.read_text()}port = {reserved.number}\n[discovery]\nserial = false\n")
    service = Process(pi.parent, "pi", [*MCPGW, "pi", "--config", pi])
    try:
        until(lambda: listens(reserved.number), service.output)
        mcpgw(sim, "pair", "--config", pi, "--yes")
        until(lambda: "board greenhouse is there" in service.output(), service.output)
        out = pi_command("boards", "--config", pi)
        assert "greenhouse  up" in out and str(sim.port) in out
        # The service has the port now, and lends it.
        _, err = mcpgw(sim, "pair", "--config", pi, "--yes", code=1)
        assert "paired already" in err
        monkeypatch.setenv("MCPGW_PI_CONFIG", str(pi))
        out, _ = mcpgw(sim, "config", "show")
        assert "[upstreams.pi]" in out
        seen = service.output().count("board greenhouse is there")
        assert "another mcpgw works on it" in service.output()
        until(
            lambda: (
                service.output().count("board greenhouse is there") > seen
                or "greenhouse  up" in pi_command("boards", "--config", pi)
            ),
            service.output,
        )
    finally:
        service.close()
        reserved.close()
    # It runs no more, and the next one finds the board by itself.
    service = Process(pi.parent, "again", [*MCPGW, "pi", "--config", pi])
    try:
        until(lambda: "board greenhouse is there" in service.output(), service.output)
    finally:
        service.close()
        reserved.close()


def pi_command(*arguments):
    command = [*MCPGW, "pi", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
