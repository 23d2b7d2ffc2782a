"""What models cost as tools: through the gateway, over USB, on the emulated Pico; simulated
times."""

import base64
import json
from contextlib import closing

import numpy as np
import own_models
import rig
import targets
from figures import Row, below
from latency import line_of, p99, spread, times
from mcpgw.convert import llama, llama2c, tflite
from mcpgw.convert.build import build
from mcpgw.convert.pack import packer
from mcpgw.convert.run import GraphModel
from mcpgw.sim import PicoSim
from mcpgw.tokenizer import mgt, readers
from romfs import flash_with

DATA = targets.ROOT.parent / "shared" / "data"
PING_MS = 20
BESIDE_ARENA = 1024
COUNT_MS = 15
TEXT = "The gateway answers small questions on the board and asks the cloud for the rest. " * 13
APP = """
from mcp_gw import Gateway
gw = Gateway("bench")
gw.model("words", "/rom/words.mgm", labels=[str(i) for i in range(12)])
gw.model("story", "/rom/story.mgm", tokenizer="/rom/story.mgt", positions=96)
gw.run()
"""
MEMORY = """
import gc
from mcp_gw.infer.model import Model
x = bytes({size})
gc.collect()
before = gc.mem_alloc()
m = Model("/rom/words.mgm")
m.run(x)
gc.collect()
print(gc.mem_alloc() - before - m.arena_bytes)
"""


def files():
    """(what is measured, {name: bytes}): the models of the shared data, else of our own."""
    if not DATA.is_dir():
        model, vocabulary = own_models.language(positions=96)
        return "own models", {
            "words.mgm": own_models.spotter(),
            "story.mgm": model,
            "story.mgt": vocabulary,
        }
    stories = DATA / "stories260K"
    words = build(tflite.read(DATA / "mlperf-tiny/kws_ref_model.tflite"), packer("rp2040"))
    return "kws, stories260K", {
        "words.mgm": words,
        "story.mgm": llama.lower(llama2c.read(stories / "stories260K.bin"), "row"),
        "story.mgt": mgt.pack(readers.llama2c((stories / "tok512.bin").read_bytes())),
    }


def rows(folder):
    """All rows, one after the other as they are measured."""
    what, rom = files()
    size = GraphModel(rom["words.mgm"]).inputs[0].size
    flash = flash_with(folder / "flash.img", rom)
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        target = targets.BoardTarget("pico", sim)
        beside = int(target.run(MEMORY.replace("{size}", str(size))))
        yield below(
            f"RAM beside the arena, {what}", beside, BESIDE_ARENA, f"{beside} bytes", "bytes"
        )
        rig.put(target, APP)
        sim.restart()
        with closing(rig.SerialWire(sim)) as wire:
            wire.wait_serving()
            wire.strict = False
            x = np.random.default_rng(1).integers(-128, 128, size).astype(np.int8)
            data = base64.b64encode(x.tobytes()).decode()
            line = line_of("classify", {"model": "words", "data": data})
            found, _ = times(sim, wire, line, 5)
            yield Row("classify, from the last byte in to the last byte out", spread(found))
            pings = list(meanwhile(sim, wire, line))
            yield below("ping while it classifies", max(pings), PING_MS, spread(pings), "ms")
            yield from counting(sim, wire)
            yield writing(sim, wire)


def meanwhile(sim, wire, line):
    """ms of the pings that were answered before the call was."""
    ping = b'{"jsonrpc":"2.0","id":"p","method":"ping"}\n'
    for _ in range(10):
        sim.events("packet")
        wire.write(line)
        sim.trace()
        wire.write(ping)
        first = wire.message()
        sim.trace(False)
        other = wire.message()
        if {first["id"], other["id"]} != {"p", 1000} or first["id"] != "p":
            continue
        events = sim.events("packet")
        asked = [e["ns"] for e in events if e["direction"] == "out"]
        told = [e["ns"] for e in events if e["direction"] == "in" and e["ends"]]
        yield (told[0] - asked[-1]) / 1e6


def counting(sim, wire):
    line = line_of("count_tokens", {"text": TEXT[:1024]})
    found, whole = times(sim, wire, line, 100)
    yield below("count_tokens of 1 KB, p99", p99(found), COUNT_MS, spread(found), "ms")
    each = 1000 / (sum(whole) / len(whole))
    yield Row("count_tokens of 1 KB, one after the other", f"{each:.0f} a second")


def writing(sim, wire):
    """Tokens a second of `complete`, its progress included."""
    arguments = {"model": "story", "prompt": "Once upon a time", "max_tokens": 40}
    row = {"name": "complete", "arguments": arguments, "_meta": {"progressToken": 1}}
    sim.events("packet")
    sim.trace()
    wire.ask("tools/call", row)
    sim.trace(False)
    events = [e["ns"] for e in sim.events("packet")]
    seconds = (events[-1] - events[0]) / 1e9
    told = [json.loads(line) for line in wire.lines if b"notifications/progress" in line]
    return Row("complete, 40 tokens with their progress", f"{len(told) / seconds:.1f} pieces/s")
