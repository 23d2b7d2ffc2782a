"""Benchmarks that are scripts on a target, timed by its own clock."""

import json

from figures import Row
from latency import spread

SCAN = """
from time import ticks_us, ticks_diff
from mcp_gw.protocol import framing
scans = [(framing.scan, TIMES)]
try:
    from mcp_gw.protocol.scan import scan
    scans.append((scan, 1))
except ImportError:
    pass  # not frozen into small boards
row = b'{"plot":%d,"percent":42.5,"name":"north \\\\u00e9 bed","ok":true}'
text = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo",'
text += b'"arguments":{"rows":[' + b','.join(row % i for i in range(SIZE)) + b']}}}'
spans = framing.new_spans()
for scan, times in scans:
    begin = ticks_us()
    for _ in range(times):
        assert scan(text, 0, len(text), spans, 32) == framing.REQUEST
    print(len(text) * times / ticks_diff(ticks_us(), begin))
"""

RING = """
from time import ticks_us, ticks_diff
from mcp_gw.queue.nor import default_device
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring
ring = Ring(DEVICE)
ring.mount()
body = bytes(200)
appends = []
acks = []
for i in range(COUNT):
    begin = ticks_us()
    handle = ring.append(1, b'0123456789abcdef', [body])
    appends.append(ticks_diff(ticks_us(), begin))
    begin = ticks_us()
    assert ring.ack(handle)
    acks.append(ticks_diff(ticks_us(), begin))
begin = ticks_us()
ring.mount()
print(appends)
print(acks)
print(ticks_diff(ticks_us(), begin))
"""


def scanner(target, size, times, where):
    """MB/s of the C scanner and, where it is there, its twin, by the target's own clock."""
    script = SCAN.replace("SIZE", str(size)).replace("TIMES", str(times))
    in_c, *twin = map(float, target.run(script, timeout=120).split())
    more = "".join(f"; its Python twin {speed:.4f} MB/s" for speed in twin)
    return Row(f"scanner, {where}", f"{in_c:.2f} MB/s{more}")


def ring(target, device, count, where):
    """Rows: the cost of an append and of an ack of a record of 200 bytes, and of mounting. device:
    Python that makes the NOR device."""
    script = RING.replace("DEVICE", device).replace("COUNT", str(count))
    appends, acks, mount = target.run(script, timeout=120).splitlines()
    appends = [us / 1000 for us in json.loads(appends)]
    acks = [us / 1000 for us in json.loads(acks)]
    yield Row(f"queue: append 200 bytes, {where}", spread(appends))
    yield Row(f"queue: ack, {where}", spread(acks))
    yield Row(f"queue: mount, {where}", f"{int(mount) / 1000:.1f} ms")
