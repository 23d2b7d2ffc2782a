"""The whole way on real parts: a client, a board (the unix build), the paired gateway, a server
made with the official SDK, and kills in between."""

import json
import re

import anyio
import httpx
import pytest
import targets
from http_process import META, HttpProcess
from http_program import sdk_client
from pi_rig import HERE, Pi, SDKServer, mcpgw, server_table
from soak import count
from waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def office(folder):
    server = SDKServer(folder)
    yield server
    server.close()


@pytest.fixture(scope="module")
def pi(folder, office):
    # Beyond this machine, as far as it knows: every board shows its token.
    pi = Pi(folder, server_table("office", url=office.url), pi="trust_loopback = false")
    pi.token = mcpgw("pi", "token", "add", "me", "--config", pi.config).strip()
    pi.board_token = mcpgw(
        "pi", "token", "add", "greenhouse", "--board", "--config", pi.config
    ).strip()
    headers = {"Authorization": f"Bearer {pi.token}"}
    until(lambda: "boards" in httpx.get(pi.address + "/health", headers=headers).json())
    yield pi
    pi.close()


class Board(HttpProcess):
    def __init__(self, folder, pi, name="board"):
        # Not through what records: that keeps connections open which a killed gateway would reset.
        arguments = pi.address + "/mcp", pi.board_token, folder / f"{name}.queue"
        super().__init__(folder, targets.firmware("unix"), HERE / "pi_board_app.py", *arguments)

    def request(self, method, params, name=None):
        row = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
        fields = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
        }
        if name:
            fields["Mcp-Name"] = name
        answer = httpx.post(self.url, json=row, headers=fields, timeout=PATIENCE_S)
        if answer.headers["content-type"].startswith("text/event-stream"):
            return json.loads(re.findall(r"^data: (.+)$", answer.text, re.MULTILINE)[-1])
        return answer.json()

    def call(self, tool, **arguments):
        return self.request("tools/call", {"name": tool, "arguments": arguments}, tool)

    def status(self, id):
        answer = self.request("resources/read", {"uri": f"queue://{id}"}, f"queue://{id}")
        return json.loads(answer["result"]["contents"][0]["text"])

    def listed(self):
        answer = self.request("tools/list", {})
        return {tool["name"] for tool in answer["result"]["tools"]}


@pytest.fixture
def board(folder, pi, office):
    office.forget()
    (folder / "board.queue").unlink(missing_ok=True)
    with Board(folder, pi) as board:
        until(lambda: "pi_office_mark" in board.listed(), pi.output)
        yield board


def test_a_client_calls_a_server_through_the_board_and_the_gateway(board, office):
    async def main(mode):
        with anyio.fail_after(PATIENCE_S):
            async with sdk_client(board.url, mode) as client:
                result = await client.call_tool("pi_office_add", {"a": 20, "b": 22})
                assert "42" in result.content[0].text
                result = await client.call_tool("moisture", {"plot": 2})
                assert result.content[0].text == "42"

    for mode in ("legacy", "auto"):
        anyio.run(main, mode)
    assert office.ledger() == ["add 20 22"] * 2


def queued(answer):
    return answer["result"]["_meta"]["mcp-gw/queued"]["id"]


def test_what_was_queued_while_the_gateway_was_away_is_delivered_once(board, pi, office):
    pi.kill()
    ids = [queued(board.call("pi_office_mark", number=i, seconds=0)) for i in range(count(12, 60))]
    assert office.ledger() == []
    pi.start()
    until(lambda: all(done(board, id) for id in ids), pi.output)
    assert marks(office) == list(range(len(ids)))
    for i, id in enumerate(ids):
        assert f"marked {i}" in json.dumps(board.status(id))
    headers = {"Authorization": f"Bearer {pi.token}"}
    said = httpx.get(pi.address + "/metrics", headers=headers).text
    (batches,) = re.findall(r"^mcpgw_pi_batches_total (\S+)$", said, re.MULTILINE)
    assert 0 < float(batches) < len(ids), said  # several in one request


def done(board, id):
    return board.status(id)["state"] in ("done", "failed", "expired")


def marks(office):
    return sorted(int(line.split()[1]) for line in office.ledger() if line.startswith("mark "))


def test_the_gateway_and_the_board_are_killed_in_mid_delivery(folder, board, pi, office):
    """Nothing is lost, nothing is executed twice."""
    pi.kill()
    number = count(10, 40)
    ids = [queued(board.call("pi_office_mark", number=i, seconds=0.1)) for i in range(number)]
    board.close()
    pi.start()
    with Board(folder, pi) as again:
        until(lambda: len(marks(office)) >= 2, pi.output)
        pi.kill()
        pi.start()
        until(lambda: len(marks(office)) >= 4, pi.output)
    with Board(folder, pi) as last:
        until(lambda: all(done(last, id) for id in ids), lambda: pi.output() + str(ids))
        assert len(marks(office)) == len(set(marks(office))), "executed twice"
        for i, id in enumerate(ids):
            said = json.dumps(last.status(id))
            # On its way when the gateway died: nobody can know, and it is said.
            assert f"marked {i}" in said or "may or may not have been executed" in said, said
            assert f"marked {i}" not in said or i in marks(office)
    assert again.process.returncode is not None
