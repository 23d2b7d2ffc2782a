"""What `mcpgw pair` writes for a board with a network: the unix build dials in with it."""

import contextlib
import inspect
import subprocess
from ipaddress import ip_address

import pytest
import rig
import targets
from authority import CA
from board_rig import text_of
from cryptography import x509
from mcpgw import UserError, pair
from mcpgw.edge import compiled, pairing
from mcpgw.pi.store import digest
from pi_rig import Pi, mcpgw
from waiting import ReservedPort, until

APP = """\
from mcp_gw import Gateway
gw = Gateway("greenhouse", version="1.0")
@gw.tool("Its upstreams")
def upstreams():
    return list(gw.upstreams.router.upstreams)
gw.run()
"""


class Files:
    """What pair has learned of a board with a network."""

    def __init__(self, wifi=False, id="e6614c311b4f2a2f", deployed=()):
        self.about = {"network": True, "wifi": wifi, "id": id, "mcp_gw": "1", "edge": True}
        self.deployed = dict(deployed)

    def part(self, path):
        return self.deployed


def found(called="greenhouse", **about):
    return pairing.Found("/dev/ttyACM9", Files(**about), called)


def wanted(name=None, ssid=None, password="correct horse"):
    return pairing.Wanted(name, ssid, lambda: password)


@contextlib.contextmanager
def board(folder, sections):
    """The unix build with the app and these sections of a configuration; gives its log's path."""
    checked = compiled.check_text(compiled.to_toml(sections))
    assert checked == sections
    file = folder / "board.json"
    file.write_bytes(compiled.compile_config(sections))
    app = folder / "app.py"
    app.write_text(APP)
    log = folder / "board.log"
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            [targets.firmware("unix"), app],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            cwd=folder,
            env=rig.environment() | {"MCPGW_CONFIG": str(file)},
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


@pytest.fixture
def pi(tmp_path):
    reserved = ReservedPort()
    dial = f'[dial]\nhost = "127.0.0.1"\nport = {reserved.number}\n'
    service = Pi(tmp_path, dial)
    service.dial = reserved.number
    yield service
    service.close()
    reserved.close()


@pytest.fixture
def here(pi):
    with contextlib.closing(pairing.Here(pi.config, "127.0.0.1")) as side:
        yield side


def up(pi, log):
    until(
        lambda: "board greenhouse is there" in pi.output(),
        lambda: pi.output() + log.read_text(),
    )


def test_a_board_dials_in_with_the_token_of_its_pairing(pi, here, tmp_path):
    plan = here.plan(found(), wanted())
    assert plan.sections["board"] == {"name": "greenhouse", "id": "e6614c311b4f2a2f"}
    assert "token" not in plan.sections["dial_out"]  # there is none before it was asked
    undo = here.write(plan)
    token = plan.sections["dial_out"]["token"]
    rows = here._store.tokens()
    assert [(name, kind, known) for name, kind, known, _ in rows] == [
        ("greenhouse", "board", digest(token))
    ]
    with board(tmp_path, plan.sections) as log:
        up(pi, log)
        assert "the Pi calls this board greenhouse" in log.read_text()
        until(lambda: "result" in pi.call("greenhouse_upstreams", {}), pi.output)
        assert text_of(pi.call("greenhouse_upstreams", {})) == '["pi"]'
    undo()
    assert not here._store.tokens() and not here.knows("greenhouse")


def test_a_board_trusts_the_pi_that_it_was_paired_with(tmp_path):
    authority = CA(tmp_path, "home")
    certificate, key = authority.issue("pi", [x509.IPAddress(ip_address("127.0.0.1"))])
    reserved = ReservedPort()
    dial = f'[dial]\nhost = "127.0.0.1"\nport = {reserved.number}\n'
    pi = Pi(tmp_path, dial + f'certificate = "{certificate}"\nkey = "{key}"\n')
    try:
        with contextlib.closing(pairing.Here(pi.config, "127.0.0.1", authority.path)) as side:
            plan = side.plan(found(), wanted())
            side.write(plan)
        for name, data in plan.files.items():
            (tmp_path / name).write_bytes(data)
        with board(tmp_path, plan.sections) as log:
            up(pi, log)
    finally:
        pi.close()
        reserved.close()


def test_a_token_that_was_taken_back_lets_nobody_in(pi, here, tmp_path):
    plan = here.plan(found(), wanted())
    here.write(plan)()
    with board(tmp_path, plan.sections) as log:
        until(lambda: "refused: its token is not known here" in log.read_text(), pi.output)


def test_a_pi_elsewhere_and_its_code(pi, tmp_path):
    code = mcpgw("pi", "code", "--config", pi.config).splitlines()[0]
    side = pairing.Elsewhere(f"127.0.0.1:{pi.dial}", code)
    plan = side.plan(found(), wanted())
    side.write(plan)
    with board(tmp_path, plan.sections) as log:
        up(pi, log)
        assert "greenhouse has paired" in pi.output()


def test_wifi_is_asked_for_and_written(here):
    with pytest.raises(UserError, match="no network to join: say which, --ssid"):
        here.plan(found(wifi=True), wanted())
    sections = here.plan(found(wifi=True), wanted(ssid="garden")).sections
    assert sections["wifi"] == {"ssid": "garden", "password": "correct horse"}
    sections = here.plan(found(wifi=True), wanted(ssid="garden", password="")).sections
    assert sections["wifi"] == {"ssid": "garden"}
    has = found(wifi=True, deployed={"wifi": {"ssid": "garden"}})
    assert "wifi" not in here.plan(has, wanted()).sections
    with pytest.raises(UserError, match="password must have 8 to 63 bytes, not 4"):
        here.plan(found(wifi=True), wanted(ssid="garden", password="long"))
    with pytest.raises(UserError, match="ssid must have 1 to 32 bytes, not 33"):
        here.plan(found(wifi=True), wanted(ssid="g" * 33))
    with pytest.raises(UserError, match="no Wi-Fi"):
        here.plan(found(), wanted(ssid="garden"))


def test_the_password_is_read_and_never_an_option(tmp_path, monkeypatch):
    monkeypatch.delenv("MCPGW_WIFI_PASSWORD", raising=False)
    file = tmp_path / "password"
    file.write_text("from the file\n")
    assert pair._password("garden", file) == "from the file"
    with pytest.raises(UserError, match="cannot be read"):
        pair._password("garden", tmp_path / "none")
    monkeypatch.setattr("sys.stdin", open(file))  # noqa: SIM115 (nobody is there to ask)
    with pytest.raises(UserError, match="password of garden is not known: --password-file"):
        pair._password("garden", None)
    monkeypatch.setenv("MCPGW_WIFI_PASSWORD", "from the environment")
    assert pair._password("garden", None) == "from the environment"
    options = {name for name in inspect.signature(pair.pair).parameters if "password" in name}
    assert options == {"password_file"}


def test_the_same_board_keeps_its_name_and_another_needs_one_of_its_own(here):
    here.write(here.plan(found(), wanted("bed")))
    assert here.plan(found(), wanted()).name == "bed"
    assert here.plan(found(), wanted("bed")).name == "bed"
    with pytest.raises(UserError, match="the Pi knows this board as bed: leave --name out"):
        here.plan(found(), wanted("other"))
    assert here.plan(found(called=None, id="00ff"), wanted()).name == "board-00ff"
    with pytest.raises(UserError, match="knows something else as bed already"):
        here.plan(found(id="00ff"), wanted("bed"))
    with pytest.raises(UserError, match="too long"):
        here.plan(found(id="00ff"), wanted("b" * 33))


def test_what_is_no_pi():
    for where in ("", "pi.local", "[::1]", "pi:0"):
        with pytest.raises(UserError, match=r"HOST:PORT|add the port"):
            pairing.Elsewhere(where, "ABCD-EFGH")
    with pytest.raises(UserError, match="code must have 4 to 64 bytes, not 1"):
        pairing.Elsewhere("pi:8444", "A")
    with pytest.raises(UserError, match="name is wrong: 1 to 64 of"):
        pairing.Elsewhere("pi:8444", "ABCD-EFGH").plan(found(), wanted("a b"))
