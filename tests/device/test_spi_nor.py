"""A queue on an external flash chip: the driver on the emulated Pico, whose SPI leads to the
simulator's model of a chip."""

import targets
from mcpgw.queue.image import Image
from mcpgw.sim import PicoSim

DRIVER = (targets.ROOT / "mcp_gw" / "queue" / "nor_spi.py").read_text()
OPEN = """
from machine import SPI, Pin
from nor_spi import SpiNor
from mcp_gw.queue.ring import Ring
dev = SpiNor(SPI(0, 10_000_000), Pin(17), length=8 * 4096)
ring = Ring(dev)
ring.mount()
"""
FILL = """
handles = [ring.append(1, b'key-%02d' % n, [bytes([n]) * 500], n % 3) for n in range(40)]
for handle in handles[:20]:
    ring.ack(handle)
for n in range(40, 46):
    ring.append(1, b'key-%02d' % n, [bytes([n]) * 100])
    ring.ack(next(ring.records())[0])
print(ring.count)
"""
BEHAVES = """
def read(at, n):
    buf = bytearray(n)
    dev.read(at, buf)
    return bytes(buf)
last = 6 * 4096  # the queue goes on in another sector
dev.erase(6)
assert read(last, 4096) == b'\\xff' * 4096
dev.program(last + 250, bytes(range(20)))
assert read(last + 248, 24) == b'\\xff\\xff' + bytes(range(20)) + b'\\xff\\xff'
dev.program(last + 250, b'\\xf0')
assert read(last + 250, 2) == b'\\x00\\x01'
dev.erase(6)
print(dev.id, dev.sectors)
"""


def test_a_ring_on_an_external_chip(tmp_path):
    chip = tmp_path / "chip.img"
    options = {"flash": tmp_path / "flash.img", "spi_nor": chip, "speed": 0}
    put = "with open('/nor_spi.py', 'w') as f: f.write(%r)" % DRIVER
    with PicoSim(targets.firmware("pico"), **options) as sim:
        targets.run(sim, put)
        assert targets.run(sim, OPEN + BEHAVES) == "b'\\xef@\\x14' 8\n"
        assert targets.run(sim, OPEN + FILL) == "20\n"
    # The power is gone; the chip keeps what it has, and other code reads it.
    image = Image(chip.read_bytes()[: 8 * 4096])
    kept = [(row.key, row.payload[:1], len(row.payload)) for row in image.records]
    assert len(kept) == 20 and not image.findings
    with PicoSim(targets.firmware("pico"), **options) as sim:
        script = OPEN + (
            "for h, k, key, n in ring.records():\n    print(key, ring.payload(h)[:1], n)\n"
        )
        lines = targets.run(sim, script).splitlines()
    assert lines == [f"{key} {first} {n}" for key, first, n in kept]
