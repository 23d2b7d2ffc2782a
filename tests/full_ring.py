"""A full queue of 1 MiB for the emulated Pico: it lies in the second half of the board's flash,
which a script reads where it is mapped. Where the board's file system is, it holds that."""

from functools import cache

from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import Ring

START = 1 << 20
SECTORS = 256
SECTOR = 4096
PAYLOAD = 256
KEY = b"0123456789abcdef"

# A device in memory that takes none of the heap, and a Ring on it.
DEVICE = f"""
import gc
import uctypes
from time import ticks_us, ticks_diff
from mcp_gw.queue.ring import Ring

class Mapped:
    sector_size = {SECTOR}
    page_size = 256
    sectors = {SECTORS}
    view = memoryview(uctypes.bytearray_at(0x10000000 + {START}, {SECTORS * SECTOR}))

    def read(self, addr, buf):
        buf[:] = self.view[addr : addr + len(buf)]

dev = Mapped()
"""

# Times of mounting and of going through all records, in microseconds.
MOUNT = (
    DEVICE
    + """
ring = Ring(dev)
mounts = []
for _ in range(3):
    gc.collect()
    begin = ticks_us()
    ring.mount()
    mounts.append(ticks_diff(ticks_us(), begin))
begin = ticks_us()
count = sum(1 for _ in ring.records())
through = ticks_diff(ticks_us(), begin)
begin = ticks_us()
some = list(ring.records(0, b"\\x02"))
print(max(mounts), through, ticks_diff(ticks_us(), begin), ring.count, count, len(some))
"""
)

# The least heap in which a Ring is made and mounted, all that it takes for the time included; what
# it keeps; and the records it found.
RAM = (
    DEVICE
    + """
hog = [None] * 900

def fill(room):
    kept = bytearray(room)
    size = 65536
    n = 0
    while size:
        try:
            # At last what takes a single block of the heap.
            hog[n] = bytearray(size if size >= 16 else 0)
            n += 1
        except MemoryError:
            size //= 2
            if size == 8:
                size = 1
    kept = None

def mounts(room):
    gc.collect()
    fill(room)
    gc.collect()
    free = gc.mem_free()
    try:
        ring = Ring(dev)
        ring.mount()
        count = ring.count
    except MemoryError:
        count = 0
    kept = 0
    if count:
        gc.collect()
        kept = free - gc.mem_free()
    ring = None
    for i in range(len(hog)):
        hog[i] = None
    return free, kept, count

low = 512
high = 8192
found = None
while high - low > 4:
    room = (low + high) // 2
    last = mounts(room)
    if last[2]:
        high = room
        found = last
    else:
        low = room
print(*found)
"""
)


@cache
def image():
    """(bytes, number of records): a ring that takes no more records, none acked."""
    dev = RamNor(SECTORS)
    ring = Ring(dev)
    ring.mount()
    try:
        while True:
            ring.append(1 + ring.count % 16 // 15, KEY, [bytes(PAYLOAD)], ring.count % 3)
    except QueueFull:
        return bytes(dev.image), ring.count


def put_into(flash):
    """Write it into a flash image, a file, of a board that has made its file system; the number of
    records that are there."""
    content = bytearray(flash.read_bytes())
    ring, _ = image()
    for s in range(SECTORS):
        at = START + s * SECTOR
        if content[at : at + SECTOR] == b"\xff" * SECTOR:
            content[at : at + SECTOR] = ring[s * SECTOR :][:SECTOR]
    flash.write_bytes(content)
    there = Ring(RamNor(SECTORS, content[START : START + SECTORS * SECTOR]))
    there.mount()
    return there.count
