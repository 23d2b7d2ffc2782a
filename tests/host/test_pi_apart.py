"""What one board of `mcpgw pi` can do to another: nothing, whichever way it asks; and what is left
of a board or client whose token was taken back."""

import json

import httpx
import pytest
from board_rig import QUICK, DialBoard, HttpBoard, codes, new_code, text_of
from pi_rig import Pi, SDKServer, mcpgw, server_table
from waiting import PATIENCE_S, ReservedPort, until


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A Pi with a board `roof` and a server, and the token of another board."""
    folder = tmp_path_factory.mktemp("apart")
    entry = ReservedPort()
    office, roof = SDKServer(folder), HttpBoard(folder, "roof")
    config = QUICK + server_table("office", url=office.url)
    config += server_table("roof", url=roof.url).replace("[servers.", "[boards.")
    config += f'[dial]\nhost = "127.0.0.1"\nport = {entry.number}\n'
    pi = Pi(folder, config).up("roof", "office")
    pi.entry = entry.number
    pi.token = mcpgw("pi", "token", "add", "shed", "--board", "--config", pi.config).strip()
    until(lambda: "result" in pi.request("tools/list", token=pi.token), pi.output)
    yield pi
    for one in (pi, roof, office, entry):
        one.close()


@pytest.mark.parametrize(
    "method, params, name",
    [
        ("tools/call", {"name": "roof_who", "arguments": {}}, "roof_who"),
        ("resources/read", {"uri": "board://roof/status"}, "board://roof/status"),
        ("resources/read", {"uri": "board://roof/pin/7"}, "board://roof/pin/7"),
        ("prompts/get", {"name": "roof_ask", "arguments": {"topic": "x"}}, "roof_ask"),
        (
            "completion/complete",
            {
                "ref": {"type": "ref/resource", "uri": "board://roof/door/{side}"},
                "argument": {"name": "side", "value": "no"},
            },
            None,
        ),
    ],
)
def test_what_is_another_boards_is_not_there_for_a_board(setting, method, params, name):
    assert "result" in setting.request(method, params, name)
    answer = setting.request(method, params, name, token=setting.token)
    assert answer["error"]["code"] == -32602, answer


def test_nor_by_the_plain_endpoint(setting):
    def post(tool, arguments, **fields):
        row = {"tool": tool, "arguments": arguments}
        url = setting.address + "/v1/mcp/completions"
        return httpx.post(url, json=row, headers=fields, timeout=PATIENCE_S)

    bearer = {"Authorization": f"Bearer {setting.token}"}
    assert post("roof_who", {}).status_code == 200
    answer = post("roof_who", {}, **bearer)
    assert answer.status_code == 400 and "unknown tool" in answer.text
    # What a board may do it can do there too; and who asks next is not taken for it.
    assert post("office_add", {"a": 20, "b": 22}, **bearer).status_code == 200
    assert post("roof_who", {}).status_code == 200


def test_a_code_says_where_to_dial(setting):
    told = mcpgw("pi", "code", "--config", setting.config)
    assert 'host = "127.0.0.1"' in told and 'Dial(gw, "127.0.0.1", ' in told


def test_a_board_does_not_take_the_name_of_a_client(setting, tmp_path):
    token = mcpgw("pi", "token", "add", "desk", "--config", setting.config).strip()
    done = mcpgw("pi", "code", "--name", "desk", "--config", setting.config, check=False)
    assert done.returncode and "desk" in done.stderr
    board = DialBoard(tmp_path, "desk", setting.entry, codes(setting, 1)[0])
    try:
        setting.up("desk-2")
        assert text_of(setting.call("desk-2_who")) == "desk"
    finally:
        board.close()
    until(lambda: "result" in setting.request("tools/list", token=token), setting.output)


def test_a_board_whose_token_was_taken_back_is_let_go(setting, tmp_path):
    board = DialBoard(tmp_path, "kiln", setting.entry, new_code(setting))
    try:
        setting.up("kiln")
        mcpgw("pi", "token", "remove", "kiln", "--config", setting.config)
        until(lambda: setting.health()["boards"]["kiln"] == "down", setting.output)
        until(lambda: "its token is not known here" in setting.output(), setting.output)
        kept = json.loads((tmp_path / "kiln-dial.json").read_text())
        assert kept["token"] not in setting.output()
    finally:
        board.close()
