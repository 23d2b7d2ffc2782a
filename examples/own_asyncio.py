# A program with its own asyncio tasks beside the gateway.

import asyncio

from mcp_gw import Gateway, Param

gw = Gateway("sampler", version="1.0")
samples = []


@gw.tool("Mean of the last samples", n=Param(int, "how many", default=5, min=1, max=100))
async def mean(n):
    while len(samples) < n:  # other clients are served meanwhile
        await asyncio.sleep_ms(10)
    return sum(samples[-n:]) / n


async def sample():
    value = 0
    while True:
        value = (value * 13 + 7) % 101
        samples.append(value)
        del samples[:-100]
        await asyncio.sleep_ms(20)


async def main():
    sampler = asyncio.create_task(sample())
    await gw.serve()
    sampler.cancel()


try:
    asyncio.run(main())
finally:
    gw.close()  # after Ctrl-C, too: gives print() back to the prompt
