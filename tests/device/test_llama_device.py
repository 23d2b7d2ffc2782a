"""Transformers on the firmware: the oracle's logits, the host's texts, the speed of the Pico."""

import base64
import hashlib
import json
import sys
from array import array

import pytest
import targets
from mcpgw.convert import llama, llama2c
from mcpgw.sim import PicoSim
from romfs import flash_with

sys.path.insert(0, str(targets.ROOT / "tests" / "host"))
import language_models  # noqa: E402
import llama_models  # noqa: E402
import llama_numpy  # noqa: E402

# Tokens a second, mean over the first 200, at 125 MHz without misses of the flash cache.
SPEED = {"row": 35, "q8_0": 25}

LOGITS = """
import _qnn, sys
from array import array
from binascii import a2b_base64, hexlify
from hashlib import sha256
buf = a2b_base64(%r)
_qnn.check(buf)
positions, size = _qnn.llama_state(buf, 8)
state = bytearray(size)
m = _qnn.Llama(buf, state)
out = array('i', [0] * m.info()[0])
digest = sha256()
for id in %r:
    m.feed(id)
    steps = 0
    while m.step():
        steps += 1
    scale = m.logits(out)
    digest.update(out)
    digest.update(str(scale).encode())
print(hexlify(digest.digest()).decode(), m.pos(), positions, steps)
m.seed(5)
print(m.sample(60000, 50000))
for what in (lambda: m.best(), lambda: m.feed(70), lambda: m.rewind(9), lambda: m.feed(-1),
             lambda: m.logits(out), lambda: m.sample(0, 0), lambda: _qnn.Llama(buf, bytearray(99)),
             lambda: m.logits(array('h', out)), lambda: _qnn.llama_state(buf, 0),
             lambda: m.feed(sys.maxsize // 2 + 1), lambda: m.rewind(sys.maxsize // 2 + 1)):
    try:
        what()
        print('nothing raised')
    except ValueError as e:
        print(e)
m.feed(1)
state.extend(bytes(100000))
try:
    m.step()
except ValueError as e:
    print(e)
"""

ERRORS = """no logits: feed() and step() come first
no such token
no such position
no such token
no logits: feed() and step() come first
no logits: feed() and step() come first
state too small for one position
no logits: feed() and step() come first
no such number of positions
no such token
no such position
"""


@pytest.mark.parametrize("quant", llama_models.QUANTS)
def test_logits_are_the_oracles(target, quant, seed):
    """Integers on every processor; odd sizes, since full ones are below."""
    file = llama.lower(llama_models.spec("narrow", seed, vocab=30), quant)
    ids = [3, 29, 0, 7, 7, 12]
    oracle, digest = llama_numpy.Integer(file), hashlib.sha256()
    for id in ids:
        logits, scale = oracle.step(id)
        digest.update(array("i", logits.tolist()).tobytes() + str(scale).encode())
    drawn, _ = llama_numpy.sample(logits, scale, 60000, 50000, 5)
    out = target.run(LOGITS % (base64.b64encode(file), ids))
    first, second, rest = out.split("\n", 2)
    assert first == f"{digest.hexdigest()} 6 8 2"
    assert second == str(drawn)
    assert rest.startswith(ERRORS), rest
    # Where it could grow in place it did not move.
    assert rest[len(ERRORS) :] in ("", "state has moved\n")


TEXTS = """
import asyncio
from binascii import a2b_base64
from mcp_gw.infer.language import Language
language = Language(a2b_base64(%r), a2b_base64(%r), positions=40)
for prompt, options in %r:
    text = language.generate(prompt, **options)
    print([piece.encode() for piece in text], text.reason, text.tokens, text.prompt_tokens)
async def both():
    pieces = []
    texts = await asyncio.gather(language.acomplete('ab', pieces.append, max_tokens=4),
                                 language.acomplete('ba', max_tokens=4))
    print(texts, pieces)
asyncio.run(both())
"""


def test_texts_are_the_hosts(target, seed):
    """Language gives the same text wherever it runs."""
    model, vocabulary = language_models.both(seed)
    out = target.run(
        TEXTS % (base64.b64encode(model), base64.b64encode(vocabulary), language_models.PROMPTS)
    )
    assert out == language_models.on_this_machine(model, vocabulary)


STORY = """
import _qnn, gc, time
buf = memoryview(open('/rom/%s.mgm', 'rb'))
gc.collect()
before = gc.mem_alloc()
state = bytearray(_qnn.llama_state(buf, 256)[1])
m = _qnn.Llama(buf, state)
took = gc.mem_alloc() - before - len(state)
id, ids, us, longest = 1, [], [], 0
for _ in range(200):
    begin = at = time.ticks_us()
    m.feed(id)
    while m.step():
        now = time.ticks_us()
        longest = max(longest, time.ticks_diff(now, at))
        at = now
    id = m.best()
    us.append(time.ticks_diff(time.ticks_us(), begin))
    ids.append(id)
print([ids, us, longest, len(state), took])
"""


@pytest.mark.parametrize("quant", SPEED)
def test_speed_on_the_pico(data_dir, tmp_path, quant):
    """stories260K, in place from the ROM file system: its tokens are the oracle's, its speed is
    what was promised, and nothing of the weights is copied."""
    spec = llama2c.read(data_dir / "stories260K" / "stories260K.bin")
    file = llama.lower(spec, quant)
    flash = flash_with(tmp_path / "flash.img", {f"{quant}.mgm": file})
    with PicoSim(targets.firmware("pico"), flash=flash, speed=0) as sim:
        ids, us, longest, state, took = json.loads(targets.run(sim, STORY % quant))
    oracle, id, wanted = llama_numpy.Integer(file), 1, []
    for _ in range(200):
        id = int(oracle.step(id)[0].argmax())
        wanted.append(id)
    assert ids == wanted
    speed = 200e6 / sum(us)
    print(
        f"{quant}: {speed:.1f} tokens/s; at 0, 100, 199: "
        + ", ".join(f"{1e6 / us[i]:.1f}" for i in (0, 100, 199))
        + f"; longest step {longest / 1000:.1f} ms, state {state} bytes, beside it {took}"
    )
    assert speed > SPEED[quant]
    assert longest < 10_000
    assert took < 1024 and state < 120_000
