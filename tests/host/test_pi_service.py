"""`mcpgw pi` as a process: the official SDKs' clients in front of it, their servers behind it."""

import json
from urllib.parse import urlsplit

import anyio
import pytest
from http_process import Client as HttpClient
from http_program import sdk_client
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from pi_rig import MCPGW, Pi, SDKServer, environment, python_stdio, server_table, typescript_stdio
from waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    server = SDKServer(tmp_path_factory.mktemp("office"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def old_office(tmp_path_factory):
    """A server that speaks legacy revisions only."""
    server = SDKServer(tmp_path_factory.mktemp("old"), "--legacy", name="old")
    yield server
    server.close()


@pytest.fixture(scope="module")
def pi(tmp_path_factory, office, old_office):
    config = server_table("office", url=office.url)
    config += server_table("old", url=old_office.url)
    config += server_table("script", command=typescript_stdio())
    config += server_table("snake", command=python_stdio())
    pi = Pi(tmp_path_factory.mktemp("pi"), config)
    yield pi.up("office", "old", "script", "snake")
    pi.close()


def drive(pi, mode, scenario, **options):
    async def main():
        with anyio.fail_after(3 * PATIENCE_S):
            async with sdk_client(pi.url, mode, **options) as client:
                await scenario(client)

    anyio.run(main)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_official_client_and_servers(pi, mode):
    async def scenario(client):
        assert client.server_info.name == "edge"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"office_add", "old_add", "script_add", "snake_add"} <= set(tools)
        assert tools["office_add"].description == "Sum of two numbers."
        for name in ("office_add", "old_add"):
            result = await client.call_tool(name, {"a": 20, "b": 22})
            assert result.structured_content == {"result": 42}, name
        for name in ("script_add", "snake_add"):
            result = await client.call_tool(name, {"a": 20, "b": 22})
            assert result.content[0].text == "42", name
        result = await client.call_tool("office_fails", {})
        assert result.is_error and "fails" in result.content[0].text

    drive(pi, mode, scenario)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("server", ["office", "old"])
def test_progress_passes_through(pi, mode, server):
    heard = []

    async def on_progress(progress, total, message):
        heard.append((progress, total, message))

    async def scenario(client):
        tool = server + "_steps"
        result = await client.call_tool(tool, {"count": 3}, progress_callback=on_progress)
        assert result.content[0].text == "stepped"
        with anyio.fail_after(PATIENCE_S):
            while len(heard) < 3:
                await anyio.sleep(0.01)
        assert heard == [(i, 3, f"step {i}") for i in (1, 2, 3)]

    drive(pi, mode, scenario)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_cancellation_passes_through(pi, office, mode):
    before = office.ledger().count("held cancelled")
    began = office.ledger().count("held")

    async def scenario(client):
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "office_held", {})
            with anyio.fail_after(PATIENCE_S):
                while office.ledger().count("held") == began:
                    await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE_S):
            while office.ledger().count("held cancelled") == before:
                await anyio.sleep(0.02)

    drive(pi, mode, scenario)


def test_calls_as_tasks(pi, office):
    """Of tools whose servers know nothing of tasks (2025-11-25)."""
    office.forget()
    with LegacyClient(pi) as client:
        tools = {tool["name"]: tool for tool in client.ask("tools/list")["tools"]}
        assert tools["office_held"]["execution"] == {"taskSupport": "optional"}

        def call(tool, **arguments):
            params = {"name": tool, "arguments": arguments, "task": {"ttl": 60000}}
            return client.ask("tools/call", **params)["task"]

        task = call("office_held")
        assert task["status"] == "working"
        until(lambda: "held" in office.ledger(), pi.output)
        office.release()
        result = client.ask("tasks/result", taskId=task["taskId"])
        assert result["content"][0]["text"] == "done"
        again = call("office_add", a=1, b=2)["taskId"]
        until(lambda: client.ask("tasks/get", taskId=again)["status"] == "completed", pi.output)
        office.forget()
        given_up = call("office_held")["taskId"]
        until(lambda: "held" in office.ledger(), pi.output)
        assert client.ask("tasks/cancel", taskId=given_up)["status"] == "cancelled"
        until(lambda: "held cancelled" in office.ledger(), pi.output)
        listed = {one["taskId"] for one in client.ask("tasks/list")["tasks"]}
        assert listed == {task["taskId"], again, given_up}
        # Without a task it is an ordinary call.
        result = client.ask("tools/call", name="office_add", arguments={"a": 2, "b": 2})
        assert result["structuredContent"] == {"result": 4}


class LegacyClient(HttpClient):
    """A session of 2025-11-25, for what the SDKs' clients do not offer."""

    def __init__(self, pi):
        super().__init__(urlsplit(pi.url).port)
        params = {"protocolVersion": "2025-11-25", "capabilities": {}}
        params["clientInfo"] = {"name": "raw", "version": "0"}
        self.fields = {}
        self.post(self._message("initialize", params))
        self.fields = {
            "Mcp_Session_Id": self.answer()[1]["mcp-session-id"],
            "MCP_Protocol_Version": "2025-11-25",
        }
        self.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', **self.fields)
        assert self.answer()[0] == 202

    def _message(self, method, params):
        row = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return json.dumps(row).encode()

    def ask(self, method, **params):
        """The result of a request (dict)."""
        self.post(self._message(method, params), **self.fields)
        status, _, body = self.answer()
        assert status == 200, body
        if body.startswith(b"{"):
            return json.loads(body)["result"]
        data = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
        return json.loads(data[-1])["result"]


def test_over_stdio_beside_http(tmp_path, office):
    """A client that starts the gateway itself; HTTP is served by the same process."""
    config = tmp_path / "mcp-edge.toml"
    state = tmp_path / "state"
    config.write_text(
        f'[pi]\nport = 0\nstate = "{state}"\n[discovery]\nserial = false\n'
        + server_table("office", url=office.url)
    )
    command = [*MCPGW, "pi", "--stdio", "--config", str(config)]
    parameters = StdioServerParameters(
        command=command[0], args=command[1:], env=environment(XDG_STATE_HOME=str(state))
    )

    async def main(mode):
        with anyio.fail_after(3 * PATIENCE_S):
            async with Client(stdio_client(parameters), mode=mode) as client:
                names = set()
                while "office_add" not in names:
                    names = {tool.name for tool in (await client.list_tools()).tools}
                result = await client.call_tool("office_add", {"a": 1, "b": 2})
                assert result.structured_content == {"result": 3}

    for mode in ("legacy", "auto"):
        anyio.run(main, mode)
