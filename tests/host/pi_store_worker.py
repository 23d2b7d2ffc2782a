"""Works on the paired gateway's database until it is killed: `pi_store_worker.py FILE`.

Each line of its output says what was durable when it was written: `began KEY`, `done KEY`, `token
NAME DIGEST`. Keys go through Calls, many at a time, as in the service.
"""

import asyncio
import itertools
import os
import sys

from mcpgw.bridge.calls import Calls
from mcpgw.bridge.keys import KeyStore
from mcpgw.bridge.log import Log
from mcpgw.pi.store import BOARD, Store, digest


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def main(path):
    store = Store(path)
    keys = KeyStore(path)
    calls = Calls(keys, Log(sys.stderr))
    start = os.getpid()
    numbers = itertools.count()

    async def work():
        for i in numbers:
            key = f"{start}-{i}"

            async def send(report, key=key):
                say("began", key)
                await asyncio.sleep(0)
                return True, b'{"n":"%s"}' % key.encode()

            ok, raw = await calls.run("pi", key, "tool", send, None)
            assert ok and key.encode() in raw
            say("done", key)

    async def tokens():
        for i in itertools.count():
            name = f"b{start}-{i}"
            token = await asyncio.to_thread(store.add_token, name, BOARD)
            say("token", name, digest(token).hex())
            await asyncio.sleep(0.005)

    say("ready")
    await asyncio.gather(tokens(), *[work() for _ in range(6)])


asyncio.run(main(sys.argv[1]))
