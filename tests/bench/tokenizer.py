"""The tokenizer: on the emulated Pico, and on this machine beside rs-bpe and tiktoken."""

import sys
import time
from contextlib import closing
from pathlib import Path

import rig
import targets
import vocabularies
from figures import Row, below
from latency import line_of, p99, spread, times
from mcpgw.sim import PicoSim
from mcpgw.tokenizer.core import Core
from romfs import flash_with

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "native"))
import texts  # noqa: E402

CALLS = 400  # with a few collections of garbage
CORE_MS = 2
CALL_MS = 15
A_SECOND = 60
# English that the vocabulary was not trained on.
PROSE = (targets.ROOT / "CONTRIBUTING.md").read_text().partition("What we ask of a test")[2]
KB = " ".join(PROSE.split())[:1024]

APP = """
from mcp_gw import Gateway, Param, Tokenizer

gateway = Gateway("bench", version="1")
tokenizer = Tokenizer("/rom/words.mgt")


@gateway.tool("Number of tokens of a text", text=Param(str, "the text"))
def count_tokens(text):
    return tokenizer.count(text)


gateway.run()
"""

CORE = """
from time import ticks_us, ticks_diff
import _bpe
data = memoryview(open("/rom/words.mgt", "rb"))
begin = ticks_us()
v = _bpe.open(data)
print(ticks_diff(ticks_us(), begin))
text = TEXT
for form in (_bpe.count, _bpe.encode):
    begin = ticks_us()
    for _ in range(10):
        form(v, text, 4)
    print(ticks_diff(ticks_us(), begin) / 10)
print(_bpe.count(v, text, 4))
"""


def rows(folder):
    data = vocabularies.trained(4096)[1]
    yield Row("vocabulary of 4,096 tokens", f"{len(data):,} bytes")
    flash = flash_with(folder / "flash.img", {"words.mgt": data})
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        yield from on_the_pico(targets.BoardTarget("pico", sim), sim)
    yield from here()


def on_the_pico(target, sim):
    opened, counted, encoded, tokens = target.run(CORE.replace("TEXT", repr(KB))).split()
    yield Row("open and check it, Pico", f"{int(opened) / 1000:.1f} ms")
    for what, us in (("count", counted), ("encode", encoded)):
        ms = float(us) / 1000
        cycles = float(us) * 125 / len(KB)
        shown = f"{ms:.2f} ms, {cycles:.0f} cycles/byte, {tokens} tokens"
        yield below(f"{what} 1 KB of English in the C core, Pico", ms, CORE_MS, shown, "ms")
    yield Row("  anchor: merging with a linear scan, split at spaces", "183 to 213 cycles/byte")
    rig.put(target, APP)
    sim.restart()
    with closing(rig.SerialWire(sim)) as wire:
        wire.wait_serving()
        wire.strict = False
        line = line_of("count_tokens", {"text": KB})
        times(sim, wire, line, 5)
        last, first = times(sim, wire, line, CALLS)
        yield below(
            f"count_tokens with 1 KB over USB, {CALLS} times",
            p99(last),
            CALL_MS,
            spread(last),
            "ms p99",
        )
        longest = max(last)
        yield below(
            "  the longest, with a collection", longest, CALL_MS, f"{longest:.2f} ms", "ms"
        )
        rate = 1000 * len(first) / sum(first)
        yield Row(
            "  one after the other", f"{rate:.0f} a second", f">= {A_SECOND}", rate >= A_SECOND
        )
    rig.remove(target)


def best(function, text):
    """Million tokens a second, the best of five."""
    found = 0
    for _ in range(5):
        begin = time.process_time()
        count = len(function(text))
        found = max(found, count / (time.process_time() - begin) / 1e6)
    return found


def here():
    import rs_bpe

    text = texts.natural()[:2_000_000].decode(errors="replace")
    core = Core(vocabularies.packed("cl100k_base"))
    data = text.encode()
    ours = best(core.encode, data)
    theirs = best(rs_bpe.openai.cl100k_base().encode, text)
    slow = best(vocabularies.encoding("cl100k_base").encode_ordinary, text)
    yield Row(
        "cl100k_base, 2 MB of source code and prose, one thread",
        f"{ours:.2f} Mtok/s",
        f">= rs-bpe's {theirs:.2f} (tiktoken {slow:.2f})",
        ours >= theirs,
    )
    for name in vocabularies.NAMES:
        packed = vocabularies.packed(name)
        begin = time.process_time()
        core = Core(packed)
        opened = time.process_time() - begin
        size = f"{len(packed):,} bytes, opened in {opened * 1000:.0f} ms"
        yield Row(
            f"{name}",
            f"{best(core.encode, data):.2f} Mtok/s; {size}",
        )
    core = Core(vocabularies.packed("cl100k_base"))
    for thing in (b"a", b" ", b"0"):
        begin = time.process_time()
        core.encode(thing * 1_000_000)
        yield Row(
            f"1 MB of {thing.decode()!r}, cl100k_base", f"{time.process_time() - begin:.2f} s"
        )
