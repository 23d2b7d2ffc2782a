"""mcp-edge.toml as the paired gateway reads it: what is wrong is said with file, line and key."""

import errno
from pathlib import Path

import pytest
from mcpgw import UserError, tables
from mcpgw.pi import config as configuration
from mcpgw.pi import init, unit
from pi_rig import mcpgw

GOOD = """
[pi]
name = "edge"
host = "0.0.0.0"
port = 9000
state = "/var/lib/mcpgw"
hosts = ["pi.local"]
calls = 16

[pi.settings]
max_message = 65536

[servers.office]
url = "https://office.example/mcp"
headers = { Authorization = "env:OFFICE" }
calls = 2

[servers.files]
command = ["server", "--root", "/srv"]
environment = { KEY = "env:OFFICE" }

[boards.greenhouse]
url = "http://192.168.1.20:8080/mcp"
token = "env:OFFICE"

[boards.shed]
port = "/dev/ttyACM0"
baud = 9600

[discovery]
mdns = true

[board]
name = "is somebody else's section"

[wifi]
ssid = "home"
"""
ENVIRONMENT = {"OFFICE": "Bearer s3cret"}


def parsed(text, environment=ENVIRONMENT):
    table = tables.parse(text, "mcp-edge.toml")
    return configuration.from_table(table, "mcp-edge.toml", environment)


def test_a_good_one():
    config = parsed(GOOD)
    assert (config.name, config.host, config.port, config.calls) == ("edge", "0.0.0.0", 9000, 16)
    assert config.store == Path("/var/lib/mcpgw/pi.sqlite")
    assert config.settings == {"max_message": 65536}
    assert config.servers["office"].headers == {"Authorization": "Bearer s3cret"}
    assert config.servers["files"].command == ("server", "--root", "/srv")
    assert config.servers["files"].environment == {"KEY": "Bearer s3cret"}
    assert config.boards["greenhouse"].headers == {"Authorization": "Bearer Bearer s3cret"}
    assert config.boards["shed"].baud == 9600
    assert config.discovery.mdns and config.discovery.serial


def test_an_empty_one_has_defaults():
    config = parsed("", {"STATE_DIRECTORY": "/var/lib/mcpgw:/other"})
    assert (config.host, config.port) == ("127.0.0.1", configuration.DEFAULT_PORT)
    assert config.state == Path("/var/lib/mcpgw")


# No board comes that is not named.
ALONE = "[discovery]\nserial = false\n"

BAD = [
    ("[pi]\nprot = 1\n", "mcp-edge.toml:2: pi.prot: is not known here; did you mean port?"),
    ("[pi]\n\nport = 70000\n", "mcp-edge.toml:3: pi.port: must be a whole number from 0 to 65535"),
    ('[pi]\nport = "8750"\n', "mcp-edge.toml:2: pi.port: must be a whole number"),
    ("[pi]\nport = true\n", "mcp-edge.toml:2: pi.port: must be a whole number"),
    ('[pi]\nname = "my gateway"\n', "mcp-edge.toml:2: pi.name: 1 to 32 letters"),
    ("[pi]\nname = 7\n", "mcp-edge.toml:2: pi.name: must be text"),
    ("[pi]\ninsecure = 1\n", "pi.insecure: must be true or false"),
    ('[pi]\npath = "mcp"\n', "pi.path: must begin with /"),
    ("[pi]\nhosts = [1]\n", "pi.hosts: must be a list of texts"),
    ('[pi]\ncertificate = "/nowhere.pem"\n', "pi.certificate: certificate and key go together"),
    (
        '[pi]\ncertificate = "/nowhere.pem"\nkey = "/nowhere.key"\n',
        "mcp-edge.toml:2: pi.certificate: there is no file /nowhere.pem",
    ),
    ("[pi.settings]\nmax_mesage = 1\n", "2: pi.settings.max_mesage: is not known here; did"),
    ("[pi.settings]\nmax_message = 1\n", "pi.settings.max_message: must be a whole number from"),
    ("[server.office]\n", "mcp-edge.toml:1: server: is not known here; did you mean servers?"),
    ("[servers.office]\n", "mcp-edge.toml:1: servers.office: give it a url, or a command"),
    (
        '[servers.office]\nurl = "http://a/mcp"\ncommand = ["x"]\n',
        "servers.office: give it a url, or a command",
    ),
    ('[servers.office]\nurl = "ftp://a/mcp"\n', "2: servers.office.url: must begin with http://"),
    ('[servers.office]\nurl = "http://[::1/mcp"\n', "servers.office.url: must begin with http://"),
    ('[servers."my office"]\nurl = "http://a/"\n', 'servers.my office: names are 1 to 32 letters'),
    (
        '[servers.office]\nurl = "http://a/"\nheaders = { "A B" = "x" }\n',
        "servers.office.headers: A B: printable ASCII only",
    ),
    (
        '[servers.office]\nurl = "http://a/"\nheaders = { A = "env:NOT_SET" }\n',
        "3: servers.office.headers: $NOT_SET is not set in the environment",
    ),
    ('[servers.office]\nurl = "http://a/"\noffers = ["tool"]\n', "servers.office.offers: of"),
    ('[servers.a]\ncommand = ["x"]\nfolder = "/nowhere"\n', "folder: there is no folder /nowhere"),
    ('[servers.a]\ncommand = ["x"]\nca = "x"\n', "servers.a.ca: is not known here"),
    ("[boards.shed]\n", "boards.shed: give it a port, or a url"),
    ('[boards.shed]\nprt = "x"\n', ":2: boards.shed.prt: is not known here; did you mean port?"),
    ('[servers.a]\nulr = "x"\n', ":2: servers.a.ulr: is not known here; did you mean url?"),
    ('[servers.a]\ncommand = "sh -c x"\n', 'a list of the program and its arguments: ["sh", "'),
    (
        '[servers.a]\nurl = "http://a/"\n[servers.b]\nurl = "http://b/"\nsame_as = "c"\n',
        ":5: servers.b.same_as: no server c is declared before it; those are: a",
    ),
    ('[boards.shed]\nport = "a"\nbaud = 1\n', "boards.shed.baud: must be a whole number from 300"),
    (
        '[servers.a]\nurl = "http://a/"\n[boards.a]\nport = "x"\n',
        "a server has this name already",
    ),
    ('[discovery]\nmdns = "yes"\n', "discovery.mdns: must be true or false"),
    ("[dial]\nprt = 1\n", "dial.prt: is not known here; did you mean port?"),
    (
        ALONE + '[servers.a]\nurl = "http://a/"\n[boards.b]\nport = "x"\n'
        "[pi.routing]\nretries = 1\n"
        '[pi.routing.tools.think]\nrepeat = true\nelsewhere = "c:ask"\n',
        ":11: pi.routing.tools.think.elsewhere: there is no server or board c in this file;"
        " those are: a, b",
    ),
    (ALONE + '[pi.routing.tools]\nx = { only = "c" }\n', ":4: pi.routing.tools.x.only: there is"),
    (ALONE + "[pi.routing.upstreams.c]\nmax_bytes = 9\n", ":3: pi.routing.upstreams.c: there is"),
    (
        '[servers.a]\nurl = "http://a/"\n[servers.b]\nurl = "http://b/"\nsame_as = "a"\n'
        '[servers.c]\nurl = "http://c/"\nsame_as = "b"\n'
        '[pi.routing.tools.think]\nelsewhere = "c"\n',
        ":10: pi.routing.tools.think.elsewhere: c offers the same as a: name a",
    ),
    ("servers = 3\n", "servers: must be a table"),
    ("[pi\n", "mcp-edge.toml:1: Expected ']'"),
    ("[pi]\nport = 1\nport = 2\n", "mcp-edge.toml:3: Cannot overwrite a value"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), BAD, ids=[row[1][-40:] for row in BAD])
def test_bad_ones(text, why, tmp_path):
    with pytest.raises(tables.ConfigError) as caught:
        parsed(text)
    assert why in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def test_bad_ones_on_the_command_line(tmp_path):
    file = tmp_path / "mcp-edge.toml"
    missing = mcpgw("pi", "--config", file, check=False)
    assert missing.returncode == 1 and f"there is no configuration {file}" in missing.stderr
    file.write_text("[pi]\nprot = 1\n")
    done = mcpgw("pi", "--config", file, check=False)
    assert done.stderr == f"mcpgw: {file}:2: pi.prot: is not known here; did you mean port?\n"
    file.write_bytes(b"\xff\xfe")
    assert f"{file}:1: not UTF-8" in mcpgw("pi", "--config", file, check=False).stderr
    file.write_text('[model]\nurl = "x"\n')
    for command in (("pi", "--check", "--config", file), ("config", "check", file)):
        assert f"{file}:2: model.url: must begin" in mcpgw(*command, check=False).stderr
    file.write_text('[servers.office]\nurl = "http://localhost/mcp"\n')
    told = mcpgw("pi", "--check", "--config", file)
    assert "is good: edge at 127.0.0.1" in told and "1 server, 0 boards named" in told


def test_places_that_may_still_come(tmp_path):
    """A board that is found may have the name that a tool goes to; --check says that none is
    known."""
    file = tmp_path / "mcp-edge.toml"
    text = '[servers.a]\nurl = "http://a/"\n[pi.routing.tools.think]\nelsewhere = "b"\n'
    for more in ("", "mdns = true\n" + ALONE.replace("[discovery]\n", "")):
        file.write_text(text + "[discovery]\n" + more)
        done = mcpgw("pi", "--check", "--config", file)
        assert "think.elsewhere: there is no server or board b in this file; those are: a" in done
        assert "A board that comes by itself may be called so" in done and "is good" in done
    file.write_text(text + ALONE)
    for command in (("pi", "--check", "--config", file), ("pi", "--config", file)):
        done = mcpgw(*command, check=False)
        assert done.returncode == 1 and f"{file}:4: pi.routing.tools.think.els" in done.stderr
    file.write_text(text.replace('"b"', '"a:ask"') + ALONE)
    assert "there is no" not in mcpgw("pi", "--check", "--config", file)


def test_what_init_writes_is_good(tmp_path):
    file = tmp_path / "etc" / "mcp-edge.toml"
    mcpgw("pi", "init", "--config", file, "--lan", XDG_STATE_HOME=str(tmp_path))
    assert file.stat().st_mode & 0o777 == 0o600
    config = configuration.load(file)
    assert config.host == "0.0.0.0" and config.port == configuration.DEFAULT_PORT
    # With every comment that is a setting made one, it is still good.
    lines = []
    for line in file.read_text().splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if bare[:1] == "[" or " = " in bare.partition("#")[0] else line)
    text = "\n".join(lines)
    for name in ("/etc/mcpgw/pi.pem", "/etc/mcpgw/pi.key"):
        made = tmp_path / Path(name).name
        made.write_text("")
        text = text.replace(name, str(made))
    environment = {"GREENHOUSE_TOKEN": "t", "OFFICE_AUTHORIZATION": "a"}
    config = parsed(text, environment)
    assert set(config.servers) == {"office", "files"} and set(config.boards) == {"greenhouse"}
    assert config.dial.port


def test_a_state_folder_of_a_service_is_written_down(tmp_path):
    file, state = tmp_path / "mcp-edge.toml", tmp_path / "state"
    mcpgw("pi", "init", "--config", file, STATE_DIRECTORY=str(state))
    assert configuration.load(file, {}).state == state


def test_a_file_of_a_board_alone_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {"MCPGW_PI_CONFIG": ""}
    monkeypatch.setattr(configuration, "usual", lambda environment: tmp_path / "usual.toml")
    Path("usual.toml").write_text("[pi]\n")
    for text, found in (
        ('[board]\nname = "x"\n', "usual.toml"),
        ('[board]\nname = "x"\n[servers.a]\nurl = "http://a/"\n', "mcp-edge.toml"),
        ("", "mcp-edge.toml"),
        ("[pi\n", "mcp-edge.toml"),
    ):
        Path("mcp-edge.toml").write_text(text)
        assert configuration.find(None, environment).name == found


def test_no_half_of_a_configuration_is_left(tmp_path, monkeypatch):
    def full(*given, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "mcp-edge.toml"
    with monkeypatch.context() as patched:
        patched.setattr(init.os, "fdopen", full)
        with pytest.raises(UserError, match=f"cannot write {file}: No space left"):
            init.write(file)
    assert not file.exists()
    init.write(file)
    assert configuration.load(file).name == "edge"


def test_the_unit(tmp_path, monkeypatch):
    import shutil
    import subprocess

    config = tmp_path / "mcp-edge.toml"
    said = mcpgw("pi", "unit", "--config", config)
    assert f"pi --config {config}\n" in said and "StateDirectory=mcpgw" in said
    with pytest.raises(unit.UserError, match="there is no"):
        unit.install(config, tmp_path)
    config.write_text("")
    where = unit.install(config, tmp_path)
    assert where.read_text() == said
    with pytest.raises(unit.UserError, match="odd characters"):
        unit.text(tmp_path / "a b.toml")
    with pytest.raises(unit.UserError, match="try it with sudo"):
        unit.install(config, tmp_path / "nowhere")
    analyze = shutil.which("systemd-analyze")
    if analyze is not None:
        done = subprocess.run([analyze, "verify", where], capture_output=True, text=True)
        assert "mcpgw-pi.service:" not in done.stderr, done.stderr
