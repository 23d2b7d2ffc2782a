"""A partition of an ESP32's flash for the queue.

gw.queue(EspNor())          # the data partition with the label "queue"
"""

from ..compat import const
from ..errors import ConfigError
from .nor import Nor

_SECTOR = const(4096)
LABEL = "queue"


class EspNor(Nor):
    """partition: an esp32.Partition, or the label of one of type data. Its size is a multiple of
    4096, and it is not encrypted: encrypted flash cannot program a byte a second time.

    Raises ConfigError.
    """

    def __init__(self, partition=LABEL):
        if isinstance(partition, str):
            label = partition
            partition = find(label)
            if partition is None:
                raise ConfigError("there is no data partition with the label %r" % label)
        _, _, _, size, label, encrypted = partition.info()[:6]
        if encrypted:
            raise ConfigError("partition %s is encrypted: a queue cannot live in it" % label)
        if partition.ioctl(5, 0) != _SECTOR:
            raise ConfigError("partition %s was opened with blocks of another size" % label)
        super().__init__(size // _SECTOR)
        self._partition = partition

    def read(self, addr, buf):
        # Any offset will do, and block 0 spares the division.
        self._partition.readblocks(0, buf, addr)

    def _program_page(self, addr, data):
        # With an offset, even 0, writeblocks programs without erasing.
        self._partition.writeblocks(0, data, addr)

    def _erase(self, sector):
        if self._partition.ioctl(6, sector):
            raise OSError(5)


def find(label=LABEL):
    """The esp32.Partition, None where there is none, or this is no ESP32."""
    try:
        from esp32 import Partition
    except ImportError:
        return None
    found = Partition.find(Partition.TYPE_DATA, label=label)
    return found[0] if found else None
