"""NOR flash devices for the queue.

A device has `sector_size` (bytes erased together, 4096), `page_size` (bytes programmed together,
256), `sectors` (count) and three methods: read(addr, buf) fills buf, program(addr, data) clears
bits and never sets one, erase(sector) sets all bits of one sector. Each returns when the flash
holds the result. Addresses are bytes from the start of the queue's region. Errors of the medium
are OSError.
"""

import os

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


def clear_bits(old, data):
    """What a NOR cell array holds after programming `data` over `old` (same length)."""
    both = int.from_bytes(old, "little") & int.from_bytes(data, "little")
    return both.to_bytes(len(old), "little")


class RamNor(Nor):
    """Flash kept in RAM: for tests, and for targets without flash (the queue then survives soft
    resets only as long as the object does).
    """

    def __init__(self, sectors, image=None):
        super().__init__(sectors)
        size = sectors * self.sector_size
        if image is not None and len(image) != size:
            raise ValueError("the image has the wrong size")
        self.image = bytearray(b"\xff" * size) if image is None else bytearray(image)
        self._view = memoryview(self.image)

    def read(self, addr, buf):
        buf[:] = self._view[addr : addr + len(buf)]

    def _program_page(self, addr, data):
        end = addr + len(data)
        self._view[addr:end] = clear_bits(self._view[addr:end], data)

    def _erase(self, sector):
        at = sector * self.sector_size
        self._view[at : at + self.sector_size] = b"\xff" * self.sector_size


class FileNor(Nor):
    """Flash kept in a file, synced to the medium at each operation. Created blank when it does not
    exist; a file of the wrong size is refused with ValueError rather than overwritten.
    """

    def __init__(self, path, sectors):
        super().__init__(sectors)
        size = sectors * self.sector_size
        try:
            there = os.stat(path)[6]
        except OSError:
            there = -1
        if there < 0:
            with open(path, "wb") as f:
                for _ in range(sectors):
                    f.write(b"\xff" * self.sector_size)
            self._sync_folder(path)
        elif there != size:
            raise ValueError("%s: %d bytes where the queue needs %d" % (path, there, size))
        self._file = open(path, "r+b")

    def _sync_folder(self, path):
        # A new file survives a power cut only once its directory entry is on the medium too.
        if hasattr(os, "O_DIRECTORY"):
            fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _sync(self):
        # On MicroPython's unix port flush() is fsync(2); CPython needs both.
        self._file.flush()
        if hasattr(os, "fsync"):
            os.fsync(self._file.fileno())

    def read(self, addr, buf):
        self._file.seek(addr)
        if self._file.readinto(buf) != len(buf):
            raise OSError(5)

    def _program_page(self, addr, data):
        old = bytearray(len(data))
        self.read(addr, old)
        self._file.seek(addr)
        self._file.write(clear_bits(old, data))
        self._sync()

    def _erase(self, sector):
        self._file.seek(sector * self.sector_size)
        self._file.write(b"\xff" * self.sector_size)
        self._sync()

    def close(self):
        self._file.close()


class Rp2Nor(Nor):
    """The RP2040's and RP2350's own flash, through rp2.Flash: `start` and `length` in bytes,
    relative to rp2.Flash() (the storage region), multiples of 4096.

    Interrupts are off while one page is programmed (about 1 ms) or one sector erased (40 ms and
    more).
    """

    def __init__(self, start, length):
        import rp2

        super().__init__(length // _SECTOR)
        self._flash = rp2.Flash(start=start, len=length)
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
    """The queue region this board's definition reserves, or None where there is none."""
    try:
        import board_flash
    except ImportError:
        return None
    return Rp2Nor(board_flash.QUEUE_START, board_flash.QUEUE_LEN)
