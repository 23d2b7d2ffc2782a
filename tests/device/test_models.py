"""Models on the emulated Pico: run in place from the ROM file system, in little RAM, without
keeping others waiting."""

import ast
import base64
import json

import numpy as np
import own_models
import pytest
import rig
import soak
import targets
from latency import spread
from mcpgw.convert import tflite
from mcpgw.convert.build import build
from mcpgw.convert.run import GraphModel
from mcpgw.sim import PicoSim
from romfs import flash_with

PING_MS = 20
BESIDE_ARENA = 1024
XIP = 0x10000000
WORDS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "other"]

APP = """
from mcp_gw import Gateway
gw = Gateway("ears")
gw.model("kws", "/rom/kws.mgm")
gw.run()
"""


@pytest.fixture(scope="module", params=["kws_ref_model", "own"])
def model(request):
    """Bytes of a model: the keyword spotter of MLPerf Tiny, and one of our own like it."""
    if request.param == "own":
        return own_models.spotter()
    path = request.getfixturevalue("data_dir") / "mlperf-tiny" / f"{request.param}.tflite"
    graph = tflite.read(path)
    graph.meta["labels"] = list(WORDS)
    return build(graph)


@pytest.fixture
def sim(model, tmp_path):
    flash = flash_with(tmp_path / "flash.img", {"kws.mgm": model})
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        yield sim


def pings(sim, wire, line):
    """Call a tool that takes its time (line: bytes) and ping until its answer comes. Returns the
    answer and how long each ping took in simulated ms, from its last byte in to the last byte of
    its answer out."""
    ping = b'{"jsonrpc":"2.0","id":"p","method":"ping"}\n'
    sim.events("packet")
    sim.trace()
    wire.write(line)
    answer = None
    count = 0
    while answer is None:
        wire.write(ping)
        while (message := wire.message()).get("id") != "p":
            answer = message
        count += 1
    sim.trace(False)
    took = []
    asked = None
    for event in sim.events("packet"):
        if event["direction"] == "out":
            asked = event["ns"]
        elif event["ends"] and asked is not None:
            took.append((event["ns"] - asked) / 1e6)
            asked = None
    # The last ones share their time with the answer of the call.
    return answer["result"], took[: count - 1]


def test_others_are_answered_while_it_runs(sim, model, seed, request):
    """The input is a list of numbers, or bytes; the scores are those of the C core on this
    machine."""
    host = GraphModel(model)
    rng = np.random.default_rng(seed)
    forms = ("data",) if "own" in request.node.name else ("input",)
    with rig.serving(targets.BoardTarget("pico", sim), APP) as wire:
        for form in forms * soak.count(1, 10):
            x = rng.integers(-128, 128, host.inputs[0].shape).astype(np.int8)
            given = x.ravel().tolist()
            if form == "data":
                given = base64.b64encode(x.tobytes()).decode()
            arguments = {form: given, "top": 100}
            params = {"name": "classify", "arguments": arguments}
            row = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
            result, took = pings(sim, wire, line)
            print(f"{form}: {len(took)} pings meanwhile: {spread(took)}")
            assert len(took) > 5 and max(took) < PING_MS
            found = {row["label"]: row["score"] for row in result["structuredContent"]["top"]}
            expected = host.run(x)[0].ravel()
            labels = result["structuredContent"]["top"]
            assert len(labels) == len(expected) == len(found)
            scores = sorted(round(row["score"] * 256) - 128 for row in labels)
            assert scores == sorted(expected.tolist())
        wire.check()


RUN = """
import gc, uctypes
from mcp_gw.infer.model import Model
import asyncio
x = bytes({size})
async def nothing():
    pass
asyncio.run(nothing())
gc.collect()
before = gc.mem_alloc()
m = Model('/rom/kws.mgm')
gc.collect()
loaded = gc.mem_alloc()
out = m.run(x)
del out
gc.collect()
ran = gc.mem_alloc()
asyncio.run(m.arun(x))
gc.collect()
print(m.arena_bytes, loaded - before, ran - before, gc.mem_alloc() - before)
print(uctypes.addressof(m._buf))
"""


def test_it_takes_its_arena_and_little_more(sim, model):
    """And its weights stay in flash."""
    size = GraphModel(model).inputs[0].size
    out = targets.run(sim, RUN.replace("{size}", str(size)))
    arena, loaded, ran, twice = map(int, out.splitlines()[0].split())
    print(f"arena {arena}; beside it: loaded {loaded - arena}, run {ran - arena}, {twice - arena}")
    assert arena < max(loaded, ran, twice) < arena + BESIDE_ARENA
    assert XIP <= int(out.splitlines()[1]) < XIP + (2 << 20)


STORE = """
from mcp_gw import Gateway
gw = Gateway("two", model_ram={ram})
for name in ("a", "b"):
    gw.model(name, "/rom/kws.mgm")
import gc
for i in range({rounds}):
    for name in ("a", "b"):
        model = gw.models.get(name)
        model.run(bytes({size}))
gc.collect()
print(gw.models.memory_stats())
print(gc.mem_free())
"""


def test_models_take_turns_within_a_cap(tmp_path):
    model = own_models.small()
    host = GraphModel(model)
    size, arena = host.inputs[0].size, len(host.arena)
    rounds = soak.count(20, 500)
    values = {"ram": arena + arena // 2, "rounds": rounds, "size": size}
    script = STORE
    for key, value in values.items():
        script = script.replace("{%s}" % key, str(value))
    flash = flash_with(tmp_path / "flash.img", {"kws.mgm": model})
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        stats, free = targets.run(sim, script).splitlines()
    stats = ast.literal_eval(stats)
    assert stats["used"] == arena and stats["evicted"] == 2 * rounds - 1
    assert stats["models"]["a"]["runs"] == stats["models"]["b"]["runs"] == rounds
    assert int(free) > 150_000


SMALL = """
with open("/small.mgm", "wb") as f:
    f.write({file})
from mcp_gw import Model
print(list(Model("/small.mgm").run({x})))
import os
os.remove("/small.mgm")
"""


def test_a_file_that_cannot_run_in_place_runs_from_ram(board, seed):
    model = own_models.small()
    x = np.random.default_rng(seed).integers(-128, 128, 64).astype(np.int8)
    script = SMALL.replace("{file}", repr(model)).replace("{x}", repr(x.tobytes()))
    found = ast.literal_eval(board.run(script))
    assert found == GraphModel(model).run(x)[0].ravel().tolist()
