"""Every example runs as it is, on the unix build and on the emulated Pico."""

import json
import subprocess

import pytest
import rig
import targets
from waiting import PATIENCE_S, until

# Example -> tools to call and their arguments; each returns a number.
CALLS = {
    "greenhouse.py": [("moisture", {"plot": 0})],
    "forwarding.py": [],
    "own_asyncio.py": [("mean", {"n": 3}), ("mean", {})],
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


def test_one_message():
    command = [targets.firmware("unix"), rig.EXAMPLES / "one_message.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert json.loads(done.stdout)["result"]["content"][0]["text"] == "42"


def test_every_example_is_here():
    examples = {path.name for path in rig.EXAMPLES.glob("*.py")}
    assert examples == {*CALLS, "one_message.py"}
