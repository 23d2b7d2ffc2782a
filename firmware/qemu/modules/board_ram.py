"""File systems for the emulated board, which has no flash: they lie in memory that the firmware
does not use otherwise.

/ lasts over soft resets (and over mpremote sessions) until the emulator ends. /rom is there if the
emulator was told to load an image of one; its files can be used in place, as on a board.
"""

import sys

import uctypes
import vfs
from micropython import const

_START = const(0x21000000)  # 16 MB of PSRAM
_BLOCK = const(4096)
_BLOCKS = const(256)
_ROM = const(0x21400000)  # up to the end of the PSRAM
_ROM_BYTES = const(0xC00000)


class _RamDisk:
    def __init__(self):
        self._bytes = uctypes.bytearray_at(_START, _BLOCK * _BLOCKS)

    def readblocks(self, block, buf, offset=0):
        at = block * _BLOCK + offset
        buf[:] = memoryview(self._bytes)[at : at + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        at = block * _BLOCK + offset
        memoryview(self._bytes)[at : at + len(buf)] = buf

    def ioctl(self, operation, _):
        # 4: number of blocks, 5: bytes per block; the rest (erase, sync) has nothing to do
        return {4: _BLOCKS, 5: _BLOCK}.get(operation, 0)


def mount():
    """Mount the disk at /, making its file system at the first start, and the ROM at /rom."""
    disk = _RamDisk()
    try:
        fs = vfs.VfsLfs2(disk)
    except OSError:
        vfs.VfsLfs2.mkfs(disk)
        fs = vfs.VfsLfs2(disk)
    vfs.mount(fs, "/")
    sys.path.append("/lib")
    try:
        rom = vfs.VfsRom(uctypes.bytearray_at(_ROM, _ROM_BYTES))
    except OSError:  # none was loaded
        return
    vfs.mount(rom, "/rom")
    sys.path += ["/rom", "/rom/lib"]
