"""Serving takes no memory that it does not give back, and leaves the app most of the heap."""

import json
import random
import statistics

import anyio
import pytest
import rig
import soak
import targets
from mcpgw.sim import PicoSim
from waiting import PATIENCE_S

WORKBENCH = rig.APPS / "workbench.py"
HEAP_FREE = 180 * 1000
ALLOCATED = 1536
WARM_UP = 60
# What is printed and logged without a bridge is kept for one, the last KB of it.
FILL_LOG = 20


@pytest.fixture(scope="module")
def fast_pico(tmp_path_factory):
    """A Pico that runs as fast as this machine can, so not for anything with time-outs."""
    folder = tmp_path_factory.mktemp("memory")
    sim = PicoSim(targets.firmware("pico"), flash=folder / "flash.img", speed=0)
    target = targets.BoardTarget("pico", sim.start())
    yield target
    target.close()


@pytest.fixture(params=["unix", "pico"])
def wire(request, tmp_path):
    if request.param == "unix":
        target = targets.UnixTarget(tmp_path)
    else:
        target = request.getfixturevalue("fast_pico")
    with rig.serving(target, WORKBENCH) as wire:
        wire.strict = False  # thousands of lines, all of a kind
        yield wire


def request(method, params, id):
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    return json.dumps(message).encode()


def calls(rng, modern):
    """Requests without end, most of them calls, a few of them wrong; all ids of one length. Yields
    (line, whether an error or a tool error is due)."""
    extra = {"_meta": rig.META} if modern else {}
    id = 100_000
    while True:
        id += 1
        odd = "".join(rng.choices("abcdefgh", k=8))
        name, arguments, bad = rng.choices(
            [
                ("add", {"a": rng.randrange(1000), "b": 7}, False),
                ("echo", {"text": odd * rng.randrange(1, 20)}, False),
                ("add", {"a": odd}, True),
                ("add", {"a": 1, odd: 1}, True),
                ("fails", {}, True),
                ("breaks", {}, True),
                ("no_" + odd, {}, True),
            ],
            [70, 20, 2, 2, 2, 2, 2],
        )[0]
        line = request("tools/call", {"name": name, "arguments": arguments, **extra}, id)
        kind = rng.randrange(100)
        if kind == 0:
            yield line[: rng.randrange(1, len(line))], True
        elif kind == 1:
            yield request("no/" + odd, {}, id), True
        else:
            yield line, bad


def run(wire, requests, count, batch):
    """Send `count` requests, `batch` at a time, and check that each gets the answer it is due."""
    for _ in range(count // batch):
        rows = [next(requests) for _ in range(batch)]
        wire.write(b"".join(line + b"\n" for line, _ in rows))
        for line, bad in rows:
            answer = wire.message()
            failed = "error" in answer or answer["result"].get("isError", False)
            assert failed == bad, (line, answer)
    del wire.lines[: wire._at]
    wire._at = 0


def heap(wire):
    return wire.call("heap")["structuredContent"]


def status(wire):
    answer = wire.ask("resources/read", {"uri": "board://status"})
    return answer["result"]["contents"][0]["text"]


def grows(used):
    """Whether bytes in use, taken after equal numbers of calls, go on growing. A few may come and
    go: the collector keeps what looks like an address, and a table grows once and for all."""
    few = max(2, len(used) // 4)
    return min(used[-few:]) > max(used[: len(used) - 2 * few])


def test_the_heap_stays_as_it_is(wire, seed):
    """Thousands of calls, errors among them: what is in use after a collection does not grow."""
    rng = random.Random(seed)
    on_unix = isinstance(wire, rig.ProcessWire)
    total = soak.count(10_000, 200_000) if on_unix else soak.count(1_000, 10_000)
    requests = calls(rng, modern=False)
    batch = 20 if on_unix else 4
    run(wire, requests, WARM_UP, batch)
    for _ in range(FILL_LOG):
        assert wire.call("breaks")["isError"]
    while json.loads(status(wire))["uptime_s"] < 2:  # what a gateway does once a second
        pass
    heap(wire)
    used = [heap(wire)["used"]]
    for _ in range(10):
        run(wire, requests, total // 10, batch)
        used.append(heap(wire)["used"])
    print(f"{total} calls: bytes in use {used}")
    assert not grows(used), used


def test_a_call_allocates_little(wire):
    """What a tools/call leaves for the collector, in both eras: requests that come together, so
    that the event loop's waiting is not counted."""
    together = 4

    def between(line=None):
        """Bytes allocated from one `mark` to the next with `together` lines in between."""
        found = [
            rig.marked(wire, [line] * (together if line else 0))
            for _ in range(soak.count(15, 100))
        ]
        return statistics.median(n for n in found if n > 0)  # unless there was a collection

    own = between()
    # Words are twice as long on unix.
    limit = 2 * ALLOCATED if isinstance(wire, rig.ProcessWire) else ALLOCATED
    for era, more in (("legacy", {}), ("modern", {"_meta": rig.META})):
        params = {"name": "number", "arguments": {"plot": 3}, **more}
        size = (between(request("tools/call", params, 100_000)) - own) / together
        print(f"{era}: a tools/call allocates {size:.0f} bytes")
        assert 0 < size < limit


FORWARDING = (rig.EXAMPLES / "forwarding.py").read_text()
WITH_HEAP = FORWARDING.replace(
    "\ngw.run()",
    """
import gc


@gw.tool("Bytes in use and free after a collection")
def heap():
    gc.collect()
    return {"used": gc.mem_alloc(), "free": gc.mem_free()}


gw.run()""",
)


def test_heap_free_while_serving_and_forwarding(tmp_path):
    """The forwarding example on the Pico, with the bridge, the upstream's tools and a queued call;
    and forwarding takes no memory for good."""
    assert WITH_HEAP != FORWARDING
    target = targets.make_target("pico", tmp_path)
    office = rig.Office(tmp_path, "few")
    figures = []

    async def scenario():
        with open(tmp_path / "stderr.log", "w") as log, anyio.fail_after(5 * PATIENCE_S):
            command = rig.bridge(target.sim, tmp_path, upstream=office)
            async with rig.sdk_client(command, "auto", log) as client:

                async def measure():
                    result = await client.call_tool("heap", {})
                    figures.append(result.structured_content)

                # The upstream's are there as soon as the board has heard of them.
                while len((await client.list_tools()).tools) != 9:
                    await anyio.sleep(0.1)
                await measure()
                for i in range(soak.count(150, 1000)):
                    result = await client.call_tool("office_forecast", {"place": f"{i:04}"})
                    assert rig.text_of(result) == f"{i:04}: sunny"
                    if i % 25 == 24:
                        await measure()

    try:
        with office:
            rig.put(target, WITH_HEAP)
            anyio.run(scenario)
    finally:
        target.close()
    print(
        "heap free:", [row["free"] for row in figures], "used:", [row["used"] for row in figures]
    )
    assert min(row["free"] for row in figures) >= HEAP_FREE
    used = [row["used"] for row in figures[1:]]
    assert not grows(used), used
