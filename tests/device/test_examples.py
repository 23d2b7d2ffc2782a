"""Every example runs as it is, on the unix build and on the emulated Pico."""

import json
import signal
import socket
import subprocess

import anyio
import pytest
import rig
import targets
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from waiting import PATIENCE_S, ReservedPort, until

# Example -> tools to call and their arguments; each returns a number.
CALLS = {
    "greenhouse.py": [("moisture", {"plot": 0})],
    "forwarding.py": [],
    "irrigation.py": [],
    "own_asyncio.py": [("mean", {"n": 3}), ("mean", {})],
    "routing.py": [],
    "own_loop.py": [("count_blinks", {})],
    "sketch_thermometer.py": [("temperature", {}), ("count_loops", {})],
}


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    target = targets.make_target("pico", tmp_path_factory.mktemp("examples"))
    yield target
    target.close()


def number_in(text):
    value = json.loads(text)
    return value["celsius"] if isinstance(value, dict) else value


@pytest.mark.parametrize("place", ["unix", "pico"])
@pytest.mark.parametrize("example", sorted(CALLS))
def test_example(example, place, tmp_path, request):
    on_pico = place == "pico"
    target = request.getfixturevalue("pico") if on_pico else targets.UnixTarget(tmp_path)
    with rig.serving(target, rig.EXAMPLES / example) as wire:
        tools = {tool["name"] for tool in wire.ask("tools/list")["result"]["tools"]}
        assert tools >= {name for name, _ in CALLS[example]}
        for name, arguments in CALLS[example]:
            result = wire.call(name, **arguments)
            assert not result.get("isError"), result
            assert number_in(result["content"][0]["text"]) >= 0
        assert "error" in wire.ask("no/such")
        wire.check()


def test_a_program_goes_on_beside_the_gateway(tmp_path):
    """Its loop, its tasks and its loop() run while nobody asks."""
    target = targets.UnixTarget(tmp_path)
    counters = {"own_loop.py": "count_blinks", "sketch_thermometer.py": "count_loops"}
    for example, tool in counters.items():
        with rig.serving(target, rig.EXAMPLES / example) as wire:

            def count(wire=wire, tool=tool):
                return int(wire.call(tool)["content"][0]["text"])

            first = count()
            until(lambda count=count, first=first: count() > first)


@pytest.mark.parametrize("place", ["unix", "pico"])
def test_asking_before_watering(place, tmp_path, request):
    on_pico = place == "pico"
    target = request.getfixturevalue("pico") if on_pico else targets.UnixTarget(tmp_path)
    with rig.serving(target, rig.EXAMPLES / "irrigation.py") as wire:
        can = dict(rig.INITIALIZE, capabilities={"elicitation": {}})
        wire.ask("initialize", can)
        wire.ask("resources/subscribe", {"uri": "plot://herbs/watered"})
        for sure, told in ((False, "left alone"), (True, "watered herbs for 20 s")):
            arguments = {"plot": "herbs", "seconds": 20}
            params = {"name": "water", "arguments": arguments, "_meta": {"progressToken": "t"}}
            id = wire.send("tools/call", params)
            asked = wire.message()
            assert asked["params"]["message"] == "Water herbs for 20 s?"
            answer = {"action": "accept", "content": {"sure": sure}}
            reply = {"jsonrpc": "2.0", "id": asked["id"], "result": answer}
            wire.write(json.dumps(reply).encode() + b"\n")
            heard = []
            while "method" in (message := wire.message()):
                heard.append(message["method"][14:])
            assert message["id"] == id and message["result"]["content"][0]["text"] == told
        assert heard == ["message"] + ["progress"] * 4 + ["resources/updated"]
        read = wire.ask("resources/read", {"uri": "plot://herbs/watered"})
        contents = json.loads(read["result"]["contents"][0]["text"])
        assert contents == {"plot": "herbs", "seconds": 20}
        ref = {"type": "ref/resource", "uri": "plot://{plot}/watered"}
        params = {"ref": ref, "argument": {"name": "plot", "value": "t"}}
        found = wire.ask("completion/complete", params)["result"]["completion"]
        assert found["values"] == ["tomatoes"]
        got = wire.ask("prompts/get", {"name": "plan", "arguments": {"weather": "wet"}})
        assert "will be wet" in got["result"]["messages"][0]["content"]["text"]
        wire.check()


def test_over_http():
    reserved = ReservedPort()
    app = rig.EXAMPLES / "over_http.py"
    process = subprocess.Popen([targets.firmware("unix"), app, str(reserved.number)])
    try:

        async def scenario():
            url = f"http://127.0.0.1:{reserved.number}/mcp"
            async with Client(streamable_http_client(url)) as client:
                result = await client.call_tool("add", {"a": 1.5, "b": 2})
                assert result.structured_content == {"sum": 3.5}
                heard = []

                async def on_progress(progress, total, message):
                    heard.append((progress, total))

                await client.call_tool("count", {"n": 3}, progress_callback=on_progress)
                assert heard == [(1, 3), (2, 3), (3, 3)]

        def listens():
            try:
                socket.create_connection(("127.0.0.1", reserved.number)).close()
            except OSError:
                return False
            return True

        until(listens)
        anyio.run(scenario)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) is not None
    finally:
        process.kill()
        reserved.close()


def test_one_message():
    command = [targets.firmware("unix"), rig.EXAMPLES / "one_message.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert json.loads(done.stdout)["result"]["content"][0]["text"] == "42"


def test_every_example_is_here():
    """Those with models are in test_model_examples.py and test_language_device.py."""
    examples = {path.name for path in rig.EXAMPLES.glob("*.py")}
    models = {"anomaly.py", "classify_sensor.py", "story.py"}
    assert examples == {*CALLS, *models, "one_message.py", "over_http.py"}
