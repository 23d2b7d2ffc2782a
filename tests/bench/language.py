"""Figures of the transformer: stories260K on the emulated Pico and on this machine. The model is
no part of the repository; without the shared data there are no rows."""

import json
import os
import time
from pathlib import Path

import targets
from figures import Row
from mcpgw.convert import llama, llama2c
from mcpgw.native_llama import Llama, llama_state
from mcpgw.sim import PicoSim
from romfs import flash_with

TOKENS = 200
# At least, tokens a second. What others reach: C firmware on ESP32-S3 at 240 MHz, with FPU and
# SIMD, 19 (float32), 30 (one core), 33 (both).
SPEED = {"row": 35, "q8_0": 25, "q4_0": None}
ANCHOR = "ESP32-S3: 19 to 33"

STORY = """
import _qnn, time
buf = memoryview(open('/rom/%s.mgm', 'rb'))
m = _qnn.Llama(buf, bytearray(_qnn.llama_state(buf, 256)[1]))
id, us = 1, []
for _ in range(%d):
    begin = time.ticks_us()
    m.feed(id)
    while m.step():
        pass
    id = m.best()
    us.append(time.ticks_diff(time.ticks_us(), begin))
print(us)
"""


def rows(folder):
    data = Path(os.environ.get("MCPGW_DATA") or targets.ROOT.parent / "shared" / "data")
    source = data / "stories260K" / "stories260K.bin"
    if not source.exists():
        return
    spec = llama2c.read(source)
    for quant, least in SPEED.items():
        file = llama.lower(spec, quant)
        flash = flash_with(folder / f"{quant}.img", {f"{quant}.mgm": file})
        for cache in (False, True):
            yield on_pico(quant, flash, cache, least)
    for quant in ("float", *SPEED):
        yield here(quant, llama.lower(spec, quant))


def on_pico(quant, flash, cache, least):
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0, xip_cache=cache) as sim:
        us = json.loads(targets.run(sim, STORY % (quant, TOKENS), timeout=600))
    speed = TOKENS * 1e6 / sum(us)
    at = ", ".join(f"{1e6 / us[i]:.0f}" for i in (0, 100, TOKENS - 1))
    what = f"stories260K, {quant}, {TOKENS} tokens" + (", XIP cache modelled" if cache else "")
    value = f"{speed:.1f} tokens/s ({at} at 0, 100, {TOKENS - 1}; {ANCHOR})"
    if cache or least is None:
        return Row(what, value)
    return Row(what, value, f">= {least} tokens/s", speed >= least)


def here(quant, file):
    """The C core in this machine's one thread."""
    run = Llama(file, bytearray(llama_state(file, 256)[1]))
    best = None
    for _ in range(3):
        run.rewind(0)
        id, began = 1, time.perf_counter()
        for _ in range(TOKENS):
            run.feed(id)
            while run.step():
                pass
            id = run.best()
        took = time.perf_counter() - began
        best = min(best or took, took)
    return Row(
        f"stories260K, {quant}, {TOKENS} tokens, C core on this machine",
        f"{TOKENS / best:,.0f} tokens/s",
    )
