"""Boards that dial in to `mcpgw pi`: unix-build boards that pair with a code, come back with their
token, and are told clearly why they may not come in."""

import json
import socket
import ssl
from ipaddress import ip_address

import pytest
from authority import CA
from board_rig import DialBoard, new_code, text_of
from cryptography import x509
from pi_rig import Pi, mcpgw
from waiting import PATIENCE_S, ReservedPort, until


@pytest.fixture
def entry():
    """The port that boards dial in at."""
    port = ReservedPort()
    yield port.number
    port.close()


@pytest.fixture
def pi(tmp_path, entry):
    pi = Pi(tmp_path, f'[dial]\nhost = "127.0.0.1"\nport = {entry}\n')
    until(lambda: "boards may dial in" in pi.output(), pi.output)
    yield pi
    pi.close()


@pytest.fixture
def boards(tmp_path):
    made = []

    def make(name, port, code=None, options="", label=None, more=""):
        made.append(DialBoard(tmp_path, name, port, code, options, label, more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def names(pi):
    return {tool["name"] for tool in pi.tools()}


def listed(pi):
    lines = mcpgw("pi", "boards", "--config", pi.config).splitlines()
    return {line.split()[0]: line for line in lines}


def test_a_board_pairs_and_comes_back_with_its_token(pi, entry, boards, tmp_path):
    board = boards("kiln", entry, new_code(pi))
    pi.up("kiln")
    assert text_of(pi.call("kiln_add", {"a": 20, "b": 22})) == "42"
    uri = "board://kiln/status"
    assert pi.request("resources/read", {"uri": uri}, uri)["result"]["contents"][0]["uri"] == uri
    kept = json.loads((tmp_path / "kiln-dial.json").read_text())
    assert kept["name"] == "kiln" and kept["token"].startswith("mgw_")
    # Nothing of what lets it in can be read in what the gateway keeps.
    stored = b"".join(file.read_bytes() for file in pi.store.parent.iterdir())
    assert kept["token"].encode() not in stored
    # Its power goes, and so does the gateway's.
    board.process.kill()
    until(lambda: "kiln_add" not in names(pi), pi.output)
    answer = pi.call("kiln_add", {"a": 1, "b": 2})
    assert answer["error"]["code"] == -32010 and "board kiln" in answer["error"]["message"]
    board.start()
    pi.up("kiln")
    pi.kill()
    pi.start()
    answer = pi.call("kiln_add", {"a": 20, "b": 22})  # it may not have dialed in yet
    assert "result" in answer or answer["error"]["code"] == -32010, answer
    pi.up("kiln")
    assert text_of(pi.call("kiln_add", {"a": 20, "b": 22})) == "42"
    until(lambda: " up " in listed(pi)["kiln"], lambda: listed(pi))
    assert "dial 127.0.0.1" in listed(pi)["kiln"]


def test_two_of_one_name_and_a_name_that_was_chosen(pi, entry, boards):
    for label in ("first", "second"):
        boards("kiln", entry, new_code(pi), label=label)
        pi.up("kiln") if label == "first" else pi.up("kiln-2")
    boards("kiln", entry, new_code(pi, "--name", "north"), label="third")
    pi.up("kiln", "kiln-2", "north")
    for name in ("kiln", "kiln-2", "north"):
        assert text_of(pi.call(f"{name}_who")) == "kiln"
    done = mcpgw("pi", "code", "--name", "two words", "--config", pi.config, check=False)
    assert done.returncode == 2 and "1 to 32 letters" in done.stderr


def test_wrong_used_and_expired_codes(pi, entry, boards):
    code = new_code(pi)
    wrong = boards("stray", entry, "2222-2222")
    wrong.wait_said("refused: wrong pairing code")
    until(lambda: "(stray) refused: wrong pairing code" in pi.output(), pi.output)
    boards("kiln", entry, code.lower().replace("-", " "))  # as people type it
    pi.up("kiln")
    late = boards("late", entry, code, label="late")
    late.wait_said("refused: this pairing code was used already")
    none = boards("bare", entry)
    none.wait_said("this board has no pairing code")
    # Whoever was refused does not go on trying.
    assert wrong.output().count("refused") == 1
    assert names(pi) == {name for name in names(pi) if name.startswith("kiln_")}
    assert new_code(pi)
    done = mcpgw("pi", "code", "--minutes", "0", "--config", pi.config, check=False)
    assert done.returncode == 2


def test_a_forgotten_board_is_let_go_and_pairs_again(pi, entry, boards):
    board = boards("kiln", entry, new_code(pi))
    pi.up("kiln")
    assert "kiln is forgotten" in mcpgw("pi", "forget", "kiln", "--config", pi.config)
    board.wait_said("refused: its token is not known here")
    until(lambda: not names(pi), pi.output)
    assert pi.call("kiln_add", {"a": 1, "b": 2})["error"]["code"] == -32602
    assert "no boards" in mcpgw("pi", "boards", "--config", pi.config)
    board.close()
    again = boards("kiln", entry, new_code(pi), label="kiln-dial")
    pi.up("kiln")
    assert text_of(pi.call("kiln_add", {"a": 20, "b": 22})) == "42"
    again.close()


def test_who_has_a_code_takes_the_place_of_no_board(pi, entry, boards, tmp_path):
    boards("kiln", entry, new_code(pi))
    pi.up("kiln")
    identity = json.loads((tmp_path / "kiln-dial.json").read_text())["id"]
    other = boards("kiln", entry, new_code(pi), f"id={identity!r}", label="other")
    other.wait_said("refused: a board of this id is paired already, as kiln: make a code for it")
    told = "(kiln) refused: a board of this id is paired already, as kiln"
    until(lambda: told in pi.output(), pi.output)
    assert text_of(pi.call("kiln_who")) == "kiln"
    assert "its token was taken back" not in pi.output()
    # A code that was made for it is for whoever takes its place.
    boards("kiln", entry, new_code(pi, "--name", "kiln"), f"id={identity!r}", label="anew")
    until(lambda: "kiln has paired" in pi.output().partition(told)[2], pi.output)


def test_guessing_is_locked_out(pi, entry, boards):
    """Three wrong codes of one address, and it may not even show a right one; who has a token
    comes in from there all the same."""
    board = boards("kiln", entry, new_code(pi))
    pi.up("kiln")
    for i in range(3):
        answer = greet(entry, {"mcp-gw": 1, "name": "guess", "id": f"g{i}", "code": f"AAAA{i}"})
        assert "wrong pairing code" in answer["error"] and "retry_s" not in answer
    answer = greet(entry, {"mcp-gw": 1, "name": "guess", "id": "g", "code": new_code(pi)})
    assert "too many wrong pairing codes" in answer["error"] and 0 < answer["retry_s"] <= 301
    board.process.kill()
    board.start()
    until(lambda: pi.output().count("kiln is there") == 2, pi.output)


def greet(port, hello, context=None):
    """Say one first line; the answer (dict), None where there is none."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
        line = hello if isinstance(hello, bytes) else json.dumps(hello).encode() + b"\n"
        sock.sendall(line)
        data = b""
        while not data.endswith(b"\n"):
            more = sock.recv(65536)
            if not more:
                break
            data += more
        return json.loads(data) if data else None


def test_over_tls(tmp_path, entry, boards):
    authority = CA(tmp_path, "home")
    certificate, key = authority.issue("pi", [x509.IPAddress(ip_address("127.0.0.1"))])
    config = f'[dial]\nhost = "127.0.0.1"\nport = {entry}\n'
    config += f'certificate = "{certificate}"\nkey = "{key}"\n'
    pi = Pi(tmp_path, config)
    try:
        trusted = f"ca={str(authority.path)!r}"
        told = mcpgw("pi", "code", "--config", pi.config)
        assert "tls = true" in told and "tls=True" in told and str(certificate) in told
        boards("kiln", entry, new_code(pi), trusted)
        pi.up("kiln")
        assert text_of(pi.call("kiln_add", {"a": 20, "b": 22})) == "42"
        # One that trusts others, and one that speaks no TLS, do not come in.
        code = new_code(pi)
        other = CA(tmp_path, "other")
        stranger = boards("stray", entry, code, f"ca={str(other.path)!r}")
        stranger.wait_said("pi 127.0.0.1:")
        plain = boards("plain", entry, code)
        plain.wait_said("pi 127.0.0.1:")
        context = ssl.create_default_context(cafile=authority.path)
        answer = greet(entry, {"mcp-gw": 1, "name": "x", "id": "x", "token": "y"}, context)
        assert "its token is not known" in answer["error"]
        assert {name.partition("_")[0] for name in names(pi)} == {"kiln"}
    finally:
        pi.close()


def test_a_board_asks_the_gateway_it_dialed(pi, entry, boards):
    """Log lines, the time, and tools of the gateway go through a connection that was dialed."""
    more = """
pi = gw.upstream("pi")

@gw.tool("What the Pi shows")
async def far():
    names = []
    await pi.tools(lambda raw: names.append(raw))
    print("asked the Pi")
    return str(len(names))
"""
    boards("kiln", entry, new_code(pi), more=more)
    pi.up("kiln")
    until(lambda: pi.call("kiln_far").get("result", {}).get("isError") is not True, pi.output)
    assert text_of(pi.call("kiln_far")) == "0"
    until(lambda: "kiln: asked the Pi" in pi.output(), pi.output)


def test_the_name_of_a_server_or_of_a_board_in_the_file_is_taken(tmp_path, entry, boards):
    config = f'[dial]\nhost = "127.0.0.1"\nport = {entry}\n'
    config += f'[boards.kiln]\nport = "{tmp_path}/nothing"\n'
    pi = Pi(tmp_path, config)
    try:
        done = mcpgw("pi", "code", "--name", "kiln", "--config", pi.config, check=False)
        assert done.returncode == 1 and "kiln is named in" in done.stderr
        boards("kiln", entry, new_code(pi))
        pi.up("kiln-2")
    finally:
        pi.close()


def test_a_gateway_that_takes_no_boards_says_so(tmp_path):
    config = tmp_path / "mcp-edge.toml"
    config.write_text(f'[pi]\nstate = "{tmp_path}/state"\n')
    done = mcpgw("pi", "code", "--config", config, check=False)
    assert done.returncode == 1 and "give [dial] a port" in done.stderr


def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        config = tmp_path / "mcp-edge.toml"
        config.write_text(
            f'[pi]\nport = 0\nstate = "{tmp_path}/state"\n[discovery]\nserial = false\n'
            f'[dial]\nhost = "127.0.0.1"\nport = {number}\n'
        )
        done = mcpgw("pi", "--config", config, check=False)
    assert done.returncode == 1
    assert f"[dial]: cannot listen on 127.0.0.1:{number}" in done.stderr
