"""The official SDK's client, in both protocol eras, drives the gateway: the unix build over stdio
and the emulated Pico through the bridge, with and without an upstream made with the same SDK."""

import json
import re
import time

import anyio
import office_server
import pytest
import rig
import targets
from mcp.shared.exceptions import MCPError
from rig import EXAMPLES, text_of
from waiting import PATIENCE_S

MODES = ["legacy", "auto"]
PLACES = ["unix", "pico"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sdk")


@pytest.fixture(scope="module")
def office(folder):
    with rig.Office(folder) as office:
        yield office


class Place:
    """One of PLACES: the command that a client would be configured with for an app there."""

    def __init__(self, target, folder):
        self.target = target
        self.folder = folder
        self.app = None

    def command(self, app, upstream=None):
        if not self.target.is_board:
            more = [upstream.url, self.folder / "queue.nor"] if upstream else []
            return [self.target.micropython, app, *more]
        if self.app != app:
            rig.put(self.target, app)
            self.app = app
            # At the prompt, where the bridge has to find it and start main.py.
        return rig.bridge(self.target.sim, self.folder, upstream=upstream)


@pytest.fixture(scope="module")
def places(folder):
    """The two places; the board is one of this module's own."""
    made = {}

    def place(name):
        if name not in made:
            (folder / name).mkdir()
            made[name] = Place(targets.make_target(name, folder / name), folder)
        return made[name]

    yield place
    for one in made.values():
        one.target.close()


def drive(command, mode, folder, scenario):
    """Run the async function scenario(client) with a connected client."""

    async def main():
        with open(folder / "stderr.log", "a") as log, anyio.fail_after(3 * PATIENCE_S):
            async with rig.sdk_client(command, mode, log) as client:
                await scenario(client)

    began = time.monotonic()
    anyio.run(main)
    print(f"{mode}: {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
def test_a_gateway_by_itself(place, mode, places, folder):
    async def scenario(client):
        assert client.protocol_version == rig.REVISION[mode]
        assert (client.server_info.name, client.server_info.version) == ("greenhouse", "1.0")
        if mode == "legacy":
            await client.send_ping()

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"moisture", "water"}
        assert tools["moisture"].annotations.read_only_hint
        assert tools["moisture"].input_schema["properties"]["plot"] == {
            "type": "integer",
            "description": "plot number",
            "minimum": 0,
            "maximum": 2,
        }

        result = await client.call_tool("moisture", {"plot": 1})
        assert not result.is_error and 0 <= int(text_of(result)) <= 100
        for arguments, named in (
            ({"plot": 9}, "plot"),
            ({"plot": "one"}, "plot"),
            ({}, "plot"),
            ({"plot": 1, "colour": "red"}, "colour"),
        ):
            result = await client.call_tool("moisture", arguments)
            assert result.is_error and f"argument {named} " in text_of(result)
        result = await client.call_tool("water", {"plot": 0, "seconds": 5})
        assert text_of(result) == "opened for 5 s"
        with pytest.raises(MCPError) as raised:
            await client.call_tool("moist", {})
        assert raised.value.code == -32602 and "moist" in raised.value.message

        (resource,) = (await client.list_resources()).resources
        assert str(resource.uri) == "board://status"
        (contents,) = (await client.read_resource("board://status")).contents
        assert contents.mime_type == "application/json" and "heap_free" in contents.text
        with pytest.raises(MCPError) as raised:
            await client.read_resource("board://nothing")
        assert raised.value.code == (-32002 if mode == "legacy" else -32602)
        assert raised.value.data == {"uri": "board://nothing"}
        # And it is still there.
        assert not (await client.call_tool("moisture", {"plot": 2})).is_error

    place = places(place)
    drive(place.command(EXAMPLES / "greenhouse.py"), mode, folder, scenario)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
def test_everything_a_tool_can_do(place, mode, places, folder):
    async def scenario(client):
        result = await client.call_tool("add", {"a": 2, "b": 40})
        assert result.structured_content == {"sum": 42}
        assert (await client.call_tool("add", {"a": 2})).structured_content == {"sum": 3}
        odd = 'é€𝄞 "\\" \u2028 \x7f tab\t end\n'
        assert text_of(await client.call_tool("echo", {"text": odd})) == odd
        result = await client.call_tool("fails", {})
        assert result.is_error and text_of(result) == "the pump is dry"
        result = await client.call_tool("breaks", {})
        assert result.is_error and "KeyError" in text_of(result)
        heard = []

        async def on_progress(progress, total, message):
            heard.append((progress, total, message))

        result = await client.call_tool("steps", {"n": 3}, progress_callback=on_progress)
        assert text_of(result) == "stepped"
        await anyio.wait_all_tasks_blocked()
        assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]

        done = []

        async def held(name):
            assert text_of(await client.call_tool("held", {"name": name})) == "released"
            done.append(name)
            ended.set()

        async with anyio.create_task_group() as group:
            for name in ("one", "two"):
                group.start_soon(held, name)
            await anyio.wait_all_tasks_blocked()  # both are asked
            # A plain tool is answered while the others wait, and they end in any order.
            assert text_of(await client.call_tool("echo", {"text": "x"})) == "x"
            for name in ("two", "one"):
                ended = anyio.Event()
                await client.call_tool("release", {"name": name})
                await ended.wait()
        assert done == ["two", "one"]
        blob = (await client.read_resource("board://blob")).contents[0]
        assert blob.blob.startswith("AAECAwQ") and blob.mime_type == "application/octet-stream"

    place = places(place)
    drive(place.command(rig.APPS / "workbench.py"), mode, folder, scenario)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
def test_an_upstream_of_the_same_sdk(place, mode, places, folder, office):
    async def scenario(client):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        upstream = {name: tool for name, tool in tools.items() if name.startswith("office_")}
        assert {"office_forecast", "office_log_reading", "office_get_weather"} <= set(upstream)
        assert len(upstream) == 4 + len(office_server.ODD_NAMES)
        for name in tools:
            assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        # What may be queued is listed without a schema of its results; the rest keep theirs.
        assert upstream["office_forecast"].output_schema
        assert upstream["office_log_reading"].output_schema is None
        assert upstream["office_forecast"].description == "Weather of tomorrow."

        result = await client.call_tool("office_forecast", {"place": "Óslo"})
        assert text_of(result) == "Óslo: sunny"
        assert result.structured_content == {"result": "Óslo: sunny"}
        before = len(office.executed())
        result = await client.call_tool("office_log_reading", {"plot": 1, "percent": 7})
        assert text_of(result) == "noted: plot 1 at 7 percent"
        assert office.executed()[before:] == [{"plot": 1, "percent": 7}]
        result = await client.call_tool("office_fails", {})
        assert result.is_error and "fails" in text_of(result)
        result = await client.call_tool("office_forecast", {"place": 3})
        assert result.is_error
        with pytest.raises(MCPError) as raised:
            await client.call_tool("office_nothing", {})
        assert raised.value.code == -32602

        reached = []
        for name, tool in upstream.items():
            if tool.description == "Says its own name.":
                reached.append(text_of(await client.call_tool(name, {})))
        assert sorted(reached) == sorted(office_server.ODD_NAMES)

        heard = []

        async def on_progress(progress, total, message):
            heard.append((progress, total, message))

        result = await client.call_tool(
            "office_steps", {"count": 3}, progress_callback=on_progress
        )
        assert text_of(result) == "stepped"
        await anyio.wait_all_tasks_blocked()
        assert heard == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]

    place = places(place)
    drive(place.command(rig.APPS / "workbench.py", office), mode, folder, scenario)


@pytest.mark.parametrize("place", PLACES)
def test_an_upstream_of_the_other_era(place, places, folder, tmp_path):
    """A modern client, and an upstream that only knows sessions and initialize."""

    async def scenario(client):
        assert client.protocol_version == rig.MODERN
        assert "office_forecast" in {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("office_forecast", {"place": "Óslo"})
        assert result.structured_content == {"result": "Óslo: sunny"}
        heard = []

        async def on_progress(progress, total, message):
            heard.append((progress, total, message))

        await client.call_tool("office_steps", {"count": 2}, progress_callback=on_progress)
        await anyio.wait_all_tasks_blocked()
        assert heard == [(1, 2, "step 1"), (2, 2, "step 2")]
        with pytest.raises(MCPError) as raised:
            await client.call_tool("office_nothing", {})
        assert raised.value.code == -32602

    place = places(place)
    with rig.Office(tmp_path, "legacy") as old:
        drive(place.command(rig.APPS / "workbench.py", old), "auto", folder, scenario)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", PLACES)
def test_a_call_that_waits(place, mode, places, folder, office):
    """The upstream is away: the call is queued, is still there after the gateway ended, and its
    outcome can be read once the upstream is back."""
    plot = 10 * MODES.index(mode) + PLACES.index(place)
    reading = {"plot": plot, "percent": 50}
    queued = []

    async def state_of(client, uri):
        (contents,) = (await client.read_resource(uri, cache_mode="bypass")).contents
        assert contents.mime_type == "application/json"
        return json.loads(contents.text)

    async def put_in(client):
        result = await client.call_tool("office_log_reading", reading)
        note = result.meta["mcp-gw/queued"]
        link = result.content[1]
        assert not result.is_error and f"queued as {note['id']}" in text_of(result)
        assert (link.type, str(link.uri)) == ("resource_link", note["uri"])
        assert note["uri"] == f"queue://{note['id']}" and note["expires_s"] == 3600
        queued.append(note["uri"])
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "queue://{id}"
        state = await state_of(client, note["uri"])
        assert (state["state"], state["tool"]) == ("queued", "log_reading")
        # What may not wait is refused.
        with pytest.raises(MCPError) as raised:
            await client.call_tool("office_forecast", {"place": "Oslo"})
        assert raised.value.code in (-32010, -32602)
        with pytest.raises(MCPError):
            await client.read_resource("queue://nothing-like-it")

    async def take_out(client):
        with anyio.fail_after(PATIENCE_S):
            while (state := await state_of(client, queued[0]))["state"] != "done":
                assert state["state"] in ("queued", "sending"), state
                await anyio.sleep(0.2)
        assert state["result"]["content"][0]["text"] == f"noted: plot {plot} at 50 percent"

    place = places(place)
    command = place.command(rig.APPS / "workbench.py", office)
    office.stop()
    try:
        drive(command, mode, folder, put_in)
    finally:
        office.start()
    if place.target.is_board:
        place.target.sim.reset()
    drive(command, mode, folder, take_out)
    assert office.executed().count(reading) == 1
