"""A FastMCP proxy in front of many servers, on port PORT: fastmcp_proxy.py PORT NAME=URL ...

One connected client for each server, whose session all requests share, stateless, JSON answers:
the fastest way it has. (Unless told so it opens a session for each request.)
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from fastmcp import Client, FastMCP
from fastmcp.server import create_proxy


async def main(port, servers):
    front = FastMCP("proxy")
    async with AsyncExitStack() as stack:
        for name, url in servers:
            client = await stack.enter_async_context(Client(url))
            front.mount(create_proxy(client), namespace=name)
        await front.run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            json_response=True,
            stateless_http=True,
            uvicorn_config={"access_log": False},
        )


asyncio.run(main(int(sys.argv[1]), [server.split("=", 1) for server in sys.argv[2:]]))
