"""The official Python SDK's client: `python_sdk.py ERA WHO URL|COMMAND ...`, ERA legacy, auto or
modern, WHO a name that no other client of the server has. Prints what it got as one JSON object;
see EXPECTED in tests/device/test_real_clients.py."""

import json
import os
import sys

import anyio
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult, PromptReference, ResourceTemplateReference

MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


class Gardener:
    """What stands behind the client: waters apples, and nothing else."""

    def __init__(self):
        self.asked = []

    async def elicit(self, context, params):
        self.asked.append([params.message, sorted(params.requested_schema["properties"])])
        if "apple" in params.message:
            return ElicitResult(action="accept", content={"litres": 7, "where": "leaf"})
        return ElicitResult(action="decline")


class Run:
    """All that is done with one connected client. who: its name."""

    def __init__(self, client, who):
        self.client = client
        self.who = who

    async def call(self, tool, **arguments):
        result = await self.client.call_tool(tool, arguments)
        return result.structured_content or result.content[0].text

    async def lists(self):
        client = self.client
        templates = (await client.list_resource_templates()).resource_templates
        return {
            "tools": sorted(tool.name for tool in (await client.list_tools()).tools),
            "resources": [str(one.uri) for one in (await client.list_resources()).resources],
            "templates": [one.uri_template for one in templates],
            "prompts": [one.name for one in (await client.list_prompts()).prompts],
        }

    async def progress(self):
        """The reports of a call and its result. Each report is confirmed."""
        heard = []
        async with anyio.create_task_group() as group:

            async def hear(progress, total, message):
                heard.append([progress, total, message])
                group.start_soon(self.client.call_tool, "go_on", {"overseer": self.who})

            result = await self.client.call_tool(
                "prune", {"rows": 3, "overseer": self.who}, progress_callback=hear
            )
        return heard, result.content[0].text

    async def read(self, uri):
        return (await self.client.read_resource(uri)).contents[0].text

    async def complete(self, ref, value):
        argument = {"name": "sort", "value": value}
        return (await self.client.complete(ref, argument)).completion.values

    async def cancel(self):
        """Begin a call that never ends and cancel it once it works: how that ended here, and
        whether the server says that this very work was stopped."""
        ended = "answered"
        with anyio.CancelScope() as scope:

            async def hear(progress, total, message):
                scope.cancel()

            await self.client.call_tool("dig", {"name": self.who}, progress_callback=hear)
        if scope.cancelled_caught:
            ended = "given up"
        while self.who not in (found := await self.call("digs"))["stopped"]:
            await anyio.sleep(0.02)
        return [ended, "digs" if self.who in found["digging"] else "stopped"]

    async def report(self, gardener):
        client = self.client
        info = client.server_info
        report = {
            "revision": client.protocol_version,
            "server": f"{info.name} {info.version}: {client.instructions}",
            **await self.lists(),
            "sum": await self.call("add", a=41),
        }
        report["progress"], report["called"] = await self.progress()
        report["read"] = await self.read("orchard://sorts")
        report["tree"] = json.loads(await self.read("orchard://tree/plum"))
        messages = (await client.get_prompt("letter", {"sort": "fig"})).messages
        report["prompt"] = [[one.role, one.content.text] for one in messages]
        letter = PromptReference(type="ref/prompt", name="letter")
        tree = ResourceTemplateReference(type="ref/resource", uri="orchard://tree/{sort}")
        report["completion"] = [await self.complete(letter, "ap"), await self.complete(tree, "p")]
        report["cancelled"] = await self.cancel()
        report["accepted"] = await self.call("water", sort="apple")
        report["declined"] = await self.call("water", sort="pear")
        report["asked"] = gardener.asked
        return report


async def main(era, who, target, *arguments):
    gardener = Gardener()
    if target.startswith("http"):
        transport = streamable_http_client(target)
    else:
        # The SDK's own default leaves most of the environment out.
        command = StdioServerParameters(command=target, args=arguments, env=dict(os.environ))
        transport = stdio_client(command)
    async with Client(transport, mode=MODES[era], elicitation_callback=gardener.elicit) as client:
        print(json.dumps(await Run(client, who).report(gardener)))


anyio.run(main, *sys.argv[1:])
