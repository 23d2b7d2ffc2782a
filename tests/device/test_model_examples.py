"""The examples with models and streams run as they are, on the unix build and on the emulated
Pico."""

import json
import sys

import pytest
import rig
import targets
from mcpgw.sim import PicoSim
from romfs import flash_with
from waiting import until

sys.path.insert(0, str(targets.ROOT / "tools"))
import train_models  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with the repository's own models."""
    folder = tmp_path_factory.mktemp("models")
    train_models.train(folder, ["iris-forest"])
    return folder


@pytest.fixture
def target(request, tmp_path):
    """make(name, rom): a target with these files in its ROM file system."""
    made = []

    def make(name, rom=None):
        if name == "unix":
            return targets.UnixTarget(tmp_path)
        flash = flash_with(tmp_path / "flash.img", rom or {"empty": b""})
        sim = PicoSim(targets.firmware("pico"), flash=flash)
        made.append(sim)
        return targets.BoardTarget("pico", sim.start())

    yield make
    for sim in made:
        sim.stop()


@pytest.mark.parametrize("place", ["unix", "pico"])
def test_classify_sensor(place, target, trained):
    file = trained / "iris-forest.mgm"
    arguments = [file] if place == "unix" else []
    board = target(place, {file.name: file.read_bytes()})
    with rig.serving(board, rig.EXAMPLES / "classify_sensor.py", *arguments) as wire:
        found = wire.call("identify")["structuredContent"]
        assert found["flower"] == "setosa" and found["certainty"] > 0.8
        found = wire.call("classify", input=[6.7, 3.0, 5.2, 2.3])["structuredContent"]
        assert found["label"] == "virginica" and found["model"] == "iris"
        assert {row["label"] for row in found["top"]} == {"setosa", "versicolor", "virginica"}
        assert abs(sum(row["score"] for row in found["top"]) - 1) < 1e-4
        assert wire.call("classify", input=[1, 2, 3])["isError"]
        read = wire.ask("resources/read", {"uri": "board://models"})["result"]["contents"][0]
        stats = json.loads(read["text"])
        assert stats["models"]["iris"]["runs"] == 2 and stats["used"] <= stats["cap"]
        wire.check()


def heard(wire):
    """Notifications that have come so far."""
    return [json.loads(line) for line in wire.lines if b'"method":"notifications/' in line]


@pytest.mark.parametrize("place", ["unix", "pico"])
def test_anomaly(place, target):
    """A pump that knocks: clients hear of it, and it waits in the queue; the unix build has none,
    there the call fails, which is logged."""
    board = target(place)
    with rig.serving(board, rig.EXAMPLES / "anomaly.py") as wire:
        wire.frames = True
        wire.ask("resources/subscribe", {"uri": "stream://pump"})
        if place == "pico":

            def looks():
                read = wire.ask("resources/read", {"uri": "stream://pump"})["result"]
                return json.loads(read["contents"][0]["text"])["look"]

            # Ten looks at a pump at rest, then one that knocks.
            until(lambda: looks() >= 10)
            level = 0
            while not heard(wire):
                level = 4095 - level
                board.sim.adc(0, level)
                wire.ask("ping")
        while len(heard(wire)) < 2:
            wire.message()
        updated, logged = heard(wire)[:2]
        assert updated["method"] == "notifications/resources/updated"
        assert updated["params"] == {"uri": "stream://pump"}
        assert logged["params"]["level"] == "warning"
        data = logged["params"]["data"]
        assert data["alert"] is True and data["score"] >= 8 and data["stream"] == "pump"
        row = wire.call("analyze", stream="pump")["structuredContent"]
        assert row["count"] == 32 and row["latest"]["look"] >= data["look"]
        wire.check()
    if place == "pico":
        script = "from mcp_gw import Gateway\nprint(Gateway('x').queue().pending)"
        assert int(board.run(script)) >= 1
    else:
        assert "stream://pump: office_log_reading: " in wire.errors.read_text()
