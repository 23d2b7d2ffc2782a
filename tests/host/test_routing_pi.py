"""The paired gateway with two servers that offer the same: one goes, in the middle of a call."""

import json

import anyio
import pytest
from http_program import sdk_client
from mcp.shared.exceptions import MCPError
from mcpgw import tables
from mcpgw.pi.config import from_table
from pi_rig import Pi, SDKServer, server_table
from waiting import PATIENCE_S, until


@pytest.fixture
def servers(tmp_path):
    made = []
    for name in ("office", "backup"):
        made.append(SDKServer(tmp_path, name=name))
    yield made
    for server in made:
        server.close()


@pytest.fixture
def pi(tmp_path, servers):
    first, second = servers
    config = server_table("office", url=first.url)
    config += server_table("backup", url=second.url, same_as="office")
    config += "[pi.routing]\nretries = 1\n[pi.routing.tools.office_held]\nrepeat = false\n"
    pi = Pi(tmp_path, config)
    pi.up("office")
    until(lambda: "down" not in pi.health()["servers"].values(), pi.output)
    yield pi
    pi.close()


def test_one_of_two_servers_goes(pi, servers):
    first, second = servers
    out = {}

    async def call(client, name, arguments):
        try:
            result = await client.call_tool(name, arguments)
            out[name] = result.content[0].text
        except MCPError as e:
            out[name] = e.code

    async def main():
        with anyio.fail_after(2 * PATIENCE_S):
            async with sdk_client(pi.url, "auto") as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert "office_add" in names and len(names) == len(set(names))
                assert not [name for name in names if name.startswith("backup")]
                async with anyio.create_task_group() as group:
                    group.start_soon(call, client, "office_held_level", {"level": 3})
                    group.start_soon(call, client, "office_held", {})
                    for line in ("held_level 3", "held"):
                        while line not in first.ledger():
                            await anyio.sleep(0.02)
                    # Process.close() kills it, and keeps its port.
                    super(SDKServer, first).close()
                    await anyio.to_thread.run_sync(
                        until, lambda: "held_level 3" in second.ledger(), "no failover"
                    )
                    second.release()
                result = await client.call_tool("office_add", {"a": 1, "b": 2})
                assert result.content[0].text == "3"
                (content,) = (await client.read_resource("gateway://routes")).contents
                told = json.loads(content.text)
                assert told["decisions"]["office_held_level"] == {"office": 1, "backup": 1}

    anyio.run(main)
    assert out == {"office_held_level": "level 3", "office_held": -32011}
    assert "held" not in second.ledger()
    assert "left out" not in pi.output()


@pytest.mark.parametrize(
    "text, told",
    [
        ("[pi.routing]\nretires = 1", "mcp-edge.toml:2: pi.routing: routing: unknown option"),
        ("[pi.routing]\nretries = 99", "retries is a number from 0 to 16"),
        ("[servers.a]\nurl = 'http://b/'\nsame_as = 'b c'", "same_as: "),
    ],
)
def test_bad_configurations(text, told):
    with pytest.raises(tables.ConfigError) as refused:
        from_table(tables.parse(text, "mcp-edge.toml"), "mcp-edge.toml")
    assert told in str(refused.value).replace(":1:", ":2:")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_what_clients_are_shown(pi, mode):
    async def main():
        with anyio.fail_after(PATIENCE_S):
            for _ in range(2):
                async with sdk_client(pi.url, mode) as client:
                    names = [tool.name for tool in (await client.list_tools()).tools]
                    assert "office_add" in names and len(names) == len(set(names)), names
                    assert not [name for name in names if name.startswith("backup")]

    anyio.run(main)
