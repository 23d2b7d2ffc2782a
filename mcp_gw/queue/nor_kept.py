"""NOR flash that is no chip: kept in RAM, or in a file of a computer. See nor.py."""

import os

from .nor import Nor


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
        self.view = memoryview(self.image)

    def read(self, addr, buf):
        buf[:] = self.view[addr : addr + len(buf)]

    def _program_page(self, addr, data):
        end = addr + len(data)
        self.view[addr:end] = clear_bits(self.view[addr:end], data)

    def _erase(self, sector):
        at = sector * self.sector_size
        self.view[at : at + self.sector_size] = b"\xff" * self.sector_size


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
