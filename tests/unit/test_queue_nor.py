import os
import sys

from mcp_gw.queue.nor import Rp2Nor, default_device
from mcp_gw.queue.nor_fault import ALL, PREFIX, FaultNor, PowerCut, Rng
from mcp_gw.queue.nor_kept import FileNor, RamNor
from mcp_gw.queue.ring import Ring


def read(dev, addr, n):
    buf = bytearray(n)
    dev.read(addr, buf)
    return bytes(buf)


def raises(error, call, *args):
    try:
        call(*args)
    except error:
        return True
    return False


def behaves_like_nor(dev):
    """What holds for every device of two sectors or more."""
    assert read(dev, 0, 16) == b"\xff" * 16
    dev.program(10, b"\xf0\x0f")
    dev.program(10, b"\x3c\x3c")
    # Programming clears bits and sets none.
    assert read(dev, 8, 6) == b"\xff\xff\x30\x0c\xff\xff"
    # Over page ends, and over the end of a sector.
    data = bytes(range(256)) * 3
    dev.program(4096 - 300, memoryview(data))
    assert read(dev, 4096 - 300, len(data)) == data
    assert read(dev, 4096 - 301, 1) == b"\xff"
    dev.erase(0)
    assert read(dev, 0, 4096) == b"\xff" * 4096
    assert read(dev, 4096, 468) == data[300:]
    assert raises(ValueError, dev.program, dev.sectors * 4096 - 1, b"ab")
    assert raises(ValueError, dev.erase, dev.sectors)


def test_ram():
    behaves_like_nor(RamNor(2))
    assert raises(ValueError, RamNor, 0)
    assert raises(ValueError, RamNor, 2, b"too short")


def test_fault_without_faults():
    behaves_like_nor(FaultNor(RamNor(2)))


def test_file():
    if not hasattr(os, "getenv"):
        return  # a board without a file system to spare
    path = (os.getenv("TMPDIR") or "/tmp") + "/mcp_gw_queue_test.img"
    if path.split("/")[-1] in os.listdir(path[: path.rfind("/")]):
        os.remove(path)
    try:
        dev = FileNor(path, 3)
        behaves_like_nor(dev)
        dev.close()
        assert raises(ValueError, FileNor, path, 4)
        dev = FileNor(path, 3)
        dev.erase(0)
        dev.erase(1)
        ring = Ring(dev)
        ring.mount()
        handle = ring.append(1, b"key", [b"kept in a file"])
        dev.close()
        dev = FileNor(path, 3)
        ring = Ring(dev)
        ring.mount()
        assert ring.payload(handle) == b"kept in a file"
        dev.close()
    finally:
        os.remove(path)


class FakeRp2(bytearray):
    """rp2.Flash as the port implements it: whole pages only, and reads that stop at nothing."""

    def __init__(self, start, len):
        super().__init__(b"\xff" * len)
        self.image = memoryview(self)

    def readblocks(self, block, buf, offset=0):
        at = block * 4096 + offset
        buf[:] = self.image[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        assert offset is not None, "without an offset it would erase"
        at = block * 4096 + offset
        assert at % 256 == 0 and len(buf) % 256 == 0
        for i in range(len(buf)):
            self.image[at + i] &= buf[i]

    def ioctl(self, op, arg):
        assert op == 6
        self.image[arg * 4096 : arg * 4096 + 4096] = b"\xff" * 4096
        return 0


def test_rp2():
    if "_rp2" in sys.modules or sys.platform == "rp2":
        return

    class Module:
        Flash = FakeRp2

    sys.modules["_rp2"] = Module
    try:
        behaves_like_nor(Rp2Nor(start=0, length=8192))
    finally:
        del sys.modules["_rp2"]


def test_no_queue_region_here():
    if sys.platform != "rp2":
        assert default_device() is None


def test_a_cut_ends_all_access():
    dev = FaultNor(RamNor(2), 3)
    dev.cut(2, ALL)
    dev.program(0, b"\x00")
    dev.erase(1)
    assert raises(PowerCut, dev.program, 100, b"abc")
    assert raises(PowerCut, dev.read, 0, bytearray(1))
    assert raises(PowerCut, dev.program, 0, b"\x00")
    assert raises(PowerCut, dev.erase, 0)
    dev.power_on()
    assert read(dev, 100, 3) == b"abc"
    dev.cut(0, PREFIX, False, 2)
    assert raises(PowerCut, dev.program, 200, b"\x01\x02\x03\x04")
    dev.power_on()
    assert read(dev, 200, 4) == b"\x01\x02\xff\xff"
    assert (dev.programs, dev.erases) == (3, 1)


def test_random_numbers_are_the_same_everywhere():
    rng = Rng(1)
    assert [rng.below(1000) for _ in range(6)] == [996, 946, 287, 873, 132, 420]
    for density in range(9):
        total = 0
        for _ in range(20):
            bits = rng.bits(100, density)
            assert 0 < bits < 1 << 800
            while bits:
                total += bits & 1
                bits >>= 1
        if 0 < density < 8:
            assert abs(total - 2000 * density) < 400, (density, total)
