"""Flash, time and RAM that the firmware may take; each figure is printed."""

import json
import statistics
import time

import latency
import pytest
import rig
import soak
import targets
from elftools.elf.elffile import ELFFile
from mcpgw.sim import PicoSim
from waiting import until

FIRMWARE_BYTES = 600 * 1000
REGION_BYTES = 640 * 1024
READY_MS = 1000
CALL_MS = 5
MEDIAN_MS = 3.5
LIST_BYTES = 2 * 1024
COLLECTION_MS = 30
IMPORT_BYTES = 4 * 1024
# What only those who use it may load.
OPTIONAL = ("mcp_gw.route", "mcp_gw.queue", "mcp_gw.sketch", "mcp_gw.infer")


def test_the_firmware_fits():
    uf2 = targets.firmware("pico")
    size = uf2.with_suffix(".bin").stat().st_size
    print(f"firmware: {size} bytes")
    assert size < FIRMWARE_BYTES


def test_the_linker_refuses_what_does_not_fit():
    """The limit in the linker script, the board's profile and where the firmware really ends."""
    folder = targets.firmware("pico").parent
    profile = json.loads((targets.ROOT / "boards" / "MCPGW_PICO" / "profile.json").read_text())
    assert profile["flash"]["regions"]["firmware"]["bytes"] == REGION_BYTES
    script = (folder / "firmware_limit.ld").read_text()
    assert f"__flash_binary_end - __flash_binary_start <= {REGION_BYTES}" in script
    assert "firmware_limit.ld" in (folder / "build.ninja").read_text()
    with open(folder / "firmware.elf", "rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        (start,) = table.get_symbol_by_name("__flash_binary_start")
        (end,) = table.get_symbol_by_name("__flash_binary_end")
    used = end["st_value"] - start["st_value"]
    print(f"{used} of {REGION_BYTES} bytes")
    assert (folder / "firmware.bin").stat().st_size <= used <= REGION_BYTES


REQUESTS = (
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'
    b'{"jsonrpc":"2.0","id":2,"method":"initialize","params":%s}\n'
    b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}\n'
) % json.dumps(rig.INITIALIZE).encode()


def answered(sim):
    """Requests wait from the moment the console is there: simulated ms from boot until the answer
    to the first and to the last had left."""
    sim.trace()
    wire = rig.SerialWire(sim)
    wire.write(REQUESTS)
    until(lambda: (now := sim.status())["open"] and now["pending"] == len(REQUESTS))
    sim.go()
    for id in (1, 2, 3):
        assert "result" in wire.answer(id)
    wire.close()
    packets = [e for e in sim.events("packet") if e["direction"] == "in" and e["ends"]]
    return packets[0]["ns"] / 1e6, packets[-1]["ns"] / 1e6


@pytest.mark.parametrize("app", ["nothing", "greenhouse.py", "forwarding.py"])
def test_ready_to_answer_within_a_second_of_boot(app, tmp_path):
    with PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img", speed=0) as sim:
        target = targets.BoardTarget("pico", sim)
        if app != "nothing":
            rig.put(target, rig.EXAMPLES / app)
        else:
            target.run("pass")  # the file system is made at the first start
        sim.hold()
        sim.restart()
        first, last = answered(sim)
    print(f"{app}: first answer after {first:.0f} ms, tools listed after {last:.0f} ms")
    assert last < READY_MS


def test_a_first_start_is_ready_soon_too(tmp_path):
    """With blank flash the file system is made first."""
    sim = PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img", speed=0)
    sim.hold()
    with sim:
        first, last = answered(sim)
    print(f"first start: first answer after {first:.0f} ms, tools listed after {last:.0f} ms")
    assert last < READY_MS


def test_a_local_call_takes_less_than_5_ms(tmp_path):
    """From its last byte in to the last byte of its answer out, each request sent as soon as the
    one before is answered: so often that garbage must be collected meanwhile, and is counted."""
    sim = PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img")
    with sim, rig.serving(targets.BoardTarget("pico", sim), rig.APPS / "workbench.py") as wire:
        wire.strict = False
        # A request of one packet is taken at once: nothing that the board does before it gets to
        # it is left out.
        ping = b'{"jsonrpc":"2.0","id":1000,"method":"ping"}\n'
        for what, line in (
            ("one packet", ping),
            ("2025-11-25", latency.line_of("number", {"plot": 3})),
            ("2026-07-28", latency.line_of("number", {"plot": 3}, rig.META)),
        ):
            latency.times(sim, wire, line, 10)
            found, _ = latency.times(sim, wire, line, soak.count(300, 3000))
            print(f"{what}, {len(line) - 1} bytes: {latency.spread(found)}")
            assert statistics.median(found) <= MEDIAN_MS
            assert latency.p99(found) < CALL_MS
            assert max(found) < COLLECTION_MS


MANY = """
import gc
from mcp_gw import Gateway, Param
gw = Gateway('many')
def pump(seconds, percent, mode):
    return seconds
for i in range(32):
    gw.tool(
        'Turns a pump on for a while',
        name='pump_%02d' % i,
        seconds=Param(int, 'how long', min=1, max=3600),
        percent=Param(float, 'of its full power', default=50.0, min=0, max=100),
        mode=Param(str, 'how it starts', enum=('soft', 'hard')),
    )(pump)
@gw.tool('Bytes in use, rubbish included')
def mark():
    return gc.mem_alloc()
gw.run()
"""


def test_a_list_of_32_tools_is_streamed(tmp_path):
    """From the descriptors as they lie in memory: all that is allocated meanwhile, rubbish
    included."""
    sim = PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img", speed=0)
    with sim, rig.serving(targets.BoardTarget("pico", sim), MANY) as wire:
        size = len(json.dumps(wire.ask("tools/list")["result"]))
        wire.strict = False
        for era, more in (("2025-11-25", {}), ("2026-07-28", {"_meta": rig.META})):
            row = {"jsonrpc": "2.0", "id": 1000, "method": "tools/list", "params": more}
            line = json.dumps(row).encode()
            own = statistics.median(rig.marked(wire, []) for _ in range(9))
            found = statistics.median(rig.marked(wire, [line]) for _ in range(9)) - own
            print(f"{era}: a list of {size} bytes allocates {found:.0f} bytes")
            assert size > 4 * LIST_BYTES
            assert 0 < found < LIST_BYTES


def test_importing_the_package_loads_nothing_else(target):
    """Not even the gateway; and Gateway and Param load no optional feature."""
    script = """
import gc, sys
gc.collect()
before = gc.mem_alloc()
import mcp_gw
gc.collect()
print(gc.mem_alloc() - before)
print(' '.join(sorted(m for m in sys.modules if m.startswith('mcp_gw'))))
from mcp_gw import Gateway, Param, ToolError
gw = Gateway('x')
gw.tool('', a=Param(int))(lambda a: a)
print(gw.process(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"<lambda>"}}'))
print(' '.join(sorted(m for m in sys.modules if m.startswith('mcp_gw'))))
"""
    script = script.replace("gw.tool('', a=", "gw.tool('', name='f', a=").replace("<lambda>", "f")
    used, first, answer, second = target.run(script).splitlines()
    print(f"{target.name}: import mcp_gw takes {used} bytes of heap; then {second}")
    assert first == "mcp_gw" and int(used) < IMPORT_BYTES
    assert '"id":1' in answer
    for name in second.split():
        assert not name.startswith(OPTIONAL), name


def test_features_load_when_they_are_used(unix):
    script = """
import sys
from mcp_gw import Gateway
gw = Gateway('x')
gw.upstream('a')
print(' '.join(sorted(m for m in sys.modules if m.startswith('mcp_gw'))))
"""
    loaded = unix.run(script).split()
    assert "mcp_gw.route.hub" in loaded and "mcp_gw.route.link_upstream" in loaded
    assert "mcp_gw.route.http_upstream" not in loaded
    assert not any(name.startswith("mcp_gw.queue") for name in loaded)


def test_the_unix_build_starts_quickly(tmp_path):
    target = targets.UnixTarget(tmp_path)
    began = time.monotonic()
    with rig.serving(target, rig.EXAMPLES / "greenhouse.py"):
        took = time.monotonic() - began
    print(f"unix: conversation open after {took * 1000:.0f} ms")
    assert took < 30
