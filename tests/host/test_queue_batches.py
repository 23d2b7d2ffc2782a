"""A gateway's queue and the paired gateway over HTTP: what waited goes in batches."""

import asyncio
import json

import pytest
from pi_rig import Pi, SDKServer, server_table
from waiting import PATIENCE_S

from mcp_gw import Gateway
from mcp_gw.queue.nor_kept import RamNor


@pytest.fixture
def office(tmp_path):
    server = SDKServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def pi(tmp_path, office):
    pi = Pi(tmp_path, server_table("office", url=office.url))
    yield pi.up("office")
    pi.close()


def call(gw, number):
    params = {"name": "pi_office_mark", "arguments": {"number": number, "seconds": 0}}
    row = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.loads(gw.process(json.dumps(row).encode()))


def test_what_waited_goes_in_batches(pi, office):
    pi.stop()
    gw = Gateway("board")
    outbox = gw.queue(RamNor(16))
    gw.upstream("pi", url=pi.address + "/mcp", queueable=("office_mark",), connect_ms=1000)
    ids = [call(gw, n)["result"]["_meta"]["mcp-gw/queued"]["id"].encode() for n in range(40)]
    assert outbox.pending == 40
    pi.start()
    pi.up("office")
    requests = []
    upstream = gw.upstreams.router.upstreams["pi"]
    request = upstream.request

    async def counted(method, *rest, **more):
        requests.append(method)
        return await request(method, *rest, **more)

    upstream.request = counted

    class Idle:
        def listen(self):
            pass

        def tick(self, now):
            if not outbox.pending:
                gw.stop()
            outbox.hurry(now)

        close = listen

    async def serve():
        await asyncio.wait_for(gw.serve(Idle()), PATIENCE_S)

    asyncio.run(serve())
    states = [json.loads(outbox.status(id))["state"] for id in ids]
    assert states == ["done"] * 40
    marks = sorted(int(line.split()[1]) for line in office.ledger() if line.startswith("mark "))
    assert marks == list(range(40))
    # The first may have gone alone, before it was known what the gateway takes.
    assert 2 <= requests.count("mcp-gw/deliver") <= 5 and requests.count("tools/call") <= 1
