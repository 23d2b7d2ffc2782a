import sys

from test_queue_nor import behaves_like_nor

from mcp_gw.errors import ConfigError
from mcp_gw.queue.nor_esp32 import EspNor


class Partition:
    """esp32.Partition as MicroPython's documentation and port have it: writeblocks without an
    offset erases first, with one it only programs; all of it in the flash of one image."""

    TYPE_APP, TYPE_DATA = 0, 1
    flash = bytearray(b"\xff" * 32768)
    encrypted = False

    def __init__(self, label, at=8192, size=16384, block_size=4096):
        self._label, self._at, self._size, self._block = label, at, size, block_size

    @classmethod
    def find(cls, type=0, subtype=0xFF, label=None, block_size=4096):
        return [cls(label)] if type == cls.TYPE_DATA and label == "queue" else []

    def info(self):
        return (1, 0x40, self._at, self._size, self._label, self.encrypted)

    def _span(self, block, offset, length):
        at = block * self._block + offset
        if at < 0 or at + length > self._size:
            raise OSError(-260, "ESP_ERR_INVALID_SIZE")
        return self._at + at

    def readblocks(self, block, buf, offset=0):
        at = self._span(block, offset, len(buf))
        buf[:] = self.flash[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=None):
        at = self._span(block, offset or 0, len(buf))
        if offset is None:
            assert len(buf) % 4096 == 0
            self.flash[at : at + len(buf)] = b"\xff" * len(buf)
        for i in range(len(buf)):
            self.flash[at + i] &= buf[i]

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // self._block
        if op == 5:
            return self._block
        if op == 6:
            at = self._span(arg, 0, 4096)
            self.flash[at : at + 4096] = b"\xff" * 4096
            return 0


def refused(why, *args):
    try:
        EspNor(*args)
    except ConfigError as e:
        assert why in str(e), e
        return
    raise AssertionError("it was taken")


def test_a_partition():
    if sys.platform == "esp32":
        return
    refused("no data partition", "queue")

    class Module:
        pass

    Module.Partition = Partition
    sys.modules["esp32"] = Module
    try:
        dev = EspNor()
        assert dev.sectors == 4
        behaves_like_nor(dev)
        assert Partition.flash[:8192] == b"\xff" * 8192
        assert Partition.flash[24576:] == b"\xff" * 8192
        behaves_like_nor(EspNor(Partition("other", 0, 8192)))
        refused("label 'elsewhere'", "elsewhere")
        refused("blocks of another size", Partition("queue", block_size=512))
        Partition.encrypted = True
        refused("encrypted")
    finally:
        Partition.encrypted = False
        del sys.modules["esp32"]
