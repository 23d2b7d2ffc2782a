"""An HttpUpstream driven from outside, under CPython or MicroPython: one JSON command per line on
stdin, one JSON answer per line on stdout.
"""

import asyncio
import gc
import json
import sys
import time

from mcp_gw.errors import GatewayError
from mcp_gw.route.http_upstream import HttpUpstream

if sys.implementation.name == "micropython":
    loop = asyncio.get_event_loop()
else:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

upstream = None
changes = []


async def request(method, params, timeout_ms=None, token=None, pad=0, can="{}"):
    """params: JSON text of an object, without _meta; PAD in it becomes `pad` letters (boards'
    stdin is slow).
    """
    params = params.replace("PAD", "x" * pad)
    progress = []
    extra = b"" if token is None else b'"progressToken":%d' % token
    comma = b"," if len(params) > 2 else b""
    parts = [b'{"_meta":', upstream.meta(extra, can.encode()), comma, params.encode()[1:]]
    begin = time.time()
    try:
        ok, raw = await upstream.request(method, parts, timeout_ms, progress.append, can.encode())
        assert type(raw) is bytes
        out = {"ok": ok, "raw": raw.decode()}
    except GatewayError as e:
        out = {"raised": type(e).__name__, "text": str(e)}
    out["progress"] = [p.decode() for p in progress]
    out["seconds"] = time.time() - begin
    return out


async def sleep(seconds):
    await asyncio.sleep(seconds)


async def several(calls):
    return await asyncio.gather(*[request(*call) for call in calls])


async def tools():
    found = []
    count, whole = await upstream.tools(found.append)
    return {"count": count, "whole": whole, "tools": [raw.decode() for raw in found]}


def make(options):
    global upstream
    if "ca_hex" in options:
        options["ca"] = bytes.fromhex(options.pop("ca_hex"))
    upstream = HttpUpstream("up", **options)
    upstream.on_change = changes.append
    return {}


async def many(count, call):
    """The same request `count` times; returns how many were answered, and the heap in use
    afterwards.
    """
    good = 0
    for _ in range(count):
        good += (await request(*call)).get("ok", False)
    gc.collect()
    return {"good": good, "heap": gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0}


def state():
    client = upstream.client
    return {
        "up": upstream.up,
        "modern": upstream.modern,
        "version": client.version,
        "server": client.server,
        "session": upstream.session,
        "changes": changes,
    }


def run(op, arguments):
    if op == "make":
        return make(arguments[0])
    if op == "state":
        return state()
    if op == "set":
        setattr(upstream, arguments[0], arguments[1])
        return {}
    steps = {
        "connect": upstream.connect,
        "close": upstream.close,
        "tools": tools,
        "request": request,
        "several": several,
        "sleep": sleep,
        "many": many,
    }
    return loop.run_until_complete(steps[op](*arguments))


for line in sys.stdin:
    op, arguments = json.loads(line)
    try:
        answer = run(op, arguments)
    except GatewayError as e:
        answer = {"raised": type(e).__name__, "text": str(e)}
    print(json.dumps(answer))
    if sys.implementation.name != "micropython":
        sys.stdout.flush()
