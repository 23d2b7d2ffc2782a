"""NOR flash devices for the queue.

A device has `sector_size` (bytes erased together, 4096), `page_size` (bytes programmed together,
256), `sectors` (count) and three methods: read(addr, buf) fills buf, program(addr, data) clears
bits and never sets one, erase(sector) sets all bits of one sector. Each returns when the flash
holds the result. Addresses are bytes from the start of the queue's region. Errors of the medium
are OSError. Where the flash is mapped into memory, `view` is a memoryview of the region.
"""

import sys

from ..compat import const

_SECTOR = const(4096)
_PAGE = const(256)
_BLANK = b"\xff" * 256


class Nor:
    """Base of the devices: checks ranges and splits a program at page ends (a chip would wrap
    there).
    """

    sector_size = _SECTOR
    page_size = _PAGE

    def __init__(self, sectors):
        if sectors < 1:
            raise ValueError("a NOR device needs at least one sector")
        self.sectors = sectors

    def program(self, addr, data):
        end = addr + len(data)
        if addr < 0 or end > self.sectors * self.sector_size:
            raise ValueError("program outside the device")
        room = self.page_size - addr % self.page_size
        if end - addr <= room:
            self._program_page(addr, data)
            return
        data = memoryview(data)
        at = 0
        while at < len(data):
            part = data[at : at + room]
            self._program_page(addr + at, part)
            at += len(part)
            room = self.page_size

    def erase(self, sector):
        if not 0 <= sector < self.sectors:
            raise ValueError("no such sector")
        self._erase(sector)


class Rp2Nor(Nor):
    """The RP2040's and RP2350's own flash, through rp2.Flash: `start` and `length` in bytes,
    relative to rp2.Flash() (the storage region), multiples of 4096.

    Interrupts are off while one page is programmed (about 1 ms) or one sector erased (40 ms and
    more).
    """

    def __init__(self, start, length):
        from _rp2 import Flash  # rp2 itself brings an assembler for PIO along

        super().__init__(length // _SECTOR)
        self._flash = Flash(start=start, len=length)
        self.view = memoryview(self._flash)
        # The SDK programs whole aligned pages, and not from flash: each part is copied into this
        # one.
        self._page = bytearray(_PAGE)

    def read(self, addr, buf):
        # Any offset will do, and block 0 spares the division.
        self._flash.readblocks(0, buf, addr)

    def _program_page(self, addr, data):
        page = self._page
        at = addr % _PAGE
        page[:] = _BLANK
        page[at : at + len(data)] = data
        # With an offset, even 0, writeblocks programs without erasing.
        self._flash.writeblocks(addr // _SECTOR, page, addr % _SECTOR - at)

    def _erase(self, sector):
        self._flash.ioctl(6, sector)


def default_device():
    """The queue region this board's definition reserves, an ESP32's partition "queue", or None
    where there is none."""
    try:
        from _flash_map import QUEUE_LEN, QUEUE_START
    except ImportError:
        if sys.platform != "esp32":
            return None
        from .nor_esp32 import EspNor, find

        partition = find()
        return partition and EspNor(partition)
    return Rp2Nor(QUEUE_START, QUEUE_LEN)
