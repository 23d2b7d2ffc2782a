# Prints wherever an app can: before it serves, and in the middle of its tools.

import asyncio
import sys

from mcp_gw import Gateway, Param

gw = Gateway("talkative", version="1.0")


@gw.tool("Prints without ending the line", text=Param(str, default="half a line"))
def half(text):
    print(text, end="")
    return "said"


@gw.tool("Prints whole lines and a half one, to a stream too")
def lines():
    print("one", 2, sep=", ")
    print('{"jsonrpc":"2.0","method":"notifications/message"}')
    print("to the stream", file=sys.stdout)
    print("\n\nthree", end="")
    return "said"


@gw.tool("Prints between reports of progress", n=Param(int, default=3))
def during(n):
    for i in range(n):
        print("at", i, end=";")
        yield i + 1, n
    return "done"


@gw.tool("Prints much", n=Param(int))
def much(n):
    print("x" * n)
    return "said"


@gw.tool("Prints half a line to standard error, which on a board is the wire")
def errors():
    print("an error", end="", file=sys.stderr)
    return "said"


async def failing():
    print("in a task", end="")
    raise ValueError("in a task of its own")


@gw.tool("Leaves a task behind that raises")
async def leaves():
    asyncio.create_task(failing())
    await asyncio.sleep_ms(20)
    return "said"


@gw.tool("Raises")
def breaks():
    print("before", end="")
    raise ValueError("on purpose")


async def greet():
    print("ready to serve")
    print("and waiting", end="")


async def main():
    asyncio.create_task(greet())
    await gw.serve()


asyncio.run(main())
