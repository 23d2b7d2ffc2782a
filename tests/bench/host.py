"""Figures by this machine's clock: calls of the official client through the bridge, the board and
back, and parts of the unix build."""

import statistics
import time

import anyio
import rig
import scripts
import targets
from figures import Row
from latency import spread


def rows(folder):
    yield from through_the_bridge(folder)
    unix = targets.UnixTarget(folder)
    yield scripts.scanner(unix, 4000, 50, "unix")
    yield from scripts.ring(unix, "RamNor(64)", 1000, "unix (64 sectors of RAM)")


def through_the_bridge(folder):
    """Round trips of the official client, in ms of this machine."""
    target = targets.make_target("pico", folder)
    found = {"local": [], "forwarded": [], "direct": []}

    async def timed(client, kind, tool, arguments, count):
        for _ in range(count):
            began = time.monotonic()
            result = await client.call_tool(tool, arguments)
            found[kind].append((time.monotonic() - began) * 1000)
            assert not result.is_error

    async def main(office):
        from mcp.client.client import Client

        with open(folder / "bridge.log", "w") as log, anyio.fail_after(60):
            command = rig.bridge(target.sim, folder, upstream=office)
            async with rig.sdk_client(command, "auto", log) as client:
                await client.list_tools()
                await timed(client, "local", "number", {"plot": 3}, 60)
                await timed(client, "forwarded", "office_forecast", {"place": "Oslo"}, 60)
            async with Client(office.url) as client:
                await client.list_tools()
                await timed(client, "direct", "forecast", {"place": "Oslo"}, 60)

    try:
        with rig.Office(folder) as office:
            rig.put(target, rig.APPS / "workbench.py")
            anyio.run(main, office)
    finally:
        target.close()
    found = {kind: times[10:] for kind, times in found.items()}
    names = {
        "local": "SDK client, bridge, board",
        "forwarded": "SDK client, bridge, board, bridge, upstream",
        "direct": "SDK client, upstream (no board)",
    }
    for kind, times in found.items():
        yield Row(f"round trip: {names[kind]}", spread(times))
    more = statistics.median(found["forwarded"]) - statistics.median(found["direct"])
    yield Row("what bridge and board add to a forwarded call", f"median {more:.1f} ms")
