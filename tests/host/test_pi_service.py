"""`mcpgw pi` as a process: the official SDKs' clients in front of it, their servers behind it."""

import anyio
import pytest
from http_program import sdk_client
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from pi_rig import MCPGW, Pi, SDKServer, environment, python_stdio, server_table, typescript_stdio
from waiting import PATIENCE_S


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
