"""mcp-edge.toml on the emulated Pico: deployed, in force after a restart, read back, damaged,
removed."""

import contextlib

import pytest
import rig
import targets
from board_command import mcpgw
from mcpgw import hello
from mcpgw.edge import compiled
from mcpgw.edge.onboard import PATH
from mcpgw.sim import PicoSim
from waiting import until

APP = """\
from mcp_gw import Gateway, Param
gw = Gateway()
@gw.tool("What is in force")
def state():
    up = gw.upstreams.router.upstreams if gw.upstreams else {}
    return {"name": gw.name, "depth": gw.config["max_depth"], "page": gw.config["page_size"],
            "upstreams": list(up), "queue": bool(gw.upstreams and gw.upstreams.forwarder.outbox)}
@gw.tool("Says it again", text=Param(str))
def echo(text):
    return text
gw.run()
"""
TOML = """\
[board]
name = "bed2"

[upstreams.office]
queueable = ["log_reading"]
expiry_s = 600

[settings]
max_depth = 9
max_message = 2048
page_size = 5
"""


@pytest.fixture
def app(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def toml(tmp_path):
    path = tmp_path / "mcp-edge.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    with PicoSim(targets.firmware("pico"), flash=folder / "flash.img", speed=4) as board:
        yield board


@contextlib.contextmanager
def talking(sim):
    """A Wire to the gateway that serves on the board."""
    wire = rig.SerialWire(sim)
    try:
        wire.wait_serving()
        yield wire
    finally:
        wire.close()


def state(sim):
    with talking(sim) as wire:
        return wire.call("state")["structuredContent"]


def test_a_configuration_is_in_force_and_can_be_read_back(sim, app, toml):
    out, _ = mcpgw(sim, "deploy", app, "--config", toml)
    assert "configuration: board, upstreams, settings" in out
    assert "bed2 0 serves" in out
    found = {"name": "bed2", "depth": 9, "page": 5, "upstreams": ["office"], "queue": True}
    assert state(sim) == found
    sim.restart()  # the power goes and comes
    assert state(sim) == found
    out, _ = mcpgw(sim, "config", "show")
    assert compiled.check_text(out) == compiled.check_text(TOML)
    out, _ = mcpgw(sim, "config", "remove")
    assert "the configuration is removed" in out
    assert state(sim)["name"] == "mcpgw"
    _, err = mcpgw(sim, "config", "show", code=1)
    assert "no configuration" in err
    out, _ = mcpgw(sim, "config", "remove")
    assert "no configuration was deployed" in out
    assert "edge" not in targets.run(sim, "import os\nprint(os.listdir('/'))")


def test_what_the_app_says_goes_before(sim, tmp_path, toml):
    app = tmp_path / "own.py"
    app.write_text(APP.replace("Gateway()", 'Gateway("own", max_depth=11)'))
    mcpgw(sim, "deploy", app, "--config", toml)
    found = state(sim)
    assert (found["name"], found["depth"], found["page"]) == ("own", 11, 5)


def test_a_damaged_file_is_told_and_the_board_serves_without_it(sim, app, toml):
    mcpgw(sim, "deploy", app, "--config", toml, "--no-run")
    targets.run(
        sim,
        f"f = open({PATH!r}, 'r+b')\nf.seek(20)\nbyte = f.read(1)[0]\nf.seek(20)\n"
        "f.write(bytes([byte ^ 4]))\nf.close()",
    )
    sim.restart()
    with talking(sim) as wire:
        found = wire.call("state")["structuredContent"]
        assert (found["name"], found["depth"], found["queue"]) == ("mcpgw", 32, False)
    assert_logged(sim, "/mcp-edge.json cannot be used: ")
    _, err = mcpgw(sim, "config", "show", code=1)
    assert "/mcp-edge.json on the board cannot be used" in err and "remove" in err
    mcpgw(sim, "deploy", "--config", toml)
    assert state(sim)["name"] == "bed2"


def assert_logged(sim, text):
    """The board tells a bridge that comes now what it has logged so far."""
    with sim.open(timeout=0.2) as port:
        heard = b""

        def told():
            nonlocal heard
            port.write(b"\n" + hello.frame("0123456789abcdef"))
            heard += port.read(1) + port.read(port.in_waiting)
            return text in heard.decode(errors="replace")

        until(told, lambda: heard[-2000:])


def test_what_the_board_cannot_do_is_refused_before_anything_is_written(sim, app, tmp_path):
    mcpgw(sim, "config", "remove", "--all")
    file = tmp_path / "network.toml"
    file.write_text('[wifi]\nssid = "home"\n[upstreams.pi]\nurl = "http://10.0.0.2/mcp"\n')
    _, err = mcpgw(sim, "deploy", "--config", file, code=1)
    assert "no network, which [wifi], the url in [upstreams.pi] would need" in err
    file.write_text("[settings]\nmax_depth = 1000\n")
    _, err = mcpgw(sim, "deploy", "--config", file, code=1)
    assert f"{file}:2: max_depth in [settings] must be from 4 to 128, not 1000" in err
    assert "edge" not in targets.run(sim, "import os\nprint(os.listdir('/'))")
